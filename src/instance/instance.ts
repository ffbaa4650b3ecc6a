import { type ExitInfo, GatewayError } from '../errors.js';
import type { GatewayEvent, Phase } from '../events.js';
import type { Clock } from '../options.js';
import type { Caller, RuntimeFactory, RuntimeProgress } from '../runtime.js';
import { settledWithin } from '../util/abort.js';
import { once } from '../util/once.js';
import { type InstanceDefinition, openTransport } from './open-transport.js';
import type { Redactor } from './redact.js';
import type { StrictTransport, StrictTransportListener } from './strict-transport.js';

// Longer than a runtime needs to stop what it has started, whatever its server does.
const clearWithinMs = 15_000;

/** What all instances of one entry share. */
export interface InstanceEnvironment {
  readonly definition: InstanceDefinition;
  readonly factory: RuntimeFactory;
  readonly gatewayId: string;
  readonly clock: Clock;
  readonly redactor: Redactor;
  emit(event: GatewayEvent): void;
}

/** Who uses an instance: told of its messages and its end. */
export interface InstanceUser extends StrictTransportListener {
  /** Requests that wait for an answer. */
  readonly inFlight: number;
  /** Takes no more requests; resolves when the last open one is answered. */
  drain(): Promise<void>;
}

/** One running server behind a catalog entry, from its start to its end. */
export class Instance {
  readonly id: string;
  phase: Phase = 'idle';
  /** When it entered its phase, in milliseconds since the epoch. */
  since: number;
  progress: RuntimeProgress | undefined;
  /** Why it failed or ended, unless it was stopped on purpose. */
  failure: GatewayError | undefined;
  lastExit: ExitInfo | undefined;
  user: InstanceUser | undefined;
  /** Told how far the start has come. */
  onProgress: ((progress: RuntimeProgress) => void) | undefined;
  /** From the start until the runtime had it open. */
  startDurationMs: number | undefined;

  readonly #env: InstanceEnvironment;
  readonly #caller: Caller | undefined;
  readonly #onGone: () => void;
  readonly #gone: Promise<void>;
  readonly #abort = new AbortController();
  #transport: StrictTransport | undefined;
  /** Resolves when nothing is left of a start that was given up. */
  #cleared: Promise<void> | undefined;

  /** @param onGone - called once, when nothing of the instance is left */
  constructor(env: InstanceEnvironment, id: string, caller: Caller | undefined, onGone: () => void) {
    this.#env = env;
    this.id = id;
    this.#caller = caller;
    const gone = Promise.withResolvers<void>();
    this.#gone = gone.promise;
    this.#onGone = once(async () => {
      onGone();
      gone.resolve();
    });
    this.since = env.clock.date();
  }

  /** The open connection; only from `ready` on. */
  get transport(): StrictTransport {
    if (this.#transport === undefined) {
      throw new GatewayError('TRANSPORT_NOT_STARTED', 'the server has not started', {
        server: this.#env.definition.id,
      });
    }
    return this.#transport;
  }

  get ready(): boolean {
    return this.phase === 'ready' && this.#transport?.ended === false;
  }

  /** True when a connection may still take it. */
  get available(): boolean {
    return this.user === undefined && !this.#abort.signal.aborted && !['stopping', 'failed'].includes(this.phase);
  }

  /** Rejects when the server has ended since it was started. */
  async health(signal: AbortSignal): Promise<void> {
    await this.transport.health(signal);
  }

  get stderr(): StrictTransport['stderr'] {
    return this.#transport?.stderr;
  }

  get pid(): number | null | undefined {
    return this.#transport?.pid;
  }

  /** Starts the server. Every call shares one start. */
  readonly open = once(async () => {
    const { definition, factory, gatewayId, clock, redactor } = this.#env;
    const start = clock.now();
    this.#enter('starting');
    try {
      this.#transport = await openTransport({
        definition,
        factory,
        gatewayId,
        instanceId: this.id,
        caller: this.#caller,
        clock,
        redactor,
        signal: this.#abort.signal,
        onPhase: (phase, progress) => this.#report(phase, progress),
        onAbandoned: (cleared) => {
          this.#cleared = cleared;
        },
      });
    } catch (error) {
      // A stop on purpose is no failure.
      this.failure = this.#abort.signal.aborted ? undefined : (error as GatewayError);
      void this.#settleStart();
      throw error;
    }
    this.startDurationMs = clock.now() - start;
    this.progress = undefined;
    this.#enter('ready');
  });

  /** A start that failed leaves the stage when the runtime has cleared it; one that never does is waited for no longer than this. */
  async #settleStart(): Promise<void> {
    if (this.#cleared !== undefined) {
      this.#enter('stopping', this.failure);
      await settledWithin(this.#cleared, clearWithinMs, this.#env.clock);
    }
    this.#enter(this.failure === undefined ? 'idle' : 'failed', this.failure);
    this.#onGone();
  }

  /** Gives the instance to `user` and begins delivery. */
  async use(user: InstanceUser): Promise<void> {
    this.user = user;
    await this.transport.start({
      onMessage: (message, extra) => user.onMessage(message, extra),
      onTrouble: (error) => {
        this.#emitTrouble(error);
        user.onTrouble(error);
      },
      onEnding: (reason) => {
        this.lastExit = reason?.exit;
        this.failure = reason;
        this.#enter('stopping', reason);
        user.onEnding(reason);
      },
      onClosed: () => {
        this.#enter(this.failure === undefined ? 'idle' : 'failed', this.failure);
        user.onClosed();
        this.#onGone();
      },
    });
  }

  /** Ends the server, or its start. Every call shares one end. */
  readonly stop = once(async () => {
    this.#abort.abort(
      new GatewayError('SERVER_STOPPED', 'the server was stopped while it started', {
        server: this.#env.definition.id,
        delivered: false,
      }),
    );
    await this.open().catch(() => {});
    if (this.#transport === undefined) {
      await this.#gone;
      return;
    }
    if (this.user === undefined) {
      this.#enter('stopping');
    }
    try {
      await this.#transport.close();
    } finally {
      if (this.user === undefined) {
        this.#enter('idle');
        this.#onGone();
      }
    }
  });

  #report(phase: 'pulling' | 'starting', progress: RuntimeProgress | undefined): void {
    this.#enter(phase);
    if (progress === undefined) {
      this.onProgress?.({ message: phase });
    } else {
      const message = progress.message === undefined ? undefined : this.#env.redactor.text(progress.message);
      this.progress = { ...progress, message };
      const { definition, clock } = this.#env;
      this.#env.emit({
        type: 'progress',
        server: definition.id,
        instance: this.id,
        phase,
        progress: this.progress,
        at: clock.date(),
      });
      this.onProgress?.(this.progress);
    }
  }

  #enter(to: Phase, failure?: GatewayError): void {
    if (this.phase === to) {
      return;
    }
    const from = this.phase;
    this.phase = to;
    this.since = this.#env.clock.date();
    this.#env.emit({
      type: 'phase',
      server: this.#env.definition.id,
      instance: this.id,
      from,
      to,
      reason: failure && { code: failure.code, message: failure.message },
      at: this.since,
    });
  }

  #emitTrouble(error: GatewayError): void {
    this.#env.emit({
      type: 'trouble',
      server: this.#env.definition.id,
      instance: this.id,
      code: error.code,
      message: error.message,
      at: this.#env.clock.date(),
    });
  }
}
