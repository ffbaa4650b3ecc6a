import { constants } from 'node:buffer';

const newline = 0x0a;
// Pieces below this size are gathered in blocks: a server that writes byte by byte must not cost an object a byte.
const smallBytes = 4 * 1024;
const blockBytes = 64 * 1024;

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
  /** The line that has not ended yet: whole pieces, then what stands in the block. */
  #pieces: Buffer[] = [];
  #block: Buffer | undefined;
  #blockStart = 0;
  #blockEnd = 0;
  #bytes = 0;
  #overflow = false;

  /** @param maxBytes - the longest line, without its newline */
  constructor(maxBytes: number) {
    // A longer line would not fit into a string.
    this.#maxBytes = Math.min(maxBytes, constants.MAX_STRING_LENGTH);
  }

  /** Takes in bytes. They are searched by {@link next}. */
  feed(chunk: Buffer): void {
    if (chunk.length > 0 && !this.#overflow) {
      this.#input.push(chunk);
    }
  }

  /** The next whole line, without its newline; undefined until more bytes have come, and for good after an overflow. */
  next(): string | undefined {
    for (let chunk = this.#input[0]; chunk !== undefined; chunk = this.#input[0]) {
      const start = this.#at;
      const end = chunk.indexOf(newline, start);
      const stop = end === -1 ? chunk.length : end;
      if (this.#bytes + stop - start > this.#maxBytes) {
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
      this.#keep(start === 0 ? chunk : chunk.subarray(start));
    }
    return undefined;
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
    this.#at = 0;
    this.#forgetLine();
  }

  #take(chunk: Buffer, start: number, end: number): string {
    if (this.#bytes === 0) {
      return chunk.toString('utf8', start, end);
    }
    this.#closeBlock();
    this.#pieces.push(chunk.subarray(start, end));
    const line = this.#pieces.length === 1 ? this.#pieces[0] : Buffer.concat(this.#pieces, this.#bytes + end - start);
    const text = line?.toString('utf8') ?? '';
    this.#forgetLine();
    return text;
  }

  #keep(piece: Buffer): void {
    this.#bytes += piece.length;
    if (piece.length >= smallBytes) {
      this.#closeBlock();
      this.#pieces.push(piece);
      return;
    }
    if (this.#block === undefined || this.#block.length - this.#blockEnd < piece.length) {
      this.#closeBlock();
      this.#block = Buffer.allocUnsafeSlow(blockBytes);
      this.#blockStart = 0;
      this.#blockEnd = 0;
    }
    piece.copy(this.#block, this.#blockEnd);
    this.#blockEnd += piece.length;
  }

  #closeBlock(): void {
    if (this.#block !== undefined && this.#blockEnd > this.#blockStart) {
      this.#pieces.push(this.#block.subarray(this.#blockStart, this.#blockEnd));
      this.#blockStart = this.#blockEnd;
    }
  }

  #forgetLine(): void {
    this.#pieces = [];
    this.#block = undefined;
    this.#blockStart = 0;
    this.#blockEnd = 0;
    this.#bytes = 0;
  }
}
