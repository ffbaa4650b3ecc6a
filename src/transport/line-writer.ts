import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { GatewayError } from '../errors.js';
import type { JSONRPCMessage } from '../sdk.js';
import { copyError } from '../util/copy-error.js';
import { handedOver } from './handed-over.js';
import { bytesOf, type JsonPart, lengthOf, type PartJson, writePart } from './json-part.js';
import { stringifyMessage } from './message-json.js';

export interface LineWriterOptions {
  readonly server: string;
  readonly maxMessageBytes: number;
}

/** The end of a line whose large part is written as it came. */
type LargeEnd = readonly [part: PartJson, behind: string];

/** Lines that go out as one. */
interface Batch {
  readonly lines: string[];
  /** Follows the lines, the last of which it ends. */
  large: LargeEnd | undefined;
  length: number;
  taken: boolean;
  /** For those who wait; made when there are any. */
  outcome: PromiseWithResolvers<void> | undefined;
}

// Joining larger texts would cost more than the write that it saves.
const joinLimit = 32 * 1024;
// A burst goes out in pieces of so many messages, so that the server works while we do.
const burstMessages = 8;
// Whoever runs a server knows by this that it will not hear anything any more.
const deaf = { reason: 'stdin-closed', stderrTail: '' };
// What a message that waits costs besides its text.
const overheadPerMessage = 256;

/**
 * Writes messages as lines. What is sent in one turn of the event loop goes out in few writes; when the other side does not
 * read, `write` waits, and what waits is bounded. Each promise settles, also when the stream breaks: its error then says
 * whether the message had left.
 */
export class LineWriter {
  readonly #stream: Writable;
  readonly #options: LineWriterOptions;
  readonly #maxQueued: number;
  /** Still growing: sends of this turn of the event loop after the first, or of all turns while the stream is busy. */
  #batch: Batch | undefined;
  /** Full ones. The stream gets one at a time, so that it is known of the others that they have not left. */
  #waiting: Batch[] = [];
  #writing: Batch | undefined;
  /** How many of the writes that we are called back for are still under way. */
  #unanswered = 0;
  /** Takes most messages at once, and nothing, written behind one that it did not, without a trace. */
  readonly #isSocket: boolean;
  /** Something was written in this turn, or since the last one that we know of: what follows is gathered. */
  #gathering = false;
  #tickComes = false;
  /** Length of all that has not been written yet. */
  #queued = 0;
  #broken: GatewayError | undefined;

