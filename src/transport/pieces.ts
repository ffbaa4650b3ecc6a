// Pieces below this size are gathered in blocks: a sender that writes byte by byte must not cost an object a byte.
const smallBytes = 4 * 1024;
const blockBytes = 64 * 1024;

/** Gathers bytes that come in pieces of any size, each copied at most twice. */
export class Pieces {
  /** Whole pieces, then what stands in the block. */
  #pieces: Buffer[] = [];
  #block: Buffer | undefined;
  #blockStart = 0;
  #blockEnd = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** @param isBorrowed - its bytes are going to change; else the piece may be kept as it is */
  add(piece: Buffer, isBorrowed = false): void {
    this.#bytes += piece.length;
    if (piece.length >= smallBytes) {
      this.#closeBlock();
      this.#pieces.push(isBorrowed ? Buffer.from(piece) : piece);
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

  /** All of it, which is then gone from here. */
  take(): Buffer {
    this.#closeBlock();
    const [first] = this.#pieces;
    const all = first !== undefined && this.#pieces.length === 1 ? first : Buffer.concat(this.#pieces, this.#bytes);
    this.clear();
    return all;
  }

  clear(): void {
    this.#pieces = [];
    this.#block = undefined;
    this.#blockStart = 0;
    this.#blockEnd = 0;
    this.#bytes = 0;
  }

  #closeBlock(): void {
    if (this.#block !== undefined && this.#blockEnd > this.#blockStart) {
      this.#pieces.push(this.#block.subarray(this.#blockStart, this.#blockEnd));
      this.#blockStart = this.#blockEnd;
    }
  }
}
