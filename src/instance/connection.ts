import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import type { RuntimeTransport } from '../runtime.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
  type Transport,
  type TransportSendOptions,
} from '../sdk.js';
import { deliver, runCallback } from '../transport/callback.js';
import { handedOver } from '../transport/handed-over.js';
import { isJsonRpcMessage } from '../transport/json-rpc.js';
import { copyError, messageOf } from '../util/copy-error.js';
import { heldOpen } from '../util/held-open.js';
import type { Instance, InstanceUser } from './instance.js';
import { wasNotTaken } from './link-transport.js';
import { maxExtensions, type OpenRequest, RequestLedger, toErrorResponse } from './request-ledger.js';
import type { SendOutcome } from './strict-transport.js';

export interface ConnectionOptions {
  readonly server: string;
  readonly requestTimeoutMs: number;
  readonly clock: Clock;
  /**
   * Starts or finds an instance for this connection alone.
   *
   * @param onQueued - told whether something else has to be waited for before the start itself
   */
  acquire(signal: AbortSignal, onQueued: (isQueued: boolean) => void): Promise<Instance>;
}

/**
 * What `gateway.connect(id)` returns: one MCP session with one server, its messages untouched.
 *
 * - `start()` starts the server; nothing happens before.
 * - Every request gets one answer: the server's, or an error response of ours, whose `data` says whether the request had
 *   been delivered. Answers that nobody waits for are dropped.
 * - `send()` rejects only for a message that was never accepted: not started, closed, not JSON, an id that is in use.
 * - When the server ends, requests are answered first, then `onerror` gets the reason, then `onclose` fires, once.
 */
