import type { Clock } from '../options.js';
import type { Caller, RuntimeProgress } from '../runtime.js';
import type { LinkTransport } from './link.js';
import type { LinkWatchSettings } from './link-watch.js';
import { RequestTransport } from './request-session.js';
import { SharedSession } from './shared-session.js';

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
  readonly #sessions = new Map<string, SharedSession>();

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
          : this.#shared(`caller ${caller.id}`, caller).attach();
      default:
        return this.connectShared(caller);
    }
  }

  /** A connection to the instance that callers share, or that the callers of one principal share. */
  connectShared(caller: Caller): LinkTransport {
    if (this.#options.isolation === 'shared') {
      return this.#shared('everybody', undefined).attach();
    }
    // Without a principal nobody else can be the same one.
    const { principal, id } = caller;
    if (principal !== undefined) {
      return this.#shared(`principal ${principal}`, { principal }).attach();
    }
    return id === undefined ? this.#create(undefined, caller).attach() : this.#shared(`caller ${id}`, caller).attach();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.close()));
  }

  #shared(key: string, caller: Caller | undefined): SharedSession {
    let session = this.#sessions.get(key);
    if (session === undefined) {
      session = this.#create(key, caller);
      this.#sessions.set(key, session);
    }
    return session;
  }

  #create(key: string | undefined, caller: Caller | undefined): SharedSession {
    const session: SharedSession = new SharedSession({
      link: this.#linkOptions(caller),
      sharing: key === undefined || key.startsWith('caller ') ? 'one-caller' : 'callers',
      clock: this.#options.clock,
      onUnused: () => {
        if (key !== undefined && this.#sessions.get(key) === session) {
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
