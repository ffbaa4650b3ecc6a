import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';

/** A place that somebody holds; giving it back twice does nothing. */
export type Place = () => void;

interface Waiter {
  readonly amount: number;
  enter(): void;
}

/** A number of places, and a queue in front of them. */
export class Places {
  readonly #what: string;
  /** How many there are. */
  readonly max: number;
  readonly #clock: Clock;
  readonly #show: (amount: number) => string;
  readonly #queue = new Set<Waiter>();
  #taken = 0;

  /**
   * @param what - what the limit is called, for the error
   * @param show - how an amount is written there
   */
  constructor(what: string, max: number, clock: Clock, show: (amount: number) => string = String) {
    this.#what = what;
    this.max = max;
    this.#clock = clock;
    this.#show = show;
  }

  /**
   * Waits for a place, first come first served: who needs more than is free holds up those behind, and so gets it at last.
   *
   * @param amount - how many places at once
   * @param ofMs - what `start_timeout` is, of which a part may be over
   * @throws `GatewayError` `LIMIT_REACHED` after `ms`; `signal.reason` once aborted
   */
  take(server: string, ms: number, signal: AbortSignal, amount = 1, ofMs = ms): Promise<Place> {
    if (signal.aborted) {
      return Promise.reject(signal.reason);
    }
    if (this.isFree(amount)) {
      return Promise.resolve(this.#hold(amount));
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#clock.clearTimeout(timer);
        this.#queue.delete(waiter);
        signal.removeEventListener('abort', abort);
      };
      const waiter: Waiter = {
        amount,
        enter: () => {
          leave();
          resolve(this.#hold(amount));
        },
      };
      const abort = () => {
        leave();
        reject(signal.reason);
        this.#admit();
      };
      const timer = this.#clock.setTimeout(() => {
        leave();
        const text = `no place within start_timeout (${ofMs} ms): ${this.#what} allows ${this.#show(this.max)}`;
        reject(new GatewayError('LIMIT_REACHED', text, { server, delivered: false }));
        this.#admit();
      }, ms);
      signal.addEventListener('abort', abort, { once: true });
      this.#queue.add(waiter);
    });
  }

  /** Whether nobody has to wait. */
  isFree(amount = 1): boolean {
    return this.#queue.size === 0 && this.#fits(amount);
  }

  #fits(amount: number): boolean {
    return this.#taken + amount <= this.max;
  }

  #hold(amount: number): Place {
    this.#taken += amount;
    let held = true;
    return () => {
      if (held) {
        held = false;
        this.#taken -= amount;
        this.#admit();
      }
    };
  }

  #admit(): void {
    for (const waiter of this.#queue) {
      if (!this.#fits(waiter.amount)) {
        return;
      }
      waiter.enter();
    }
  }
}
