import { type ExitInfo, GatewayError } from '../errors.js';
import type { Phase } from '../events.js';
import type { Caller, CheckResult, RuntimeProgress } from '../runtime.js';
import { abortable, settledWithin } from '../util/abort.js';
import { Instance, type InstanceEnvironment } from './instance.js';
import { createContext } from './open-transport.js';

export interface SupervisorOptions extends InstanceEnvironment {
  readonly enabled: boolean;
  readonly displayName: string;
  /** An id that no other instance of this gateway has, fit for names of containers and Jobs. */
  nextInstanceId(server: string): string;
  /** Asks the host's policy; rejects when the server must not be started. */
  authorize(): Promise<void>;
}

/** One running server, as `status()` shows it. */
export interface InstanceStatus {
  readonly id: string;
  readonly phase: Phase;
  /** When it entered its phase, in milliseconds since the epoch. */
  readonly since: number;
  /** How long the start took, in milliseconds; undefined before it is done. */
  readonly startDurationMs: number | undefined;
  /** How far a pull or start has come. */
  readonly progress: RuntimeProgress | undefined;
  /** The operating system's id, for a server that is a process of this machine. */
  readonly pid: number | undefined;
  /** Requests that wait for an answer. */
  readonly inFlight: number;
}

/** A catalog entry, as `status()` shows it: also one that was never used. */
export interface ServerStatus {
  readonly id: string;
  readonly displayName: string;
  readonly type: string;
  readonly enabled: boolean;
  /** The phase of its liveliest instance; without one, `failed` after a failure and else `idle`. */
  readonly phase: Phase;
  readonly since: number;
  /** Requests that wait for an answer, over all instances. */
  readonly inFlight: number;
  /** How the last instance that ended by itself ended. */
  readonly lastExit: ExitInfo | undefined;
  /** The last failure of a start or of a running server. */
  readonly lastError: { readonly code: string; readonly message: string } | undefined;
  readonly instances: readonly InstanceStatus[];
}

const liveliest: readonly Phase[] = ['ready', 'starting', 'pulling', 'stopping'];

