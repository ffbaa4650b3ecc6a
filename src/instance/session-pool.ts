import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import type { Caller, RuntimeProgress } from '../runtime.js';
import type { LinkTransport } from './link-transport.js';
import type { LinkWatchSettings } from './link-watch.js';
import { RequestTransport } from './request-session.js';
import { SharedSession } from './shared-session.js';
import { SharedTransport } from './shared-transport.js';

type OnProgress = (progress: RuntimeProgress) => void;

/** What the definition of an entry says of its sessions. */
export interface SessionSettings extends LinkWatchSettings {
  readonly id: string;
  readonly isolation: 'caller' | 'shared' | 'principal' | 'request';
  readonly startTimeoutMs: number;
}

/** The entry whose sessions a pool holds. */
export interface SessionOwner {
  /** The pool of the entry that the catalog has now. Throws when there is none. */
  readonly currentSessions: SessionPool;
  /** Aborted by the next stop. */
  readonly untilStopped: AbortSignal;
  /** A connection with an instance of its own. */
  connectAlone(caller: Caller | undefined, onProgress?: OnProgress): LinkTransport;
}

/** Decides who shares an instance of an entry, and hands out connections accordingly. */
export class SessionPool {
  readonly #settings: SessionSettings;
  readonly #owner: SessionOwner;
  readonly #clock: Clock;
  // A session that nobody else may join has a key that nobody else has.
  #sessions: Map<string | symbol, SharedSession> | undefined;
  /** The ends of servers whose caller may come back meanwhile. */
  #endings: Map<string | symbol, Promise<void>> | undefined;
  #closed: GatewayError | undefined;

  constructor(settings: SessionSettings, owner: SessionOwner, clock: Clock) {
    this.#settings = settings;
    this.#owner = owner;
    this.#clock = clock;
  }

  /** A connection for the merged peer. */
  connect(caller: Caller, onProgress: OnProgress): LinkTransport {
    const { isolation } = this.#settings;
    if (isolation === 'request') {
      return new RequestTransport(this.#linkOptions(caller, onProgress), this.#clock);
    }
    return watchesItself(isolation, caller)
      ? this.#owner.connectAlone(caller, onProgress)
      : this.#attach(caller, 'entry', onProgress);
  }

  /** A connection to the instance that callers share, or that the callers of one principal share. */
  connectShared(caller: Caller): LinkTransport {
    return this.#attach(caller, 'server');
  }

  /** Whether the server that this caller shares runs already. */
  isRunning(caller: Caller): boolean {
    return this.#sessions?.get(this.#sharedBy(caller)[0])?.isResting === false;
  }

  /** Whether connections are open that the pool has to end. */
  get isUsed(): boolean {
    return this.#open.length > 0;
  }

  /** The catalog has another entry of this id, or none: sessions without a server go on there, the others end with theirs. */
  async retire(reason: GatewayError): Promise<void> {
    await Promise.all(this.#open.map((session) => session.retire(reason)));
  }

  /** Ends all sessions, and refuses connections that start later; open requests are answered with the reason. */
  async close(reason: GatewayError): Promise<void> {
    this.#closed = reason;
    await Promise.all(this.#open.map((session) => session.close(reason)));
  }

  get #open(): SharedSession[] {
    return [...(this.#sessions?.values() ?? [])];
  }

  /** A connection to the session that there is when the connection starts, of the entry that there is then. */
  #attach(caller: Caller, staysWith: 'server' | 'entry', onProgress?: OnProgress): SharedTransport {
    const join = () => this.#owner.currentSessions.#join(caller);
    return new SharedTransport(this.#settings.id, join, staysWith, onProgress);
  }

  /** The session that this caller shares. */
  #join(caller: Caller): SharedSession {
    if (this.#closed !== undefined) {
      throw this.#closed;
    }
    // A reload may have changed the isolation since the connection was made.
    refuseRaw(this.#settings);
    const [key, whom] = this.#sharedBy(caller);
    this.#sessions ??= new Map();
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = this.#create(key, whom);
      this.#sessions.set(key, session);
    }
    return session;
  }

  /** What is the same for all who share a session with this caller, and whom its server is started for. */
  #sharedBy(caller: Caller): [string | symbol, Caller | undefined] {
    const { principal, id } = caller;
    switch (this.#settings.isolation) {
      case 'shared':
        return ['everybody', undefined];
      case 'principal':
        if (principal !== undefined) {
          return [`principal ${principal}`, { principal }];
        }
    }
    // Without a principal nobody else can be the same one.
    return [id === undefined ? Symbol('nobody else') : `caller ${id}`, caller];
  }

  #create(key: string | symbol, caller: Caller | undefined): SharedSession {
    const session: SharedSession = new SharedSession({
      // It may hold what the next one needs: a file, a port, a container's name.
      link: { ...this.#linkOptions(caller, (progress) => session.starting(progress)), after: this.#endings?.get(key) },
      sharing: typeof key === 'symbol' || key.startsWith('caller ') ? 'one-caller' : 'callers',
      clock: this.#clock,
      onUnused: (ending) => {
        if (this.#sessions?.get(key) === session) {
          this.#sessions.delete(key);
          ending && this.#remember(key, ending);
        }
      },
    });
    return session;
  }

  #remember(key: string | symbol, ending: Promise<void>): void {
    this.#endings ??= new Map();
    this.#endings.set(key, ending);
    const forget = () => {
      if (this.#endings?.get(key) === ending) {
        this.#endings.delete(key);
      }
    };
    ending.then(forget, forget);
  }

  #linkOptions(caller: Caller | undefined, onProgress: OnProgress) {
    const { id, startTimeoutMs } = this.#settings;
    const connect = () => this.#owner.connectAlone(caller, onProgress);
    return { server: id, startTimeoutMs, watch: this.#settings, untilStopped: () => this.#owner.untilStopped, connect };
  }
}

/** Whether a connection of this caller watches over its instance itself; else the session that it shares does. */
export function watchesItself(isolation: SessionSettings['isolation'], caller: Caller): boolean {
  return isolation === 'caller' && caller.id === undefined;
}

/** @throws `GatewayError` `ISOLATION_UNSUPPORTED` where each request gets an instance of its own */
export function refuseRaw({ id, isolation }: Pick<SessionSettings, 'id' | 'isolation'>): void {
  if (isolation === 'request') {
    throw new GatewayError(
      'ISOLATION_UNSUPPORTED',
      'isolation: request is for the merged peer: call connect() without an id, or serve()',
      { server: id, delivered: false },
    );
  }
}
