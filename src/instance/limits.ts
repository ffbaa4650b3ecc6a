import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';

/** A place that somebody holds; giving it back twice does nothing. */
export type Place = () => void;

interface Waiter {
  enter(): void;
}

/** A number of places, and a queue in front of them. */
export class Places {
  readonly #what: string;
  readonly #max: number;
  readonly #clock: Clock;
  readonly #queue = new Set<Waiter>();
  #taken = 0;

  /** @param what - what the limit is called, for the error */
  constructor(what: string, max: number, clock: Clock) {
    this.#what = what;
    this.#max = max;
    this.#clock = clock;
  }

  /**
   * Waits for a place, first come first served.
   *
   * @throws `GatewayError` `LIMIT_REACHED` after `ms`; `signal.reason` once aborted
   */
  take(server: string, ms: number, signal: AbortSignal): Promise<Place> {
    if (this.#taken < this.#max) {
      return Promise.resolve(this.#hold());
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#clock.clearTimeout(timer);
        this.#queue.delete(waiter);
        signal.removeEventListener('abort', abort);
      };
      const waiter: Waiter = {
        enter: () => {
          leave();
          resolve(this.#hold());
        },
      };
      const abort = () => {
        leave();
        reject(signal.reason);
      };
      const timer = this.#clock.setTimeout(() => {
        leave();
        const text = `no place within start_timeout (${ms} ms): ${this.#what} allows ${this.#max}`;
        reject(new GatewayError('LIMIT_REACHED', text, { server, delivered: false }));
      }, ms);
      signal.addEventListener('abort', abort, { once: true });
      this.#queue.add(waiter);
    });
  }

  #hold(): Place {
    this.#taken += 1;
    let held = true;
    return () => {
      if (held) {
        held = false;
        this.#taken -= 1;
        this.#queue.values().next().value?.enter();
      }
    };
  }
}