export class ServerConnection implements Transport, InstanceUser {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #options: ConnectionOptions;
  readonly #ledger: RequestLedger;
  /** Gives up a start that is under way. */
  #abort: AbortController | undefined;
  readonly #drained: (() => void)[] = [];
  #closing: Promise<void> | undefined;
  #instance: Instance | undefined;
  #starting: Promise<void> | undefined;
  #state: 'new' | 'starting' | 'open' | 'draining' | 'ending' | 'closed' = 'new';
  #isQueued = false;
  /** The server runs, and has closed its stdin: it ends when what it has heard before is answered. */
  #isDeaf = false;
  /** Somebody stops the server, perhaps before it could be used. */
  #isDraining = false;
  #reason: GatewayError | undefined;
  #initialized = false;
  #initializeId: RequestId | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#ledger = new RequestLedger(options.requestTimeoutMs, options.clock, (request) => this.#onOverdue(request));
  }

  protected get instance(): Instance | undefined {
    return this.#instance;
  }

  /** Undefined until `initialize` is answered: SDK v1 takes an id before that for a resumed session. */
  get sessionId(): string | undefined {
    return this.#initialized ? this.#instance?.transport.sessionId : undefined;
  }

  /** @internal The server has ended, and `onclose` follows. */
  get isEnding(): boolean {
    return this.#state === 'ending';
  }

  /** @internal The server waits for its turn to start. */
  get isQueued(): boolean {
    return this.#state === 'starting' && this.#isQueued;
  }

  /** How long the server had run before this connection took it. */
  get waitedMs(): number {
    return this.#instance?.waitedMs ?? 0;
  }

  get inFlight(): number {
    return this.#ledger.size;
  }

  /**
   * Starts the server. Makes no MCP handshake: the client that uses this transport does.
   *
   * @throws `GatewayError` of the failed start, after `onclose`
   */
  start(): Promise<void> {
    if (this.#state !== 'new') {
      return Promise.reject(
        this.#error('TRANSPORT_CLOSED', 'the transport was started before; call connect() for a new one'),
      );
    }
    this.#state = 'starting';
    this.#abort = new AbortController();
    this.#starting = heldOpen(this.#start(this.#abort));
    return this.#starting;
  }

  send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    let settle: SendOutcome | undefined;
    if (this.post(message, options, (refusal) => settle?.(refusal))) {
      return handedOver;
    }
    return new Promise((resolve, reject) => {
      settle = (refusal) => (refusal === undefined ? resolve() : reject(refusal));
    });
  }

  /**
   * @internal `send` with a callback.
   *
   * @param onOutcome - called later: with the reason when the message was not accepted
   * @param repeats - whether `onOutcome` is told, in place of an answer, that the session was lost before a request
   * @returns true when the message has been accepted already: then `onOutcome` is not called
   */
  post(
    message: JSONRPCMessage,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
    repeats = false,
  ): boolean {
    const instance = this.#instance;
    const refusal = this.#refusalOf(message);
    if (refusal !== undefined || instance === undefined) {
      queueMicrotask(() => onOutcome(refusal));
      return false;
    }
    return isRequest(message)
      ? this.#sendRequest(instance, message, options, onOutcome, repeats)
      : this.#sendOther(instance, message, options, onOutcome);
  }

  setProtocolVersion(version: string): void {
    this.#instance?.transport.setProtocolVersion(version);
  }

  /** Ends the session and the server behind it; open requests are abandoned. */
  close(): Promise<void> {
    this.#closing ??= heldOpen(this.#close());
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#abort?.abort(this.#closedError());
    this.#ledger.takeAll();
    if (this.#state === 'new') {
      this.onClosed();
      return;
    }
    this.#endQuietly();
    this.#settleDrain();
    // A start that is under way ends by the signal, or with its instance, and fires onclose itself.
    await Promise.all([this.#instance?.stop(), this.#starting?.catch(() => {})]);
  }

  /** Ends the session for a reason of ours: open requests are answered with it, and the server is stopped. */
  fail(reason: GatewayError): GatewayError {
    if (this.#state === 'starting') {
      // By the reason its supervisor tells a start that took too long from one that nobody wants any more.
      this.#abort?.abort(reason);
    }
    return this.#instance?.fail(reason) ?? reason;
  }

  /** @internal Whether the server may end now, and be no failure. */
  expectEnd(expected: boolean): void {
    if (this.#instance !== undefined) {
      this.#instance.endExpected = expected;
    }
  }

  /** @internal Nobody waits for the answer to this request any more; the server is not told. */
  forget(id: RequestId): void {
    this.#ledger.take(id);
    this.#settleDrain();
  }

  /** Rejects when the runtime does not find the server alive. */
  async health(signal: AbortSignal): Promise<void> {
    await this.#instance?.health(signal);
  }

  /** Takes no more requests but for the level of the log; resolves when the last open one is answered. */
  drain(): Promise<void> {
    this.#isDraining = true;
    if (this.#state === 'open') {
      this.#state = 'draining';
    }
    return new Promise((resolve) => {
      this.#drained.push(resolve);
      this.#settleDrain();
    });
  }

  /** @internal */
  onMessage(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    if (this.#state === 'ending' || this.#state === 'closed') {
      return;
    }
    if (isResponse(message)) {
      const request = message.id === undefined ? undefined : this.#ledger.takeAnswered(message.id);
      if (request === undefined) {
        return;
      }
      const answer = request.id === message.id ? message : { ...message, id: request.id };
      this.#initialized ||= request.id === this.#initializeId && 'result' in message;
      this.#instance?.prove();
      this.#deliver(answer, extra);
      this.#settleDrain();
      return;
    }
    if (message.method === 'notifications/progress') {
      this.#ledger.extend(message.params?.progressToken);
    }
    this.#deliver(message, extra);
  }

  /** @internal */
  onTrouble(error: GatewayError): void {
    if (this.#state !== 'closed') {
      runCallback({}, () => this.onerror?.(error));
    }
  }

  /** @internal */
  onEnding(reason: GatewayError | undefined): void {
    if (this.#state === 'ending' || this.#state === 'closed') {
      return;
    }
    const why = reason ?? this.#error('SERVER_STOPPED', 'the server was stopped');
    // First of all: who is answered may ask again at once.
    this.#state = 'ending';
    this.#reason = why;
    for (const request of this.#ledger.takeAll()) {
      // What the runtime was still sending may have arrived.
      this.#answer(request, why, request.delivered || 'unknown');
    }
    this.#settleDrain();
    runCallback({}, () => this.onerror?.(why));
  }

  /** @internal */
  onClosed(): void {
    if (this.#state === 'closed') {
      return;
    }
    this.#state = 'closed';
    this.#ledger.takeAll();
    this.#settleDrain();
    runCallback({}, () => this.onclose?.());
  }

  async #start({ signal }: AbortController): Promise<void> {
    try {
      this.#instance = await this.#options.acquire(signal, (isQueued) => {
        this.#isQueued = isQueued;
      });
      signal.throwIfAborted();
      await this.#instance.use(this);
      if (this.#reason !== undefined) {
        throw this.#reason;
      }
      signal.throwIfAborted();
    } catch (error) {
      // Whoever started is told by the rejection.
      this.#endQuietly();
      await this.#instance?.stop().catch(() => {});
      this.onClosed();
      throw error;
    }
    this.#abort = undefined;
    this.#state = this.#isDraining ? 'draining' : 'open';
  }

  /** Why a message cannot be accepted at all. */
  #refusalOf(message: JSONRPCMessage): GatewayError | undefined {
    switch (this.#state) {
      case 'new':
      case 'starting':
        return this.#error('TRANSPORT_NOT_STARTED', 'call start() before send()');
      case 'ending':
      case 'closed':
        return this.#closedError();
      default:
    }
    if (!isJsonRpcMessage(message)) {
      return this.#error('MESSAGE_INVALID', 'this is not a JSON-RPC message');
    }
    return isRequest(message) && this.#ledger.has(message.id)
      ? this.#error('MESSAGE_INVALID', `the request id ${JSON.stringify(message.id)} is in use by an open request`)
      : undefined;
  }

  #sendRequest(
    instance: Instance,
    message: JSONRPCRequest,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
    repeats: boolean,
  ): boolean {
    const request = this.#ledger.add(message);
    // What it says until it has ended is as much as the caller wants to read.
    if (this.#state === 'draining' && message.method !== 'logging/setLevel') {
      this.#refuse(request, this.#error('SERVER_STOPPED', 'the server is being stopped and takes no more requests'));
      return true;
    }
    if (message.method === 'initialize') {
      this.#initializeId = message.id;
    }
    const isHandedOver = instance.transport.send(message, options, (failure) => {
      if (failure === undefined) {
        this.#ledger.delivered(request);
      } else if (failure.code === 'MESSAGE_INVALID') {
        this.#ledger.take(message.id);
        onOutcome(failure);
        return;
      } else if (repeats && wasNotTaken(failure) && this.#ledger.take(message.id) !== undefined) {
        this.#settleDrain();
        onOutcome(failure);
        return;
      } else {
        this.#refuse(request, failure);
        this.#endIfDeaf(failure);
      }
      onOutcome();
    });
    // The time-out counts from here in either case.
    request.delivered ||= isHandedOver;
    return isHandedOver;
  }

  #sendOther(
    instance: Instance,
    message: JSONRPCMessage,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
  ): boolean {
    if ('method' in message && message.method === 'notifications/cancelled') {
      const id = message.params?.requestId as RequestId | undefined;
      if (id !== undefined && this.#ledger.take(id) !== undefined) {
        this.#settleDrain();
      }
    }
    return instance.transport.send(message, options, (failure) => {
      if (failure?.code === 'MESSAGE_INVALID') {
        onOutcome(failure);
        return;
      }
      if (failure !== undefined && this.#state !== 'ending') {
        // Nobody waits for an answer; the end of the server, if that is the cause, is reported on its own.
        this.onTrouble(failure);
        this.#endIfDeaf(failure);
        if (failure.code === 'MESSAGE_TOO_LARGE' && failure.delivered === false && isResponse(message)) {
          // The server lives, and waits for an answer.
          const text = `the answer was not sent: ${messageOf(failure)}`;
          instance.transport.send(toErrorResponse(message.id as RequestId, failure, text, true), undefined, () => {});
        }
      }
      onOutcome();
    });
  }

  /** Answers a request that was not handed over, unless the end of the server has answered it already. */
  #refuse(request: OpenRequest, error: GatewayError): void {
    if (this.#ledger.take(request.id) === request) {
      this.#answer(request, error, error.delivered ?? 'unknown');
      this.#settleDrain();
    }
  }

  #answer(request: OpenRequest, error: GatewayError, delivered: boolean | 'unknown'): void {
    const outcome = delivered === false ? 'was not delivered' : 'got no answer, outcome unknown';
    const server = error.server === undefined ? '' : `"${error.server}": `;
    const message = `${server}${request.method} ${outcome}: ${messageOf(error)}`;
    this.#deliver(toErrorResponse(request.id, error, message, delivered), undefined);
  }

  #onOverdue(request: OpenRequest): void {
    const limit = `request_timeout (${this.#options.requestTimeoutMs} ms)`;
    const text =
      request.extensions < maxExtensions
        ? `no answer within ${limit}`
        : `no answer, though progress has restarted ${limit} ${maxExtensions} times, which is as often as it may`;
    const error = this.#error('REQUEST_TIMEOUT', text);
    this.#answer(request, error, request.delivered || 'unknown');
    this.#settleDrain();
    if (request.method !== 'initialize') {
      const params = { requestId: request.id, reason: 'request_timeout' };
      this.#instance?.transport.send(
        { jsonrpc: '2.0', method: 'notifications/cancelled', params },
        undefined,
        (failure) => failure && this.onTrouble(failure),
      );
    }
  }

  #deliver(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    deliver(this, message, extra);
  }

  /** What follows is expected: only `onclose` tells of it. */
  #endQuietly(): void {
    if (this.#state !== 'closed') {
      this.#state = 'ending';
    }
  }

  /** @param failure - what a message was refused with */
  #endIfDeaf(failure: GatewayError): void {
    this.#isDeaf ||= failure.exit?.reason === 'stdin-closed';
    this.#settleDrain();
  }

  #settleDrain(): void {
    if (this.#isDeaf && this.#ledger.size === 0 && this.#state !== 'ending' && this.#state !== 'closed') {
      this.#isDeaf = false;
      const message = 'the server closed its stdin while it was running';
      const exit = { reason: 'stdin-closed', stderrTail: this.#instance?.transport.stderrTail ?? '' };
      this.fail(new GatewayError('SERVER_EXITED', message, { server: this.#options.server, exit }));
    }
    if (this.#drained.length > 0 && this.#ledger.size === 0) {
      for (const resolve of this.#drained.splice(0)) {
        resolve();
      }
    }
  }

  #closedError(): GatewayError {
    return this.#reason === undefined
      ? this.#error('TRANSPORT_CLOSED', 'the transport is closed; call connect() for a new one')
      : copyError(this.#reason, { delivered: false });
  }

  #error(code: GatewayError['code'], message: string): GatewayError {
    return new GatewayError(code, message, { server: this.#options.server, delivered: false });
  }
}

/** A connection to a runtime that speaks over byte streams: by the presence of these two, SDK v2 knows stdio. */
export class StreamConnection extends ServerConnection {
  get pid(): number | null {
    return this.instance?.pid ?? null;
  }

  get stderr(): RuntimeTransport['stderr'] {
    return this.instance?.stderr ?? null;
  }
}
