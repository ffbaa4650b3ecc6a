import type { Clock } from '../options.js';
import type { Instance } from './instance.js';

/** Instances that were started ahead and wait for somebody, each no longer than its entry may be idle, or may live. */
export class SpareInstances {
  readonly #longestMs: number;
  readonly #clock: Clock;
  // Each with the timer that ends its wait.
  #timers: Map<Instance, unknown> | undefined;

  /** @param longestMs - how long each waits; `Infinity`: for ever */
  constructor(longestMs: number, clock: Clock) {
    this.#longestMs = longestMs;
    this.#clock = clock;
  }

  /** One that may still be taken. */
  find(): Instance | undefined {
    return [...(this.#timers?.keys() ?? [])].find((instance) => instance.available);
  }

  take(): Instance | undefined {
    const instance = this.find();
    if (instance !== undefined) {
      this.forget(instance);
    }
    return instance;
  }

  add(instance: Instance): void {
    this.#timers ??= new Map();
    this.#timers.set(instance, undefined);
  }

  /** It has started: from here on it is idle. */
  started(instance: Instance): void {
    // Somebody may have taken it while it started, or have given it back just before.
    const isTimed = Number.isFinite(this.#longestMs);
    if (isTimed && this.#timers?.has(instance) && this.#timers.get(instance) === undefined) {
      const timer = this.#clock.setTimeout(() => instance.stop().catch(() => {}), this.#longestMs);
      this.#timers.set(instance, timer);
    }
  }

  /** It was taken, or has ended. */
  forget(instance: Instance): void {
    this.#clock.clearTimeout(this.#timers?.get(instance));
    this.#timers?.delete(instance);
  }
}
