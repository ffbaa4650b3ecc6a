import type { Caller } from '../runtime.js';
import type { SeenCaller } from './latest-caller.js';

/** What the callers with an id have said of themselves last: one and the same for all connections of one, which share its servers. */
export class SeenCallers {
  readonly #entries = new Map<string, { readonly seen: SeenCaller; connections: number }>();

  /** One more connection. @returns undefined for a caller who shares nothing */
  enter(caller: Caller): SeenCaller | undefined {
    if (caller.id === undefined) {
      return undefined;
    }
    const key = keyOf(caller);
    const entry = this.#entries.get(key) ?? { seen: {}, connections: 0 };
    entry.connections += 1;
    this.#entries.set(key, entry);
    return entry.seen;
  }

  /** One less. */
  leave(caller: Caller): void {
    const key = keyOf(caller);
    const entry = this.#entries.get(key);
    if (entry !== undefined) {
      entry.connections -= 1;
      entry.connections > 0 || this.#entries.delete(key);
    }
  }
}

/** Those of another principal have other rights. */
function keyOf({ id, principal }: Caller): string {
  return JSON.stringify([id, principal ?? null]);
}
