import type { Connections, TlsOptions } from '../../transport/http/connections.js';
import { fingerprintOf } from '../shared/tls-fingerprint.js';

interface Held {
  /** Of the certificates that they were made with. */
  readonly fingerprint: string;
  readonly opening: Promise<Connections>;
  holders: number;
  /** Later holders get others. */
  isReplaced: boolean;
}

/** Connections that somebody uses. */
export interface Hold {
  readonly opening: Promise<Connections>;
  /** To be called when they are needed no more, also when they did not come about. */
  readonly release: () => void;
}

/**
 * The connections of one runtime: those that all servers share, and for each server with certificates of its own those made
 * with the ones that it was given last. Who began with earlier ones goes on with them.
 */
export class HeldConnections {
  readonly #create: (tls: TlsOptions | undefined) => Promise<Connections>;
  readonly #current = new Map<string, Held>();
  readonly #all = new Set<Held>();

  constructor(create: (tls: TlsOptions | undefined) => Promise<Connections>) {
    this.#create = create;
  }

  /** @param key - whose: those of a key are replaced when `tls` says something else than before */
  hold(key: string, tls: TlsOptions | undefined): Hold {
    const fingerprint = fingerprintOf(tls);
    const known = this.#current.get(key);
    const held = known?.fingerprint === fingerprint ? known : this.#open(key, tls, fingerprint);
    if (known !== undefined && known !== held) {
      known.isReplaced = true;
      this.#closeUnused(known);
    }
    held.holders += 1;
    let isReleased = false;
    const release = () => {
      if (isReleased) return;
      isReleased = true;
      held.holders -= 1;
      this.#closeUnused(held);
    };
    return { opening: held.opening, release };
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    const all = [...this.#all];
    this.#current.clear();
    this.#all.clear();
    await Promise.all(all.map(async ({ opening }) => (await opening.catch(() => undefined))?.close()));
  }

  #open(key: string, tls: TlsOptions | undefined, fingerprint: string): Held {
    const held: Held = { fingerprint, opening: this.#create(tls), holders: 0, isReplaced: false };
    this.#current.set(key, held);
    this.#all.add(held);
    held.opening.catch(() => {
      // They may come about the next time.
      if (this.#current.get(key) === held) this.#current.delete(key);
      this.#all.delete(held);
    });
    return held;
  }

  #closeUnused(held: Held): void {
    if (!held.isReplaced || held.holders > 0) return;
    // A token may be renewed over them for others who wait for it too.
    const ended = held.opening.then((connections) => connections.drain());
    ended.then(
      () => this.#all.delete(held),
      () => this.#all.delete(held),
    );
  }
}
