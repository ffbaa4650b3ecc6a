import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import { messageOf } from '../util/copy-error.js';
import { formatDuration } from '../util/quantity.js';

export interface RestartSettings {
  /** More failures than this within the window are a crash loop. */
  readonly max: number;
  readonly windowMs: number;
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
  readonly cooldownMs: number;
}

// Shares of a delay by which it is made longer or shorter, so that many entries do not start in step.
const jitter = 0.2;
// Of who needs none.
const noTurn = () => {};

/**
 * When the server of an entry may be started again after it failed: later each time, and in a crash loop once a cool-down.
 *
 * Failures are counted by entry. They are forgotten when an instance has lived for the whole window, when none has failed for
 * so long although it might have been started, and by a start by hand.
 */
export class RestartPolicy {
  readonly #server: string;
  readonly #settings: RestartSettings;
  readonly #clock: Clock;
  readonly #random: () => number;
  #waiting: (() => void)[] = [];
  /** When the failures of the window happened. */
  #failures: number[] = [];
  /** How many there were until they were last forgotten: by these the back-off grows. */
  #row = 0;
  #nextAt = 0;
  /** The turn that was taken last, unless something has failed since. */
  #turn: symbol | undefined;
  #phase: 'idle' | 'failed' | 'crash-loop' = 'idle';
  #restarts = 0;
  /** What it failed with last, while nothing has answered since. */
  #last: GatewayError | undefined;

  constructor(server: string, settings: RestartSettings, clock: Clock, random: () => number) {
    this.#server = server;
    this.#settings = settings;
    this.#clock = clock;
    this.#random = random;
  }

  /** Where the entry stands between two starts; after a failure `idle` once something has answered. */
  get phase(): 'idle' | 'failed' | 'crash-loop' {
    return this.#phase;
  }

  /** How often a start followed a failure. */
  get restarts(): number {
    return this.#restarts;
  }

  /**
   * Resolves when a start may be made. After a failure, starts are let through one by one, a delay apart, until one of
   * them has proved that the server works.
   *
   * @returns to be called when no start was made after all: the next one may take its turn
   * @throws `GatewayError` `CRASH_LOOP`; `signal.reason` once aborted
   */
  async admit(signal: AbortSignal): Promise<() => void> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#phase === 'idle') {
        return noTurn;
      }
      const wait = this.#nextAt - this.#clock.now();
      if (wait <= 0) {
        return this.#takeTurn();
      }
      if (this.#phase === 'crash-loop') {
        throw this.#crashLoop(wait);
      }
      await this.#change(wait, signal);
    }
  }

  /**
   * An instance could not be started, or ended by itself.
   *
   * @param livedMs - how long it had been ready
   * @param failure - why, without secrets
   */
  failed(livedMs: number, failure?: GatewayError): 'failed' | 'crash-loop' {
    const { max, windowMs } = this.#settings;
    const now = this.#clock.now();
    if (livedMs >= windowMs || now - this.#nextAt >= windowMs) {
      this.reset();
    }
    const isLost = failure?.code === 'SESSION_LOST';
    // A server that forgets forgets all its sessions: those that had begun before it last did say nothing new.
    if (!isLost || now - livedMs >= (this.#failures.at(-1) ?? 0)) {
      this.#failures = this.#failures.filter((at) => now - at < windowMs);
      this.#failures.push(now);
      this.#row += 1;
      this.#turn = undefined;
      this.#last = failure;
      this.#phase = this.#phase === 'crash-loop' || this.#failures.length > max ? 'crash-loop' : 'failed';
      // A session that is lost says nothing of the server, unless it happens again and again.
      this.#nextAt = now + (isLost && this.#row === 1 && this.#phase === 'failed' ? 0 : this.#delay());
    }
    return this.#phase === 'crash-loop' ? 'crash-loop' : 'failed';
  }

  /** An instance answered: who waits may go on. What it did before still counts, should it fail again soon. */
  proved(): void {
    this.#phase = 'idle';
    this.#last = undefined;
    this.#wake();
  }

  /** Forgets all failures. */
  reset(): void {
    this.#failures = [];
    this.#row = 0;
    this.proved();
  }

  #takeTurn(): () => void {
    const turn = Symbol('turn');
    const before = this.#nextAt;
    this.#turn = turn;
    this.#nextAt = this.#clock.now() + this.#delay();
    this.#restarts += 1;
    return () => {
      this.#restarts -= 1;
      if (this.#turn === turn) {
        this.#nextAt = before;
        this.#wake();
      }
    };
  }

  #crashLoop(waitMs: number): GatewayError {
    const { max, windowMs } = this.#settings;
    const last = this.#last;
    const reason = last === undefined ? '' : `; it last failed with: ${messageOf(last)}`;
    return new GatewayError(
      'CRASH_LOOP',
      `the server failed more than ${max} times within ${formatDuration(windowMs)}; the next try is in ${formatDuration(waitMs)}, or start or restart it by hand${reason}`,
      { server: this.#server, delivered: false, cause: last, exit: last?.exit },
    );
  }

  /** How long the next start is put off. */
  #delay(): number {
    const { backoffMs, maxBackoffMs, cooldownMs } = this.#settings;
    if (this.#phase === 'crash-loop') {
      return cooldownMs;
    }
    const plain = Math.min(maxBackoffMs, backoffMs * 2 ** Math.min(this.#row - 1, 30));
    return Math.round(plain * (1 - jitter + 2 * jitter * this.#random()));
  }

  /** Resolves after `ms`, or earlier when something has changed. */
  #change(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#clock.clearTimeout(timer);
        this.#waiting = this.#waiting.filter((other) => other !== done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = this.#clock.setTimeout(done, ms);
      this.#waiting.push(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  #wake(): void {
    for (const done of this.#waiting) {
      done();
    }
  }
}
