import type { Writable } from 'node:stream';
import { GatewayError } from '../errors.js';
import type { JSONRPCMessage } from '../sdk.js';

export interface LineWriterOptions {
  readonly server: string;
  readonly maxMessageBytes: number;
}

interface Waiter {
  resolve(): void;
  reject(error: GatewayError): void;
}

const settled = Promise.resolve();
// Joining larger texts would cost more than the write that it saves.
const joinLimit = 32 * 1024;

/**
 * Writes messages as lines. What is sent in one turn of the event loop goes out in one write; when the other side does not
 * read, `write` waits, and what waits is bounded. Each promise settles, also when the stream breaks.
 */
export class LineWriter {
  readonly #stream: Writable;
  readonly #options: LineWriterOptions;
  readonly #maxQueuedBytes: number;
  #batch: string[] = [];
  #batchLength = 0;
  #blocked = false;
  #waiting: Waiter[] = [];
  #broken: GatewayError | undefined;

  /** @param ended - asked when the stream breaks; while it is pending, the reason for the break may still come by `fail` */
  constructor(stream: Writable, options: LineWriterOptions, ended: () => Promise<unknown>) {
    this.#stream = stream;
    this.#options = options;
    this.#maxQueuedBytes = Math.max(4 * options.maxMessageBytes, 64 * 1024 * 1024);
    const broke = () => {
      this.#blocked = true;
      void ended().then(() => this.fail(this.#error('TRANSPORT_CLOSED', 'the server has closed its stdin')));
    };
    stream.on('error', broke);
    stream.on('close', broke);
    stream.on('drain', () => {
      if (this.#broken === undefined && stream.writable) {
        this.#release();
      }
    });
  }

  /** Resolves once the stream has taken the message. */
  write(message: JSONRPCMessage): Promise<void> {
    if (this.#broken !== undefined) {
      return Promise.reject(this.#broken);
    }
    let line: string;
    try {
      line = JSON.stringify(message);
    } catch (error) {
      return Promise.reject(this.#error('MESSAGE_INVALID', 'the message cannot be written as JSON', error));
    }
    const { maxMessageBytes } = this.#options;
    if (
      line.length > maxMessageBytes ||
      (line.length * 3 > maxMessageBytes && Buffer.byteLength(line) > maxMessageBytes)
    ) {
      return Promise.reject(
        this.#error('MESSAGE_TOO_LARGE', `the message has more than ${maxMessageBytes} bytes (max_message)`),
      );
    }
    if (this.#blocked && this.#stream.writableLength + this.#batchLength > this.#maxQueuedBytes) {
      return Promise.reject(
        this.#error('LIMIT_REACHED', `the server does not read: ${this.#maxQueuedBytes} bytes wait for it`),
      );
    }
    this.#enqueue(line);
    return this.#blocked
      ? new Promise((resolve, reject) => {
          this.#waiting.push({ resolve, reject });
        })
      : settled;
  }

  /** Ends everything that waits, and all later writes, with `error`. The first reason stays. */
  fail(error: GatewayError): void {
    // What was accepted before is still owed to a server that lives.
    this.#flush();
    this.#broken ??= error;
    this.#batch = [];
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) {
      reject(this.#broken);
    }
  }

  #enqueue(line: string): void {
    if (this.#batch.length === 0) {
      // Runs when this turn's promise jobs are done, so that a burst of sends leaves in one system call.
      process.nextTick(() => this.#flush());
    }
    this.#batch.push(line, '\n');
    this.#batchLength += line.length;
    if (line.length > joinLimit || this.#batchLength > 4 * joinLimit) {
      this.#flush();
    }
  }

  #flush(): void {
    const batch = this.#batch;
    if (batch.length === 0 || !this.#stream.writable) {
      return;
    }
    this.#batch = [];
    this.#batchLength = 0;
    if (!this.#stream.write(batch.length === 2 ? `${batch[0]}\n` : batch.join(''))) {
      this.#blocked = true;
    }
  }

  #release(): void {
    this.#blocked = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { resolve } of waiting) {
      resolve();
    }
  }

  #error(
    code: 'MESSAGE_INVALID' | 'MESSAGE_TOO_LARGE' | 'LIMIT_REACHED' | 'TRANSPORT_CLOSED',
    message: string,
    cause?: unknown,
  ): GatewayError {
    return new GatewayError(code, message, { server: this.#options.server, delivered: false, cause });
  }
}
