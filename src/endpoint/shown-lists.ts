import { createHash } from 'node:crypto';
import { allListKinds, type ListItem, type ListKind } from './list-kinds.js';

/** What one caller was shown last of the lists of each server, as short as may be: every caller has its own. */
export class ShownLists {
  readonly #digests = new Map<string, string>();

  /** @param items - undefined where no list came */
  set(server: string, kind: ListKind, items: readonly ListItem[] | undefined): void {
    this.#digests.set(`${kind} ${server}`, items === undefined ? '' : digest(items));
  }

  /** Whether the caller has asked for any of a server's lists. */
  has(server: string): boolean {
    return allListKinds.some((kind) => this.#digests.has(`${kind} ${server}`));
  }

  /** Whether the caller was shown something else when it asked for this list. */
  isOther(server: string, kind: ListKind, items: readonly ListItem[]): boolean {
    const shown = this.#digests.get(`${kind} ${server}`);
    return shown !== undefined && shown !== digest(items);
  }
}

/** What an in-process server gives may be what nobody can write: that cannot be compared. */
function digest(items: readonly ListItem[]): string {
  try {
    return createHash('sha256').update(JSON.stringify(items)).digest('base64');
  } catch {
    return 'unwritable';
  }
}
