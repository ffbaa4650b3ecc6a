import { GatewayError } from '../errors.js';
import type { Caller, CheckResult, RuntimeProgress } from '../runtime.js';
import { abortable, eitherSignal, settledWithin } from '../util/abort.js';
import { allStopped } from '../util/all-stopped.js';
import { checkServer } from './check-server.js';
import { Instance, type InstanceEnvironment, type InstanceOwner } from './instance.js';
import type { Place, Places } from './limits.js';
import type { Redactor } from './redact.js';
import { RestartPolicy, type RestartSettings } from './restart-policy.js';
import { type Room, takeRoom } from './room.js';
import { type Past, type ServerStatus, toServerStatus } from './server-status.js';
import { StartsAhead } from './starts-ahead.js';

export interface SupervisorOptions extends InstanceEnvironment {
  readonly restart: RestartSettings;
  /** How long an instance that was started ahead waits for somebody; `Infinity`: for ever. */
  readonly longestWaitMs: number;
  /** How long a runtime may take to say whether a server lives. */
  readonly healthTimeoutMs: number;
  /** How many starts may be under way in the gateway. */
  readonly starting: Places;
  /** What the gateway's instances may take up together. */
  readonly room: Room;
  readonly random: () => number;
  readonly enabled: boolean;
  /** When the entry came into being, in milliseconds since the epoch. */
  readonly since: number;
  /** An id that no other instance of this gateway has, fit for names of containers and Jobs. */
  nextInstanceId(server: string): string;
  /** Asks the host's policy; rejects when the server must not be started. */
  authorize(): Promise<void>;
}

