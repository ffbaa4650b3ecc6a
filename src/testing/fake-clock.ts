import type { Clock } from '../options.js';
import { setImmediate } from '../util/immediate.js';

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

/** Time that stands still until a test tells it to go on. For the option `clock` of `createGateway`. */
export class FakeClock implements Clock {
  #now = 0;
  readonly #timers = new Set<Timer>();

  /** Milliseconds since the clock was made. */
  now(): number {
    return this.#now;
  }

  /** The same: this clock begins with the epoch. */
  date(): number {
    return this.#now;
  }

  setTimeout(run: () => void, ms: number): unknown {
    const timer = { at: this.#now + ms, run };
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer as Timer);
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** Lets `ms` milliseconds pass: what is due runs in order, and what that leads to comes before the next. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (let next = this.#first(end); next !== undefined; next = this.#first(end)) {
      await this.#fire(next);
    }
    this.#now = Math.max(this.#now, end);
  }

  /** Lets time pass up to the next timer, and runs it. Without effect when none waits. */
  async advanceToNext(): Promise<void> {
    await settle();
    const next = this.#first(Number.POSITIVE_INFINITY);
    if (next !== undefined) {
      await this.#fire(next);
    }
  }

  async #fire(timer: Timer): Promise<void> {
    this.#timers.delete(timer);
    this.#now = Math.max(this.#now, timer.at);
    timer.run();
    await settle();
  }

  #first(end: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.at <= end && (first === undefined || timer.at < first.at)) {
        first = timer;
      }
    }
    return first;
  }
}

/** Lets everything happen within this process that waits for nothing but its turn. */
export async function settle(): Promise<void> {
  // Some steps wait for a turn of the event loop; none waits for more than two.
  for (let turn = 0; turn < 3; turn += 1) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
