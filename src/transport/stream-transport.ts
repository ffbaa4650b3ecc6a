import type { Readable } from 'node:stream';
import { type ExitInfo, GatewayError, tailSuffix } from '../errors.js';
import type { Clock } from '../options.js';
import type { RuntimeTransport } from '../runtime.js';
import type { JSONRPCMessage, MessageExtraInfo, TransportSendOptions } from '../sdk.js';
import { settledWithin } from '../util/abort.js';
import { copyError } from '../util/copy-error.js';
import { nextTurn } from '../util/immediate.js';
import { deliver, runCallback } from './callback.js';
import { partOf, takesPart, withPart } from './json-part.js';
import { isJsonRpcMessage, isProgress } from './json-rpc.js';
import { LineReader } from './line-reader.js';
import { LineWriter } from './line-writer.js';
import { parseLine } from './message-json.js';
import { OutputTail } from './output-tail.js';
import type { PiecedBytes } from './pieced-bytes.js';
import { describeExit, type StreamPeer } from './stream-peer.js';

export interface StreamTransportOptions {
  readonly server: string;
  readonly maxMessageBytes: number;
  readonly clock: Clock;
}

// How long output may stay silent after the server's end before we stop waiting for more: a grandchild may hold the pipe.
const pipePatience = { silenceMs: 250, totalMs: 2_000 };
// How long the end of stdout may precede the end of the server before it counts as an end of its own.
const exitGraceMs = 250;
// How much is kept of what a server writes to stdout in place of its first message: what an error shows.
const firstWordsBytes = 2_000;

/**
 * JSON-RPC over byte streams: one message a line, as the stdio transport of the MCP specification frames it
 * (2025-11-25 and 2026-07-28, "Transports", "stdio").
 *
 * Keeps the promises of {@link RuntimeTransport}. A line that is not JSON-RPC is reported to `onerror` and skipped; a line
 * over the limit ends the transport with `MESSAGE_TOO_LARGE`.
 */
export class StreamTransport implements RuntimeTransport {
  static {
    takesPart(StreamTransport.prototype.send);
  }

  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #peer: StreamPeer;
  readonly #options: StreamTransportOptions;
  readonly #reader: LineReader;
  readonly #writer: LineWriter;
  #noise = { lines: 0, characters: 0 };
  /** Until the first message. */
  #firstWords: OutputTail | undefined = new OutputTail(firstWordsBytes);
  #started = false;
  #ending: Promise<void> | undefined;
  #endReason: GatewayError | undefined;
  #exited = false;
  #isJudging = false;

  constructor(peer: StreamPeer, options: StreamTransportOptions) {
    this.#peer = peer;
    this.#options = options;
    this.#writer = new LineWriter(peer.stdin, options, () => settledWithin(peer.exited, exitGraceMs, options.clock));
    const taker = { take: this.#receive, pausing: this.#reportNoise, tooLong: () => this.#lineTooLong() };
    this.#reader = new LineReader(peer, options.maxMessageBytes, taker, this.#writer);
    void peer.exited.then(() => {
      this.#exited = true;
      void this.#judgeEnd();
    });
  }

  get pid(): number | null {
    return this.#peer.pid;
  }

  get stderr(): Readable | null {
    return this.#peer.stderr;
  }

  /** Where stderr is silent, what was written to stdout in place of a first message: some say there what they miss. */
  stderrTail(): string {
    const tail = this.#peer.stderrTail();
    return tail.trim() === '' ? (this.#firstWords?.toString(this.#reader.unfinished(firstWordsBytes)) ?? tail) : tail;
  }

  async start(): Promise<void> {
    if (this.#ending !== undefined) {
      throw this.#endReason ?? this.#closedError();
    }
    if (this.#started) {
      throw new GatewayError('TRANSPORT_CLOSED', 'the transport was started before; open a new one', {
        server: this.#options.server,
      });
    }
    this.#started = true;
    this.#reader.start();
    if (this.#exited) {
      void this.#judgeEnd();
    }
    void this.#reader.ended.then(() => this.#judgeEnd());
  }

  send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if (this.#ending !== undefined) {
      return Promise.reject(copyError(this.#endReason ?? this.#closedError(), { delivered: false }));
    }
    if (!this.#started) {
      return Promise.reject(
        new GatewayError('TRANSPORT_NOT_STARTED', 'call start() before send()', {
          server: this.#options.server,
          delivered: false,
        }),
      );
    }
    return this.#writer.write(message, partOf(options));
  }

  /** Stops the server and all it started. */
  close(): Promise<void> {
    return this.#end(undefined);
  }

  /** Rejects unless the server runs and still reads its input. */
  async health(): Promise<void> {
    if (this.#ending !== undefined || this.#exited || !this.#peer.stdin.writable) {
      throw this.#endReason ?? this.#closedError();
    }
  }

  /** Stops delivery and reading: the server waits once the pipe is full. */
  pause(): void {
    this.#reader.pause();
  }

  /** Goes on after {@link pause}. */
  resume(): void {
    this.#reader.resume();
  }

  /** @returns whether others have to run before what follows */
  readonly #receive = (line: string, bytes: PiecedBytes | undefined): boolean => {
    const text = line.trim();
    if (text === '') {
      this.#keepWords(line);
      return false;
    }
    const { value, part } = parseLine(text, text.length === line.length ? bytes : undefined);
    if (isJsonRpcMessage(value)) {
      this.#firstWords = undefined;
      deliver(this, value, part && withPart(undefined, part));
      return isProgress(value);
    }
    // Revision 2025-03-26 lets a server answer in batches, in any order.
    const batch: readonly unknown[] = Array.isArray(value) ? value : [];
    const messages = batch.filter(isJsonRpcMessage);
    const told = messages.filter(isProgress);
    if (messages.length > 0) {
      this.#firstWords = undefined;
    }
    if (told.length === 0) {
      this.#deliverAll(messages);
    } else {
      this.#deliverAll(told);
      queueMicrotask(() => this.#deliverAll(messages.filter((message) => !isProgress(message))));
    }
    if (!Array.isArray(value) || messages.length < batch.length) {
      this.#noise.lines += 1;
      this.#noise.characters += text.length;
      this.#keepWords(line);
    }
    return told.length > 0;
  };

  #deliverAll(messages: readonly JSONRPCMessage[]): void {
    for (const message of messages) {
      if (this.#ending === undefined) {
        deliver(this, message);
      }
    }
  }

  /** As it came: a secret of several lines is found by them all. */
  #keepWords(line: string): void {
    this.#firstWords?.push(Buffer.from(`${line.slice(-firstWordsBytes)}\n`));
  }

  #report(error: Error): void {
    runCallback({}, () => this.onerror?.(error));
  }

