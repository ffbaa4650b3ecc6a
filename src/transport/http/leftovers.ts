import type { Clock } from '../../options.js';
import type { HttpAnswer } from './call.js';

/** How long a server may take to end an answer that has done its work. */
const lingerMs = 5_000;
/** What a body that nobody needs may hold before its connection is given up rather than read to its end. */
const worthReading = 64 * 1024;

/**
 * Answers that nobody waits for any more. They get a while to come to their end by themselves, so that their connections
 * can be used again; a server that forgets to end one must not keep it for ever.
 */
export class Leftovers {
  readonly #clock: Clock;
  readonly #timers = new Map<HttpAnswer, unknown>();
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Lets a body go by. */
  discard(answer: HttpAnswer): void {
    let bytes = 0;
    let over = false;
    const end = () => {
      over = true;
      this.ended(answer);
    };
    answer.read({
      data(chunk) {
        bytes += chunk.length;
        if (bytes > worthReading) answer.abort();
      },
      end,
      fail: end,
    });
    if (!over) this.keep(answer);
  }

  /** Gives an answer its while. Whoever reads it says when it has {@link ended}. */
  keep(answer: HttpAnswer): void {
    if (this.#closed) answer.abort();
    else if (!this.#timers.has(answer)) {
      this.#timers.set(
        answer,
        this.#clock.setTimeout(() => answer.abort(), lingerMs),
      );
    }
  }

  ended(answer: HttpAnswer): void {
    this.#clock.clearTimeout(this.#timers.get(answer));
    this.#timers.delete(answer);
  }

  /** Ends them all, and from now on each at once. */
  close(): void {
    this.#closed = true;
    for (const answer of [...this.#timers.keys()]) {
      this.ended(answer);
      answer.abort();
    }
  }
}
