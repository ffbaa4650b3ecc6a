import type { Clock } from '../options.js';
import { BoundedMap } from './bounded-map.js';
import { type DatedList, freshnessAt } from './dated-list.js';
import type { Freshness } from './freshness.js';
import type { ListItem, ListKind } from './list-kinds.js';

/** A list of all servers. */
export interface MergedList extends DatedList {
  /** In its order: whose the items are up to which. */
  readonly ends: readonly (readonly [server: string, end: number])[];
}

/** One page of a merged list. */
export interface Page {
  readonly items: readonly ListItem[];
  readonly freshness: Freshness;
  readonly nextCursor: string | undefined;
}

const pageSize = 1_000;
// How many long lists a caller may be in the middle of.
const maxUnfinished = 8;

/** Gives a caller long lists page by page, each as it was when the first page was asked for. */
export class ListPages {
  readonly #clock: Clock;
  readonly #unfinished = new BoundedMap<string, MergedList>(maxUnfinished);
  /** The one that was given to its end last: its pages may be asked for again. */
  #finished: string | undefined;
  #nextList = 1;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  first(kind: ListKind, list: MergedList): Page {
    return this.#page(`${kind}.${this.#nextList++}`, list, 0);
  }

  /**
   * A later page; undefined for a cursor that is not ours, of another list, or of one that was forgotten.
   *
   * @param isShown - a reload may have taken some from the caller since the first page
   */
  next(kind: ListKind, cursor: unknown, isShown: (server: string, item: ListItem) => boolean): Page | undefined {
    const [of, number, offset = ''] = typeof cursor === 'string' ? cursor.split('.') : [];
    const name = `${of}.${number}`;
    const whole = of === kind ? this.#unfinished.get(name) : undefined;
    const start = Number(offset);
    if (whole === undefined || !Number.isInteger(start) || start <= 0 || start >= whole.items.length) {
      return undefined;
    }
    const page = this.#page(name, whole, start);
    const serverOf = (index: number) => whole.ends.find(([, end]) => index < end)?.[0] ?? '';
    return { ...page, items: page.items.filter((item, index) => isShown(serverOf(start + index), item)) };
  }

  #page(name: string, whole: MergedList, start: number): Page {
    const { items } = whole;
    const end = start + pageSize;
    const more = end < items.length;
    if (more) {
      this.#unfinished.set(name, whole);
    } else if (start > 0 && name !== this.#finished) {
      // A caller may list all again with each change, and has no use for what it has read then.
      this.#finished === undefined || this.#unfinished.delete(this.#finished);
      this.#finished = name;
    }
    return {
      items: start === 0 && !more ? items : items.slice(start, end),
      freshness: freshnessAt(this.#clock.now(), whole),
      nextCursor: more ? `${name}.${end}` : undefined,
    };
  }
}
