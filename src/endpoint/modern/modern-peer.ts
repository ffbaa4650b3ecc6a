import type { GatewayError } from '../../errors.js';
import type { Response } from '../../instance/exchanges.js';
import { toErrorResponse } from '../../instance/request-ledger.js';
import type { Clock } from '../../options.js';
import {
  isRequest,
  isResponse,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
} from '../../sdk.js';
import { isFields, metaKeys, modernErrors } from '../../transport/modern.js';
import { listKindOf } from '../list-kinds.js';
import type { PeerFactory, SendToCaller, SessionPeer } from '../peer.js';
import { type Envelope, logLevels, type RpcError, readEnvelope } from './envelope.js';
import { InputRequests, resumable } from './input-requests.js';
import { Listens } from './listens.js';
import { type CallerSession, ModernCall, type Reply } from './modern-call.js';
import type { RequestStates, StateMeaning } from './request-states.js';
import { toDiscovery, toModernResult, toModernTools } from './results.js';

type Fields = Readonly<Record<string, unknown>>;

export interface ModernPeerOptions {
  readonly clock: Clock;
  readonly states: RequestStates;
  /** Whose states these are. */
  readonly caller: string;
  /** Makes the merged peer of a caller with a session. */
  readonly createSession: PeerFactory<SessionPeer>;
}

/** A request that is under way. */
export interface OpenExchange {
  /** The caller does not wait any more. */
  cancel(params?: Fields): void;
}

/** What sessions know and the stateless era has no word for. */
const unknown: ReadonlySet<string> = new Set([
  'initialize',
  'ping',
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
  'tasks/list',
  'tasks/result',
]);

// A caller has one set of capabilities; several are several callers behind one, of which there are not many.
const mostSessions = 8;
const nothing: OpenExchange = { cancel() {} };

/**
 * The merged peer for one caller of the stateless era. Every request stands for itself; behind it there is a session for
 * each set of capabilities that the caller declares, which talks to the servers: to those of the stateless era in the
 * caller's own words, and to the others in theirs.
 */
export class ModernPeer {
  readonly #options: ModernPeerOptions;
  readonly #sessions = new Map<string, CallerSession>();
  readonly #calls = new Map<RequestId, ModernCall>();
  readonly #asking = new Map<RequestId, (response: Response) => void>();
  readonly #inputs: InputRequests;
  readonly #listens: Listens;
  #nextId = 1;
  #closed = false;

  constructor(options: ModernPeerOptions) {
    this.#options = options;
    const { clock, states, caller } = options;
    this.#inputs = new InputRequests({ clock, states, caller, onExpired: (call) => this.#abandon(call, {}) });
    this.#listens = new Listens({ ask: (session, method, params) => this.#ask(session, method, params) });
  }

  /** How many requests are open, streams that listen included. */
  get isIdle(): boolean {
    return this.#calls.size === 0 && ![...this.#sessions.values()].some((session) => this.#listens.isUsing(session));
  }

  /** Takes a request with an envelope. Its answer goes to `reply`, unless it is cancelled before. */
  request(request: JSONRPCRequest, extra: MessageExtraInfo | undefined, reply: Reply): OpenExchange {
    const refuse = (error: RpcError) => {
      reply({ jsonrpc: '2.0', id: request.id, error });
      return nothing;
    };
    if (this.#closed) {
      return refuse({ code: -32603, message: 'the gateway is closed' });
    }
    const envelope = readEnvelope(request);
    if ('code' in envelope) {
      return refuse(envelope as RpcError);
    }
    const { method, params } = request;
    if (unknown.has(method)) {
      return refuse({ code: -32601, message: `method not found: ${method} (of earlier revisions)` });
    }
    if (params?.requestState !== undefined && resumable.has(method)) {
      const meaning = this.#options.states.open(this.#options.caller, request, params.requestState);
      const held = meaning?.kind === 'held' ? this.#inputs.find(meaning.call, meaning.round) : undefined;
      if (meaning === undefined || (meaning.kind === 'held' && held === undefined)) {
        const message =
          'params.requestState is not good: it has expired or was used, or is of another request or caller';
        return refuse({ code: -32602, message });
      }
      if (held !== undefined) {
        return this.#resume(held, request, reply, (envelope as Envelope).logLevel);
      }
      return this.#begin(withState(request, meaning), extra, envelope as Envelope, reply, request);
    }
    return this.#begin(request, extra, envelope as Envelope, reply, request);
  }

