import type { Clock } from '../options.js';
import { Timers } from '../util/timers.js';
import type { EndpointServer } from './endpoint-server.js';

export interface MissingServersOptions {
  readonly clock: Clock;
  /** Starts one, and rejects when it is not there. */
  reach(server: EndpointServer): Promise<unknown>;
  /** One was stopped, and is not tried any more. */
  onStopped(server: string): void;
}

/** The servers that could not be asked for their lists: tries each again now and then, as often as its entry allows restarts. */
export class MissingServers {
  readonly #options: MissingServersOptions;
  readonly #missing = new Map<string, { attempts: number }>();
  readonly #timers: Timers;
  #closed = false;

  constructor(options: MissingServersOptions) {
    this.#options = options;
    this.#timers = new Timers(options.clock);
  }

  add(server: EndpointServer): void {
    if (this.#missing.has(server.id)) {
      return;
    }
    const { max, backoffMs, maxBackoffMs } = server.restart;
    const { reach, onStopped } = this.#options;
    const { timesStopped } = server;
    const state = { attempts: 0 };
    this.#missing.set(server.id, state);
    // By the end of a try a reload may have put another server in its place, which may be missing as well.
    const isCurrent = () => !this.#closed && this.#missing.get(server.id) === state;
    const end = () => {
      isCurrent() && this.#missing.delete(server.id);
    };
    const isWanted = () => {
      if (isCurrent() && server.timesStopped !== timesStopped) {
        end();
        onStopped(server.id);
      }
      return isCurrent();
    };
    const again = () => {
      if (!isWanted() || state.attempts >= max) {
        return end();
      }
      const wait = Math.min(maxBackoffMs, backoffMs * 2 ** state.attempts);
      state.attempts += 1;
      this.#timers.start(() => isWanted() && reach(server).then(end, again), wait);
    };
    again();
  }

  /** It has been heard of, or is another one. */
  delete(server: string): void {
    this.#missing.delete(server);
  }

  close(): void {
    this.#closed = true;
    this.#timers.endAll();
  }
}
