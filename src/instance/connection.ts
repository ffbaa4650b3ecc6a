import { GatewayError } from '../errors.js';
import type { RuntimeTransport } from '../runtime.js';
import {
  isRequest,
  isResponse,
  type JSONRPCErrorResponse,
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
import { ConnectionRequests, type RequestingConnection, type RequestTimes } from './connection-requests.js';
import { toErrorResponse } from './error-response.js';
import type { Instance, InstanceUser } from './instance.js';
import type { OpenRequest } from './request-ledger.js';
import type { SendOutcome } from './strict-transport.js';

export interface ConnectionOptions extends RequestTimes {
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
 * - `send()` rejects only for a message that was never accepted: not started, closed, not JSON, an id that is in use. And for a
 *   `notifications/initialized` that the server may not have got.
 * - When the server ends, requests are answered first, then `onerror` gets the reason, then `onclose` fires, once.
 */
export class ServerConnection implements Transport, InstanceUser, RequestingConnection {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #options: ConnectionOptions;
  readonly #requests: ConnectionRequests;
  /** Gives up a start that is under way. */
  #abort: AbortController | undefined;
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
    this.#requests = new ConnectionRequests(options, this);
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
    return this.#requests.size;
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
    this.#requests.forgetAll();
    if (this.#state === 'new') {
      this.onClosed();
      return;
    }
    this.#endQuietly();
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
    this.#requests.forget(id);
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
    return this.#requests.whenNone();
  }

  /** @internal */
  onMessage(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    if (this.#state === 'ending' || this.#state === 'closed') {
      return;
    }
    if (this.#state === 'starting') {
      // It has started, or could say nothing: who hears it may answer at once.
      this.#open();
    }
    if (isResponse(message)) {
      const request = message.id === undefined ? undefined : this.#requests.takeAnswered(message.id);
      if (request === undefined) {
        return;
      }
      const answer = request.id === message.id ? message : { ...message, id: request.id };
      this.#initialized ||= request.id === this.#initializeId && 'result' in message;
      this.#instance?.prove();
      deliver(this, answer, extra);
      this.#requests.settle();
      return;
    }
    if (message.method === 'notifications/progress') {
      this.#requests.extend(message.params?.progressToken);
    } else if (message.method === 'notifications/cancelled') {
      // Servers that take back requests of their own have no streams.
      this.#requests.endStream(message.params?.requestId);
    }
    deliver(this, message, extra);
  }

  /** @internal */
  onTrouble(error: GatewayError): void {
    if (this.#state !== 'closed') {
      runCallback({}, () => this.onerror?.(error));
    }
  }

  /** @internal */
  onAnswer(response: JSONRPCErrorResponse): void {
    deliver(this, response);
  }

  /** @internal */
  onOverdue({ id, method }: OpenRequest): void {
    if (method !== 'initialize') {
      const params = { requestId: id, reason: 'request_timeout' };
      this.#instance?.transport.send(
        { jsonrpc: '2.0', method: 'notifications/cancelled', params },
        undefined,
        (failure) => failure && this.onTrouble(failure),
      );
    }
  }

  /** @internal */
  onNotSent(failure: GatewayError): void {
    this.#isDeaf ||= failure.exit?.reason === 'stdin-closed';
    this.onSettled();
  }

  /** @internal */
  onSettled(): void {
    if (this.#isDeaf && this.#requests.size === 0 && this.#state !== 'ending' && this.#state !== 'closed') {
      this.#isDeaf = false;
      const message = 'the server closed its stdin while it was running';
      const exit = { reason: 'stdin-closed', stderrTail: this.#instance?.transport.stderrTail ?? '' };
      this.fail(new GatewayError('SERVER_EXITED', message, { server: this.#options.server, exit }));
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
    this.#requests.failAll(why);
    runCallback({}, () => this.onerror?.(why));
  }

  /** @internal */
  onClosed(): void {
    if (this.#state === 'closed') {
      return;
    }
    this.#state = 'closed';
    this.#requests.forgetAll();
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
    this.#open();
  }

  #open(): void {
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
    return isRequest(message) && this.#requests.has(message.id)
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
    // What it says until it has ended is as much as the caller wants to read.
    if (this.#state === 'draining' && message.method !== 'logging/setLevel') {
      this.#requests.refuse(
        message,
        this.#error('SERVER_STOPPED', 'the server is being stopped and takes no more requests'),
      );
      return true;
    }
    if (message.method === 'initialize') {
      this.#initializeId = message.id;
    }
    return this.#requests.send(instance.transport, message, options, onOutcome, repeats);
  }

  #sendOther(
    instance: Instance,
    message: JSONRPCMessage,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
  ): boolean {
    if ('method' in message && message.method === 'notifications/cancelled') {
      const id = message.params?.requestId as RequestId | undefined;
      if (id !== undefined) {
        this.#requests.forget(id);
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
        this.onNotSent(failure);
        if (failure.code === 'MESSAGE_TOO_LARGE' && failure.delivered === false && isResponse(message)) {
          // The server lives, and waits for an answer.
          const text = `the answer was not sent: ${messageOf(failure)}`;
          instance.transport.send(toErrorResponse(message.id as RequestId, failure, true, text), undefined, () => {});
        }
      }
      // Without it many servers answer nothing else: its client gives up, and does not call in vain.
      const isGreeting = 'method' in message && message.method === 'notifications/initialized';
      onOutcome(isGreeting && failure !== undefined && mayHaveMissed(failure) ? failure : undefined);
    });
  }

  /** What follows is expected: only `onclose` tells of it. */
  #endQuietly(): void {
    if (this.#state !== 'closed') {
      this.#state = 'ending';
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

/** Whether a message may not have come to the server: the connection was cut, or somebody before it was in trouble or busy. */
function mayHaveMissed({ code, status = 0 }: GatewayError): boolean {
  return code === 'CONNECTION_FAILED' || (code === 'HTTP_STATUS' && (status === 429 || (status > 501 && status < 505)));
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
