import { GatewayError } from '../../errors.js';
import {
  isRequest,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
  type TransportSendOptions,
} from '../../sdk.js';
import { deliver, runCallback } from '../../transport/callback.js';
import { takesPart } from '../../transport/json-part.js';
import { hasEnvelope, withoutEnvelope } from '../../transport/modern.js';
import { EarlyMessages } from '../early-messages.js';
import { toErrorResponse } from '../error-response.js';
import type { LinkTransport } from '../link-transport.js';
import { withReadableError } from '../readable-error.js';
import type { SendOutcome } from '../strict-transport.js';
import { EraHandshake, type EraHandshakeSettings, type ShakenConnection, type ShakenServer } from './era-handshake.js';
import { firstOwnId } from './era-search.js';
import { ModernSession } from './modern-session.js';
import type { Discovery } from './server-era.js';

/** A connection with an instance of its own. */
export interface EraConnection extends LinkTransport, ShakenServer {}

export interface EraTransportOptions extends EraHandshakeSettings {
  /** For what no request of the connection is sent for, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** Aborted by a stop that comes from now on: what it has ended is not started afresh. */
  untilStopped(): AbortSignal;
  /** @param since - from when on the time counts in which the server has to find a place, where not from now on */
  connect(since?: number): EraConnection;
}

// Of what servers ask beyond that, the rest is refused.
const mostEarly = 1_000;

/**
 * A connection to a server of either era for a caller that makes a session. On `initialize` it finds the era out, unless
 * that is known, and then passes messages through or translates them.
 */
