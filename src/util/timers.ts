import type { Clock } from '../options.js';

/** The timers of one owner, who ends those that are left. */
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
