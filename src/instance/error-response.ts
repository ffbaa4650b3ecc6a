import { errorNumbers, GatewayError } from '../errors.js';
import type { JSONRPCErrorResponse, RequestId } from '../sdk.js';

type Delivered = boolean | 'unknown';

/**
 * The answer that a request gets from us when the server has none for it.
 *
 * @param delivered - whether the server has got the request; unless given, what the error says of that, or false
 * @param message - in place of the error's own
 */
export function toErrorResponse(
  id: RequestId,
  error: GatewayError,
  delivered?: Delivered,
  message?: string,
): JSONRPCErrorResponse {
  return { jsonrpc: '2.0', id, error: toRpcError(error, delivered, message) };
}

/** The same, without the request that it answers. */
export function toRpcError(
  error: GatewayError,
  delivered: Delivered = error.delivered ?? false,
  message = error.message,
): JSONRPCErrorResponse['error'] {
  const { code, server } = error;
  const data: Record<string, unknown> = { code, server, delivered };
  for (const part of ['status', 'exit', 'retryAfterMs', 'auth'] as const) {
    if (error[part] !== undefined) {
      data[part] = error[part];
    }
  }
  return { code: errorNumbers[code], message, data };
}

/**
 * The answer in place of one that cannot be written as JSON: what was read from JSON is nested too deeply then.
 *
 * @param cause - what writing it has failed with, where it may be another reason
 */
export function toUnwritable(id: RequestId, cause?: unknown): JSONRPCErrorResponse {
  const why = cause instanceof TypeError ? cause.message : 'it is nested too deeply';
  return toErrorResponse(id, new GatewayError('MESSAGE_INVALID', `the answer cannot be written as JSON: ${why}`), true);
}
