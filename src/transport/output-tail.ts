import { Readable } from 'node:stream';

// Control characters other than tab and newline, and ANSI escape sequences: they would let a server write into the
// terminal or log of whoever prints the error.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to remove
const unsafe = /\u001b\[[0-?]*[ -/]*[@-~]|[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]/g;

/** `text` without control characters and escape sequences; ends of lines and tabs stay. */
export function withoutControls(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(unsafe, '');
}

/** Keeps the end of what a server writes beside its messages. */
export class OutputTail {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #bytes = 0;
  #cut = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  push(chunk: Buffer): void {
    // A copy: a slice would keep the whole buffer of the read alive.
    this.#chunks.push(Buffer.from(chunk.length > this.#maxBytes ? chunk.subarray(-this.#maxBytes) : chunk));
    this.#bytes += Math.min(chunk.length, this.#maxBytes);
    this.#cut ||= chunk.length > this.#maxBytes;
    if (this.#bytes > 2 * this.#maxBytes || this.#chunks.length > 1024) {
      this.#trim();
    }
  }

  /**
   * The tail as text without control characters; begins at a line's start when something was cut off before it.
   *
   * @param behind - what comes after it, and is not kept
   */
  toString(behind: Buffer = Buffer.alloc(0)): string {
    const all = Buffer.concat([...this.#chunks, behind]);
    const text = withoutControls(all.subarray(-this.#maxBytes).toString('utf8'));
    if (!this.#cut && all.length <= this.#maxBytes) {
      return text;
    }
    const lineStart = text.indexOf('\n') + 1;
    return text.slice(lineStart === text.length ? 0 : lineStart);
  }

  #trim(): void {
    const all = Buffer.concat(this.#chunks);
    const kept = all.length > this.#maxBytes ? Buffer.from(all.subarray(-this.#maxBytes)) : all;
    this.#cut ||= kept.length < all.length;
    this.#chunks = [kept];
    this.#bytes = kept.length;
  }
}

const lookAheadBytes = 1024 * 1024;

/** A readable that hosts may look at or leave alone: what nobody reads in time is dropped, so it never holds up its source. */
export class OptionalReadable extends Readable {
  #isFinished = false;

  override _read(): void {}

  /** Passes `chunk` on when somebody reads, or holds it up: a pipe does so whenever it leads to something slower. */
  offer(chunk: Buffer): void {
    if (this.readableFlowing !== null && !this.#isFinished && this.readableLength < lookAheadBytes) {
      this.push(chunk);
    }
  }

  /** No more will come. */
  finish(): void {
    this.#isFinished = true;
    this.push(null);
    if (this.readableFlowing === null) {
      // Comes to its end all the same, which is what somebody finds who looks at it later.
      this.resume();
    }
  }
}
