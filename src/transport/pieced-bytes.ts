// What is larger is joined in a buffer of its own.
const mostScratchBytes = 4 * 1024 * 1024;
const leastScratchBytes = 128 * 1024;
// Used by everybody in turn, so that a message does not cost a buffer; given up when nobody has needed it for long.
let scratch: WeakRef<Buffer> | undefined;

/** The bytes of a text, which came in pieces. */
export class PiecedBytes {
  /** All of them in a row, to look at: good until others are joined. */
  readonly all: Buffer;
  readonly #pieces: readonly Buffer[];
  readonly #isBorrowed: boolean;

  /** @param isBorrowed - the last piece is going to change */
  constructor(pieces: readonly Buffer[], isBorrowed = false) {
    this.#pieces = pieces;
    this.#isBorrowed = isBorrowed;
    this.all = join(pieces);
  }

  /** A stretch of them that nobody is going to change. */
  keep(start: number, end: number): Buffer[] {
    const kept: Buffer[] = [];
    let at = 0;
    for (const piece of this.#pieces) {
      const part = piece.subarray(Math.max(0, start - at), Math.max(0, end - at));
      if (part.length > 0) {
        kept.push(this.#isBorrowed && piece === this.#pieces.at(-1) ? Buffer.from(part) : part);
      }
      at += piece.length;
    }
    return kept;
  }
}

function join(pieces: readonly Buffer[]): Buffer {
  const [first] = pieces;
  if (first !== undefined && pieces.length === 1) {
    return first;
  }
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (length > mostScratchBytes) {
    return Buffer.concat(pieces, length);
  }
  let room = scratch?.deref();
  if (room === undefined || room.length < length) {
    room = Buffer.allocUnsafeSlow(Math.max(leastScratchBytes, 2 ** Math.ceil(Math.log2(length))));
    scratch = new WeakRef(room);
  }
  let at = 0;
  for (const piece of pieces) {
    at += piece.copy(room, at);
  }
  return room.subarray(0, length);
}
