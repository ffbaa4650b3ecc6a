import { GatewayError } from '../../errors.js';
import type { JSONRPCMessage } from '../../sdk.js';
import { messageOf } from '../../util/copy-error.js';
import { LegacySseWire } from './legacy-sse.js';
import { StreamableWire } from './streamable.js';
import { closedError, type HttpSendOptions, type Wire, type WireOptions } from './wire.js';

/** Which of the two ways over HTTP: `auto` tries Streamable HTTP first. */
export type HttpMode = 'auto' | 'streamable-http' | 'sse';

/** Streamable HTTP or HTTP+SSE: as the mode says, or as the server turns out to speak. */
export class ChoosingWire implements Wire {
  readonly #options: WireOptions;
  readonly #mode: HttpMode;
  readonly #streamable: StreamableWire;
  #legacy: LegacySseWire | undefined;
  /** Messages go over HTTP+SSE, whose stream is open. */
  #chosen: LegacySseWire | undefined;
  #fallback: Promise<void> | undefined;
  #protocolVersion: string | undefined;
  #closed = false;

  constructor(mode: HttpMode, options: WireOptions) {
    this.#mode = mode;
    this.#options = options;
    this.#streamable = new StreamableWire(options);
  }

  get sessionId(): string | undefined {
    return this.#current.sessionId;
  }

  /** Whether messages go over HTTP+SSE. */
  get isLegacy(): boolean {
    return this.#mode === 'sse' || this.#chosen !== undefined;
  }

  setProtocolVersion(version: string): void {
    this.#protocolVersion = version;
    this.#current.setProtocolVersion(version);
  }

  /** Opens the stream of HTTP+SSE, where that is the mode; nothing otherwise. */
  async connect(): Promise<void> {
    if (this.#mode === 'sse') await this.#useLegacy();
  }

  async send(message: JSONRPCMessage, body: string, options: HttpSendOptions): Promise<void> {
    const wire = this.#current;
    try {
      await wire.send(message, body, options);
    } catch (error) {
      if (wire !== this.#streamable || !this.#mayFallBack(error)) throw error;
      await this.#fallBack(error);
      await this.#current.send(message, body, options);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#streamable.close(), this.#legacy?.close()]);
  }

  get #current(): Wire {
    return this.#chosen ?? this.#streamable;
  }

  /** An older server refuses the first POST, and says nothing that Streamable HTTP would say. */
  #mayFallBack(error: unknown): error is GatewayError {
    return (
      this.#mode === 'auto' &&
      !this.#streamable.spoken &&
      !this.#closed &&
      GatewayError.is(error) &&
      error.code === 'HTTP_STATUS' &&
      // What may have been carried out is not sent again.
      error.delivered === false &&
      (error.status === 400 || error.status === 404 || error.status === 405)
    );
  }

  /** Once for all messages that were refused. */
  #fallBack(refusal: GatewayError): Promise<void> {
    this.#fallback ??= this.#useLegacy().catch((error: unknown) => {
      this.#fallback = undefined;
      const { server } = this.#options;
      // The server had refused the request, whatever became of the stream.
      if (this.#closed) throw closedError(server, false);
      if (!GatewayError.is(error)) throw error;
      const message = `the server speaks neither Streamable HTTP nor HTTP+SSE: ${messageOf(refusal)}; then ${messageOf(error)}`;
      throw new GatewayError(error.code === 'AUTH_REQUIRED' ? 'AUTH_REQUIRED' : 'HTTP_STATUS', message, {
        server,
        delivered: false,
        status: refusal.status,
        cause: error,
        auth: error.auth,
      });
    });
    return this.#fallback;
  }

  async #useLegacy(): Promise<void> {
    const wire = new LegacySseWire(this.#options);
    this.#legacy = wire;
    if (this.#protocolVersion !== undefined) wire.setProtocolVersion(this.#protocolVersion);
    try {
      await wire.connect();
    } catch (error) {
      await wire.close();
      throw error;
    }
    this.#chosen = wire;
  }
}
