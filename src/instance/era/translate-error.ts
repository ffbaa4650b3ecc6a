import { modernErrors } from '../../transport/modern.js';
import { isFields } from '../../util/fields.js';
import type { RpcError } from '../exchanges.js';

/** These codes are of the hop between the gateway and the server, and mean nothing in a session. */
export function translateError(error: RpcError): RpcError {
  if (error.code === modernErrors.missingCapability) {
    const { data } = error;
    const needed = isFields(data) && isFields(data.requiredCapabilities) ? Object.keys(data.requiredCapabilities) : [];
    const message = `the server needs what the client has not declared to be able to do: ${needed.join(', ') || error.message}`;
    return { code: -32602, message, ...(data !== undefined && { data }) };
  }
  return isOfHop(error) ? toHopError(error) : error;
}

/** Whether the gateway and the server did not understand each other: nobody else has to do with it. */
export function isOfHop({ code }: RpcError): boolean {
  return code === modernErrors.headerMismatch || code === modernErrors.unsupportedVersion;
}

/** What others are told of that. */
export function toHopError(error: RpcError): RpcError {
  return {
    ...error,
    code: -32603,
    message: `the gateway and the server do not understand each other: ${error.message}`,
  };
}
