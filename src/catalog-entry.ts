import { type Authorizer, describe } from './authorize.js';
import type { ServerDefinition } from './catalog/catalog.js';
import { fingerprint } from './catalog/fingerprint.js';
import type { FirstConnection } from './endpoint/one-server/started-ahead.js';
import type { GatewayError } from './errors.js';
import type { GatewayEvent } from './events.js';
import type { ServerDescription } from './gateway-api.js';
import { ServerConnection, StreamConnection } from './instance/connection.js';
import { EraTransport } from './instance/era/era-transport.js';
import { ServerEra } from './instance/era/server-era.js';
import type { Instance, InstanceEnvironment } from './instance/instance.js';
import type { Places } from './instance/limits.js';
import type { LinkTransport } from './instance/link-transport.js';
import { createRedactor, EntryRedactor } from './instance/redact.js';
import { memoryShareOf, type Room } from './instance/room.js';
import type { ServerStatus } from './instance/server-status.js';
import { refuseRaw, type SessionOwner, SessionPool } from './instance/session-pool.js';
import { Supervisor } from './instance/supervisor.js';
import type { Clock } from './options.js';
import type { Caller, RuntimeFactory, RuntimeProgress } from './runtime.js';
import type { Transport } from './sdk.js';
import type { Variables } from './variables.js';

/** What all entries of a gateway share. */
export interface EntryEnvironment {
  readonly gatewayId: string;
  readonly clock: Clock;
  readonly authorizer: Authorizer;
  /** Where variables are looked up at each start; undefined when none is looked up then. */
  readonly variables: Variables | undefined;
  /** How many starts may be under way. */
  readonly starting: Places;
  readonly instances: Places;
  readonly memory: Places | undefined;
  readonly random: () => number;
  /** The entry of this id that the catalog has now. @throws `GatewayError` `SERVER_UNKNOWN` */
  find(id: string): CatalogEntry;
  /** An id that no other instance of this gateway has, fit for names of containers and Jobs. */
  readonly nextInstanceId: (server: string) => string;
  readonly emit: (event: GatewayEvent) => void;
}

/** How long a server of an unknown era may keep silent when it is asked for it, before it gets `initialize` as well. */
const longestProbeMs = 5_000;

/** One entry of the catalog at work: its instances, and who shares them. */
export class CatalogEntry implements SessionOwner {
  readonly factory: RuntimeFactory;
  readonly redactor: EntryRedactor;
  #definition: ServerDefinition;
  #isRetired = false;
  #isKept = false;
  #isStopped = false;
  readonly #env: EntryEnvironment;
  readonly #since: number;
  readonly #room: Room;
  // What follows is made on first use: most entries of a large catalog are never used.
  #fingerprint: string | undefined;
  #supervisor: Supervisor | undefined;
  #sessions: SessionPool | undefined;
  #era: ServerEra | undefined;