/** Starts, counts and stops the instances of one catalog entry. */
export class Supervisor implements InstanceOwner {
  readonly #options: SupervisorOptions;
  readonly #policy: RestartPolicy;
  readonly #instances = new Set<Instance>();
  readonly #ahead: StartsAhead;
  /** Ends what waits since the last stop and must not go on after the next one. */
  #nextStop: AbortController | undefined;
  /** Likewise, of what goes on after a restart: nothing has been made for it yet. */
  #nextHalt = new AbortController();
  #stops: Promise<void>[] = [];
  /** A stop has come since it came into being. */
  wasHalted = false;
  /** How often it was stopped. */
  timesStopped = 0;
  #past: Past;
  /** Knows the secrets of the instance that was gone last. */
  #pastRedactor: Redactor | undefined;
  readonly #closing = new AbortController();

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#past = { since: options.since, exit: undefined, error: undefined };
    const { definition, restart, clock, random } = options;
    this.#policy = new RestartPolicy(definition.id, restart, clock, random);
    this.#ahead = new StartsAhead(options, {
      closing: this.#closing.signal,
      untilStopped: () => this.#untilStopped(),
      admit: async (signal) => {
        await abortable(this.#permit(), signal);
        await this.#settleStops(signal);
        this.#policy.reset();
      },
      create: (signal) => this.#create(undefined, signal),
      open: (instance, signal) => this.#open(instance, signal),
    });
  }

  /** @internal */
  onFailure(failure: GatewayError, livedMs: number): 'failed' | 'crash-loop' {
    // That a person has to consent is no fault of the server.
    return failure.code === 'AUTH_REQUIRED' ? 'failed' : this.#policy.failed(livedMs, failure);
  }

  /** @internal */
  onProof(): void {
    this.#policy.proved();
  }

  /**
   * A running instance for one connection alone: one that was started ahead, or a new one.
   *
   * @param onTurn - called when nothing has to be waited for any more but the start itself
   * @param since - given when it takes the place of another one, whose turn it has: from when on the time counts in which it
   *   has to find a place
   * @throws `GatewayError`: what the start failed with
   */
  async acquire(
    caller: Caller | undefined,
    given: AbortSignal,
    onProgress?: (progress: RuntimeProgress) => void,
    onTurn?: () => void,
    since?: number,
  ): Promise<Instance> {
    const { signal, release } = eitherSignal(given, this.untilHalted);
    let instance: Instance;
    try {
      await abortable(this.#permit(), signal);
      await this.#settleStops(signal);
      const { clock } = this.#options;
      let waitedMs = 0;
      const beginning = isKnown(caller) ? undefined : this.#ahead.beginning;
      if (beginning !== undefined) {
        const asked = clock.now();
        // Once: whoever asks for another start again and again must not hold it up for ever.
        await abortable(abortable(beginning, signal), this.#closing.signal);
        waitedMs = clock.now() - asked;
        await this.#settleStops(signal);
      }
      for (let spare = this.#takeSpare(caller); spare !== undefined; spare = this.#takeSpare(caller)) {
        if (await this.#ahead.join(spare, signal, onProgress)) {
          onTurn?.();
          return spare;
        }
      }
      instance = await this.#create(caller, signal, since, waitedMs);
    } finally {
      release();
    }
    instance.onProgress = onProgress;
    await this.#open(instance, given, onTurn, since);
    return instance;
  }

  /** What was started for nobody in particular does not fit a caller whom the runtime may have to know. */
  #takeSpare(caller: Caller | undefined): Instance | undefined {
    return isKnown(caller) ? undefined : this.#ahead.take();
  }

  /** Who comes while a server ends waits: it may hold what the next one needs. */
  async #settleStops(signal: AbortSignal): Promise<void> {
    for (let stops = this.#stopsUnderWay(); stops.length > 0; stops = this.#stopsUnderWay()) {
      await abortable(abortable(Promise.allSettled(stops), signal), this.#closing.signal);
    }
  }

  #stopsUnderWay(): Promise<void>[] {
    const unused = [...this.#instances].filter(({ isEndingUnused }) => isEndingUnused);
    return [...this.#stops, ...unused.map((instance) => instance.stop())];
  }

  async #open(instance: Instance, signal: AbortSignal, onTurn?: () => void, since?: number): Promise<void> {
    let place: Place | undefined;
    try {
      place = await this.#takeTurn(signal, since);
      // Whoever waits may have left since the turn came.
      signal.throwIfAborted();
      onTurn?.();
      await abortable(instance.open(), signal);
    } catch (error) {
      // To be given up is no failure, unless it took too long for whoever waits.
      if (instance.hasBegun && signal.aborted && isOverdue(signal.reason)) {
        instance.fail(signal.reason);
      }
      const stopped = instance.stop().catch(() => {});
      // Whose time is up is told so at once; the end of what was begun is waited for by the next start, and by close().
      if (!isOverdue(error)) {
        await stopped;
      }
      throw error;
    } finally {
      place?.();
    }
  }

  /** A stop ends the wait: whoever comes after it must not meet what it has ended. */
  async #takeTurn(signal: AbortSignal, since = this.#options.clock.now()): Promise<Place> {
    const { starting, definition, clock } = this.#options;
    const { id, startTimeoutMs } = definition;
    const left = Math.max(0, Math.round(since + startTimeoutMs - clock.now()));
    const waiting = starting.isFree() ? undefined : eitherSignal(signal, this.#untilStopped());
    try {
      return await starting.take(id, left, waiting?.signal ?? signal, 1, startTimeoutMs);
    } finally {
      waiting?.release();
    }
  }

  /** Starts an instance ahead of its use; without effect while one waits already. Forgets earlier failures. */
  start(): Promise<void> {
    return this.#ahead.start();
  }

  /** Aborted by the next stop, and by no restart: nothing is started any more for who has asked before. */
  get untilHalted(): AbortSignal {
    return this.#nextHalt.signal;
  }

  #untilStopped(): AbortSignal {
    this.#nextStop ??= new AbortController();
    return this.#nextStop.signal;
  }

  /** Stops every instance, forgets earlier failures and starts one ahead. Calls at the same time share one restart. */
  restart(graceMs: number): Promise<void> {
    return this.#ahead.restart(() => this.#stop(graceMs));
  }

  /**
   * Lets open requests end within `graceMs`, then stops every instance. Calls at the same time share the end of each, which
   * comes with the shortest grace.
   */
  stop(graceMs: number): Promise<void> {
    this.wasHalted = true;
    this.#nextHalt.abort(this.stoppedError());
    this.#nextHalt = new AbortController();
    return this.#stop(graceMs);
  }

  #stop(graceMs: number, reason?: GatewayError): Promise<void> {
    this.#nextStop?.abort(this.stoppedError());
    this.#nextStop = undefined;
    this.timesStopped += 1;
    this.#ahead.stopped();
    const stop = this.#stopAll(graceMs, reason).finally(() => {
      this.#stops = this.#stops.filter((other) => other !== stop);
    });
    this.#stops.push(stop);
    return stop;
  }

  /** What a start ends with that a stop has come before. */
  stoppedError(): GatewayError {
    return new GatewayError('SERVER_STOPPED', 'the server was stopped before it had started', {
      server: this.#options.definition.id,
      delivered: false,
    });
  }

  async #stopAll(graceMs: number, reason: GatewayError | undefined): Promise<void> {
    const { clock } = this.#options;
    await allStopped(
      [...this.#instances].map(async (instance) => {
        if (instance.user !== undefined) {
          await settledWithin(instance.user.drain(), graceMs, clock);
        }
        await instance.stopFor(reason);
      }),
    );
  }

  /** Refuses all later starts, then stops. */
  close(graceMs: number): Promise<void> {
    const { id } = this.#options.definition;
    const reason = new GatewayError('GATEWAY_CLOSED', 'the gateway is closed', { server: id, delivered: false });
    this.#closing.abort(reason);
    // Who waits for a turn is told of the gateway, as who waits for room is.
    this.#nextStop?.abort(reason);
    return this.#stop(graceMs);
  }

  /**
   * Refuses all later starts for good: another one has taken its place. What runs and is in use goes on, for as long as
   * `graceMs` says, or until it ends; whoever is told of the end is told the reason.
   *
   * @param graceMs - `'keep'`: what is in use is not ended
   */
  async retire(graceMs: number | 'keep', reason: GatewayError): Promise<void> {
    this.#closing.abort(reason);
    if (graceMs !== 'keep') {
      return this.#stop(graceMs, reason);
    }
    // Who waits for a turn waits for one of the entry that there is now, where a stop finds it.
    this.#nextStop?.abort(reason);
    const unused = [...this.#instances].filter(({ user }) => user === undefined);
    await Promise.all(unused.map((instance) => instance.stopFor(reason)));
  }

  /** Nothing of it is left. */
  get isGone(): boolean {
    return this.#instances.size === 0;
  }

  /** A text that its instances may have written, without what they were started with. */
  redact(text: string): string {
    const redactors = new Set([...this.#instances].map(({ redactor }) => redactor));
    this.#pastRedactor && redactors.add(this.#pastRedactor);
    return [...redactors].reduce((shown, redactor) => redactor.text(shown), text);
  }

  check(signal: AbortSignal): Promise<CheckResult> {
    return checkServer(this.#options, signal);
  }

  status(): Omit<ServerStatus, 'stale' | 'displayName'> {
    return toServerStatus(this.#options, [...this.#instances], this.#policy, this.#past);
  }

  async #permit(): Promise<void> {
    const { definition, enabled, authorize } = this.#options;
    this.#closing.signal.throwIfAborted();
    if (!enabled) {
      throw new GatewayError('SERVER_DISABLED', 'the entry says enabled: false', {
        server: definition.id,
        delivered: false,
      });
    }
    await authorize();
  }

  /** @param waitedMs - how long room was waited for before, where `since` does not say from when on that counts */
  async #create(caller: Caller | undefined, signal: AbortSignal, since?: number, waitedMs = 0): Promise<Instance> {
    const { definition, clock, nextInstanceId, room } = this.#options;
    const either = eitherSignal(signal, this.#closing.signal);
    let giveBack: (() => void) | undefined;
    let place: Place | undefined;
    try {
      // One that takes the place of another has the turn of that.
      giveBack = since === undefined ? await this.#policy.admit(either.signal) : () => {};
      // From here on, and not from a back-off before it.
      const from = since ?? clock.now() - waitedMs;
      place = await takeRoom(room, definition.id, definition.startTimeoutMs, either.signal, clock, from);
      either.signal.throwIfAborted();
    } catch (error) {
      place?.();
      giveBack?.();
      throw error;
    } finally {
      either.release();
    }
    const instance = new Instance(this.#options, this, nextInstanceId(definition.id), caller, () => {
      place();
      this.#instances.delete(instance);
      this.#ahead.forget(instance);
      if (!instance.hasBegun) {
        giveBack();
        return;
      }
      this.#pastRedactor = instance.redactor;
      this.#past = {
        since: clock.date(),
        exit: instance.lastExit ?? this.#past.exit,
        error: instance.failure,
      };
    });
    this.#instances.add(instance);
    return instance;
  }
}

function isOverdue(reason: unknown): reason is GatewayError {
  return GatewayError.is(reason) && reason.code === 'START_TIMEOUT';
}

/** Whether the host has said anything of this caller. */
function isKnown(caller: Caller | undefined): boolean {
  return caller !== undefined && Object.values(caller).some((value) => value !== undefined);
}
