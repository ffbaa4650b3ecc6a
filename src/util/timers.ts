import type { Clock } from '../options.js';

/** Timers of one owner, with whom they end. */
export class Timers {
  readonly #clock: Clock;
  readonly #running = new Set<unknown>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  start(run: () => void, ms: number): unknown {
    const timer = this.#clock.setTimeout(() => {
      this.#running.delete(timer);
      run();
    }, ms);
    this.#running.add(timer);
    return timer;
  }

  end(timer: unknown): void {
    this.#clock.clearTimeout(timer);
    this.#running.delete(timer);
  }

  endAll(): void {
    for (const timer of this.#running) {
      this.#clock.clearTimeout(timer);
    }
    this.#running.clear();
  }
}
