// Pieces below this size are gathered in blocks: a sender that writes byte by byte must not cost an object a byte.
const smallBytes = 4 * 1024;
const blockBytes = 64 * 1024;

/** Room for small pieces; those from `start` to `end` do not stand among the others yet. */
interface Block {
  readonly bytes: Buffer;
  start: number;
  end: number;
}

/** Gathers bytes that come in pieces of any size, each copied at most twice. */
export class Pieces {
  /** Whole pieces, then what stands in the block. */
  #pieces: Buffer[] = [];
  #block: Block | undefined;
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
    let block = this.#block;
    if (block === undefined || block.bytes.length - block.end < piece.length) {
      this.#closeBlock();
      block = { bytes: Buffer.allocUnsafeSlow(blockBytes), start: 0, end: 0 };
      this.#block = block;
    }
    piece.copy(block.bytes, block.end);
    block.end += piece.length;
  }

  /** All of it, which is then gone from here. */
  take(): Buffer {
    const bytes = this.#bytes;
    const pieces = this.takePieces();
    const [first] = pieces;
    return first !== undefined && pieces.length === 1 ? first : Buffer.concat(pieces, bytes);
  }

  /** The same, not joined. */
  takePieces(): Buffer[] {
    this.#closeBlock();
    const pieces = this.#pieces;
    this.clear();
    return pieces;
  }

  /** So many bytes of its end, which stay here. */
  last(maxBytes: number): Buffer {
    this.#closeBlock();
    return Buffer.concat(this.#pieces).subarray(-maxBytes);
  }

  clear(): void {
    this.#pieces = [];
    this.#block = undefined;
    this.#bytes = 0;
  }

  #closeBlock(): void {
    const block = this.#block;
    if (block !== undefined && block.end > block.start) {
      this.#pieces.push(block.bytes.subarray(block.start, block.end));
      block.start = block.end;
    }
  }
}
