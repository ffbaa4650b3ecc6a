import { isPlainObject } from '../util/fields.js';
import type { ServerDefinition } from './catalog.js';

/** An entry that was valid, and what became of it. */
export interface KnownEntry {
  /** A copy of what was written, which nobody can change afterwards. */
  readonly replaced: Readonly<Record<string, unknown>>;
  readonly definition: ServerDefinition;
}

/** The entries of the catalog that was resolved last, so that the next one is checked only where it differs. */
export class KnownEntries {
  #entries: ReadonlyMap<string, KnownEntry> = new Map();

  /** Undefined when an entry has to be read: it differs, or what becomes of it is not decided by its text alone. */
  find(written: Readonly<Record<string, unknown>>): KnownEntry | undefined {
    const { id } = written;
    const known = typeof id === 'string' ? this.#entries.get(id) : undefined;
    return known !== undefined && isSameText(written, known.replaced) ? known : undefined;
  }

  /** Takes over a whole catalog, and forgets the one before. */
  replace(entries: readonly KnownEntry[]): void {
    this.#entries = new Map(entries.map((entry) => [entry.definition.id, entry]));
  }
}

/** Whether plain data have the same content. What holds a variable, a function or an instance is like nothing else. */
function isSameText(written: unknown, known: unknown): boolean {
  if (typeof written === 'string') {
    return written === known && !written.includes('${');
  }
  if (typeof written !== 'object' || written === null) {
    return typeof written !== 'function' && Object.is(written, known);
  }
  if (Array.isArray(written)) {
    return Array.isArray(known) && hasSameItems(written, known);
  }
  return isPlainObject(written) && isPlainObject(known) && hasSameKeys(written, known);
}

function hasSameItems(written: readonly unknown[], known: readonly unknown[]): boolean {
  if (written.length !== known.length) {
    return false;
  }
  for (let index = 0; index < written.length; index += 1) {
    if (!isSameText(written[index], known[index])) {
      return false;
    }
  }
  return true;
}

function hasSameKeys(written: Record<string, unknown>, known: Record<string, unknown>): boolean {
  let count = 0;
  for (const key of Object.keys(written)) {
    const value = written[key];
    if (value === undefined) {
      continue;
    }
    if (!Object.hasOwn(known, key) || !isSameText(value, known[key])) {
      return false;
    }
    count += 1;
  }
  return count === Object.keys(known).length;
}
