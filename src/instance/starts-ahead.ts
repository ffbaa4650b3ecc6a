import type { Clock } from '../options.js';
import type { RuntimeProgress } from '../runtime.js';
import { abortable, eitherSignal } from '../util/abort.js';
import type { Instance } from './instance.js';
import { SpareInstances } from './spare-instances.js';

export interface StartsAheadOptions {
  readonly clock: Clock;
  /** How long an instance that was started ahead waits for somebody; `Infinity`: for ever. */
  readonly longestWaitMs: number;
  /** How long a runtime may take to say whether a server lives. */
  readonly healthTimeoutMs: number;
}

/** Who starts the instances of an entry. */
export interface Starter {
  /** Aborted when nothing is started any more. */
  readonly closing: AbortSignal;
  /** Aborted by the stop that comes next. */
  untilStopped(): AbortSignal;
  /** Resolves when one may be started by hand, whatever has failed before. */
  admit(signal: AbortSignal): Promise<void>;
  create(signal: AbortSignal): Promise<Instance>;
  open(instance: Instance, signal: AbortSignal): Promise<void>;
}

/**
 * Instances of one entry that are started by hand and not for a connection: one at a time is started and waits, however often
 * that is asked for, and whoever needs one next takes it, also while it starts.
 */
export class StartsAhead {
  readonly #options: StartsAheadOptions;
  readonly #starter: Starter;
  /** Not given to anybody yet. */
  readonly #spare: SpareInstances;
  /** The one that is under way. */
  #current: Promise<void> | undefined;
  #restarting: Promise<void> | undefined;
  /** Of each that was asked for, until there is an instance to be taken. */
  #beginnings: Promise<void>[] = [];

  constructor(options: StartsAheadOptions, starter: Starter) {
    this.#options = options;
    this.#starter = starter;
    this.#spare = new SpareInstances(options.longestWaitMs, options.clock);
  }

  /** Resolves when there is an instance for each that was asked for, or will be none; undefined when that is so. */
  get beginning(): Promise<unknown> | undefined {
    return this.#beginnings.length > 0 ? Promise.all(this.#beginnings) : undefined;
  }

  /** An instance that was started for nobody yet. Whether it is of use, {@link join} finds out. */
  take(): Instance | undefined {
    return this.#spare.take();
  }

  /** It has ended. */
  forget(instance: Instance): void {
    this.#spare.forget(instance);
  }

  /**
   * Waits for one that was taken, which goes on without those who wait no longer.
   *
   * @returns false when it has ended while it waited for somebody
   */
  async join(
    spare: Instance,
    given: AbortSignal,
    onProgress: ((progress: RuntimeProgress) => void) | undefined,
  ): Promise<boolean> {
    spare.onProgress = onProgress;
    const { signal, release } = eitherSignal(given, this.#starter.closing);
    try {
      await abortable(this.#current !== undefined && !spare.ready ? this.#current : spare.open(), signal);
      if (await this.#isHealthy(spare, signal)) {
        return true;
      }
    } catch (error) {
      if (spare.available) {
        spare.onProgress = undefined;
        this.#spare.add(spare);
        spare.ready && this.#spare.started(spare);
      }
      throw error;
    } finally {
      release();
    }
    return false;
  }

  /** Starts one; without effect while one waits already. */
  start(): Promise<void> {
    return this.#start(this.#starter.untilStopped());
  }

  /**
   * Starts one when what there was has ended. Calls at the same time share one restart.
   *
   * @param stop - ends all that there is
   */
  restart(stop: () => Promise<void>): Promise<void> {
    if (this.#restarting === undefined) {
      const restarting = this.#restart(stop).finally(() => {
        if (this.#restarting === restarting) {
          this.#restarting = undefined;
        }
      });
      this.#restarting = restarting;
    }
    return this.#restarting;
  }

  /** Everything is stopped: who asks for one after this does not share what that has ended. */
  stopped(): void {
    this.#current = undefined;
    this.#restarting = undefined;
  }

  async #restart(stop: () => Promise<void>): Promise<void> {
    const stopping = stop();
    // Another stop that comes meanwhile is the last word.
    await this.#start(this.#starter.untilStopped(), stopping);
  }

  /**
   * @param stopped - aborted by a stop that comes after the start was asked for
   * @param stopping - what comes before it
   */
  async #start(stopped: AbortSignal, stopping?: Promise<void>): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#beginnings.push(promise);
    const onBegun = () => {
      this.#beginnings = this.#beginnings.filter((other) => other !== promise);
      resolve();
    };
    const { signal, release } = eitherSignal(this.#starter.closing, stopped);
    try {
      await stopping;
      await this.#startOne(signal, onBegun);
    } finally {
      release();
      onBegun();
    }
  }

  async #startOne(signal: AbortSignal, onBegun: () => void): Promise<void> {
    await this.#starter.admit(signal);
    // Another one has begun it, or will.
    this.#current && onBegun();
    while (this.#current === undefined) {
      const waiting = this.#spare.find();
      if (waiting === undefined) {
        const current = this.#create(signal, onBegun).finally(() => {
          if (this.#current === current) {
            this.#current = undefined;
          }
        });
        this.#current = current;
      } else if (await this.#isHealthy(waiting, signal)) {
        return;
      }
    }
    await this.#current;
  }

  async #create(signal: AbortSignal, onBegun: () => void): Promise<void> {
    const instance = await this.#starter.create(signal);
    this.#spare.add(instance);
    onBegun();
    await this.#starter.open(instance, signal);
    instance.watch();
    this.#spare.started(instance);
  }

  /** Stops one that has ended by itself, or does not say in time that it lives. */
  async #isHealthy(spare: Instance, signal: AbortSignal): Promise<boolean> {
    const { clock, healthTimeoutMs } = this.#options;
    const overdue = new AbortController();
    const late = () => overdue.abort(new Error('the health check took too long'));
    const timer = clock.setTimeout(late, healthTimeoutMs);
    const either = AbortSignal.any([signal, overdue.signal]);
    try {
      await abortable(spare.health(either), either);
      return true;
    } catch {
      signal.throwIfAborted();
      await spare.stop().catch(() => {});
      return false;
    } finally {
      clock.clearTimeout(timer);
    }
  }
}