export class EraTransport implements LinkTransport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #options: EraTransportOptions;
  #inner: EraConnection;
  #modern: ModernSession | undefined;
  /** While one is under way, the end of the connection may be followed by another one. */
  #handshake: EraHandshake | undefined;
  #lastOwnId = firstOwnId;
  /** One server ends and the next one starts, which is no failure unless the time for both runs out. */
  #isReplacing = false;
  /** What a server has asked before its handshake was over: one that takes its place knows nothing of that. */
  #early: RequestId[] | undefined = [];
  /** What a server that was started ahead has said to nobody yet. */
  #unheard: EarlyMessages | undefined;
  #ended = false;
  #lastError: Error | undefined;
  /** Why the connection ends. */
  #reason: GatewayError | undefined;
  #closed = false;
  #starting: Promise<void> | undefined;
  /** Of what is started here. */
  #stopped: AbortSignal | undefined;
  #closing: Promise<void> | undefined;
  #isTold = false;

  constructor(options: EraTransportOptions) {
    this.#options = options;
    this.#inner = this.#attach();
  }

  get sessionId(): string | undefined {
    return this.#inner.sessionId;
  }

  /** Not while another server may take the place of the one that ends. */
  get isEnding(): boolean {
    return this.#handshake === undefined && this.#inner.isEnding === true;
  }

  get isQueued(): boolean {
    return this.#inner.isQueued === true;
  }

  get waitedMs(): number {
    return this.#inner.waitedMs ?? 0;
  }

  setProtocolVersion(version: string): void {
    if (this.#modern === undefined) {
      this.#inner.setProtocolVersion?.(version);
    }
  }

  /** May be called again by whoever takes over a connection that was started ahead, and hears now what has come since. */
  start(): Promise<void> {
    this.#stopped ??= this.#options.untilStopped();
    this.#starting ??= this.#inner.start();
    if (this.onmessage !== undefined) {
      for (let next = this.#unheard?.take(); next !== undefined; next = this.#unheard?.take()) {
        deliver(this, next.message, next.extra);
      }
      this.#unheard = undefined;
      const reason = this.#reason;
      reason && runCallback({}, () => this.onerror?.(reason));
    }
    // It has ended since, which is told once.
    if (this.#isTold) {
      return Promise.reject(this.#reason ?? this.#endedError());
    }
    return this.#starting;
  }

  send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.post(message, options, (error) => (error === undefined ? resolve() : reject(error)))) {
        resolve();
      }
    });
  }

  post(
    message: JSONRPCMessage,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
    repeats?: boolean,
  ): boolean {
    if (this.#modern !== undefined) {
      this.#modern.send(message, onOutcome);
      return false;
    }
    if (isRequest(message) && message.method === 'initialize') {
      void this.#initialize(message);
      return true;
    }
    const passed = 'method' in message && hasEnvelope(message) ? toLegacy(message) : message;
    return this.#forward(passed, options, onOutcome, repeats);
  }

  fail(reason: GatewayError): GatewayError {
    if (this.#handshake !== undefined && reason.code === 'START_TIMEOUT') {
      // It was asked as what it was known for, and kept silent: it may not be that any more, so the next start asks again.
      this.#options.era.learn(undefined);
    }
    if (!this.#isReplacing) {
      this.#inner.expectEnd?.(false);
    }
    return this.#inner.fail?.(reason) ?? reason;
  }

  async health(signal: AbortSignal): Promise<void> {
    await this.#inner.health?.(signal);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    this.#modern?.close();
    this.#handshake?.giveUp();
    await this.#inner.close();
    this.#onClose();
  }

  #forward(
    message: JSONRPCMessage,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
    repeats?: boolean,
  ): boolean {
    const inner = this.#inner;
    if (inner.post !== undefined) {
      return inner.post(message, options, onOutcome, repeats);
    }
    inner.send(message, options).then(
      () => onOutcome(),
      (error: unknown) => onOutcome(this.#toGatewayError(error)),
    );
    return false;
  }

  async #initialize(request: JSONRPCRequest): Promise<void> {
    const handshake = new EraHandshake(this.#options, this.#shaken(request), request);
    this.#handshake = handshake;
    try {
      const answer = await handshake.run();
      if (answer !== undefined && !this.#closed) {
        deliver(this, { ...answer, id: request.id });
      }
    } catch (error) {
      const failure = this.#toGatewayError(error);
      if (!this.#closed) {
        deliver(this, toErrorResponse(request.id, failure, false));
      }
    } finally {
      this.#handshake = undefined;
      this.#early = undefined;
      this.#ended && this.#onClose();
    }
  }

  /** The connection as its handshake sees it. */
  #shaken(request: JSONRPCRequest): ShakenConnection {
    return {
      current: () => this.#inner,
      nextId: () => this.#nextId(),
      post: (message, onOutcome) => this.#forward(message, undefined, onOutcome),
      replace: async (since) => {
        this.#isReplacing = true;
        await this.#replace(since).finally(() => {
          this.#isReplacing = false;
        });
      },
      begin: (discovery) => this.#begin(request.params ?? {}, discovery),
    };
  }

  #begin(caller: Readonly<Record<string, unknown>>, discovery: Discovery): void {
    const { server, clock, requestTimeoutMs } = this.#options;
    this.#modern = new ModernSession({
      server,
      clock,
      requestTimeoutMs,
      caller,
      discovery,
      nextId: () => this.#nextId(),
      post: (message, onOutcome) => this.#forward(message, undefined, onOutcome) && onOutcome(),
      deliver: (message, extra) => deliver(this, message, extra),
    });
  }

  /** For a request of our own: what was asked before may still be open. */
  #nextId(): RequestId {
    this.#lastOwnId += 1;
    return this.#lastOwnId;
  }

  /** Starts afresh: the server has ended, or will not answer any more. */
  async #replace(since: number): Promise<void> {
    this.#inner.expectEnd?.(true);
    // It may hold what the next one needs: a file, a port, a container's name.
    await this.#inner.close();
    if (this.#closed) {
      return;
    }
    this.#stopped?.throwIfAborted();
    for (const requestId of this.#early?.splice(0) ?? []) {
      const params = { requestId, reason: 'the server has ended' };
      deliver(this, { jsonrpc: '2.0', method: 'notifications/cancelled', params });
    }
    this.#ended = false;
    this.#lastError = undefined;
    this.#inner = this.#attach(since);
    await this.#inner.start();
  }

  #attach(since?: number): EraConnection {
    const inner = this.#options.connect(since);
    inner.onmessage = takesPart((message: JSONRPCMessage, extra?: MessageExtraInfo) => this.#receive(message, extra));
    inner.onerror = (error) => {
      this.#reason = GatewayError.is(error) && error.code !== 'MESSAGE_INVALID' ? error : this.#reason;
      if (this.#handshake !== undefined) {
        this.#lastError = error;
      } else {
        runCallback({}, () => this.onerror?.(error));
      }
    };
    inner.onclose = () => {
      if (this.#inner !== inner) {
        return;
      }
      this.#ended = true;
      this.#handshake?.giveUp();
      this.#handshake === undefined && this.#onClose();
    };
    return inner;
  }

  #receive(given: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    const message = withReadableError(given);
    if (this.#handshake?.take(message)) {
      return;
    }
    if (this.#modern !== undefined) {
      this.#modern.receive(message, extra);
    } else {
      if (this.#early !== undefined && this.#early.length < mostEarly && isRequest(message)) {
        this.#early.push(message.id);
      }
      if (this.onmessage === undefined) {
        this.#keep(message, extra);
      } else {
        deliver(this, message, extra);
      }
    }
  }

  #keep(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    this.#unheard ??= new EarlyMessages();
    // Whoever says so much to nobody is not heard.
    this.#unheard.isFull() || this.#unheard.add(message, extra);
  }

  #onClose(): void {
    if (this.#isTold) {
      return;
    }
    this.#isTold = true;
    this.#closed || this.#modern?.failAll(this.#reason ?? this.#endedError());
    this.#closed = true;
    this.#modern?.close();
    const error = this.#lastError;
    error && runCallback({}, () => this.onerror?.(error));
    runCallback({}, () => this.onclose?.());
  }

  #endedError(): GatewayError {
    return new GatewayError('SERVER_EXITED', 'the server ended', {
      server: this.#options.server,
      delivered: 'unknown',
    });
  }

  #toGatewayError(error: unknown): GatewayError {
    return GatewayError.is(error)
      ? error
      : new GatewayError('TRANSPORT_CLOSED', String(error), { server: this.#options.server, delivered: false });
  }
}

/** A message of the stateless era as a server with sessions may see it. */
function toLegacy(message: JSONRPCRequest | JSONRPCNotification): JSONRPCMessage {
  const { inputResponses: _, requestState: __, _meta, ...params }: Record<string, unknown> = { ...message.params };
  const meta = withoutEnvelope(_meta as Record<string, unknown> | undefined);
  return { ...message, params: { ...params, ...(meta && { _meta: meta }) } };
}
