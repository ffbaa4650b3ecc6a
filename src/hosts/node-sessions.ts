import type { IncomingMessage, ServerResponse } from 'node:http';
import { checkArgument, checkOptions, isFunction } from '../checks/check-options.js';
import type { Caller } from '../runtime.js';
import type { Transport } from '../sdk.js';
import type { JsonPart } from '../transport/json-part.js';
import { closeSessions } from './close-sessions.js';
import { NodeHttpTransport } from './node/node-http-transport.js';
import { closeWithConnection } from './node/queued-responses.js';
import type { NodeServerTransport } from './node/server-transport.js';
import { readBody, refuse } from './node-body.js';
import {
  type CloseSessionsOptions,
  type HttpSessionOptions,
  resolveSessionOptions,
  type SessionTransportSettings,
  sessionOptions,
} from './session-options.js';
import { type ServeSession, SessionTable } from './session-table.js';

type Create = (settings: SessionTransportSettings) => NodeServerTransport;
// Of the overloads: each gives what its own `create` has made.
type Serve = (transport: never, caller: Caller) => Promise<unknown>;

/** The sessions of a host of `node:http` requests. */
export interface NodeSessions extends AsyncDisposable {
  /** How many sessions there are. */
  readonly size: number;
  /**
   * Answers a request to the MCP endpoint: from the session that it names, from a new one, or with a refusal. Resolves when
   * the response has ended or the client has gone.
   *
   * @param body - what a body parser of the host has read already; then the host limits its size
   * @throws `GatewayError` `OPTION_INVALID` for a response that is none of `node:http`; nothing else
   */
  handle(request: IncomingMessage, response: ServerResponse, body?: unknown): Promise<void>;
  /**
   * Begins no more sessions, waits for open requests, and closes every session. Neither the server nor the gateway is
   * closed. Every call shares one outcome.
   */
  close(options?: CloseSessionsOptions): Promise<void>;
}

/**
 * Keeps the sessions of Streamable HTTP for a host with a server of its own: `node:http`, Express, Fastify. Starts nothing,
 * listens to nothing.
 *
 * @example
 * ```ts
 * const sessions = createNodeSessions((transport, caller) => gateway.serve(transport, { caller }));
 * createServer((request, response) => sessions.handle(request, response)).listen(3000, '127.0.0.1');
 * ```
 *
 * @param serve - called once per session, with a transport of this library
 * @throws `GatewayError` `OPTION_INVALID`
 */
export function createNodeSessions(
  serve: (transport: Transport, caller: Caller) => Promise<unknown>,
  options?: HttpSessionOptions<IncomingMessage>,
): NodeSessions;
/**
 * The same with transports of somebody else, such as SDK v1's.
 *
 * @example
 * ```ts
 * const sessions = createNodeSessions(
 *   // A store for each session: the stream of every session has the same name in it.
 *   (settings) => new StreamableHTTPServerTransport({ ...settings, eventStore: createEventStore() }),
 *   (transport, caller) => gateway.serve(transport, { caller }),
 * );
 * ```
 *
 * @param create - makes the transport of a session
 * @param serve - called once per session
 * @throws `GatewayError` `OPTION_INVALID`
 */
export function createNodeSessions<T extends NodeServerTransport>(
  create: (settings: SessionTransportSettings) => T,
  serve: (transport: T, caller: Caller) => Promise<unknown>,
  options?: HttpSessionOptions<IncomingMessage>,
): NodeSessions;
export function createNodeSessions(
  first: Create | Serve,
  second?: Serve | HttpSessionOptions<IncomingMessage>,
  third?: HttpSessionOptions<IncomingMessage>,
): NodeSessions {
  const isOwn = typeof second !== 'function';
  checkArgument('createNodeSessions', isFunction(first), `${isOwn ? 'serve' : 'create'} must be a function`, first);
  const options = (isOwn ? second : third) ?? {};
  checkOptions('createNodeSessions', sessionOptions, options);
  const resolved = resolveSessionOptions(options);
  const create: Create = isOwn ? (settings) => new NodeHttpTransport(settings, resolved.clock) : (first as Create);
  const table = new SessionTable(create, (isOwn ? first : second) as ServeSession<NodeServerTransport>, resolved);

  async function handle(request: IncomingMessage, response: ServerResponse, body?: unknown): Promise<void> {
    const isOfNode = isFunction(Object(response).writeHead);
    checkArgument(
      'handle',
      isOfNode,
      'the response must be one of node:http; createWebSessions takes a Request',
      response,
    );
    if (response.socket === null) {
      closeWithConnection(response, request.socket);
    }
    // A response that is played, as by a framework's `inject`, need not close.
    const ended = new Promise<void>((resolve) => response.once('finish', resolve).once('close', resolve));
    try {
      // In two steps, so that nothing holds the message while its answer is made.
      const { answered } = await begin(request, response, body);
      await answered;
    } catch (error) {
      refuse(request, response, table.refusalOf(error), resolved);
    }
    // A framework may end the response of a handler that has resolved, as h3 does.
    response.writableFinished || response.destroyed || (await ended);
  }

  /** Hands a request to its session. @throws Refusal */
  async function begin(
    request: IncomingMessage,
    response: ServerResponse,
    body: unknown,
  ): Promise<{ readonly answered: Promise<unknown> | undefined }> {
    let end: ((broken: boolean) => void) | undefined;
    let part: JsonPart | undefined;
    response.once('close', () => end?.(!response.writableFinished));
    const admission = await table.admit({
      original: request,
      method: request.method ?? '',
      header: (name) => request.headers[name]?.toString() ?? null,
      readBody: async () => {
        const read = body === undefined ? await readBody(request, resolved) : undefined;
        part = read?.part;
        return read === undefined ? body : read.value;
      },
    });
    if (response.closed || response.destroyed) {
      admission.end(true);
      return { answered: undefined };
    }
    end = admission.end;
    const { transport } = admission;
    const answered =
      transport instanceof NodeHttpTransport
        ? transport.handleRequest(request, response, admission.body, part, admission.caller)
        : transport.handleRequest(request, response, admission.body);
    // Kept until the response has ended, with all that the listener of its end can see.
    part = undefined;
    return { answered };
  }

  return {
    get size() {
      return table.size;
    },
    handle,
    ...closeSessions(table),
  };
}
