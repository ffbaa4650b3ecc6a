import { GatewayError } from '../errors.js';
import type { RuntimeTransport } from '../runtime.js';
import type { JSONRPCMessage, MessageExtraInfo, TransportSendOptions } from '../sdk.js';
import { handedOver } from '../transport/handed-over.js';
import { infoFor, takesPart } from '../transport/json-part.js';
import { copyError } from '../util/copy-error.js';
import { textOf } from '../util/text-of.js';
import { EarlyMessages } from './early-messages.js';
import type { Redactor } from './redact.js';

/** Who listens to a {@link StrictTransport}. */
export interface StrictTransportListener {
  onMessage(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void;
  /** Something went wrong that ended nothing. */
  onTrouble(error: GatewayError): void;
  /** The server has ended, or is about to: no message follows. The reason is missing after our own `close`. */
  onEnding(reason: GatewayError | undefined): void;
  /** All resources are gone. Once, after `onEnding`. */
  onClosed(): void;
}

/** What transports over byte streams can do besides. */
interface Pausable {
  pause?(): void;
  resume?(): void;
}

/**
 * Gets what became of a message: nothing when it was handed over, else the reason, and whether the next connection can be given
 * it although the reason does not say so. Called once at most.
 */
export type SendOutcome = (error?: GatewayError, isForNext?: boolean) => void;

/**
 * Holds whatever a runtime returned to the contract of {@link RuntimeTransport}: messages wait for `start`, the end comes
 * once and has a reason, nothing follows the end, `send` and `close` settle, errors hold no secrets. What is built on it
 * need not trust the runtime.
 */
export class StrictTransport {
  readonly #inner: RuntimeTransport;
  readonly #server: string;
  readonly #redactor: Redactor;
  #listener: StrictTransportListener | undefined;
  /** Came before the start had settled. */
  #early: EarlyMessages | undefined = new EarlyMessages();
  #beginning: Promise<void> | undefined;
  /** Nobody takes its messages yet. */
  #isWatched = false;
  #isPaused = false;
  /** Told of the end while a start is under way. */
  #wakeStart: (() => void) | undefined;
  #reason: GatewayError | undefined;
  #state: 'open' | 'ending' | 'closed' = 'open';
  /** Handed over, and not settled by the runtime yet. */
  #sending: Set<SendOutcome> | undefined;
  #closing: Promise<void> | undefined;

  constructor(inner: RuntimeTransport, server: string, redactor: Redactor) {
    this.#inner = inner;
    this.#server = server;
    this.#redactor = redactor;
    inner.onmessage = takesPart((message: JSONRPCMessage, extra?: MessageExtraInfo) => this.#receive(message, extra));
    inner.onerror = (error) => this.#onError(error);
    inner.onclose = () => this.#onClose();
  }

  get pid(): number | null | undefined {
    return this.#inner.pid;
  }

  get stderr(): RuntimeTransport['stderr'] {
    return this.#inner.stderr;
  }

  /** The end of what the server wrote to stderr; undefined when the runtime does not see it. */
  get stderrTail(): string | undefined {
    try {
      const tail: unknown = this.#inner.stderrTail?.();
      return typeof tail === 'string' ? tail : undefined;
    } catch {
      return undefined;
    }
  }

  get sessionId(): string | undefined {
    return this.#inner.sessionId;
  }

  setProtocolVersion(version: string): void {
    try {
      this.#inner.setProtocolVersion?.(version);
    } catch (error) {
      throw this.#toGatewayError(error, 'START_FAILED', 'the connection does not take the revision of the protocol');
    }
  }

  get ended(): boolean {
    return this.#state !== 'open';
  }

  /**
   * Tells of the end before anybody takes messages: those wait until `start`. A server that says more than may wait has to
   * wait too where its runtime can make it; the end of one is not seen while it does.
   */
  async watch(listener: StrictTransportListener): Promise<void> {
    this.#listener = listener;
    this.#isWatched = true;
    await this.#begin().catch((error: unknown) => {
      throw this.#startError(error);
    });
  }

