import { type ExitInfo, GatewayError, tailSuffix } from '../errors.js';
import type { GatewayEvent, Phase } from '../events.js';
import type { Clock } from '../options.js';
import type { Caller, RuntimeFactory, RuntimeProgress } from '../runtime.js';
import type { JSONRPCMessage, MessageExtraInfo } from '../sdk.js';
import { settledWithin } from '../util/abort.js';
import { copyError, messageOf } from '../util/copy-error.js';
import { InstanceEvents } from './instance-events.js';
import { type InstanceDefinition, type OpenOptions, openTransport } from './open-transport.js';
import { type PhaseListener, PhaseMachine, type Transition } from './phase-machine.js';
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
  /** Says what to start, when that is known only at the start. Rejects with a `GatewayError` without secrets. */
  readonly prepare: OpenOptions['prepare'];
  emit(event: GatewayEvent): void;
}

/** Who starts the instances of an entry, and counts them. */
export interface InstanceOwner {
  /** An instance could not be started, or ended by itself after it had been ready for so long. */
  onFailure(failure: GatewayError, livedMs: number): 'failed' | 'crash-loop';
  /** An instance has answered a request. */
  onProof(): void;
}

/** Who uses an instance: told of its messages and its end. */
export interface InstanceUser extends StrictTransportListener {
  /** Requests that wait for an answer. */
  readonly inFlight: number;
  /** Takes no more requests; resolves when the last open one is answered. */
  drain(): Promise<void>;
}

/** One running server behind a catalog entry, from its start to its end. */
export class Instance implements StrictTransportListener, PhaseListener {
  readonly id: string;
  /** When it entered its phase, in milliseconds since the epoch. */
  since: number;
  progress: RuntimeProgress | undefined;
  /** Why it failed or ended, unless it was stopped on purpose. */
  failure: GatewayError | undefined;
  lastExit: ExitInfo | undefined;
  user: InstanceUser | undefined;
  /** Whether its start was made: it may be stopped while it waits for its turn. */
  hasBegun = false;
  /** What is asked of it now, some servers do not survive. */
  endExpected = false;
  /** Told how far the start has come. */
  onProgress: ((progress: RuntimeProgress) => void) | undefined;
  /** From the start until the runtime had it open. */
  startDurationMs: number | undefined;
  /** How long it had been ready before somebody used it. */
  waitedMs = 0;

  readonly #env: InstanceEnvironment;
  readonly #owner: InstanceOwner;
  /** Knows the secrets of this instance. */
  #redactor: Redactor;
  readonly #caller: Caller | undefined;
  readonly #onGone: () => void;
  #gone: PromiseWithResolvers<void> | undefined;
  /** Gives up a start that is under way. */
  #abort: AbortController | undefined;
  /** What a start ends with, once it is to be stopped. */
  #stopped: GatewayError | undefined;
  readonly #phases: PhaseMachine;
  readonly #events: InstanceEvents;
  #readyAt: number | undefined;
  #proved = false;
  /** Why it is stopped on purpose. */
  #stopReason: GatewayError | undefined;
  // Where a failure leads to, once everything is gone.
  #end: 'idle' | 'failed' | 'crash-loop' = 'idle';
  #hasEnded = false;
  #transport: StrictTransport | undefined;
  #opening: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #isGone = false;
  /** Resolves when nothing is left of a start that was given up. */
  #cleared: Promise<void> | undefined;

  /** @param onGone - called once, when nothing of the instance is left */
  constructor(
    env: InstanceEnvironment,
    owner: InstanceOwner,
    id: string,
    caller: Caller | undefined,
    onGone: () => void,
  ) {
    this.#env = env;
    this.#owner = owner;
    this.#redactor = env.redactor;
    this.id = id;
    this.#caller = caller;
    this.#onGone = onGone;
    this.since = env.clock.date();
    this.#phases = new PhaseMachine(this);
    this.#events = new InstanceEvents(env, id);
  }

