import type { Clock } from '../options.js';
import { settledWithin } from '../util/abort.js';
import { nextTurn, setImmediate } from '../util/immediate.js';
import { LineBuffer } from './line-buffer.js';
import { smallestPart } from './message-json.js';
import { PiecedBytes } from './pieced-bytes.js';
import type { OutputPatience, StreamPeer } from './stream-peer.js';

/** Who gets the lines. */
export interface LineTaker {
  /**
   * @param bytes - those of a long line: good until it returns
   * @returns whether others have to run before what follows
   */
  readonly take: (line: string, bytes: PiecedBytes | undefined) => boolean;
  /** What has come is handed on, or others get a turn before the rest of it. */
  readonly pausing: () => void;
  /** A line is longer than the limit: no other one follows. */
  readonly tooLong: () => void;
}

// How long lines may be delivered in one go before everybody else in the process gets a turn.
const sliceMs = 8;
// Smaller chunks hold too few lines to be worth a look at the time.
const longChunkBytes = 16 * 1024;
const newline = 0x0a;

const holdOutput = () => {};

/**
 * Reads the output of a server line by line, in order. A flood of lines is handed on in slices, between which everybody else
 * in the process gets a turn; what comes before {@link start} and while it is paused waits in the pipe.
 */
export class LineReader {
  /** Resolves when no more output will come. */
  readonly ended: Promise<void>;
  readonly #peer: StreamPeer;
  readonly #maxBytes: number;
  readonly #taker: LineTaker;
  readonly #writer: { newTurn(): void };
  readonly #lines: LineBuffer;
  #started = false;
  #stopped = false;
  /** Counts what is done with output, to tell silence from work. */
  #activity = 0;
  #paused = false;
  #yielding = false;
  #sliceEnd: number | undefined;

  /** @param writer - told that output has come, which is a turn of the event loop */
  constructor(peer: StreamPeer, maxBytes: number, taker: LineTaker, writer: { newTurn(): void }) {
    this.#peer = peer;
    this.#maxBytes = maxBytes;
    this.#taker = taker;
    this.#writer = writer;
    this.#lines = new LineBuffer(maxBytes);
    this.ended = new Promise((resolve) => {
      peer.stdout.on('end', resolve).on('close', resolve).on('error', resolve);
    });
    if (peer.onOutput === undefined) {
      // Node reads on when a child has ended, and drops what nobody takes; not while somebody listens for 'readable'.
      peer.stdout.on('readable', holdOutput);
    }
  }

  start(): void {
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

  /** What the server wrote before its end is still in the pipe: reads it, but does not wait for those who hold the pipe open. */
  async drain({ silenceMs, totalMs }: OutputPatience, clock: Clock): Promise<void> {
    const end = clock.now() + totalMs;
    // Nothing is left to hold back: what comes now is bounded by what was on its way.
    this.resume();
    let seen: number;
    do {
      seen = this.#activity;
      if (await settledWithin(this.ended, silenceMs, clock)) {
        break;
      }
      // Timers run before input after the event loop was blocked: let it read once more before we judge.
      await nextTurn();
      await nextTurn();
    } while (this.#activity !== seen && clock.now() < end);
    while (this.#lines.hasInput && !this.#paused && !this.#stopped) {
      await nextTurn();
    }
  }

  /** The end of a line that has not ended yet. */
  unfinished(maxBytes: number): Buffer {
    return this.#lines.unfinished(maxBytes);
  }

  /** No line is handed on any more. */
  stop(): void {
    this.#stopped = true;
  }

  /** Gives up what has come and what comes: a server that writes could not come to its end if nobody read on. */
  discard(): void {
    this.#lines.clear();
    this.#peer.stdout.off('readable', holdOutput).resume();
  }

  #read(bytes: Buffer, length: number, isBorrowed: boolean): void {
    this.#activity += 1;
    if (this.#stopped) {
      return;
    }
    this.#writer.newTurn();
    const isHeld = this.#yielding || this.#paused;
    const isShort = length < longChunkBytes && length <= this.#maxBytes;
    if (isShort && !isHeld && this.#lines.isEmpty && bytes.indexOf(newline) === length - 1) {
      // One whole line, as most are.
      const line = bytes.toString('utf8', 0, length - 1);
      const part = length > smallestPart ? new PiecedBytes([bytes.subarray(0, length - 1)], true) : undefined;
      if (this.#taker.take(line, part)) {
        // Another chunk may follow within this turn.
        this.#yield(true);
      }
      this.#taker.pausing();
      return;
    }
    this.#lines.feed(length === bytes.length ? bytes : bytes.subarray(0, length), isBorrowed);
    if (!isHeld) {
      this.#handOn(length >= longChunkBytes);
    } else if (this.#paused) {
      // Node resumes by itself a turn after the listener for 'readable' was taken off.
      this.#peer.stdout.pause();
    }
    if (isBorrowed) {
      this.#lines.keep();
    }
  }

  /** Hands on what has come, and lets others run when that takes long: a flood of tiny lines must not hold up the host. */
  #handOn(long: boolean): void {
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
      told = this.#taker.take(line, line.length >= smallestPart ? this.#lines.lastBytes() : undefined);
      count += 1;
      late = (told || count % 16 === 0) && this.#sliceEnd !== undefined && performance.now() > this.#sliceEnd;
      if (late || told || this.#paused || this.#stopped) {
        break;
      }
    }
    this.#taker.pausing();
    if (this.#lines.overflow) {
      this.#taker.tooLong();
    } else if ((this.#lines.hasInput || told) && !this.#paused) {
      // Where nothing is left, another chunk may follow within this turn.
      this.#yield(told && !late);
    }
  }

  /** Goes on with the next turn of the event loop, or soon: with the next of microtasks. */
  #yield(soon = false): void {
    if (this.#yielding || this.#stopped) {
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
    if (this.#stopped || this.#paused) {
      return;
    }
    if (this.#lines.hasInput) {
      this.#handOn(true);
    }
    if (!this.#yielding && !this.#paused) {
      this.#peer.stdout.resume();
    }
  }
}
