import { jsonLength } from './json-length.js';

/** How much JSON is kept of results that whoever asks once more could do without, in characters. */
export const mostKept = 16 * 1024 * 1024;
// What each of them costs besides its text.
const overhead = 256;

/** The sizes of what is kept: says what is to be forgotten when all of it together is too large. */
export class KeptSizes<Key> {
  readonly #sizes = new Map<Key, number>();
  readonly #most: number;
  #sum = 0;

  constructor(most: number) {
    this.#most = most;
  }

  has(key: Key): boolean {
    return this.#sizes.has(key);
  }

  /**
   * One more is kept, or another one in its place.
   *
   * @returns the oldest ones, which are to go; never this one, however large it is
   */
  add(key: Key, value: unknown): Key[] {
    this.delete(key);
    const size = overhead + jsonLength(value);
    this.#sizes.set(key, size);
    this.#sum += size;
    const oldest: Key[] = [];
    for (const other of this.#sizes.keys()) {
      if (this.#sum <= this.#most || other === key) {
        break;
      }
      this.delete(other);
      oldest.push(other);
    }
    return oldest;
  }

  /** It is kept no longer. */
  delete(key: Key): void {
    this.#sum -= this.#sizes.get(key) ?? 0;
    this.#sizes.delete(key);
  }
}