  get phase(): Phase {
    return this.#phases.phase;
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
    return this.user === undefined && this.#stopped === undefined && this.failure === undefined;
  }

  /** True while one that had been ready, or took too long for that, ends, and nobody who uses it waits for that. */
  get isEndingUnused(): boolean {
    const isSomething = this.#transport !== undefined || this.failure !== undefined;
    return this.user === undefined && this.phase === 'stopping' && isSomething;
  }

  /** Rejects when the server has ended since it was started. */
  async health(signal: AbortSignal): Promise<void> {
    await this.transport.health(signal);
  }

  /** It has answered a request: what was started works. */
  prove(): void {
    if (!this.#proved) {
      this.#proved = true;
      this.#owner.onProof();
    }
  }

  /** Ends it for a reason of ours. @returns the reason without the secrets of the server, whose words it may hold */
  fail(reason: GatewayError): GatewayError {
    const redacted = this.#redactor.error(withTail(reason, this.#transport?.stderrTail ?? ''));
    if (this.#transport === undefined || (this.#transport.ended && this.endExpected)) {
      // It is not there yet, or its end was no failure until now.
      this.#fail(redacted);
    } else {
      this.#transport.fail(redacted);
    }
    return redacted;
  }

  /** Knows what it was started with. */
  get redactor(): Redactor {
    return this.#redactor;
  }

  get stderr(): StrictTransport['stderr'] {
    return this.#transport?.stderr;
  }

  get pid(): number | null | undefined {
    return this.#transport?.pid;
  }

