import type { Writable } from 'node:stream';
import { GatewayError } from '../errors.js';
import type { JSONRPCMessage } from '../sdk.js';
import { copyError } from '../util/copy-error.js';

export interface LineWriterOptions {
  readonly server: string;
  readonly maxMessageBytes: number;
}

interface Waiter {
  resolve(): void;
  reject(error: GatewayError): void;
}

/** Lines that go out as one. */
interface Batch {
  readonly lines: string[];
  readonly waiters: Waiter[];
  length: number;
}

// Joining larger texts would cost more than the write that it saves.
const joinLimit = 32 * 1024;
// What a message that waits costs besides its text.
const overheadPerMessage = 256;

/**
 * Writes messages as lines. What is sent in one turn of the event loop goes out in one write; when the other side does not
 * read, `write` waits, and what waits is bounded. Each promise settles, also when the stream breaks: its error then says
 * whether the message had left.
 */
export class LineWriter {
  readonly #stream: Writable;
  readonly #options: LineWriterOptions;
  readonly #maxQueued: number;
  /** Still growing: sends of this turn of the event loop, or of all turns while the stream is busy. */
  #batch: Batch = emptyBatch();
  /** Full ones. The stream gets one at a time, so that it is known of the others that they have not left. */
  #waiting: Batch[] = [];
  #writing: Batch | undefined;
  /** Length of all that has not been written yet. */
  #queued = 0;
  #broken: GatewayError | undefined;

  /**
   * @param ended - asked when the stream breaks; true when the server has ended, so that the reason will come by `fail`
   */
  constructor(stream: Writable, options: LineWriterOptions, ended: () => Promise<boolean>) {
    this.#stream = stream;
    this.#options = options;
    this.#maxQueued = Math.max(4 * options.maxMessageBytes, 64 * 1024 * 1024);
    const broke = async () => {
      if (this.#broken === undefined && !(await ended())) {
        this.fail(this.#error('TRANSPORT_CLOSED', 'the server has closed its stdin'));
      }
    };
    stream.once('error', broke).once('close', broke);
  }

  /** Resolves once the operating system has taken the message. */
  write(message: JSONRPCMessage): Promise<void> {
    if (this.#broken !== undefined) {
      return Promise.reject(this.#broken);
    }
    let line: string | undefined;
    let cause: unknown;
    try {
      line = JSON.stringify(message);
    } catch (error) {
      cause = error;
    }
    if (line === undefined) {
      return Promise.reject(this.#error('MESSAGE_INVALID', 'the message cannot be written as JSON', cause));
    }
    const text = line;
    const { maxMessageBytes } = this.#options;
    if (
      line.length > maxMessageBytes ||
      (line.length * 3 > maxMessageBytes && Buffer.byteLength(line) > maxMessageBytes)
    ) {
      return Promise.reject(
        this.#error('MESSAGE_TOO_LARGE', `the message has more than ${maxMessageBytes} bytes (max_message)`),
      );
    }
    if (this.#queued > this.#maxQueued) {
      return Promise.reject(
        this.#error('LIMIT_REACHED', `the server does not read: ${this.#maxQueued} bytes wait for it`),
      );
    }
    return new Promise((resolve, reject) => this.#enqueue(text, { resolve, reject }));
  }

  /**
   * Ends everything that waits, and all later writes, with `error`. The first reason stays.
   *
   * @param owed - the server lives, and gets what was accepted before
   */
  fail(error: GatewayError, owed = false): void {
    if (this.#broken !== undefined) {
      return;
    }
    const begun = copyError(error, { delivered: 'unknown' });
    const waiting = copyError(error, { delivered: false });
    this.#broken = waiting;
    const batches = [...this.#waiting, this.#batch];
    const sent = owed && this.#stream.writable;
    const rest = batches.map(({ lines }) => lines.join('')).join('');
    if (sent && rest !== '') {
      this.#stream.write(rest);
    }
    for (const { reject } of this.#writing?.waiters ?? []) {
      reject(begun);
    }
    for (const { reject } of batches.flatMap(({ waiters }) => waiters)) {
      reject(sent ? begun : waiting);
    }
    this.#writing = undefined;
    this.#waiting = [];
    this.#batch = emptyBatch();
    this.#queued = 0;
  }

  #enqueue(line: string, waiter: Waiter): void {
    const batch = this.#batch;
    batch.lines.push(line, '\n');
    batch.waiters.push(waiter);
    batch.length += line.length + overheadPerMessage;
    this.#queued += line.length + overheadPerMessage;
    if (line.length > joinLimit || batch.length > 4 * joinLimit) {
      this.#waiting.push(batch);
      this.#batch = emptyBatch();
    }
    // The first message of a burst leaves at once, so that the server works while we do; the others leave together when
    // the stream has taken it.
    this.#flush();
  }

  #flush(): void {
    if (this.#writing !== undefined || !this.#stream.writable) {
      return;
    }
    if (this.#waiting.length === 0 && this.#batch.lines.length > 0) {
      this.#waiting.push(this.#batch);
      this.#batch = emptyBatch();
    }
    const batch = this.#waiting.shift();
    if (batch === undefined) {
      return;
    }
    const { lines, waiters, length } = batch;
    this.#writing = batch;
    const text = lines.length === 2 ? `${lines[0]}\n` : lines.join('');
    this.#stream.write(text, (error) => {
      // What a broken stream gives back is settled by `fail`, which knows why.
      if (error || this.#writing !== batch) {
        return;
      }
      this.#writing = undefined;
      this.#queued -= length;
      for (const { resolve } of waiters) {
        resolve();
      }
      this.#flush();
    });
  }

  #error(
    code: 'MESSAGE_INVALID' | 'MESSAGE_TOO_LARGE' | 'LIMIT_REACHED' | 'TRANSPORT_CLOSED',
    message: string,
    cause?: unknown,
  ): GatewayError {
    return new GatewayError(code, message, { server: this.#options.server, delivered: false, cause });
  }
}

function emptyBatch(): Batch {
  return { lines: [], waiters: [], length: 0 };
}
