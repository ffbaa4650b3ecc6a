/** The settings of the entries of a schedule, and the shortest that chance makes a back-off. */
export const restart = { max: 3, windowMs: 20_000, backoffMs: 500, maxBackoffMs: 2_000, cooldownMs: 30_000 };
const startTimeoutMs = 5_000;
const shortest = 0.8;

/**
 * When a server may be started, by the words of the documentation: after a failure not before a back-off that doubles, in a
 * crash loop once each cool-down, and freely once an instance has answered or somebody has started it by hand. One that takes
 * the place of another, which did not survive being asked for its era, has the turn of that. Says so of each start; knows
 * nothing of the code that decides it.
 */
export class RestartRules {
  #failures: number[] = [];
  #row = 0;
  #isHeld = false;
  #isLooping = false;
  #earliest = 0;
  /** Failures of this very turn: who was let through before them may start after them. */
  #fresh = 0;
  /** Starts and restarts by hand that are under way. */
  #hands = 0;
  /** What the latest failure has changed, until something else changes it. */
  #latest: object | undefined;
  /** When instances have ended that had said nothing, and were no failure: another one may follow each. */
  #unheard: number[] = [];

  /** @returns what is wrong with a start at this time */
  started(now: number): string | undefined {
    if (!this.#isHeld || this.#hands > 0 || this.#fresh > 0) {
      return undefined;
    }
    this.#unheard = this.#unheard.filter((at) => now - at < startTimeoutMs);
    if (now < this.#earliest && this.#unheard.shift() !== undefined) {
      return undefined;
    }
    const problem =
      now < this.#earliest
        ? `starts at ${now}, ${this.#earliest - now} ms too early: failures at ${this.#failures.join(', ')}`
        : undefined;
    this.#earliest = now + this.#pause();
    this.#latest = undefined;
    return problem;
  }

  /**
   * @param livedMs - undefined when the start failed
   * @returns to be called when it was no failure after all
   */
  failed(now: number, livedMs: number | undefined): () => void {
    const before = { isHeld: this.#isHeld, isLooping: this.#isLooping, earliest: this.#earliest };
    const quietMs = now - this.#earliest;
    if (quietMs >= restart.windowMs || (livedMs !== undefined && livedMs >= restart.windowMs)) {
      this.#forget();
    }
    this.#failures = [...this.#failures.filter((at) => now - at < restart.windowMs), now];
    this.#row += 1;
    this.#isHeld = true;
    this.#fresh += 1;
    setImmediate(() => {
      this.#fresh -= 1;
    });
    this.#isLooping ||= this.#failures.length > restart.max;
    this.#earliest = now + this.#pause();
    this.#latest = before;
    return () => {
      this.#failures = this.#failures.filter((_, index) => index !== this.#failures.lastIndexOf(now));
      this.#row = Math.max(0, this.#row - 1);
      if (this.#latest === before) {
        this.#isHeld = before.isHeld;
        this.#isLooping = before.isLooping;
        this.#earliest = before.earliest;
      } else if (this.#latest !== undefined) {
        // One that came after it was counted as one more than it was.
        this.#isLooping = before.isLooping || this.#failures.length > restart.max;
        this.#earliest = (this.#failures.at(-1) as number) + this.#pause();
      }
    };
  }

  endedUnheard(now: number): void {
    this.#unheard.push(now);
  }

  answered(): void {
    this.#latest = undefined;
    this.#isHeld = false;
    this.#isLooping = false;
  }

  /** @returns to be called when it is done */
  byHand(): () => void {
    this.#hands += 1;
    return () => {
      this.#hands -= 1;
      this.#forget();
    };
  }

  #forget(): void {
    this.#failures = [];
    this.#row = 0;
    this.answered();
  }

  #pause(): number {
    return this.#isLooping
      ? restart.cooldownMs
      : Math.round(shortest * Math.min(restart.maxBackoffMs, restart.backoffMs * 2 ** (this.#row - 1)));
  }
}
