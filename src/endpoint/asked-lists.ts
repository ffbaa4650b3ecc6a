import type { DatedList } from './dated-list.js';
import { allListKinds, type ListKind } from './list-kinds.js';

/** A list of one server that is asked for. */
export interface AskedList {
  readonly server: string;
  readonly kind: ListKind;
  /** As the server has given it, once it has. */
  own: DatedList | undefined;
  /** The server may have another one by now. */
  isOutdated: boolean;
}

/** A list of all servers that waits for some of them. */
export interface GatheredList {
  readonly kind: ListKind;
  /** By server whose part has come: whether that counts no more. */
  readonly outdated: Map<string, boolean>;
}

/** The lists of servers that are on their way to one caller, or came too late for it, and which of them count no more. */
export class AskedLists {
  readonly #onTheirWay = new Set<AskedList>();
  // Lists that came after their list_timeout, for the next question: a server may be as slow each time. As the server
  // gave them: what the interceptor shows of them is a matter of who asks.
  readonly #late = new Map<string, DatedList>();
  #gathered: readonly GatheredList[] = [];

  /** A list is asked for; one that came late is there already. */
  ask(server: string, kind: ListKind): AskedList {
    const key = keyOf(server, kind);
    const asked: AskedList = { server, kind, own: this.#late.get(key), isOutdated: false };
    this.#late.delete(key);
    this.#onTheirWay.add(asked);
    return asked;
  }

  /** A list of all servers is asked for. */
  gather(kind: ListKind): GatheredList {
    const list = { kind, outdated: new Map<string, boolean>() };
    this.#gathered = [...this.#gathered, list];
    return list;
  }

  /** All its parts have come, or will not. */
  merged(list: GatheredList): void {
    this.#gathered = this.#gathered.filter((each) => each !== list);
  }

  /** It came after its `list_timeout`. */
  keep({ server, kind, own, isOutdated }: AskedList): void {
    // The first of its pages may be from before a change.
    if (own !== undefined && !isOutdated) {
      this.#late.set(keyOf(server, kind), own);
    }
  }

  /** It has come, or will not. */
  end(asked: AskedList): void {
    this.#onTheirWay.delete(asked);
  }

  /**
   * What a server has said of its lists counts no more, nor what it is about to.
   *
   * @param hasCome - of those on their way only the ones that have come, or have not
   */
  outdate(server: string, only?: ListKind, hasCome?: boolean): void {
    for (const kind of only === undefined ? allListKinds : [only]) {
      this.#late.delete(keyOf(server, kind));
    }
    for (const asked of this.#onTheirWay) {
      const { own, kind } = asked;
      asked.isOutdated ||=
        asked.server === server &&
        (only === undefined || kind === only) &&
        (hasCome === undefined || hasCome === (own !== undefined));
    }
    for (const { kind, outdated } of hasCome === undefined ? this.#gathered : []) {
      if (outdated.has(server) && (only === undefined || kind === only)) {
        outdated.set(server, true);
      }
    }
  }

  /** Nobody asks again. */
  close(): void {
    this.#late.clear();
  }
}

function keyOf(server: string, kind: ListKind): string {
  return `${kind} ${server}`;
}
