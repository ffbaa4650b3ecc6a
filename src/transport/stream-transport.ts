import type { Readable } from 'node:stream';
import { type ExitInfo, GatewayError, stderrSuffix } from '../errors.js';
import type { Clock } from '../options.js';
import type { RuntimeTransport } from '../runtime.js';
import type { JSONRPCMessage, MessageExtraInfo, TransportSendOptions } from '../sdk.js';
import { settledWithin } from '../util/abort.js';
import { copyError } from '../util/copy-error.js';
import { deliver, runCallback } from './callback.js';
import { partOf, takesPart, withPart } from './json-part.js';
import { isJsonRpcMessage, isProgress } from './json-rpc.js';
import { LineBuffer } from './line-buffer.js';
import { LineWriter } from './line-writer.js';
import { parseLine, smallestPart } from './message-json.js';
import { PiecedBytes } from './pieced-bytes.js';
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
// How long lines may be delivered in one go before everybody else in the process gets a turn.
const sliceMs = 8;
// Smaller chunks hold too few lines to be worth a look at the time.
const longChunkBytes = 16 * 1024;
const newline = 0x0a;

const holdOutput = () => {};
const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

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
  readonly #lines: LineBuffer;
  readonly #writer: LineWriter;
  readonly #outputEnded: Promise<void>;
  #noise = { lines: 0, characters: 0 };
  #started = false;
  #ending: Promise<void> | undefined;
  #endReason: GatewayError | undefined;
  /** Counts what is done with output, to tell silence from work. */
  #activity = 0;
  #exited = false;
  #isJudging = false;
  #paused = false;
  #yielding = false;
  #sliceEnd: number | undefined;

  constructor(peer: StreamPeer, options: StreamTransportOptions) {
    this.#peer = peer;
    this.#options = options;
    this.#lines = new LineBuffer(options.maxMessageBytes);
    this.#writer = new LineWriter(peer.stdin, options, () => settledWithin(peer.exited, exitGraceMs, options.clock));
    this.#outputEnded = new Promise((resolve) => {
      peer.stdout.on('end', resolve).on('close', resolve).on('error', resolve);
    });
    if (peer.onOutput === undefined) {
      // Node reads on when a child has ended, and drops what nobody takes; not while somebody listens for 'readable'.
      peer.stdout.on('readable', holdOutput);
    }
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

  stderrTail(): string {
    return this.#peer.stderrTail();
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
    const { stdout, onOutput } = this.#peer;
    if (onOutput === undefined) {
      stdout.off('readable', holdOutput).on('data', (chunk: Buffer) => this.#read(chunk, chunk.length, false));
    } else {
      onOutput((bytes, length, isBorrowed) => this.#read(bytes, length, isBorrowed));
    }
    if (!this.#paused) {
      stdout.resume();
    }
    if (this.#exited) {
      void this.#judgeEnd();
    }
    void this.#outputEnded.then(() => this.#judgeEnd());
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
    this.#paused = true;
    this.#peer.stdout.pause();
  }

  /** Goes on after {@link pause}. */
  resume(): void {
    this.#paused = false;
    if (this.#started) {
      this.#yield();
    }
  }

  #read(bytes: Buffer, length: number, isBorrowed: boolean): void {
    this.#activity += 1;
    if (this.#ending !== undefined) {
      return;
    }
    this.#writer.newTurn();
    const isHeld = this.#yielding || this.#paused;
    const isShort = length < longChunkBytes && length <= this.#options.maxMessageBytes;
    if (isShort && !isHeld && this.#lines.isEmpty && bytes.indexOf(newline) === length - 1) {
      // One whole line, as most are.
      const line = bytes.toString('utf8', 0, length - 1);
      const part = length > smallestPart ? new PiecedBytes([bytes.subarray(0, length - 1)], true) : undefined;
      if (this.#receive(line, part)) {
        // Another chunk may follow within this turn.
        this.#yield(true);
      }
      this.#reportNoise();
      return;
    }
    this.#lines.feed(length === bytes.length ? bytes : bytes.subarray(0, length), isBorrowed);
    if (!isHeld) {
      this.#deliverLines(length >= longChunkBytes);
    } else if (this.#paused) {
      // Node resumes by itself a turn after the listener for 'readable' was taken off.
      this.#peer.stdout.pause();
    }
    if (isBorrowed) {
      this.#lines.keep();
    }
  }

  /** Delivers what has come, and lets others run when that takes long: a flood of tiny lines must not hold up the host. */
  #deliverLines(long: boolean): void {
    if (long && this.#sliceEnd === undefined) {
      this.#sliceEnd = performance.now() + sliceMs;
      // One slice for all chunks of this turn of the event loop.
      setImmediate(() => {
        this.#sliceEnd = undefined;
      });
    }
    let count = 0;
    let late = false;
    let told = false;
    for (let line = this.#lines.next(); line !== undefined; line = this.#lines.next()) {
      told = this.#receive(line, line.length >= smallestPart ? this.#lines.lastBytes() : undefined);
      count += 1;
      late = (told || count % 16 === 0) && this.#sliceEnd !== undefined && performance.now() > this.#sliceEnd;
      if (late || told || this.#paused || this.#ending !== undefined) {
        break;
      }
    }
    this.#reportNoise();
    if (this.#lines.overflow) {
      void this.#end(
        this.#error('MESSAGE_TOO_LARGE', `the server wrote a line of more than ${this.#options.maxMessageBytes} bytes`),
      );
    } else if (this.#lines.hasInput && !this.#paused) {
      this.#yield(told && !late);
    }
  }

  /** Goes on with the next turn of the event loop, or soon: with the next of microtasks. */
  #yield(soon = false): void {
    if (this.#yielding || this.#ending !== undefined) {
      return;
    }
    this.#yielding = true;
    if (soon) {
      queueMicrotask(() => this.#goOn());
      return;
    }
    this.#peer.stdout.pause();
    setImmediate(() => this.#goOn());
  }

  #goOn(): void {
    this.#yielding = false;
    this.#activity += 1;
    if (this.#ending !== undefined || this.#paused) {
      return;
    }
    if (this.#lines.hasInput) {
      this.#deliverLines(true);
    }
    if (!this.#yielding && !this.#paused) {
      this.#peer.stdout.resume();
    }
  }

  /** @returns whether others have to run before what follows */
  #receive(line: string, bytes: PiecedBytes | undefined): boolean {
    const text = line.trim();
    if (text === '') {
      return false;
    }
    const { value, part } = parseLine(text, text.length === line.length ? bytes : undefined);
    if (isJsonRpcMessage(value)) {
      deliver(this, value, part && withPart(undefined, part));
      return isProgress(value);
    }
    // Revision 2025-03-26 lets a server answer in batches.
    let clean = Array.isArray(value);
    let told = false;
    for (const message of Array.isArray(value) ? value : []) {
      if (!isJsonRpcMessage(message)) {
        clean = false;
      } else if (this.#ending === undefined) {
        deliver(this, message);
        told ||= isProgress(message);
      }
    }
    if (!clean) {
      this.#noise.lines += 1;
      this.#noise.characters += text.length;
    }
    return told;
  }

  #report(error: Error): void {
    runCallback({}, () => this.onerror?.(error));
  }

  /** One report a chunk: a server that floods stdout must not cost an error object a line. */
  #reportNoise(): void {
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
    await Promise.all([this.#drainOutput(), this.#peer.stderrEnded]);
    const { message = describeExit(await this.#peer.exited), ...exit } = await this.#peer.exited;
    void this.#end(this.#error('SERVER_EXITED', message, exit.reason, exit));
  }

  /** What the server wrote before its end is still in the pipe: reads it, but does not wait for those who hold the pipe open. */
  async #drainOutput(): Promise<void> {
    const { clock } = this.#options;
    const { silenceMs, totalMs } = this.#peer.patience ?? pipePatience;
    const end = clock.now() + totalMs;
    // Nothing is left to hold back: what comes now is bounded by what was on its way.
    this.resume();
    let seen: number;
    do {
      seen = this.#activity;
      if (await settledWithin(this.#outputEnded, silenceMs, clock)) {
        break;
      }
      // Timers run before input after the event loop was blocked: let it read once more before we judge.
      await nextTurn();
      await nextTurn();
    } while (this.#activity !== seen && clock.now() < end);
    while (this.#lines.hasInput && !this.#paused && this.#ending === undefined) {
      await nextTurn();
    }
  }

  #end(reason: GatewayError | undefined): Promise<void> {
    if (this.#ending === undefined) {
      this.#endReason = reason;
      this.#ending = this.#shutDown(reason);
    }
    return this.#ending;
  }

  async #shutDown(reason: GatewayError | undefined): Promise<void> {
    // Callbacks run after the caller of close() or send() has its promise.
    await Promise.resolve();
    this.#lines.clear();
    this.#writer.fail(reason ?? this.#closedError(), !this.#exited);
    if (reason !== undefined) {
      // Whoever waits in send() learns first what became of that message.
      await nextTurn();
      this.#report(reason);
    }
    // Nobody reads on: without this a server that writes could not come to its end.
    this.#peer.stdout.off('readable', holdOutput).resume();
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
    const stderrTail = this.#peer.stderrTail();
    return new GatewayError(code, `${message}${stderrSuffix(stderrTail)}`, {
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
