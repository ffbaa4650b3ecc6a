import { GatewayError } from '../errors.js';
import type { RuntimeProgress } from '../runtime.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
  type Transport,
  type TransportSendOptions,
} from '../sdk.js';
import { runCallback } from '../transport/callback.js';
import { hasEnvelope } from '../transport/modern.js';
import { anyContext, currentContext, type RunInContext } from '../util/async-context.js';
import { copyError } from '../util/copy-error.js';
import { once } from '../util/once.js';
import { isDeclared } from './declared.js';
import { toSessionToolsResult } from './era/structured-content.js';
import { toErrorResponse } from './error-response.js';
import type { Response, RpcError } from './exchanges.js';
import type { Handshake } from './handshake.js';
import type { SendOutcome } from './strict-transport.js';
import type { OnProgress } from './task-progress.js';

type Params = NonNullable<JSONRPCRequest['params']>;

/** The session behind a connection, as the connection sees it. */
export interface SharedTransportOwner {
  enter(transport: SharedTransport): void;
  leave(transport: SharedTransport): Promise<void>;
  /** The server has ended, and every connection will. */
  readonly isEnding: boolean;
  /** No server runs: the next request starts one. */
  readonly isResting: boolean;
  /** The answer to `initialize`, from the one handshake that all share. */
  initialize(params: Params | undefined): Promise<Readonly<Record<string, unknown>>>;
  /**
   * @param onRefused - told in place of an answer when the server did not take it
   * @returns the id under which it can be cancelled, unless it was answered on the spot
   */
  request(
    from: SharedTransport,
    request: JSONRPCRequest,
    onAnswer: (response: Response) => void,
    onRefused: SendOutcome | undefined,
  ): RequestId | undefined;
  /** @param id - under which the session has taken the request */
  cancel(from: SharedTransport, request: JSONRPCRequest, id: RequestId, params: Params | undefined): void;
  /** A caller answers what the server had asked. */
  answer(from: SharedTransport, response: Response): void;
  notify(message: JSONRPCNotification): void;
}

interface OpenRequest {
  readonly request: JSONRPCRequest;
  /** Undefined until the session has taken it. */
  linkId: RequestId | undefined;
  /** Told in place of an answer when the server did not take it; undefined where an answer is wanted. */
  readonly onRefused: SendOutcome | undefined;
  /** The async context of its caller, where it waits for a start and may go to another session. */
  readonly inContext: RunInContext;
}

