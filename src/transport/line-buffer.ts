import { constants } from 'node:buffer';
import { PiecedBytes } from './pieced-bytes.js';
import { Pieces } from './pieces.js';

const newline = 0x0a;

/**
 * Cuts a stream of bytes into lines, in time linear in the bytes: each byte is searched once and copied at most twice.
 * Decoding whole lines keeps UTF-8 characters intact wherever the chunks were cut; bytes that are not UTF-8 become U+FFFD.
 *
 * Lines are taken one by one with {@link next}, so that whoever reads can stop between two of them.
 */
export class LineBuffer {
  readonly #maxBytes: number;
  /** Not searched yet, in order; the first from `#at` on. */
  #input: Buffer[] = [];
  #at = 0;
  /** One of the input, whose bytes are going to change. */
  #borrowed: Buffer | undefined;
  /** The line that has not ended yet. */
  readonly #line = new Pieces();
  #overflow = false;
  /** The line that was given last: a stretch of one chunk, or several pieces. */
  #last: Buffer | PiecedBytes | undefined;
  #lastStart = 0;
  #lastEnd = 0;

  /** @param maxBytes - the longest line, without its newline */
  constructor(maxBytes: number) {
    // A longer line would not fit into a string.
    this.#maxBytes = Math.min(maxBytes, constants.MAX_STRING_LENGTH);
  }

  /**
   * Takes in bytes. They are searched by {@link next}.
   *
   * @param isBorrowed - they are good until {@link keep} is called
   */
  feed(chunk: Buffer, isBorrowed = false): void {
    if (chunk.length > 0 && !this.#overflow) {
      this.#input.push(chunk);
      this.#borrowed = isBorrowed ? chunk : undefined;
    }
  }

  /** Copies what is left of borrowed bytes. */
  keep(): void {
    const last = this.#input.length - 1;
    if (this.#borrowed !== undefined && this.#input[last] === this.#borrowed) {
      this.#input[last] = Buffer.from(this.#borrowed);
    }
    this.#borrowed = undefined;
  }

  /** The next whole line, without its newline; undefined until more bytes have come, and for good after an overflow. */
  next(): string | undefined {
    for (let chunk = this.#input[0]; chunk !== undefined; chunk = this.#input[0]) {
      const start = this.#at;
      const end = chunk.indexOf(newline, start);
      const stop = end === -1 ? chunk.length : end;
      if (this.#line.bytes + stop - start > this.#maxBytes) {
        this.clear();
        this.#overflow = true;
        return undefined;
      }
      if (end + 1 === chunk.length || end === -1) {
        this.#input.shift();
        this.#at = 0;
      } else {
        this.#at = end + 1;
      }
      if (end !== -1) {
        return this.#take(chunk, start, end);
      }
      this.#line.add(start === 0 ? chunk : chunk.subarray(start), chunk === this.#borrowed);
    }
    this.#last = undefined;
    return undefined;
  }

  /** The bytes of the line that {@link next} has just given: good until the next call. */
  lastBytes(): PiecedBytes | undefined {
    const last = this.#last;
    if (!Buffer.isBuffer(last)) return last;
    return new PiecedBytes([last.subarray(this.#lastStart, this.#lastEnd)], last === this.#borrowed);
  }

  /** The end of a line that has not ended yet, of which more may come. */
  unfinished(maxBytes: number): Buffer {
    return this.#line.last(maxBytes);
  }

  /** True while nothing waits, neither whole lines nor a part of one. */
  get isEmpty(): boolean {
    return this.#input.length === 0 && this.#line.bytes === 0;
  }

  /** True while there are bytes that {@link next} has not looked at. */
  get hasInput(): boolean {
    return this.#input.length > 0;
  }

  /** True once a line was longer than the limit; the buffer is then empty and of no further use. */
  get overflow(): boolean {
    return this.#overflow;
  }

  clear(): void {
    this.#input = [];
    this.#borrowed = undefined;
    this.#at = 0;
    this.#line.clear();
    this.#last = undefined;
  }

  #take(chunk: Buffer, start: number, end: number): string {
    if (this.#line.bytes === 0) {
      this.#last = chunk;
      this.#lastStart = start;
      this.#lastEnd = end;
      return chunk.toString('utf8', start, end);
    }
    const pieces = [...this.#line.takePieces(), chunk.subarray(start, end)];
    this.#last = new PiecedBytes(pieces, chunk === this.#borrowed);
    return this.#last.all.toString();
  }
}
