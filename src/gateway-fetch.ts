import { Callers } from './endpoint/http/callers.js';
import { respond, toResponse } from './endpoint/http/exchange.js';
import { checkHeaders } from './endpoint/http/header-check.js';
import { missingEnvelope, readEnvelope } from './endpoint/modern/envelope.js';
import type { ModernPeer } from './endpoint/modern/modern-peer.js';
import type { PeerExtra } from './endpoint/peer.js';
import { GatewayError } from './errors.js';
import type { FetchOptions, MergedOptions } from './gateway-api.js';
import { FetchTransport, type SdkTransport } from './hosts/fetch-transport.js';
import { Refusal } from './hosts/refusal.js';
import { ScopedSessions } from './hosts/scoped-sessions.js';
import { resolveSessionOptions } from './hosts/session-options.js';
import { closing } from './hosts/session-table.js';
import { createSiteCheck } from './hosts/site-check.js';
import { readBody, toResponse as toRefusal } from './hosts/web-body.js';
import { createWebSessions, type WebSessions } from './hosts/web-sessions.js';
import type { Clock } from './options.js';
import type { Caller } from './runtime.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCRequest,
  loadWebTransport,
  type Transport,
} from './sdk.js';
import { isJsonRpcMessage } from './transport/json-rpc.js';
import { hasEnvelope } from './transport/modern.js';

export interface GatewayFetchOptions {
  readonly clock: Clock;
  /** @throws `GatewayError` `SERVER_UNKNOWN` */
  check(options: MergedOptions): void;
  createModern(options: MergedOptions): ModernPeer;
  serve(transport: Transport, options: MergedOptions): Promise<void>;
}

const legacyRevision = /^20(24|25)-/;

/** Answers HTTP requests of both eras: each of the stateless one by itself, and others in sessions. */
export class GatewayFetch {
  readonly #options: GatewayFetchOptions;
  readonly #callers: Callers;
  readonly #sessions = new ScopedSessions();
  /** Who sends a request that a session gets, and the request as it came: the signal of a copy lives no longer than that. */
  readonly #senders = new WeakMap<Request, { readonly caller: Caller; readonly original: Request }>();

  constructor(options: GatewayFetchOptions) {
    this.#options = options;
    this.#callers = new Callers(options.clock);
  }

  async fetch(request: Request, options: FetchOptions): Promise<Response> {
    const { caller, hosts, origins } = options;
    if (caller.id === undefined && caller.principal === undefined) {
      throw new GatewayError(
        'OPTION_INVALID',
        'fetch() needs caller.id or caller.principal: requests of one caller belong together, and no connection says which do',
      );
    }
    const { clock } = this.#options;
    const limits = resolveSessionOptions<Request>({ hosts, origins, authenticate: () => caller, clock });
    try {
      const host = request.headers.get('host') ?? new URL(request.url).host;
      createSiteCheck(limits)(host, request.headers.get('origin'));
      const version = request.headers.get('mcp-protocol-version');
      // An empty header is none: proxies write them.
      const isModern = version && !legacyRevision.test(version.trim());
      if (request.method !== 'POST' || (!isModern && request.headers.get('mcp-session-id'))) {
        return await this.#toSession(request, options);
      }
      if (!/^application\/json\s*(;|$)/i.test(request.headers.get('content-type') ?? '')) {
        return problem(415, 'the body must be application/json');
      }
      const body = await readBody(request, limits);
      const message = isJsonRpcMessage(body) ? body : undefined;
      if (isModern || (message !== undefined && hasEnvelope(message))) {
        return await this.#answer(message, request, options);
      }
      this.#options.check(options);
      const { url, method, headers, signal } = request;
      // As a stream, of which nothing is kept once it is read: the copy is held for as long as its answer takes.
      const again = new Response(JSON.stringify(body)).body;
      const copy = new Request(url, { method, headers, signal, body: again, duplex: 'half' });
      return await this.#toSession(copy, options, request);
    } catch (error) {
      if (error instanceof Refusal) {
        return toRefusal(error, request, limits);
      }
      if (error instanceof RangeError) {
        // What is read from JSON may be too deep to be written as JSON.
        return problem(400, 'the body is nested too deeply');
      }
      throw error;
    }
  }

  /** Answers what is open, and takes no more. */
  async close(reason: GatewayError): Promise<void> {
    for (const peer of this.#callers.all()) {
      peer.failAll(reason);
    }
    await Promise.all([this.#callers.close(), this.#sessions.close()]);
  }

  async #answer(message: JSONRPCMessage | undefined, request: Request, options: FetchOptions): Promise<Response> {
    if (message === undefined || isResponse(message)) {
      return problem(400, 'the body must be one request or notification');
    }
    if (!isRequest(message)) {
      // This revision has no notifications that a server over HTTP would have to know.
      return new Response(null, { status: 202 });
    }
    const envelope = hasEnvelope(message) ? readEnvelope(message) : missingEnvelope;
    const isMalformed = 'code' in envelope && envelope.code === -32602;
    const error = isMalformed ? envelope : checkHeaders(request.headers, message);
    if (error !== undefined) {
      return toResponse({ jsonrpc: '2.0', id: message.id, error }, 400);
    }
    return this.#respond(message, request, options);
  }

  #respond(message: JSONRPCRequest, request: Request, options: FetchOptions): Promise<Response> | Response {
    const { caller, servers, tags } = options;
    const key = JSON.stringify([caller.id ?? null, caller.principal ?? null, asSet(servers), asSet(tags)]);
    const peer = this.#callers.get(key, () => this.#options.createModern(options));
    if (peer === undefined) {
      return new Response(null, { status: 503, headers: { 'retry-after': '30' } });
    }
    const { clock } = this.#options;
    const extra = { caller, authInfo: caller.authInfo, headers: request.headers } as PeerExtra;
    return respond(peer, message, extra, request, clock);
  }

  #toSession(request: Request, options: FetchOptions, original = request): Promise<Response> {
    const { hosts, origins, servers, tags } = options;
    const key = JSON.stringify([hosts, origins, servers, tags].map(asSet));
    this.#senders.set(request, { caller: options.caller, original });
    return this.#sessions.handle(key, () => this.#createSessions(options), request);
  }

  async #createSessions({ hosts, origins, servers, tags }: FetchOptions): Promise<WebSessions> {
    const Transport = await loadWebTransport();
    const { clock, serve } = this.#options;
    return createWebSessions(
      (settings) =>
        new FetchTransport((more) => new Transport({ ...settings, ...more }) as unknown as SdkTransport, clock),
      (transport, { authInfo: caller }) =>
        serve(transport, { caller: caller as Caller, servers, tags }).catch((error: unknown) => {
          // It was closed while the body of the request came.
          throw GatewayError.is(error) && error.code === 'GATEWAY_CLOSED' ? closing() : error;
        }),
      {
        hosts,
        origins,
        clock,
        authenticate: (request) => {
          const caller = this.#senders.get(request)?.caller;
          // As the transport wants it. Not spread: a host's own class may have getters.
          return caller && { id: caller.id, principal: caller.principal, authInfo: caller };
        },
      },
    );
  }
}

/** Hosts may name the same things in another order each time. */
function asSet(names: readonly string[] | undefined): readonly string[] | null {
  return names === undefined ? null : [...new Set(names)].sort();
}

function problem(status: number, message: string): Response {
  const body = { jsonrpc: '2.0', id: null, error: { code: -32600, message } };
  return new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json' } });
}
