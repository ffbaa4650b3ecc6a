const newline = 0x0a;

/**
 * Cuts a stream of bytes into lines, in time linear in the bytes: each chunk is searched once, and a line is joined once,
 * when its end has come. Decoding whole lines keeps UTF-8 characters intact wherever the chunks were cut; bytes that are
 * not UTF-8 become U+FFFD.
 */
export class LineBuffer {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** @param maxBytes - the longest line, without its newline */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * Calls `onLine` for each line that `chunk` completes.
   *
   * @returns false as soon as a line is longer than the limit; the buffer is then empty and of no further use
   */
  push(chunk: Buffer, onLine: (line: string) => void): boolean {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(newline, start);
      const stop = end === -1 ? chunk.length : end;
      if (this.#bytes + stop - start > this.#maxBytes) {
        this.clear();
        return false;
      }
      if (end === -1) {
        break;
      }
      onLine(this.#take(chunk, start, end));
      start = end + 1;
    }
    if (start < chunk.length) {
      this.#chunks.push(start === 0 ? chunk : chunk.subarray(start));
      this.#bytes += chunk.length - start;
    }
    return true;
  }

  /** Bytes of the line that has not ended yet. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  clear(): void {
    this.#chunks = [];
    this.#bytes = 0;
  }

  #take(chunk: Buffer, start: number, end: number): string {
    if (this.#bytes === 0) {
      return chunk.toString('utf8', start, end);
    }
    this.#chunks.push(chunk.subarray(start, end));
    const line = Buffer.concat(this.#chunks, this.#bytes + end - start).toString('utf8');
    this.clear();
    return line;
  }
}
