import type { Clock } from '../../options.js';

const quickMs = [100, 200, 400];
const floorMs = 1_000;
const capMs = 30_000;
const growth = 1.5;
/**
 * The longest wait that a server may ask for, as a client that never comes back is of no use to it; and the longest after it
 * has refused the stream, which it may do for good.
 */
const longCapMs = 5 * 60_000;
/** A stream that lasted this long was a good one: the next break is the first again. */
const goodMs = 10_000;

/**
 * How long to wait before a stream is opened again: three quick tries, then never less than a second, and longer each
 * time up to half a minute. Longer when the server asks for that, or refuses it, up to five minutes.
 */
export class Backoff {
  readonly #clock: Clock;
  readonly #random: () => number;
  #tries = 0;
  /** How often in a row it was refused: after an outage the server may refuse it for a moment. */
  #refusals = 0;
  #openedAt: number | undefined;
  #askedMs: number | undefined;
  #askedOnceMs = 0;

  /** @param random - from 0 to 1: without it, all clients of a server that was restarted would come back at once */
  constructor(clock: Clock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
  }

  /** How often in a row the stream has broken. */
  get tries(): number {
    return this.#tries;
  }

  opened(): void {
    this.#openedAt = this.#clock.now();
  }

  /** The server wants this wait each time. */
  asked(ms: number): void {
    this.#askedMs = ms;
  }

  /** The server wants this wait before it is asked again. */
  askedOnce(ms: number): void {
    this.#askedOnceMs = ms;
  }

  /** The stream did its work, whatever becomes of it. */
  reset(): void {
    this.#tries = 0;
  }

  /**
   * @param clean - the server ended the stream in good order: then what it asked for is enough
   * @param isRefused - it does not want to open it
   */
  next(clean: boolean, isRefused = false): number {
    if (this.#openedAt !== undefined && this.#clock.now() - this.#openedAt >= goodMs) this.#tries = 0;
    this.#openedAt = undefined;
    const tries = this.#tries;
    this.#tries += 1;
    const quick = quickMs[tries];
    this.#refusals = isRefused ? this.#refusals + 1 : 0;
    const longest = Math.min(longCapMs, Math.max(capMs, floorMs * growth ** this.#refusals));
    const own = quick ?? Math.min(longest, floorMs * growth ** (tries - quickMs.length));
    const asked = Math.min(longCapMs, Math.max(this.#askedMs ?? 0, this.#askedOnceMs));
    this.#askedOnceMs = 0;
    const base = clean && this.#askedMs !== undefined ? Math.max(asked, quick ?? floorMs) : Math.max(own, asked);
    // Only ever later, so the floor stays one.
    return base * (1 + this.#random() / 4);
  }
}
