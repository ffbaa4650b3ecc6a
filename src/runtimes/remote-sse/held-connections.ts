import type { Clock } from '../../options.js';
import type { Connections, TlsOptions } from '../../transport/http/connections.js';
import { fingerprintOf } from '../shared/tls-fingerprint.js';

/** How long those of one server are kept without a holder: as long as an idle connection is. */
const lingerMs = 30_000;

interface Held {
  /** Of the certificates that they were made with. */
  readonly fingerprint: string;
  readonly opening: Promise<Connections>;
  holders: number;
  /** Later holders get others. */
  isReplaced: boolean;
  /** Ends them when nobody comes back. */
  timer: unknown;
}

/** Connections that somebody uses. */
export interface Hold {
  readonly opening: Promise<Connections>;
  /** To be called when they are needed no more, also when they did not come about. */
  readonly release: () => void;
}

/**
 * The connections of one runtime: those that all servers share, and for each server with certificates of its own those made
 * with the ones that it was given last. Who began with earlier ones goes on with them. Those of one server end a while after
 * the last who held them: a catalog may have others tomorrow.
 */
export class HeldConnections {
  readonly #create: (tls: TlsOptions | undefined) => Promise<Connections>;
  readonly #clock: Clock;
  readonly #current = new Map<string | undefined, Held>();
  readonly #all = new Set<Held>();

  constructor(create: (tls: TlsOptions | undefined) => Promise<Connections>, clock: Clock) {
    this.#create = create;
    this.#clock = clock;
  }

  /**
   * @param server - whose; undefined: those that all share
   * @param tls - replaces those that there are when it says something else than before
   */
  hold(server: string | undefined, tls: TlsOptions | undefined): Hold {
    const fingerprint = fingerprintOf(tls);
    const known = this.#current.get(server);
    const held = known?.fingerprint === fingerprint ? known : this.#open(server, tls, fingerprint);
    if (known !== undefined && known !== held) {
      known.isReplaced = true;
      this.#closeUnused(server, known);
    }
    this.#clock.clearTimeout(held.timer);
    held.holders += 1;
    let isReleased = false;
    const release = () => {
      if (isReleased) return;
      isReleased = true;
      held.holders -= 1;
      this.#closeUnused(server, held);
    };
    return { opening: held.opening, release };
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    const all = [...this.#all];
    this.#current.clear();
    this.#all.clear();
    for (const { timer } of all) this.#clock.clearTimeout(timer);
    await Promise.all(all.map(async ({ opening }) => (await opening.catch(() => undefined))?.close()));
  }

  #open(server: string | undefined, tls: TlsOptions | undefined, fingerprint: string): Held {
    const opening = this.#create(tls);
    const held: Held = { fingerprint, opening, holders: 0, isReplaced: false, timer: undefined };
    this.#current.set(server, held);
    this.#all.add(held);
    opening.catch(() => {
      // They may come about the next time.
      this.#forget(server, held);
      this.#all.delete(held);
    });
    return held;
  }

  #closeUnused(server: string | undefined, held: Held): void {
    // What did not come about, and what was closed, has ended.
    if (held.holders > 0 || !this.#all.has(held)) return;
    this.#clock.clearTimeout(held.timer);
    if (held.isReplaced) {
      this.#drain(held);
    } else if (server !== undefined) {
      held.timer = this.#clock.setTimeout(() => {
        this.#forget(server, held);
        this.#drain(held);
      }, lingerMs);
    }
  }

  #forget(server: string | undefined, held: Held): void {
    if (this.#current.get(server) === held) this.#current.delete(server);
  }

  #drain(held: Held): void {
    // A token may be renewed over them for others who wait for it too.
    const ended = held.opening.then((connections) => connections.drain());
    ended.then(
      () => this.#all.delete(held),
      () => this.#all.delete(held),
    );
  }
}
