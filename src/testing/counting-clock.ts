import type { Clock } from '../options.js';

/** Another clock, whose timers are counted. */
export class CountingClock implements Clock {
  readonly #inner: Clock;
  readonly #timers = new Set<unknown>();

  constructor(inner: Clock) {
    this.#inner = inner;
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.#inner.now();
  }

  date(): number {
    return this.#inner.date();
  }

  setTimeout(run: () => void, ms: number): unknown {
    const timer = this.#inner.setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers.delete(timer);
    this.#inner.clearTimeout(timer);
  }
}