  /** Answers what is still open, when it is not the caller who ends the connection. */
  failAll(reason: GatewayError): void {
    this.#listens.finishAll();
    for (const call of [...this.#calls.values()]) {
      this.#finish(call, toErrorResponse(call.id, reason, reason.message, 'unknown'), undefined);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const call of this.#calls.values()) {
      this.#options.clock.clearTimeout(call.timer);
    }
    this.#calls.clear();
    this.#asking.clear();
    await Promise.all([...this.#sessions.values()].map(({ peer }) => peer.close()));
  }

  /** @param original - as the caller sent it, before its state was taken out */
  #begin(
    request: JSONRPCRequest,
    extra: MessageExtraInfo | undefined,
    envelope: Envelope,
    reply: Reply,
    original: JSONRPCRequest,
  ): OpenExchange {
    const session = this.#sessionFor(envelope);
    if (session === undefined) {
      const message = `the caller uses ${mostSessions} sets of capabilities at once already`;
      reply({ jsonrpc: '2.0', id: request.id, error: { code: -32603, message } });
      return nothing;
    }
    if (request.method === 'server/discover') {
      const result = toModernResult(request.method, toDiscovery(session.initialized, envelope.capabilities));
      reply({ jsonrpc: '2.0', id: request.id, result });
      return nothing;
    }
    if (request.method === 'subscriptions/listen') {
      return { cancel: this.#listens.open(request, session, reply) };
    }
    const call = new ModernCall(this.#nextId++, session, original, reply);
    call.logLevel = envelope.logLevel;
    this.#calls.set(call.id, call);
    this.#wantLog(session, envelope.logLevel);
    const meta = request.params?._meta;
    const params =
      call.progressToken === undefined
        ? request.params
        : { ...request.params, _meta: { ...meta, progressToken: call.id } };
    session.peer.receive({ ...request, id: call.id, ...(params && { params }) }, extra);
    return this.#exchange(call, reply);
  }

  #resume(call: ModernCall, request: JSONRPCRequest, reply: Reply, logLevel: string | undefined): OpenExchange {
    call.request = request;
    call.reply = reply;
    call.logLevel = logLevel;
    this.#wantLog(call.session, logLevel);
    this.#inputs.takeAnswers(call, request.params?.inputResponses);
    const { response } = call;
    if (response === undefined) {
      this.#inputs.goOn(call);
    } else {
      // It ended between two rounds.
      this.#finish(call, response, call.server);
    }
    return this.#exchange(call, reply);
  }

  #exchange(call: ModernCall, reply: Reply): OpenExchange {
    return {
      cancel: (params) => {
        // Between two rounds the caller waits for nothing that it could cancel.
        if (call.reply === reply) {
          this.#abandon(call, params);
        }
      },
    };
  }

  /** Ends a call that nobody waits for. */
  #abandon(call: ModernCall, params: Fields | undefined): void {
    call.reply = undefined;
    const { id, session } = call;
    const server = session.peer.serverOf(id);
    if (this.#calls.delete(id)) {
      session.peer.receive({
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params: { ...params, requestId: id },
      });
      this.#inputs.end(call, this.#resumableCalls(session, server));
    }
  }

  /**
   * Where several calls are open, most servers do not say in which they ask: then it is one that waits, and has been asked
   * least, since clients take only so many rounds.
   */
  #callToAskIn(session: CallerSession, related: RequestId | undefined, server: string | undefined) {
    const [least] = this.#resumableCalls(session, server);
    return (related === undefined ? undefined : this.#calls.get(related)) ?? least;
  }

  #resumableCalls(session: CallerSession, server: string | undefined): ModernCall[] {
    return [...this.#calls.values()]
      .filter((call) => call.session === session && resumable.has(call.request.method))
      .filter((call) => session.peer.serverOf(call.id) === server)
      .sort((a, b) => Number(a.reply === undefined) - Number(b.reply === undefined) || a.round - b.round);
  }

  /** @param server - whose answer it is, if it is one's */
  #finish(call: ModernCall, response: Response, server: string | undefined): void {
    if (call.reply === undefined) {
      // Kept until the caller comes back.
      call.response = response;
      call.server = server;
      return;
    }
    this.#calls.delete(call.id);
    this.#inputs.end(call, this.#resumableCalls(call.session, server));
    call.answer(response);
  }

