import { GatewayError, type GatewayErrorOptions } from '../errors.js';

/** A copy of `error`, with some of what it carries replaced. The message is given without the server's name before it. */
export function copyError(
  error: GatewayError,
  changes: GatewayErrorOptions & { readonly message?: string | undefined },
): GatewayError {
  // The cause of an error is not enumerable.
  return new GatewayError(error.code, changes.message ?? messageOf(error), {
    ...error,
    cause: error.cause,
    ...changes,
  });
}

/** The message of `error` without the server's name before it. */
export function messageOf({ message, server }: GatewayError): string {
  const prefix = server === undefined ? '' : `"${server}": `;
  return message.startsWith(prefix) ? message.slice(prefix.length) : message;
}
