import type { Clock } from '../options.js';
import type { Caller } from '../runtime.js';
import type { Transport } from '../sdk.js';

export interface HttpSessionSettings {
  readonly caller: Caller;
  readonly idleTimeoutMs: number;
  readonly disconnectTimeoutMs: number;
  readonly clock: Clock;
  /** The session has been quiet for its time. */
  readonly onIdle: () => void;
}

/** A session: its transport, whose it is, and how long it has been quiet. */
export class HttpSession<T extends Transport> {
  readonly id: string;
  readonly transport: T;
  readonly #settings: HttpSessionSettings;
  #open = 0;
  #endsAt = 0;
  #timer: unknown;
  #timerAt = Number.POSITIVE_INFINITY;
  #ended = false;

  constructor(id: string, transport: T, settings: HttpSessionSettings) {
    this.id = id;
    this.transport = transport;
    this.#settings = settings;
  }

  belongsTo({ principal, id }: Caller): boolean {
    const { caller } = this.#settings;
    return caller.principal === principal && caller.id === id;
  }

  /** A request has come: until it ends, the session is not quiet. */
  enter(): void {
    this.#open += 1;
  }

  /** A request has ended, by its answer or because the client broke it off. */
  leave(broken: boolean): void {
    this.#open -= 1;
    if (this.#open > 0) {
      return;
    }
    const { clock, idleTimeoutMs, disconnectTimeoutMs } = this.#settings;
    this.#endsAt = clock.now() + (broken ? Math.min(disconnectTimeoutMs, idleTimeoutMs) : idleTimeoutMs);
    // A timer that comes too early sets another one: most requests then cost none.
    if (this.#endsAt < this.#timerAt) {
      this.#setTimer();
    }
  }

  /** Forgets the time. */
  end(): void {
    this.#ended = true;
    this.#settings.clock.clearTimeout(this.#timer);
  }

  #setTimer(): void {
    if (this.#ended) {
      return;
    }
    const { clock } = this.#settings;
    clock.clearTimeout(this.#timer);
    this.#timerAt = this.#endsAt;
    this.#timer = clock.setTimeout(() => this.#check(), this.#endsAt - clock.now());
  }

  #check(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (this.#open > 0) {
      return;
    }
    if (this.#settings.clock.now() >= this.#endsAt) {
      this.#settings.onIdle();
    } else {
      this.#setTimer();
    }
  }
}