  /** Starts the server. Every call shares one start. */
  open(): Promise<void> {
    if (this.#opening === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      // First: who is told of the start may stop it, and then waits for it here.
      this.#opening = promise;
      resolve(this.#open());
    }
    return this.#opening;
  }

  async #open(): Promise<void> {
    const { definition, factory, gatewayId, clock, prepare } = this.#env;
    if (this.#stopped !== undefined) {
      // While it waited for its turn: nothing has begun.
      this.#leave();
      throw this.#stopped;
    }
    this.#abort = new AbortController();
    const start = clock.now();
    this.hasBegun = true;
    this.#phases.enter('starting');
    try {
      this.#transport = await openTransport({
        definition,
        factory,
        gatewayId,
        instanceId: this.id,
        caller: this.#caller,
        clock,
        redactor: this.#redactor,
        prepare,
        signal: this.#abort.signal,
        onPhase: (phase, progress) => this.#report(phase, progress),
        onRedactor: (redactor) => {
          this.#redactor = redactor;
        },
        onAbandoned: (cleared) => {
          this.#cleared = cleared;
        },
      });
    } catch (error) {
      // A stop on purpose is no failure.
      if (error !== this.#stopped) {
        this.#fail(error as GatewayError);
      }
      void this.#settleStart();
      throw error;
    }
    this.#abort = undefined;
    this.#readyAt = clock.now();
    this.startDurationMs = this.#readyAt - start;
    this.progress = undefined;
    this.#phases.enter('ready');
  }

  /** A start that failed leaves the stage when the runtime has cleared it; one that never does is waited for no longer than this. */
  async #settleStart(): Promise<void> {
    if (this.#cleared !== undefined) {
      this.#phases.enter('stopping', this.failure);
      await settledWithin(this.#cleared, clearWithinMs, this.#env.clock);
    }
    this.#phases.enter(this.#end, this.failure);
    this.#leave();
  }

  /** Notices its end also while nobody uses it. What it says waits for whoever does. */
  watch(): void {
    if (this.user === undefined) {
      this.#inTime(this.transport.watch(this)).catch((error: GatewayError) => this.transport.fail(error));
    }
  }

  /** Gives the instance to `user` and begins delivery. */
  async use(user: InstanceUser): Promise<void> {
    this.user = user;
    this.waitedMs = this.#readyAt === undefined ? 0 : this.#env.clock.now() - this.#readyAt;
    if (this.#hasEnded) {
      this.#tellEnd(user);
      return;
    }
    await this.#inTime(this.transport.start(this)).catch((error: GatewayError) => {
      this.#fail(error);
      throw error;
    });
  }

  /** Lets the transport fail when it has not started within `start_timeout`. */
  async #inTime(starting: Promise<void>): Promise<void> {
    const { definition, clock } = this.#env;
    const { id, startTimeoutMs } = definition;
    const late = `the start() of its transport took longer than start_timeout (${startTimeoutMs} ms)`;
    const timer = clock.setTimeout(
      () => this.fail(new GatewayError('START_TIMEOUT', late, { server: id, delivered: false })),
      startTimeoutMs,
    );
    await starting.finally(() => clock.clearTimeout(timer));
  }

  /** For one who comes after the end was noticed. */
  #tellEnd(user: InstanceUser): void {
    user.onEnding(this.failure ?? this.#stopReason);
    if (this.#isGone) {
      user.onClosed();
    }
  }

  onMessage(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    this.user?.onMessage(message, extra);
  }

  onTrouble(error: GatewayError): void {
    this.#events.trouble(error);
    this.user?.onTrouble(error);
  }

  onEnding(reason: GatewayError | undefined): void {
    this.#hasEnded = true;
    if (this.endExpected) {
      this.#phases.enter('stopping');
      this.user?.onEnding(reason);
      return;
    }
    this.lastExit = reason?.exit;
    if (reason !== undefined) {
      this.#fail(reason);
    }
    this.#phases.enter('stopping', reason);
    this.user?.onEnding(reason ?? this.#stopReason);
  }

  onClosed(): void {
    this.#phases.enter(this.#end, this.failure);
    this.user?.onClosed();
    this.#leave();
  }

  /** Stops it, and tells its user why. */
  stopFor(reason: GatewayError | undefined): Promise<void> {
    this.#stopReason ??= reason;
    return this.stop();
  }

  /** Ends the server, or its start. Every call shares one end. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#stopped = new GatewayError('SERVER_STOPPED', 'the server was stopped while it started', {
      server: this.#env.definition.id,
      delivered: false,
    });
    this.#abort?.abort(this.#stopped);
    await this.open().catch(() => {});
    if (this.#transport === undefined) {
      if (!this.#isGone) {
        this.#gone = Promise.withResolvers();
        await this.#gone.promise;
      }
      return;
    }
    if (this.user === undefined) {
      this.#phases.enter('stopping');
    }
    try {
      await this.#transport.close();
    } finally {
      if (this.user === undefined) {
        this.#phases.enter('idle');
        this.#leave();
      }
    }
  }

  /** Nothing of it is left. */
  #leave(): void {
    if (!this.#isGone) {
      this.#isGone = true;
      this.#onGone();
      this.#gone?.resolve();
    }
  }

  #report(phase: 'pulling' | 'starting', progress: RuntimeProgress | undefined): void {
    this.#phases.enter(phase);
    if (progress === undefined) {
      this.onProgress?.({ message: phase });
    } else {
      const message = progress.message === undefined ? undefined : this.#redactor.text(progress.message);
      this.progress = { ...progress, message };
      this.#events.progress(phase, this.progress);
      this.onProgress?.(this.progress);
    }
  }

  /** It counts once, whatever else goes wrong on its way out. */
  #fail(reason: GatewayError): void {
    if (this.failure !== undefined) {
      return;
    }
    this.failure = reason;
    const livedMs = this.#readyAt === undefined ? 0 : this.#env.clock.now() - this.#readyAt;
    this.#end = this.#owner.onFailure(reason, livedMs);
  }

  onTransition(transition: Transition): void {
    this.since = this.#env.clock.date();
    this.#events.phase(transition, this.since);
  }
}

/** The reason with what the server has written beside its messages: that says most of what it waited for. */
function withTail(reason: GatewayError, stderrTail: string): GatewayError {
  return reason.exit !== undefined || stderrTail.trim() === ''
    ? reason
    : copyError(reason, { message: messageOf(reason) + tailSuffix(stderrTail), exit: { stderrTail } });
}
