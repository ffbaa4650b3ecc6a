import type { Caller } from '../runtime.js';
import type { PeerExtra } from './peer.js';

/** What is known of a caller by its latest message. */
export type SeenCaller = { -readonly [Key in keyof Caller]: Caller[Key] };

/** A caller as its latest message says who it is: for what goes on when that message is answered, such as its servers. */
export class LatestCaller {
  readonly #seen: SeenCaller;
  #current: Caller;

  /**
   * @param caller - as the host gave it for all messages that say nothing themselves
   * @param seen - filled with what the others say; of all connections of a caller that share servers
   */
  constructor(caller: Caller, seen: SeenCaller = {}) {
    this.#current = caller;
    this.#seen = seen;
  }

  /** Once a message has said who sends it, one and the same object: whoever holds it sees the later ones too. */
  get current(): Caller {
    return this.#current;
  }

  see(caller: Caller | undefined): void {
    if (caller === undefined) {
      return;
    }
    for (const key of Reflect.ownKeys(this.#seen)) {
      // What a host has added to an earlier one only.
      if (!Object.hasOwn(caller, key)) {
        Reflect.deleteProperty(this.#seen, key);
      }
    }
    // One by one: a host's own class may have getters.
    const { id, principal, authInfo, data } = caller;
    Object.assign(this.#seen, caller, { id, principal, authInfo, data });
    this.#current = this.#seen;
  }
}

/** What came with a message: it tells more of its sender, and makes nobody else of whom the host has given the connection to. */
export function sentBy({ id, principal }: Caller, extra: PeerExtra | undefined): PeerExtra | undefined {
  const caller = extra?.caller;
  // A host without a compiler may say null of who has none.
  const own = { id: id ?? caller?.id ?? undefined, principal: principal ?? caller?.principal ?? undefined };
  if (caller === undefined || (caller.id === own.id && caller.principal === own.principal)) {
    return extra;
  }
  // One by one: a host's own class may have getters.
  const { authInfo, data } = caller;
  return { ...extra, caller: { ...caller, ...own, authInfo, data } };
}