  constructor(definition: ServerDefinition, factory: RuntimeFactory, env: EntryEnvironment) {
    this.#definition = definition;
    this.factory = factory;
    this.redactor = new EntryRedactor(definition.secrets);
    this.#env = env;
    this.#since = env.clock.date();
    this.#room = {
      instances: env.instances,
      memory: env.memory && memoryShareOf(env.memory, factory, definition.runtime.spec),
    };
  }

  get supervisor(): Supervisor {
    this.#supervisor ??= this.#createSupervisor(this.#env, this.#definition);
    return this.#supervisor;
  }

  get sessions(): SessionPool {
    this.#sessions ??= new SessionPool(this.#definition, this, this.#env.clock);
    return this.#sessions;
  }

  #createSupervisor(env: EntryEnvironment, definition: ServerDefinition): Supervisor {
    const { clock, gatewayId } = env;
    return new Supervisor({
      definition,
      factory: this.factory,
      redactor: this.redactor,
      prepare: prepareWith(definition, env.variables),
      enabled: definition.enabled,
      since: this.#since,
      gatewayId,
      clock,
      nextInstanceId: env.nextInstanceId,
      authorize: () => env.authorizer.permit(this),
      emit: env.emit,
      restart: definition.restart,
      longestWaitMs: Math.min(definition.idleTimeoutMs || Infinity, definition.maxLifetimeMs || Infinity),
      healthTimeoutMs: definition.health.timeoutMs,
      starting: env.starting,
      room: this.#room,
      random: env.random,
    });
  }

  get currentSessions(): SessionPool {
    return this.#env.find(this.#definition.id).sessions;
  }

  get untilStopped(): AbortSignal {
    return this.supervisor.untilHalted;
  }

  connectAlone(caller: Caller | undefined, onProgress?: (progress: RuntimeProgress) => void): LinkTransport {
    const { id, protocol, startTimeoutMs, requestTimeoutMs } = this.#definition;
    const probeTimeoutMs = Math.min(longestProbeMs, startTimeoutMs / 4);
    this.#era ??= new ServerEra(protocol);
    return new EraTransport({
      server: id,
      untilStopped: () => this.untilStopped,
      era: this.#era,
      clock: this.#env.clock,
      requestTimeoutMs,
      probeTimeoutMs,
      silenceTimeoutMs: startTimeoutMs / 2 - probeTimeoutMs,
      connect: (since) => this.#connect(caller, onProgress, since),
    });
  }

  get definition(): ServerDefinition {
    return this.#definition;
  }

  /** Takes over what callers see of it and what must not show, and changes no server. */
  describeAs(definition: ServerDefinition): void {
    if (definition !== this.#definition) {
      this.#definition = definition;
      this.redactor.replace(definition.secrets);
    }
  }

  /**
   * Starts nothing any more: the catalog has another entry of its id, or none. What runs and is in use goes on for as long
   * as `graceMs` says.
   */
  async retire(graceMs: number | 'keep', reason: GatewayError): Promise<void> {
    this.#isRetired = true;
    this.#isKept = graceMs === 'keep';
    const moved = this.#sessions?.retire(reason);
    try {
      await Promise.all([moved, this.#supervisor?.retire(graceMs, reason)]);
    } finally {
      if (graceMs !== 'keep') {
        await this.#sessions?.close(reason);
      }
    }
  }

  /** Stops what still runs of it after a reload: nobody goes on with the next one unless he asks for something. */
  stopKept(graceMs: number): Promise<void> {
    this.#isStopped = true;
    return this.supervisor.stop(graceMs);
  }

  /** The catalog has another entry of its id, or none, and what runs of it goes on all the same. */
  get isKept(): boolean {
    return this.#isKept;
  }

  /** It is kept, and nobody has stopped what runs of it. */
  get goesOn(): boolean {
    return this.#isKept && !this.#isStopped;
  }

  /** Nothing of it runs, and nobody is connected. */
  get isGone(): boolean {
    return this.#supervisor?.isGone !== false && this.#sessions?.isUsed !== true;
  }

  /** A text that its servers may have written, without its secrets, and those that were looked up for them. */
  redact(text: string): string {
    const shown = this.redactor.text(text);
    return this.#supervisor?.redact(shown) ?? shown;
  }

  status(): Omit<ServerStatus, 'stale'> {
    return { ...this.supervisor.status(), displayName: this.redactor.text(this.#definition.displayName) };
  }

  /** A transport to this server alone. */
  connect(caller: Caller | undefined): Transport {
    const { isolation } = this.#sharing();
    return isolation === 'caller' ? this.#connect(caller) : this.sessions.connectShared(caller ?? {});
  }

  /** Connections to this server alone that speak as servers with sessions do, whatever it speaks. */
  toConnections(caller: Caller | undefined): FirstConnection {
    const { id, isolation } = this.#sharing();
    return isolation === 'caller'
      ? {
          server: id,
          startTimeoutMs: this.definition.startTimeoutMs,
          startsAhead: true,
          connect: () => this.connectAlone(caller),
        }
      : {
          server: id,
          startTimeoutMs: undefined,
          startsAhead: false,
          connect: () => this.sessions.connectShared(caller ?? {}),
        };
  }

  #sharing(): Pick<ServerDefinition, 'id' | 'isolation'> {
    const { id, isolation } = this.definition;
    refuseRaw({ id, isolation });
    return { id, isolation };
  }

  /** Of what it would start. */
  get fingerprint(): string {
    this.#fingerprint ??= fingerprint(this.#definition);
    return this.#fingerprint;
  }

  /** What exactly it would start. */
  describe(): ServerDescription {
    return describe(this);
  }

  /** A connection with an instance of its own. */
  #connect(
    caller: Caller | undefined,
    onProgress?: (progress: RuntimeProgress) => void,
    since?: number,
  ): ServerConnection {
    const Connection = this.factory.supports?.stderr === false ? ServerConnection : StreamConnection;
    const { id, requestTimeoutMs, startTimeoutMs } = this.definition;
    return new Connection({
      server: id,
      requestTimeoutMs,
      startTimeoutMs,
      clock: this.#env.clock,
      acquire: (signal, onQueued) => this.#acquire(caller, signal, onProgress, onQueued, since),
    });
  }

  /** From the entry that the catalog has now; one that takes its place meanwhile is asked instead. */
  async #acquire(
    caller: Caller | undefined,
    signal: AbortSignal,
    onProgress: ((progress: RuntimeProgress) => void) | undefined,
    onQueued: (isQueued: boolean) => void,
    since: number | undefined,
  ): Promise<Instance> {
    for (let isNext = false; ; isNext = true) {
      const entry = this.#env.find(this.definition.id);
      if (this.definition.isolation !== 'request') {
        // Several requests may wait for this one connection.
        entry.#sharing();
      }
      if (isNext && entry.supervisor.wasHalted) {
        // It was stopped since it took the place of the one that was asked.
        throw entry.supervisor.stoppedError();
      }
      try {
        onQueued(true);
        return await entry.supervisor.acquire(caller, signal, onProgress, () => onQueued(false), since);
      } catch (error) {
        if (!entry.#isRetired || signal.aborted) {
          throw error;
        }
      }
    }
  }
}

/** Looks variables up for one start, when there are any. */
function prepareWith(definition: ServerDefinition, variables: Variables | undefined): InstanceEnvironment['prepare'] {
  const { id, withVariables } = definition;
  if (variables === undefined || withVariables === undefined) {
    return undefined;
  }
  return async (signal) => {
    const { env, runtime, secrets } = withVariables(await variables.get(id, signal));
    return { definition: { ...definition, env, runtime }, redactor: createRedactor(secrets) };
  };
}
