import type { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import type { Caller, RuntimeProgress } from '../runtime.js';
import type { LinkTransport } from './link-transport.js';
import type { LinkWatchSettings } from './link-watch.js';
import { RequestTransport } from './request-session.js';
import { SharedSession } from './shared-session.js';
import { SharedTransport } from './shared-transport.js';

export interface SessionPoolOptions {
  readonly server: string;
  readonly isolation: 'caller' | 'shared' | 'principal' | 'request';
  readonly startTimeoutMs: number;
  readonly watch: LinkWatchSettings;
  readonly clock: Clock;
  /** A connection with an instance of its own. */
  connect(caller: Caller | undefined, onProgress?: (progress: RuntimeProgress) => void): LinkTransport;
}

/** Decides who shares an instance of an entry, and hands out connections accordingly. */
export class SessionPool {
  readonly #options: SessionPoolOptions;
  // A session that nobody else may join has a key that nobody else has.
  readonly #sessions = new Map<string | symbol, SharedSession>();
  #closed: GatewayError | undefined;

  constructor(options: SessionPoolOptions) {
    this.#options = options;
  }

  /** Whether a connection of this caller watches over its instance itself; else the session that it shares does. */
  watches(caller: Caller): boolean {
    return this.#options.isolation === 'caller' && caller.id === undefined;
  }

  /** A connection for the merged peer. */
  connect(caller: Caller, onProgress: (progress: RuntimeProgress) => void): LinkTransport {
    switch (this.#options.isolation) {
      case 'request':
        return new RequestTransport(this.#linkOptions(caller), this.#options.clock);
      case 'caller':
        return caller.id === undefined
          ? this.#options.connect(caller, onProgress)
          : this.#attach(`caller ${caller.id}`, caller);
      default:
        return this.connectShared(caller);
    }
  }

  /** A connection with an instance of its own, whatever the isolation. */
  connectAlone(caller: Caller | undefined): LinkTransport {
    return this.#options.connect(caller);
  }

  /** A connection to the instance that callers share, or that the callers of one principal share. */
  connectShared(caller: Caller): LinkTransport {
    if (this.#options.isolation === 'shared') {
      return this.#attach('everybody', undefined);
    }
    // Without a principal nobody else can be the same one.
    const { principal, id } = caller;
    if (principal !== undefined) {
      return this.#attach(`principal ${principal}`, { principal });
    }
    return this.#attach(id === undefined ? Symbol('nobody else') : `caller ${id}`, caller);
  }

  /** Whether connections are open that the pool has to end. */
  get isUsed(): boolean {
    return this.#sessions.size > 0;
  }

  /** Ends all sessions, and refuses connections that start later; open requests are answered with the reason. */
  async close(reason: GatewayError): Promise<void> {
    this.#closed = reason;
    await Promise.all([...this.#sessions.values()].map((session) => session.close(reason)));
  }

  /** A connection to the session of that key: to the one that there is when the connection starts. */
  #attach(key: string | symbol, caller: Caller | undefined): SharedTransport {
    return new SharedTransport(() => {
      if (this.#closed !== undefined) {
        throw this.#closed;
      }
      return this.#shared(key, caller);
    });
  }

  #shared(key: string | symbol, caller: Caller | undefined): SharedSession {
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = this.#create(key, caller);
      this.#sessions.set(key, session);
    }
    return session;
  }

  #create(key: string | symbol, caller: Caller | undefined): SharedSession {
    const session: SharedSession = new SharedSession({
      link: this.#linkOptions(caller),
      sharing: typeof key === 'symbol' || key.startsWith('caller ') ? 'one-caller' : 'callers',
      clock: this.#options.clock,
      onUnused: () => {
        if (this.#sessions.get(key) === session) {
          this.#sessions.delete(key);
        }
      },
    });
    return session;
  }

  #linkOptions(caller: Caller | undefined) {
    const { server, startTimeoutMs, watch, connect } = this.#options;
    return { server, startTimeoutMs, watch, connect: () => connect(caller) };
  }
}
