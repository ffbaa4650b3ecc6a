import { checkArgument, checkOptions, checkRequest, isFunction } from '../checks/check-options.js';
import type { Caller } from '../runtime.js';
import type { Transport } from '../sdk.js';
import { closeSessions } from './close-sessions.js';
import {
  type CloseSessionsOptions,
  type HttpSessionOptions,
  resolveSessionOptions,
  type SessionTransportSettings,
  sessionOptions,
} from './session-options.js';
import { SessionTable } from './session-table.js';
import { readBody, toResponse, watch } from './web-body.js';

/** A server-side transport for `Request` and `Response`, as the `WebStandardStreamableHTTPServerTransport` of both SDKs. */
export interface WebServerTransport extends Transport {
  /** Answers a request of its session. `parsedBody` is the JSON of a POST; undefined for other methods. */
  handleRequest(
    request: Request,
    options?: { readonly parsedBody?: unknown; readonly authInfo?: unknown },
  ): Promise<Response>;
}

/** The sessions of a host of `Request` and `Response`. */
export interface WebSessions extends AsyncDisposable {
  /** How many sessions there are. */
  readonly size: number;
  /**
   * Answers a request to the MCP endpoint: from the session that it names, from a new one, or with a refusal.
   *
   * @throws `GatewayError` `OPTION_INVALID` for what is no `Request`; nothing else
   */
  handle(request: Request): Promise<Response>;
  /**
   * Begins no more sessions, waits for open requests, and closes every session. Neither the server nor the gateway is
   * closed. Every call shares one outcome.
   */
  close(options?: CloseSessionsOptions): Promise<void>;
}

/**
 * Keeps the sessions of Streamable HTTP for a host that gets `Request`s: Hono and others. Starts nothing, listens to
 * nothing. Where `createNodeSessions` fits, it is faster.
 *
 * @example
 * ```ts
 * const sessions = createWebSessions(
 *   (settings) => new WebStandardStreamableHTTPServerTransport(settings),
 *   (transport, caller) => gateway.serve(transport, { caller }),
 * );
 * app.all('/mcp', (context) => sessions.handle(context.req.raw));
 * ```
 *
 * @param create - makes the transport of a session
 * @param serve - called once per session
 * @throws `GatewayError` `OPTION_INVALID`
 */
export function createWebSessions<T extends WebServerTransport>(
  create: (settings: SessionTransportSettings) => T,
  serve: (transport: T, caller: Caller) => Promise<unknown>,
  options: HttpSessionOptions<Request> = {},
): WebSessions {
  checkArgument('createWebSessions', isFunction(create), 'create must be a function', create);
  checkArgument('createWebSessions', isFunction(serve), 'serve, the second argument, must be a function', serve);
  checkOptions('createWebSessions', sessionOptions, options);
  const resolved = resolveSessionOptions(options);
  const table = new SessionTable(create, serve, resolved);

  async function handle(request: Request): Promise<Response> {
    checkRequest('handle', request);
    let end: ((broken: boolean) => void) | undefined;
    try {
      const admission = await table.admit({
        original: request,
        method: request.method,
        header: (name) => request.headers.get(name) ?? (name === 'host' ? new URL(request.url).host : null),
        readBody: () => readBody(request, resolved),
      });
      end = admission.end;
      const { transport, caller, body } = admission;
      const response = await transport.handleRequest(request, { parsedBody: body, authInfo: caller.authInfo });
      return watch(response, request, end);
    } catch (error) {
      end?.(false);
      return toResponse(table.refusalOf(error), request, resolved);
    }
  }

  return {
    get size() {
      return table.size;
    },
    handle,
    ...closeSessions(table),
  };
}