  /** One report a chunk: a server that floods stdout must not cost an error object a line. */
  readonly #reportNoise = (): void => {
    const { lines, characters } = this.#noise;
    if (lines === 0 || this.#ending !== undefined) {
      return;
    }
    this.#noise = { lines: 0, characters: 0 };
    this.#report(
      new GatewayError(
        'MESSAGE_INVALID',
        `skipped ${lines} ${lines === 1 ? 'line' : 'lines'} (${characters} characters) on stdout that are not JSON-RPC`,
        { server: this.#options.server },
      ),
    );
  };

  #lineTooLong(): void {
    const message = `the server wrote a line of more than ${this.#options.maxMessageBytes} bytes`;
    void this.#end(this.#error('MESSAGE_TOO_LARGE', message));
  }

  /** After the first of: the end of the server, the end of its output. */
  async #judgeEnd(): Promise<void> {
    if (!this.#started || this.#ending !== undefined || this.#isJudging) {
      return;
    }
    this.#isJudging = true;
    if (!(await settledWithin(this.#peer.exited, exitGraceMs, this.#options.clock))) {
      // Not awaited: a close() that is under way by now may fail, which is told to its caller.
      void this.#end(
        this.#error('SERVER_EXITED', 'the server closed its stdout while it was running', 'stdout-closed'),
      );
      return;
    }
    const { patience = pipePatience, stderrEnded } = this.#peer;
    await Promise.all([this.#reader.drain(patience, this.#options.clock), stderrEnded]);
    const { message = describeExit(await this.#peer.exited), ...exit } = await this.#peer.exited;
    void this.#end(this.#error('SERVER_EXITED', message, exit.reason, exit));
  }

  #end(reason: GatewayError | undefined): Promise<void> {
    if (this.#ending === undefined) {
      this.#endReason = reason;
      this.#reader.stop();
      this.#ending = this.#shutDown(reason);
    }
    return this.#ending;
  }

  async #shutDown(reason: GatewayError | undefined): Promise<void> {
    // Callbacks run after the caller of close() or send() has its promise.
    await Promise.resolve();
    this.#writer.fail(reason ?? this.#closedError(), !this.#exited);
    if (reason !== undefined) {
      // Whoever waits in send() learns first what became of that message.
      await nextTurn();
      this.#report(reason);
    }
    this.#reader.discard();
    let failure: unknown;
    await this.#peer.stop().catch((error) => {
      failure = error;
      this.#report(error);
    });
    this.#peer.stdout.destroy();
    this.#peer.stdin.destroy();
    runCallback(this, () => this.onclose?.());
    if (failure !== undefined && reason === undefined) {
      throw failure;
    }
  }

  #error(
    code: 'SERVER_EXITED' | 'MESSAGE_TOO_LARGE',
    message: string,
    reason?: string,
    exit?: Omit<ExitInfo, 'stderrTail'>,
  ): GatewayError {
    const stderrTail = this.stderrTail();
    return new GatewayError(code, `${message}${tailSuffix(stderrTail)}`, {
      server: this.#options.server,
      exit: { ...exit, reason, stderrTail },
    });
  }

  #closedError(): GatewayError {
    return new GatewayError('TRANSPORT_CLOSED', 'the transport is closed', {
      server: this.#options.server,
      delivered: false,
    });
  }
}
