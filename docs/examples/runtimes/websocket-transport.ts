import type { JSONRPCMessage, MessageExtraInfo } from '@modelcontextprotocol/sdk/types.js';
import { GatewayError, type RuntimeContext, type RuntimeTransport } from 'open-mcp-gateway';
import type WebSocket from 'ws';

/** How long the other side may take to close. */
const closeLimitMs = 2_000;

/** One session over one WebSocket. */
export class WebSocketTransport implements RuntimeTransport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: <T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void;
  readonly #socket: WebSocket;
  readonly #context: RuntimeContext;
  /** What came before `start()`, the end too. Undefined once delivery has begun. */
  #waiting: (() => void)[] | undefined = [];
  #closing: Promise<void> | undefined;
  #closed = Promise.withResolvers<void>();
  #isClosed = false;

  constructor(socket: WebSocket, context: RuntimeContext) {
    this.#socket = socket;
    this.#context = context;
    socket.on('message', (data) => this.#deliver(() => this.#receive(String(data))));
    socket.on('error', () => {}); // 'close' follows, and tells the reason
    socket.on('close', (code, reason) => this.#end(code, String(reason)));
  }

  async start() {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const run of waiting) run();
  }

  async send(message: JSONRPCMessage) {
    if (this.#isClosed || this.#closing !== undefined)
      throw this.#error('TRANSPORT_CLOSED', 'the connection is closed');
    if (this.#waiting !== undefined) throw this.#error('TRANSPORT_NOT_STARTED', 'send() came before start()');
    let text: string;
    try {
      text = JSON.stringify(message);
    } catch (cause) {
      throw this.#error('MESSAGE_INVALID', `the message cannot be written as JSON: ${cause}`);
    }
    await new Promise<void>((resolve, reject) => {
      this.#socket.send(text, (failure) =>
        failure ? reject(this.#error('TRANSPORT_CLOSED', failure.message)) : resolve(),
      );
    });
  }

  async health() {
    if (this.#isClosed) throw this.#error('TRANSPORT_CLOSED', 'the connection is closed');
  }

  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close() {
    const { clock } = this.#context;
    this.#socket.close();
    const timer = clock.setTimeout(() => this.#socket.terminate(), closeLimitMs);
    await this.#closed.promise;
    clock.clearTimeout(timer);
    // Whoever closes does not wait for `start()` to hear of it.
    await this.start();
  }

  #receive(text: string) {
    if (this.#closing !== undefined) return;
    let message: JSONRPCMessage;
    try {
      message = JSON.parse(text);
      if (message?.jsonrpc !== '2.0') throw new TypeError('it is not JSON-RPC 2.0');
    } catch (error) {
      this.#call(() =>
        this.onerror?.(this.#error('MESSAGE_INVALID', `a frame was skipped: ${(error as Error).message}`)),
      );
      return;
    }
    this.#call(() => this.onmessage?.(message));
  }

  #end(code: number, reason: string) {
    this.#isClosed = true;
    const wasAsked = this.#closing !== undefined;
    this.#deliver(() => {
      if (!wasAsked && this.#closing === undefined) {
        const text = `the server closed the connection with code ${code}${reason && `: ${reason}`}`;
        const { server } = this.#context;
        const ended = new GatewayError('SERVER_EXITED', text, { server, exit: { stderrTail: '' } });
        this.#call(() => this.onerror?.(ended));
      }
      this.#call(() => this.onclose?.());
    });
    this.#closed.resolve();
  }

  #deliver(run: () => void) {
    if (this.#waiting === undefined) run();
    else this.#waiting.push(run);
  }

  /** What a callback throws harms neither the connection nor the process. */
  #call(run: () => void) {
    try {
      run();
    } catch {}
  }

  #error(code: 'TRANSPORT_CLOSED' | 'TRANSPORT_NOT_STARTED' | 'MESSAGE_INVALID', message: string) {
    return new GatewayError(code, message, { server: this.#context.server });
  }
}
