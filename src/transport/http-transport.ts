import { GatewayError } from '../errors.js';
import type { RuntimeTransport } from '../runtime.js';
import type { JSONRPCMessage, MessageExtraInfo, RequestId, TransportSendOptions } from '../sdk.js';
import { isResponse } from '../sdk.js';
import { abortable } from '../util/abort.js';
import { messageOf } from '../util/copy-error.js';
import { once } from '../util/once.js';
import { runCallback } from './callback.js';
import { ChoosingWire, type HttpMode } from './http/choosing-wire.js';
import { HttpHealth } from './http/health.js';
import { Leftovers } from './http/leftovers.js';
import type { WireOptions } from './http/wire.js';
import { Inbox } from './inbox.js';
import { isAnswerTo, isProgress } from './json-rpc.js';
import { modernVersion } from './modern.js';
import type { RelatedInfo } from './related-info.js';

/** What an {@link HttpTransport} needs. */
export interface HttpTransportOptions
  extends Omit<WireOptions, 'leftovers' | 'onMessage' | 'onTrouble' | 'onLost' | 'inOrder'> {
  readonly mode: HttpMode;
  /** Told once, when nothing of the transport is left. */
  readonly onClosed?: (() => void) | undefined;
}

/**
 * A client's transport to a server over HTTP: Streamable HTTP, or the older HTTP+SSE.
 *
 * Keeps the promises of {@link RuntimeTransport}. `send()` of a request settles with the request: it rejects when there
 * will be no answer, and says whether the server may have seen it. A failed request ends only itself; a session that the
 * server no longer knows ends the transport.
 */