  /** Begins delivery. */
  async start(listener: StrictTransportListener): Promise<void> {
    this.#listener = listener;
    if (this.#state !== 'open') {
      this.#deliverEarly();
      listener.onEnding(this.#reason);
      if (this.#state === 'closed') {
        listener.onClosed();
      }
      return;
    }
    // The end may come before the runtime's start has settled, if it ever does.
    const ended = new Promise<void>((resolve) => {
      this.#wakeStart = resolve;
    });
    await Promise.race([this.#begin(), ended]).catch((error: unknown) => {
      throw this.#startError(error);
    });
    this.#wakeStart = undefined;
    this.#isWatched = false;
    this.#deliverEarly();
    if (this.#isPaused) {
      (this.#inner as Pausable).resume?.();
    }
  }

  #begin(): Promise<void> {
    this.#beginning ??= (async () => this.#inner.start())();
    return this.#beginning;
  }

  #startError(error: unknown): GatewayError {
    // Nothing can have been sent on it.
    return copyError(this.#toGatewayError(error, 'START_FAILED', 'the connection could not be started'), {
      delivered: false,
    });
  }

  /**
   * Hands a message to the runtime. A callback and not a promise: every message of every layer passes here.
   *
   * @param onOutcome - called at the latest when the server ends, and never inside this call
   * @returns true when the message has been handed over already: then `onOutcome` is not called
   */
  send(message: JSONRPCMessage, options: TransportSendOptions | undefined, onOutcome: SendOutcome): boolean {
    if (this.#state !== 'open') {
      const error = copyError(this.#reason ?? this.#closed(), { delivered: false });
      queueMicrotask(() => onOutcome(error));
      return false;
    }
    const sent = this.#hand(message, options);
    if (sent === handedOver) {
      return true;
    }
    this.#sending ??= new Set();
    this.#sending.add(onOutcome);
    sent.then(
      () => this.#sending?.delete(onOutcome) && onOutcome(),
      (error: unknown) =>
        this.#sending?.delete(onOutcome) &&
        onOutcome(this.#toGatewayError(error, 'TRANSPORT_CLOSED', 'the message could not be sent')),
    );
    return false;
  }

  #hand(message: JSONRPCMessage, options: TransportSendOptions | undefined): Promise<void> {
    try {
      // A runtime of somebody else may return no promise, or throw instead.
      return Promise.resolve(this.#inner.send(message, infoFor(options, this.#inner.send)));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async health(signal: AbortSignal): Promise<void> {
    if (this.#state !== 'open') {
      throw this.#reason ?? this.#closed();
    }
    await this.#inner.health?.(signal);
  }

  /** Ends the server for a reason of ours. */
  fail(reason: GatewayError): void {
    this.#onEnding(reason);
    this.close().catch(() => {});
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#onEnding(undefined);
    try {
      await (async () => this.#inner.close())();
    } catch (error) {
      throw this.#toGatewayError(error, 'STOP_FAILED', 'the server could not be stopped');
    } finally {
      this.#onClose();
    }
  }

  #receive(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    if (this.#state !== 'open') {
      return;
    }
    if (this.#early !== undefined) {
      this.#early.add(message, extra);
      if (this.#isWatched && this.#early.isFull()) {
        this.#isPaused = true;
        (this.#inner as Pausable).pause?.();
      }
    } else {
      this.#listener?.onMessage(message, extra);
    }
  }

  #deliverEarly(): void {
    for (let next = this.#early?.take(); next !== undefined; next = this.#early?.take()) {
      this.#listener?.onMessage(next.message, next.extra);
    }
    this.#early = undefined;
  }

  #onError(error: Error): void {
    const reason = this.#toGatewayError(error, undefined, 'the runtime reported an error');
    if (reason.exit !== undefined && this.#state === 'open') {
      this.#onEnding(reason);
      // It says itself that it has ended: whatever it does now, the end comes.
      void this.close().catch(() => {});
    } else if (this.#state !== 'closed' && reason.exit === undefined) {
      this.#listener?.onTrouble(reason);
    }
  }

  #onEnding(reason: GatewayError | undefined): void {
    if (this.#state !== 'open') {
      return;
    }
    if (this.#listener !== undefined) {
      this.#deliverEarly();
    }
    this.#state = 'ending';
    this.#reason = reason;
    this.#wakeStart?.();
    // What has not been settled by the runtime may have reached the server.
    const error = copyError(reason ?? this.#closed(), { delivered: 'unknown' });
    const sending = this.#sending ?? [];
    this.#sending = undefined;
    queueMicrotask(() => {
      for (const onOutcome of sending) {
        onOutcome(error);
      }
    });
    this.#listener?.onEnding(reason);
  }

  #onClose(): void {
    if (this.#state === 'closed') {
      return;
    }
    this.#onEnding(
      new GatewayError('SERVER_EXITED', 'the connection to the server ended without a reason', {
        server: this.#server,
        exit: { stderrTail: '' },
      }),
    );
    this.#state = 'closed';
    this.#listener?.onClosed();
  }

  #toGatewayError(error: unknown, code: 'START_FAILED' | 'STOP_FAILED' | 'TRANSPORT_CLOSED' | undefined, what: string) {
    if (GatewayError.is(error)) {
      return this.#redactor.error(error);
    }
    const detail = textOf(error);
    return this.#redactor.error(
      new GatewayError(code ?? 'MESSAGE_INVALID', `${what}: ${detail}`, { server: this.#server, cause: error }),
    );
  }

  #closed(): GatewayError {
    return new GatewayError('TRANSPORT_CLOSED', 'the connection to the server is closed', {
      server: this.#server,
      delivered: false,
    });
  }
}