/** One connection to a server that others use too. */
export class SharedTransport implements Transport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  /** The URIs that it is subscribed to. */
  readonly subscriptions = new Set<string>();
  /** The requests for subscriptions that the server has not answered. */
  readonly subscribing = new Set<JSONRPCRequest>();
  /** @internal Its user may have another connection to the same session. */
  user: unknown = this;
  /** @internal Why a request that waits for the server must not go to it after all. */
  refusal: ((request: JSONRPCRequest) => RpcError | undefined) | undefined;
  /** @internal */
  onreopened: ((handshake: Handshake) => void) | undefined;
  /** From which level on its client wants to read the log. */
  level: unknown;
  /** What its client has said of itself. */
  initializeParams: Params | undefined;
  readonly #server: string;
  readonly #join: () => SharedTransportOwner;
  #session: SharedTransportOwner | undefined;
  readonly #open = new Map<RequestId, OpenRequest>();
  readonly #staysWith: 'server' | 'entry';
  readonly #onProgress: ((progress: RuntimeProgress) => void) | undefined;
  #initialized = false;
  /** Why the server has ended. */
  #reason: GatewayError | undefined;
  #state: 'new' | 'open' | 'ending' | 'closing' | 'closed' = 'new';

  /**
   * @param server - the id of its entry
   * @param join - finds the session, when it is needed; throws when there is none any more
   * @param staysWith - what its user holds on to once it is initialized: the server as it was then, or whatever there is
   * @param onProgress - told how far the start of the server has come
   */
  constructor(
    server: string,
    join: () => SharedTransportOwner,
    staysWith: 'server' | 'entry',
    onProgress: ((progress: RuntimeProgress) => void) | undefined,
  ) {
    this.#server = server;
    this.#join = join;
    this.#staysWith = staysWith;
    this.#onProgress = onProgress;
  }

  /** @internal The server has ended, and `onclose` follows. */
  get isEnding(): boolean {
    return this.#state === 'open'
      ? this.#session?.isEnding === true
      : this.#state === 'ending' || this.#state === 'closing';
  }

  /** @internal Its client has begun a session. */
  get hasSession(): boolean {
    return this.#initialized;
  }

  /** @internal A request of its client is not answered. */
  get isWaiting(): boolean {
    return this.#open.size > 0;
  }

  /** @internal */
  get isResting(): boolean {
    return this.#session?.isResting === true;
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') {
      throw this.#error('TRANSPORT_CLOSED', 'the transport was started before; call connect() for a new one');
    }
    try {
      this.#session = this.#join();
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#state = 'open';
    this.#session.enter(this);
  }

  async send(message: JSONRPCMessage): Promise<void> {
    this.#take(message, undefined);
  }

  /** @internal `send` with a callback. */
  post(
    message: JSONRPCMessage,
    _options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
    repeats = false,
  ): boolean {
    try {
      this.#take(message, repeats ? onOutcome : undefined);
    } catch (error) {
      queueMicrotask(() => onOutcome(error as GatewayError));
      return false;
    }
    return !repeats;
  }

  /** @throws `GatewayError` when it is not accepted */
  #take(message: JSONRPCMessage, onRefused: SendOutcome | undefined): void {
    const session = this.#session;
    if (this.#state !== 'open' || session === undefined) {
      if (this.#state === 'new') {
        throw this.#error('TRANSPORT_NOT_STARTED', 'call start() before send()');
      }
      throw this.#reason === undefined
        ? this.#error('TRANSPORT_CLOSED', 'the transport is closed; call connect() for a new one')
        : copyError(this.#reason, { delivered: false });
    }
    if (isResponse(message)) {
      session.answer(this, message);
    } else if (!isRequest(message)) {
      this.#notify(session, message);
    } else if (this.#open.has(message.id)) {
      const text = `the request id ${JSON.stringify(message.id)} is in use by an open request`;
      throw this.#error('MESSAGE_INVALID', text);
    } else {
      this.#request(session, message, onRefused);
    }
  }

  readonly close = once(async () => {
    this.#state = 'closing';
    for (const { request, linkId } of this.#open.values()) {
      if (linkId !== undefined) {
        this.#session?.cancel(this, request, linkId, { reason: 'the client has disconnected' });
      }
    }
    this.#open.clear();
    try {
      await this.#session?.leave(this);
    } finally {
      this.#state = 'closed';
      runCallback({}, () => this.onclose?.());
    }
  });

  /**
   * @internal The server has ended.
   *
   * @param delivered - whether it has got what is open
   */
  end(reason: GatewayError, delivered: false | 'unknown' = 'unknown'): void {
    if (this.#state === 'open') {
      this.#state = 'ending';
      this.#reason = reason;
      // What was under way has its answer; what was about to be sent has none.
      for (const [id, { request, linkId, onRefused }] of [...this.#open]) {
        this.#open.delete(id);
        if (linkId !== undefined) {
          this.#session?.cancel(this, request, linkId, undefined);
        }
        const got = linkId === undefined ? false : delivered;
        if (got === false && onRefused !== undefined) {
          onRefused(reason, true);
        } else {
          this.deliver(toErrorResponse(id, reason, got));
        }
      }
      runCallback({}, () => this.onerror?.(reason));
      // Whoever else closes it is told of a failure.
      this.close().catch(() => {});
    }
  }

  /**
   * @internal The session is of an entry that is there no more, and its server has got nothing of this connection yet: goes
   * on with the session that there is now.
   */
  move(reason: GatewayError): void {
    if (this.#initialized && this.#staysWith === 'server') {
      this.end(reason, false);
      return;
    }
    if (this.#state !== 'open') {
      return;
    }
    try {
      this.#session = this.#join();
    } catch {
      // Nobody shares any more.
      this.end(reason, false);
      return;
    }
    const session = this.#session;
    session.enter(this);
    for (const { request, onRefused, inContext } of [...this.#open.values()]) {
      inContext(() => this.#request(session, request, onRefused));
    }
  }

  /** @internal Whether its client can answer this request of the server. */
  answers(method: string): boolean {
    return isDeclared(this.initializeParams?.capabilities as Params | undefined, method);
  }

  /** @internal */
  deliver(message: JSONRPCMessage, extra?: MessageExtraInfo): void {
    if (this.#state === 'open' || this.#state === 'ending') {
      runCallback(this, () => this.onmessage?.(message, extra));
    }
  }

  /** @internal A server has opened, perhaps after the one that its client knows. */
  opened(handshake: Handshake): void {
    this.#initialized && this.onreopened?.(handshake);
  }

  /** @internal The start of the server has come further. */
  starting(progress: RuntimeProgress): void {
    this.#onProgress?.(progress);
  }

  /** @internal */
  progressOf(request: JSONRPCRequest): OnProgress | undefined {
    const progressToken = request.params?._meta?.progressToken;
    // Also after the answer, when that was a task: progress goes on until the task ends.
    return progressToken === undefined
      ? undefined
      : (params) =>
          this.deliver({ jsonrpc: '2.0', method: 'notifications/progress', params: { ...params, progressToken } });
  }

  #request(session: SharedTransportOwner, request: JSONRPCRequest, onRefused: SendOutcome | undefined): void {
    const { id } = request;
    const inContext = session.isResting ? currentContext() : anyContext;
    const open: OpenRequest = { request, linkId: undefined, onRefused, inContext };
    this.#open.set(id, open);
    const finish = (response: Response) => {
      if (this.#open.get(id) === open) {
        this.#open.delete(id);
        this.deliver({ ...this.#toShown(request, response), id });
      }
    };
    const refuse = (error?: GatewayError) => {
      if (this.#open.get(id) === open) {
        this.#open.delete(id);
        onRefused?.(error);
      }
    };
    if (request.method === 'initialize') {
      this.initializeParams = request.params;
      session.initialize(request.params).then(
        (result) => {
          this.#initialized = true;
          finish({ jsonrpc: '2.0', id, result });
        },
        (error: unknown) => finish(toFailure(id, error)),
      );
    } else {
      // What is answered on the spot must not arrive inside send().
      queueMicrotask(() => {
        if (this.#open.get(id) === open) {
          open.linkId = session.request(this, request, finish, onRefused && refuse);
        }
      });
    }
  }

  #error(code: GatewayError['code'], message: string): GatewayError {
    return new GatewayError(code, message, { server: this.#server, delivered: false });
  }

  /** Whoever has the server by itself has a session, unless it says otherwise. */
  #toShown(request: JSONRPCRequest, response: Response): Response {
    const isForSession = this.#staysWith === 'server' && request.method === 'tools/list' && !hasEnvelope(request);
    return isForSession && 'result' in response
      ? { ...response, result: toSessionToolsResult(response.result) }
      : response;
  }

  #notify(session: SharedTransportOwner, message: JSONRPCNotification): void {
    if (message.method !== 'notifications/cancelled') {
      session.notify(message);
      return;
    }
    const open = this.#open.get(message.params?.requestId as RequestId);
    if (open !== undefined) {
      this.#open.delete(message.params?.requestId as RequestId);
      if (open.linkId !== undefined) {
        session.cancel(this, open.request, open.linkId, message.params);
      }
    }
  }
}

function toFailure(id: RequestId, error: unknown): Response {
  const failure = GatewayError.is(error) ? error : new GatewayError('START_FAILED', String(error), { cause: error });
  return toErrorResponse(id, failure);
}
