import { createHash } from 'node:crypto';
import { allListKinds, type ListItem, type ListKind } from './list-kinds.js';

type Digests = Partial<Record<ListKind, number>>;

/** What one caller was shown last of the lists of each server, as short as may be: every caller has its own. */
export class ShownLists {
  readonly #servers = new Map<string, Digests>();

  /** @param items - undefined where no list came */
  set(server: string, kind: ListKind, items: readonly ListItem[] | undefined): void {
    this.#servers.set(server, { ...this.#servers.get(server), [kind]: items === undefined ? none : digest(items) });
  }

  /** Whether the caller has asked for any of a server's lists. */
  has(server: string): boolean {
    return this.#servers.has(server);
  }

  /** Whether the caller was shown something else when it asked for this list. */
  isOther(server: string, kind: ListKind, items: readonly ListItem[]): boolean {
    const shown = this.#servers.get(server)?.[kind];
    return shown !== undefined && shown !== digest(items);
  }

  /** The lists that the caller was shown without this server, as none came of it. */
  lacking(server: string): ListKind[] {
    return allListKinds.filter((kind) => this.#servers.get(server)?.[kind] === none);
  }

  /** @param kind - of which alone it is forgotten what was shown */
  forget(server: string, kind?: ListKind): void {
    if (kind === undefined) {
      this.#servers.delete(server);
    } else {
      this.#servers.set(server, { ...this.#servers.get(server), [kind]: undefined });
    }
  }
}

const none = -1;
/** Of what an in-process server may give: it cannot be compared. */
const unwritable = -2;
/** A list that is kept for several callers is the same array for each of them. */
const digests = new WeakMap<readonly ListItem[], number>();

function digest(items: readonly ListItem[]): number {
  let known = digests.get(items);
  if (known === undefined) {
    known = compute(items);
    digests.set(items, known);
  }
  return known;
}

function compute(items: readonly ListItem[]): number {
  try {
    return createHash('sha256').update(JSON.stringify(items)).digest().readUIntBE(0, 6);
  } catch {
    return unwritable;
  }
}
