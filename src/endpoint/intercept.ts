import { errorNumbers, GatewayError } from '../errors.js';
import { toRpcError } from '../instance/error-response.js';
import { ServerError } from '../instance/server-error.js';
import type { Caller } from '../runtime.js';
import type { JSONRPCErrorResponse, RequestId } from '../sdk.js';
import { type Fields, isFields } from '../util/fields.js';
import { textOf } from '../util/text-of.js';
import type { PeerExtra } from './peer.js';

/** A request on its way to a server, as an interceptor sees it. */
export interface InterceptedRequest {
  /** Who asks; where each request says so for itself, as it says in this one. */
  readonly caller: Caller;
  /** What the host's server transport found out about the sender of this very message, as the SDK's `AuthInfo`. */
  readonly authInfo: unknown;
  /** The id of the server that will get it. */
  readonly server: string;
  /** The method, such as `tools/call`; lists are asked of each server on its own. */
  readonly method: string;
  /** As the server will get them: with the server's own names. */
  readonly params: Readonly<Record<string, unknown>>;
  /**
   * Aborted as soon as nobody waits any more for what the interceptor makes of the request: what it returns or throws from then
   * on goes nowhere. The reason is a `GatewayError`:
   *
   * - `REQUEST_CANCELLED`: the caller has cancelled the request, a client of `gateway.fetch` has left, or a stateless caller did
   *   not come back in time with the input that it was asked for;
   * - `TRANSPORT_CLOSED`: the caller has closed its connection;
   * - `GATEWAY_CLOSED`: `gateway.close()` has answered the request, when the grace was over;
   * - `REQUEST_TIMEOUT`: the caller got a list without the part of this server, within `list_timeout`;
   * - `SERVER_UNKNOWN`: a reload has taken the server away before `next` was called, and the request is answered;
   * - on `connect(id)` what the connection has ended with, such as `SERVER_STOPPED` or `SERVER_EXITED`.
   *
   * The end, a stop or a time-out of a server behind the merged peer aborts nothing: `next` rejects with it, and the
   * interceptor has the last word; one that has not called `next` yet reaches the next start of the server. Not aborted once
   * the interceptor has come to its end.
   */
  readonly signal: AbortSignal;
}

/**
 * Stands around each request: looks at it, passes it on with `next` (with other params, if it likes), looks at the result
 * or replaces it, or refuses by throwing.
 *
 * A thrown error whose `code` is an integer becomes an error response with this code, message and `data`; a
 * {@link ServerError} passes through as the server sent it; anything else is answered with `INTERCEPTED`.
 */
export type Interceptor = (
  request: InterceptedRequest,
  next: (params?: Readonly<Record<string, unknown>>) => Promise<Readonly<Record<string, unknown>>>,
) => Promise<Readonly<Record<string, unknown>>>;

/** Who sends a request, as an interceptor sees it: what came with the request goes before what is known of its sender. */
export function senderOf(extra: PeerExtra | undefined, known: Caller): Pick<InterceptedRequest, 'caller' | 'authInfo'> {
  const caller = extra?.caller ?? known;
  return { caller, authInfo: extra?.authInfo ?? caller.authInfo };
}

/** Calls an interceptor. Rejects with what it throws, and when what it returns is no result. */
export async function runInterceptor(
  intercept: Interceptor,
  request: InterceptedRequest,
  next: Parameters<Interceptor>[1],
): Promise<Record<string, unknown>> {
  const result: unknown = await intercept(request, next);
  if (!isFields(result)) {
    throw new GatewayError('INTERCEPTED', `the interceptor returned no result for ${request.method}`, {
      server: request.server,
    });
  }
  return result;
}

/** Why an interceptor need not go on. */
export function callerCancelled(server: string | undefined): GatewayError {
  return new GatewayError('REQUEST_CANCELLED', 'the caller cancelled the request', { server });
}

/** The same. */
export function callerLeft(server: string | undefined): GatewayError {
  return new GatewayError('TRANSPORT_CLOSED', 'the caller has closed its connection', { server });
}

/** The error response for what an interceptor, or the server behind it, has thrown. */
export function toResponse(
  id: RequestId,
  server: string | undefined,
  thrown: unknown,
  delivered: false | 'unknown' = 'unknown',
): JSONRPCErrorResponse {
  if (thrown instanceof ServerError) {
    return { jsonrpc: '2.0', id, error: thrown.error };
  }
  if (GatewayError.is(thrown)) {
    const { data, ...error } = toRpcError(thrown, thrown.delivered ?? delivered);
    return { jsonrpc: '2.0', id, error: { ...error, data: { ...(data as Fields), server: thrown.server ?? server } } };
  }
  const { code, message, data } = isFields(thrown) ? thrown : {};
  const text = typeof message === 'string' ? message : textOf(thrown);
  if (Number.isInteger(code)) {
    return { jsonrpc: '2.0', id, error: { code: code as number, message: text, ...(data !== undefined && { data }) } };
  }
  const ours = new GatewayError('INTERCEPTED', text, { server });
  return {
    jsonrpc: '2.0',
    id,
    error: {
      code: errorNumbers.INTERCEPTED,
      message: ours.message,
      data: { code: 'INTERCEPTED', server, delivered },
    },
  };
}

/** What an interceptor gets from `next` when the caller has cancelled the request. */
export function cancelledResponse(id: RequestId, server: string): JSONRPCErrorResponse {
  return toResponse(id, server, callerCancelled(server));
}
