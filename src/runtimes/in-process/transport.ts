import { GatewayError, type GatewayErrorCode } from '../../errors.js';
import type { Clock } from '../../options.js';
import type { RuntimeTransport } from '../../runtime.js';
import type { JSONRPCMessage, Transport, TransportSendOptions } from '../../sdk.js';
import { runCallback } from '../../transport/callback.js';
import { Inbox } from '../../transport/inbox.js';
import { isJsonRpcMessage, isProgress } from '../../transport/json-rpc.js';
import { settledWithin } from '../../util/abort.js';
import { copyError } from '../../util/copy-error.js';
import { setImmediate } from '../../util/immediate.js';
import { once } from '../../util/once.js';

/** How long a server may take to close. It cannot be killed, so after that it is given up. */
const closeLimitMs = 5000;

export interface InProcessConnection {
  /** Id of the catalog entry. */
  readonly server: string;
  readonly clock: Clock;
  /** Our end of the connection. */
  readonly inner: Transport;
  /** Connects the server to its end. */
  connect?(): Promise<void>;
  /** Closes the server. */
  close?(): Promise<void>;
}

/** Makes what an in-process server is connected through keep the contract of a runtime's transport. */
export class InProcessTransport implements RuntimeTransport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<Transport['onmessage']>;

  /** Settles when the server is connected. */
  readonly ready: Promise<void>;

  readonly #connection: InProcessConnection;
  readonly #inbox = new Inbox();
  readonly #sending = new Set<(reason: Error) => void>();
  #started = false;
  /** Why nothing can be sent any more. */
  #ended: GatewayError | undefined;
  /** The same, when it was the server that ended, until somebody was told. */
  #untold: GatewayError | undefined;
  #closed = false;

  constructor(connection: InProcessConnection) {
    this.#connection = connection;
    const { inner } = connection;
    inner.onmessage = (message, extra) => {
      if (this.#ended !== undefined) return;
      this.#inbox.put(() => {
        if (isJsonRpcMessage(message)) {
          runCallback(this, () => this.onmessage?.(message, extra));
          return isProgress(message);
        }
        const error = this.#error('MESSAGE_INVALID', 'the server sent what is no JSON-RPC message; it was skipped');
        runCallback(this, () => this.onerror?.(error));
      });
    };
    inner.onerror = (error) => this.#inbox.put(() => runCallback(this, () => this.onerror?.(error)));
    inner.onclose = () => this.#serverEnded();
    this.ready = this.#connect();
  }

  get sessionId(): string | undefined {
    return this.#connection.inner.sessionId;
  }

  readonly setProtocolVersion = (version: string): void => this.#connection.inner.setProtocolVersion?.(version);

  async start(): Promise<void> {
    if (this.#closed) throw this.#error('TRANSPORT_CLOSED', 'the transport is closed');
    this.#started = true;
    this.#inbox.open();
  }

  async send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if (this.#ended !== undefined) {
      const { exit } = this.#ended;
      throw this.#error('TRANSPORT_CLOSED', 'the connection is closed', { exit, cause: this.#ended });
    }
    if (!this.#started) throw this.#error('TRANSPORT_NOT_STARTED', 'send() came before start()');
    const sent = (async () => this.#connection.inner.send(message, options))();
    try {
      await new Promise<void>((resolve, reject) => {
        this.#sending.add(reject);
        sent.then(resolve, reject).finally(() => this.#sending.delete(reject));
      });
    } catch (error) {
      // What joins the two ends does not know whose they are.
      throw GatewayError.is(error) && error.server === undefined
        ? copyError(error, { server: this.#connection.server })
        : error;
    }
  }

  async health(): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended;
  }

  readonly close = once(async () => {
    this.#endWith(this.#error('TRANSPORT_CLOSED', 'the transport was closed'));
    this.#inbox.clear();
    try {
      await this.#release();
    } finally {
      this.#tellEnd();
    }
  });

  async #connect(): Promise<void> {
    // Our end first: a server may speak as soon as it is connected.
    await this.#connection.inner.start();
    await this.#connection.connect?.();
  }

  #serverEnded(): void {
    if (this.#ended !== undefined) return;
    const reason = this.#error('SERVER_EXITED', 'the server closed its connection', { exit: { stderrTail: '' } });
    this.#untold = reason;
    this.#endWith(reason);
    const tell = () => this.#inbox.put(() => this.#tellEnd());
    this.#release().then(tell, (error: Error) => {
      this.#inbox.put(() => runCallback(this, () => this.onerror?.(error)));
      tell();
    });
  }

  #endWith(reason: GatewayError): void {
    this.#ended ??= reason;
    const ended = this.#ended;
    // Not at once: a message that was taken has a promise that is on its way to say so.
    setImmediate(() => {
      for (const reject of this.#sending) reject(ended);
    });
  }

  #tellEnd(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#inbox.clear();
    const reason = this.#untold;
    this.#untold = undefined;
    if (reason !== undefined) runCallback(this, () => this.onerror?.(reason));
    runCallback(this, () => this.onclose?.());
  }

  readonly #release = once(async () => {
    const { inner, clock, close } = this.#connection;
    const failures: unknown[] = [];
    const closing = (async () => {
      await close?.().catch((error: unknown) => failures.push(error));
      // A transport of the host may throw before it returns a promise.
      await (async () => inner.close())().catch((error: unknown) => failures.push(error));
    })();
    if (!(await settledWithin(closing, closeLimitMs, clock))) {
      throw this.#error('STOP_FAILED', `the server did not close within ${closeLimitMs} ms`);
    }
    if (failures.length > 0) {
      const cause = failures.length === 1 ? failures[0] : new AggregateError(failures);
      throw this.#error('STOP_FAILED', 'the server could not be closed', { cause });
    }
  });

  #error(
    code: GatewayErrorCode,
    message: string,
    options: ConstructorParameters<typeof GatewayError>[2] = {},
  ): GatewayError {
    return new GatewayError(code, message, { server: this.#connection.server, ...options });
  }
}