/** Starts, counts and stops the instances of one catalog entry. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #instances = new Set<Instance>();
  // Started ahead by start(), and not given to anybody yet.
  readonly #spare: Instance[] = [];
  #since: number;
  #lastExit: ExitInfo | undefined;
  #lastError: GatewayError | undefined;
  #closed = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#since = options.clock.date();
  }

  /**
   * A running instance for one connection alone: one that was started ahead, or a new one.
   *
   * @throws `GatewayError`: what the start failed with
   */
  async acquire(
    caller: Caller | undefined,
    signal: AbortSignal,
    onProgress?: (progress: RuntimeProgress) => void,
  ): Promise<Instance> {
    await abortable(this.#permit(), signal);
    for (let spare = this.#takeSpare(caller); spare !== undefined; spare = this.#takeSpare(caller)) {
      spare.onProgress = onProgress;
      await this.#open(spare, signal);
      const healthy = await abortable(spare.health(signal), signal).then(
        () => true,
        () => false,
      );
      if (healthy) {
        return spare;
      }
      // It ended while it waited for somebody.
      await spare.stop().catch(() => {});
      signal.throwIfAborted();
    }
    const instance = this.#create(caller);
    instance.onProgress = onProgress;
    await this.#open(instance, signal);
    return instance;
  }

  /** What was started for nobody in particular does not fit a caller whom the runtime may have to know. */
  #takeSpare(caller: Caller | undefined): Instance | undefined {
    const index = caller === undefined ? this.#spare.findIndex((spare) => spare.available) : -1;
    return index === -1 ? undefined : this.#spare.splice(index, 1)[0];
  }

  async #open(instance: Instance, signal: AbortSignal): Promise<void> {
    try {
      await abortable(instance.open(), signal);
    } catch (error) {
      await instance.stop().catch(() => {});
      throw error;
    }
  }

  /** Starts an instance ahead of its use; without effect while one waits already. */
  async start(): Promise<void> {
    await this.#permit();
    let instance = this.#spare.find((spare) => spare.available);
    if (instance === undefined) {
      instance = this.#create(undefined);
      this.#spare.push(instance);
    }
    await instance.open();
  }

  /** Lets open requests end within `graceMs`, then stops every instance. */
  async stop(graceMs: number): Promise<void> {
    const { clock } = this.#options;
    const results = await Promise.allSettled(
      [...this.#instances].map(async (instance) => {
        if (instance.user !== undefined) {
          await settledWithin(instance.user.drain(), graceMs, clock);
        }
        await instance.stop();
      }),
    );
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
    if (failures.length > 0) {
      throw failures.length === 1
        ? failures[0]
        : new AggregateError(failures, 'several instances could not be stopped');
    }
  }

  /** Refuses all later starts, then stops. */
  close(graceMs: number): Promise<void> {
    this.#closed = true;
    return this.stop(graceMs);
  }

  async check(signal: AbortSignal): Promise<CheckResult> {
    const { factory, definition, gatewayId, clock, redactor } = this.#options;
    if (factory.check === undefined) {
      return { ok: true, problems: [] };
    }
    const context = createContext({
      definition,
      gatewayId,
      instanceId: `${gatewayId}-check`,
      caller: undefined,
      clock,
      signal,
    });
    try {
      const { ok, problems } = await factory.check(definition.runtime.spec, context);
      return { ok, problems: problems.map((problem) => redactor.text(problem)) };
    } catch (error) {
      signal.throwIfAborted();
      return { ok: false, problems: [redactor.text(error instanceof Error ? error.message : String(error))] };
    }
  }

  status(): ServerStatus {
    const { definition, displayName, enabled } = this.#options;
    const instances = [...this.#instances];
    const leading = liveliest.map((phase) => instances.find((instance) => instance.phase === phase)).find(Boolean);
    const lastError = this.#lastError && { code: this.#lastError.code, message: this.#lastError.message };
    return {
      id: definition.id,
      displayName,
      type: definition.runtime.type,
      enabled,
      phase: leading?.phase ?? (this.#lastError === undefined ? 'idle' : 'failed'),
      since: leading?.since ?? this.#since,
      inFlight: instances.reduce((sum, instance) => sum + (instance.user?.inFlight ?? 0), 0),
      lastExit: this.#lastExit,
      lastError,
      instances: instances.map((instance) => ({
        id: instance.id,
        phase: instance.phase,
        since: instance.since,
        startDurationMs: instance.startDurationMs,
        progress: instance.progress,
        pid: instance.pid ?? undefined,
        inFlight: instance.user?.inFlight ?? 0,
      })),
    };
  }

  async #permit(): Promise<void> {
    const { definition, enabled, authorize } = this.#options;
    if (this.#closed) {
      throw new GatewayError('GATEWAY_CLOSED', 'the gateway is closed', { server: definition.id, delivered: false });
    }
    if (!enabled) {
      throw new GatewayError('SERVER_DISABLED', 'the entry says enabled: false', {
        server: definition.id,
        delivered: false,
      });
    }
    await authorize();
  }

  #create(caller: Caller | undefined): Instance {
    const { definition, clock, nextInstanceId } = this.#options;
    if (this.#closed) {
      throw new GatewayError('GATEWAY_CLOSED', 'the gateway is closed', { server: definition.id, delivered: false });
    }
    const instance = new Instance(this.#options, nextInstanceId(definition.id), caller, () => {
      this.#instances.delete(instance);
      const spare = this.#spare.indexOf(instance);
      if (spare !== -1) {
        this.#spare.splice(spare, 1);
      }
      this.#since = clock.date();
      this.#lastExit = instance.lastExit ?? this.#lastExit;
      this.#lastError = instance.failure;
    });
    this.#instances.add(instance);
    return instance;
  }
}