export class HttpTransport implements RuntimeTransport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  /** For SDK v2: each request has an HTTP request of its own, which its signal can end. */
  readonly hasPerRequestStream = true;

  readonly #options: WireOptions;
  readonly #onClosed: (() => void) | undefined;
  readonly #inbox = new Inbox();
  readonly #wire: ChoosingWire;
  #started = false;
  #initializeId: RequestId | undefined;
  #initialized = false;
  /** The revision of the stateless era that was spoken last. */
  #modern: string | undefined;
  readonly #health: HttpHealth;
  /** Why nothing can be sent any more. */
  #ended: GatewayError | undefined;
  /** The same, when the server ended by itself, until somebody was told. */
  #untold: GatewayError | undefined;
  #closed = false;

  constructor({ mode, onClosed, ...options }: HttpTransportOptions) {
    this.#onClosed = onClosed;
    this.#options = {
      ...options,
      leftovers: new Leftovers(options.clock),
      onMessage: (message, info) => this.#receive(message, info),
      onTrouble: (error) => this.#inbox.put(() => runCallback({}, () => this.onerror?.(error))),
      onLost: (reason) => this.#lost(reason),
      inOrder: (run) => this.#inbox.put(run),
    };
    this.#health = new HttpHealth(this.#options);
    this.#wire = new ChoosingWire(mode, this.#options);
  }

  /** Undefined until `initialize` is answered: SDK v1 takes an id before that for a resumed session. */
  get sessionId(): string | undefined {
    return this.#initialized ? this.#wire.sessionId : undefined;
  }

  /** What ties this transport to one server: a session that it alone knows, or over HTTP+SSE the stream; else nothing. */
  get tie(): 'session' | 'stream' | undefined {
    if (this.#wire.isLegacy) return 'stream';
    return this.#wire.sessionId === undefined ? undefined : 'session';
  }

  readonly setProtocolVersion = (version: string): void => {
    this.#wire.setProtocolVersion(version);
  };

  /** Opens the stream of HTTP+SSE, where that is the mode; nothing otherwise. */
  connect(): Promise<void> {
    return this.#wire.connect();
  }

  async start(): Promise<void> {
    if (this.#closed || this.#started) {
      throw this.#error(
        'TRANSPORT_CLOSED',
        this.#closed ? 'the transport is closed' : 'the transport was started before',
      );
    }
    this.#started = true;
    this.#inbox.open();
  }

  async send(message: JSONRPCMessage, options: TransportSendOptions = {}): Promise<void> {
    if (this.#ended !== undefined) {
      const { exit } = this.#ended;
      const error = this.#error('TRANSPORT_CLOSED', 'the connection is closed', { exit, cause: this.#ended });
      throw this.#closed ? error : this.#lostWith(error);
    }
    if (!this.#started) throw this.#error('TRANSPORT_NOT_STARTED', 'call start() before send()');
    const body = this.#toJson(message);
    if ('method' in message && 'id' in message) {
      if (message.method === 'initialize') this.#initializeId = message.id;
      this.#modern = modernVersion(message);
    }
    try {
      await this.#wire.send(message, body, options);
    } catch (error) {
      // What came for it before is still being handed on.
      while (!this.#inbox.isEmpty && this.#ended === undefined) await undefined;
      throw this.#lostWith(error);
    }
  }

  /** Ends the transport because its session cannot go on; `reason` is what requests without an answer end with. */
  lose(reason: GatewayError): void {
    this.#lost(reason);
  }

  /** Ends the session; resolves when nothing of it is left here. */
  readonly close = once(async () => {
    this.#ended ??= this.#error('TRANSPORT_CLOSED', 'the transport was closed');
    this.#untold = undefined;
    this.#inbox.clear();
    this.#health.end();
    try {
      await this.#closeWires();
    } finally {
      this.#tellEnd();
    }
  });

  /**
   * Asks the server for a sign of life: `ping`, in the stateless era `server/discover`, and before either any answer to
   * an HTTP request.
   *
   * @throws `GatewayError` of what failed; `signal.reason` once aborted
   */
  async health(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#ended !== undefined) throw this.#ended;
    const stop = new AbortController();
    const speaks = this.#initialized || this.#modern !== undefined;
    const alive = speaks
      ? this.#health.probe(this.#wire, this.#modern, stop.signal).then(() => {
          if (this.#ended !== undefined) throw this.#ended;
        })
      : this.#health.reach(stop.signal);
    try {
      await abortable(alive, signal);
    } finally {
      stop.abort();
    }
  }

  /** What is cut off because the session was lost says so. */
  #lostWith(error: unknown): unknown {
    const reason = this.#ended;
    if (reason?.code !== 'SESSION_LOST' || !GatewayError.is(error) || error.code !== 'TRANSPORT_CLOSED') return error;
    const { exit, cause, status } = reason;
    return this.#error('SESSION_LOST', messageOf(reason), { exit, cause, status, delivered: error.delivered });
  }

  #toJson(message: JSONRPCMessage): string {
    let body: string;
    try {
      body = JSON.stringify(message);
    } catch (cause) {
      throw this.#error('MESSAGE_INVALID', 'the message cannot be written as JSON', { cause });
    }
    const { maxMessageBytes } = this.#options;
    if (body.length * 3 > maxMessageBytes && Buffer.byteLength(body) > maxMessageBytes) {
      throw this.#error('MESSAGE_TOO_LARGE', `the message has more than ${maxMessageBytes} bytes (max_message)`);
    }
    return body;
  }

  #receive(message: JSONRPCMessage, info: RelatedInfo | undefined): void {
    if (this.#ended !== undefined || this.#health.take(message)) return;
    if (isResponse(message) && isAnswerTo(this.#initializeId, message.id) && 'result' in message) {
      this.#inbox.put(() => {
        this.#initialized = true;
      });
    }
    this.#inbox.put(() => {
      runCallback(this, () => this.onmessage?.(message, info));
      return isProgress(message);
    });
  }

  #lost(reason: GatewayError): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    this.#untold = reason;
    this.#health.end();
    const tell = () => this.#inbox.put(() => this.#tellEnd());
    this.#closeWires().then(tell, tell);
  }

  async #closeWires(): Promise<void> {
    await this.#wire.close();
    this.#options.leftovers.close();
  }

  #tellEnd(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#inbox.clear();
    const reason = this.#untold;
    this.#untold = undefined;
    if (reason !== undefined) runCallback({}, () => this.onerror?.(reason));
    this.#onClosed?.();
    runCallback(this, () => this.onclose?.());
  }

  #error(
    code: GatewayError['code'],
    message: string,
    options: ConstructorParameters<typeof GatewayError>[2] = {},
  ): GatewayError {
    return new GatewayError(code, message, { server: this.#options.server, delivered: false, ...options });
  }
}