  /**
   * @param ended - asked when the stream breaks; true when the server has ended, so that the reason will come by `fail`
   */
  constructor(stream: Writable, options: LineWriterOptions, ended: () => Promise<boolean>) {
    this.#stream = stream;
    this.#isSocket = stream instanceof Socket && process.platform !== 'win32';
    this.#options = options;
    this.#maxQueued = Math.max(4 * options.maxMessageBytes, 64 * 1024 * 1024);
    const broke = async () => {
      if (this.#broken === undefined && !(await ended())) {
        this.fail(copyError(this.#error('TRANSPORT_CLOSED', 'the server has closed its stdin'), { exit: deaf }));
      }
    };
    stream.on('error', broke).on('close', broke);
  }

  /** Resolves once the operating system has taken the message; {@link handedOver} when it has already. */
  write(message: JSONRPCMessage, part?: JsonPart): Promise<void> {
    if (this.#broken !== undefined) {
      return Promise.reject(this.#broken);
    }
    let line: string | undefined;
    let large: LargeEnd | undefined;
    let cause: unknown;
    try {
      const json = stringifyMessage(message, part);
      if (typeof json === 'string') {
        line = json;
      } else if (lengthOf(json[1]) <= joinLimit) {
        line = `${json[0]}${typeof json[1] === 'string' ? json[1] : Buffer.concat(json[1])}${json[2]}`;
      } else {
        line = json[0];
        large = [json[1], `${json[2]}\n`];
      }
    } catch (error) {
      cause = error;
    }
    if (line === undefined) {
      return Promise.reject(this.#error('MESSAGE_INVALID', 'the message cannot be written as JSON', cause));
    }
    const { maxMessageBytes } = this.#options;
    const largeBytes = large === undefined ? 0 : lengthOf(large[0]) + large[1].length - 1;
    const length = line.length + largeBytes;
    if (
      length > maxMessageBytes ||
      (length * 3 > maxMessageBytes && largeBytes + Buffer.byteLength(line) > maxMessageBytes)
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
    return this.#enqueue(line, large, length);
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
    const batches = this.#batch === undefined ? this.#waiting : [...this.#waiting, this.#batch];
    const sent = owed && this.#stream.writable;
    for (const { lines, large } of sent ? batches : []) {
      this.#writeAll(lines.join(''), large);
    }
    this.#writing?.outcome?.reject(begun);
    for (const { outcome } of batches) {
      outcome?.reject(sent ? begun : waiting);
    }
    this.#writing = undefined;
    this.#waiting = [];
    this.#batch = undefined;
    this.#queued = 0;
  }

  /** Another turn of the event loop has begun: its first message goes out at once. */
  newTurn(): void {
    this.#gathering = false;
  }

  #enqueue(line: string, large: LargeEnd | undefined, length: number): Promise<void> {
    if (this.#queued === 0 && !this.#gathering && this.#stream.writable) {
      return this.#writeAlone(line, large, length);
    }
    this.#batch ??= emptyBatch();
    const batch = this.#batch;
    batch.lines.push(line, large === undefined ? '\n' : '');
    batch.large = large;
    batch.length += length + overheadPerMessage;
    this.#queued += length + overheadPerMessage;
    if (length > joinLimit || batch.length > 4 * joinLimit) {
      this.#waiting.push(batch);
      this.#batch = undefined;
    }
    if (!this.#gathering || batch.lines.length >= 2 * burstMessages || batch !== this.#batch) {
      this.#flush();
    } else if (this.#unanswered === 0 && !this.#tickComes) {
      this.#tickComes = true;
      process.nextTick(this.#onTick);
    }
    if (batch.taken) {
      return handedOver;
    }
    batch.outcome ??= Promise.withResolvers();
    return batch.outcome.promise;
  }

  /** Nothing else waits, so no batch is needed unless the stream turns out to be busy. */
  #writeAlone(line: string, large: LargeEnd | undefined, length: number): Promise<void> {
    if (this.#isSocket && length <= joinLimit) {
      // Without a callback, which costs a good part of what the write does, for what has left when it comes.
      this.#gathering = true;
      this.#stream.write(`${line}\n`);
      if (this.#hasLeft || this.#hand('')) {
        return handedOver;
      }
    } else if (this.#hand(large === undefined ? `${line}\n` : line, large)) {
      return handedOver;
    }
    const batch = { ...emptyBatch(), length: length + overheadPerMessage, outcome: Promise.withResolvers<void>() };
    this.#queued += batch.length;
    this.#writing = batch;
    return batch.outcome.promise;
  }

  /** Writes what there is, until the stream is busy. */
  #flush(): void {
    while (this.#writing === undefined && this.#stream.writable) {
      let batch = this.#waiting.shift();
      if (batch === undefined) {
        if (this.#batch === undefined) {
          return;
        }
        batch = this.#batch;
        this.#batch = undefined;
      }
      this.#write(batch);
    }
  }

  #write(batch: Batch): void {
    const { lines, large } = batch;
    this.#writing = batch;
    if (this.#hand(lines.length === 2 ? `${lines[0]}${lines[1]}` : lines.join(''), large)) {
      this.#taken(batch);
    }
  }

  /** @returns whether the operating system has taken it already */
  #hand(text: string, large?: LargeEnd): boolean {
    this.#gathering = true;
    this.#unanswered += 1;
    this.#writeAll(text, large, this.#onWritten);
    return this.#hasLeft;
  }

  #writeAll(text: string, large: LargeEnd | undefined, onWritten?: (error?: Error | null) => void): void {
    if (large === undefined) {
      this.#stream.write(text, onWritten);
    } else if (this.#isSocket) {
      // The system gets the three at once.
      this.#stream.cork();
      this.#stream.write(text);
      writePart(this.#stream, large[0]);
      this.#stream.write(large[1], onWritten);
      this.#stream.uncork();
    } else {
      // Others make a frame of each write.
      this.#stream.write(Buffer.concat([Buffer.from(text), bytesOf(large[0]), Buffer.from(large[1])]), onWritten);
    }
  }

  get #hasLeft(): boolean {
    return this.#stream.writableLength === 0 && this.#stream.errored === null;
  }

  readonly #onTick = (): void => {
    this.#tickComes = false;
    this.newTurn();
    this.#flush();
  };

  // The same for all writes: Node then calls it once a turn for many.
  readonly #onWritten = (error: Error | null | undefined): void => {
    this.#unanswered -= 1;
    // What a broken stream gives back is settled by `fail`, which knows why.
    if (error) {
      return;
    }
    // These calls come in order, and nothing is written behind what the stream has not taken.
    if (this.#writing !== undefined && this.#unanswered === 0) {
      this.#taken(this.#writing);
    }
    this.#gathering = false;
    this.#flush();
  };

  #taken(batch: Batch): void {
    batch.taken = true;
    this.#writing = undefined;
    this.#queued -= batch.length;
    batch.outcome?.resolve();
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
  return { lines: [], large: undefined, length: 0, taken: false, outcome: undefined };
}