  /** Takes what a session has for its caller. */
  #receive(session: CallerSession, ...[message, related, server, isGuess]: Parameters<SendToCaller>): void {
    if (this.#closed) {
      return;
    }
    if (isResponse(message)) {
      const id = message.id as RequestId;
      const asking = this.#asking.get(id);
      if (asking !== undefined) {
        this.#asking.delete(id);
        asking(message);
        return;
      }
      const call = this.#calls.get(id);
      call && this.#finish(call, this.#translate(call, message, server), server);
    } else if (isRequest(message)) {
      const call = this.#callToAskIn(session, isGuess === true ? undefined : related, server);
      if (call === undefined) {
        const error = { code: -32601, message: 'the client can be asked only in the course of one of its requests' };
        session.peer.receive({ jsonrpc: '2.0', id: message.id, error });
      } else {
        this.#inputs.ask(call, message);
      }
    } else {
      this.#notified(session, message, related);
    }
  }

  #notified(session: CallerSession, message: JSONRPCNotification, related: RequestId | undefined): void {
    const { method, params } = message;
    switch (method) {
      case 'notifications/tools/list_changed':
      case 'notifications/prompts/list_changed':
      case 'notifications/resources/list_changed':
      case 'notifications/resources/updated':
        return this.#listens.dispatch(session, message);
      case 'notifications/cancelled':
        return this.#inputs.withdraw(params?.requestId);
      case 'notifications/progress': {
        const call = this.#calls.get(params?.progressToken as RequestId);
        if (call?.progressToken !== undefined) {
          call.reply?.({ ...message, params: { ...params, progressToken: call.progressToken } });
        }
        return;
      }
      case 'notifications/message': {
        const call = related === undefined ? undefined : this.#calls.get(related);
        const isWanted =
          call?.logLevel !== undefined && logLevels.indexOf(String(params?.level)) >= logLevels.indexOf(call.logLevel);
        isWanted && call.reply?.(message);
        return;
      }
      case 'notifications/elicitation/complete':
      case 'notifications/tasks/status':
        // Sessions alone have them.
        return;
      default:
        related !== undefined && this.#calls.get(related)?.reply?.(message);
    }
  }

  #translate({ request }: ModernCall, response: Response, server: string | undefined): Response {
    if ('error' in response) {
      return this.#translateError(request, response);
    }
    const { method } = request;
    const { result } = response;
    const { states, caller } = this.#options;
    const tagged =
      result.resultType === 'input_required' && typeof result.requestState === 'string' && server !== undefined
        ? {
            ...result,
            requestState: states.seal(caller, request, { kind: 'passed', server, state: result.requestState }),
          }
        : listKindOf(method) === 'tools'
          ? { ...result, tools: toModernTools(result.tools) }
          : result;
    return { ...response, result: toModernResult(method, tagged) };
  }

  #translateError(request: JSONRPCRequest, response: Extract<Response, { error: unknown }>): Response {
    const { code, data, message } = response.error;
    if (code === -32002) {
      return { ...response, error: { ...response.error, code: -32602 } };
    }
    if (code === modernErrors.headerMismatch || code === modernErrors.unsupportedVersion) {
      // Of the hop between the gateway and the server.
      const text = `the gateway and the server do not understand each other: ${message}`;
      return { ...response, error: { ...response.error, code: -32603, message: text } };
    }
    const pages = code === -32042 && isFields(data) && Array.isArray(data.elicitations) ? data.elicitations : undefined;
    if (pages === undefined || !resumable.has(request.method)) {
      return response;
    }
    // A person has to see pages first: then the same request is good.
    const capabilities = request.params?._meta?.[metaKeys.clientCapabilities] as { elicitation?: Fields } | undefined;
    if (capabilities?.elicitation?.url === undefined) {
      const requiredCapabilities = { elicitation: { url: {} } };
      return { ...response, error: { code: -32021, message, data: { requiredCapabilities } } };
    }
    const { states, caller } = this.#options;
    const inputRequests = Object.fromEntries(
      pages.map((page: Fields, index) => {
        const { elicitationId: _, ...params } = isFields(page) ? page : {};
        return [`page${index}`, { method: 'elicitation/create', params: { ...params, mode: 'url' } }];
      }),
    );
    const requestState = states.seal(caller, request, { kind: 'again' });
    const result = { resultType: 'input_required', inputRequests, requestState };
    return { jsonrpc: '2.0', id: request.id, result: toModernResult(request.method, result) };
  }

  /** Servers with sessions have one level for all requests: the one that lets through what any of them wants. */
  #wantLog(session: CallerSession, level: string | undefined): void {
    if (level === undefined) {
      return;
    }
    if (session.logLevel === undefined || logLevels.indexOf(level) < logLevels.indexOf(session.logLevel)) {
      session.logLevel = level;
      void this.#ask(session, 'logging/setLevel', { level });
    }
  }

  #ask(session: CallerSession, method: string, params: Fields): Promise<Response> {
    return new Promise((resolve) => {
      const id = this.#nextId++;
      this.#asking.set(id, resolve);
      session.peer.receive({ jsonrpc: '2.0', id, method, params });
    });
  }

  #sessionFor({ capabilities, clientInfo }: Envelope): CallerSession | undefined {
    const { elicitation, sampling, roots } = capabilities;
    const own = {
      ...(elicitation !== undefined && { elicitation }),
      ...(sampling !== undefined && { sampling }),
      ...(roots !== undefined && { roots }),
    };
    const key = JSON.stringify(own);
    return this.#sessions.get(key) ?? this.#open(key, own, clientInfo);
  }

  #open(key: string, capabilities: Fields, clientInfo: Fields | undefined): CallerSession | undefined {
    if (this.#sessions.size >= mostSessions && !this.#makeRoom()) {
      return undefined;
    }
    let initialized: Fields = {};
    const peer = this.#options.createSession((message, ...rest) => {
      if (isResponse(message) && message.id === 0) {
        initialized = 'result' in message ? message.result : {};
      } else {
        this.#receive(session, message, ...rest);
      }
    });
    const params = { protocolVersion: '2025-11-25', capabilities, ...(clientInfo && { clientInfo }) };
    // Answered on the spot: it waits for no server.
    peer.receive({ jsonrpc: '2.0', id: 0, method: 'initialize', params });
    const session: CallerSession = { key, peer, initialized, logLevel: undefined };
    this.#sessions.set(key, session);
    return session;
  }

  /** Ends the oldest session that nobody uses. */
  #makeRoom(): boolean {
    for (const session of this.#sessions.values()) {
      const isUsed =
        this.#listens.isUsing(session) || [...this.#calls.values()].some((call) => call.session === session);
      if (!isUsed) {
        this.#sessions.delete(session.key);
        session.peer.close().catch(() => {});
        return true;
      }
    }
    return false;
  }
}

/** The request with the server's own state, or without ours. */
function withState(request: JSONRPCRequest, meaning: StateMeaning): JSONRPCRequest {
  const { requestState: _, ...params } = request.params as Record<string, unknown>;
  if (meaning.kind === 'passed') {
    return { ...request, params: { ...params, requestState: meaning.state } };
  }
  const { inputResponses: __, ...rest } = params;
  return { ...request, params: rest };
}
