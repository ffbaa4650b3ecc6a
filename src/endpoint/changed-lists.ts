import type { Clock } from '../options.js';
import { type ListKind, listKinds } from './list-kinds.js';

const debounceMs = 20;

/** Tells a caller which of its lists have changed: once for what changes within a moment. */
export class ChangedLists {
  readonly #clock: Clock;
  readonly #onChanged: (method: string) => void;
  readonly #methods = new Set<string>();
  #debounce: unknown;
  #closed = false;

  constructor(clock: Clock, onChanged: (method: string) => void) {
    this.#clock = clock;
    this.#onChanged = onChanged;
  }

  add(kind: ListKind): void {
    if (this.#closed) {
      return;
    }
    this.#methods.add(listKinds[kind].changed);
    this.#debounce ??= this.#clock.setTimeout(() => {
      this.#debounce = undefined;
      const methods = [...this.#methods];
      this.#methods.clear();
      for (const method of methods) {
        this.#onChanged(method);
      }
    }, debounceMs);
  }

  close(): void {
    this.#closed = true;
    this.#clock.clearTimeout(this.#debounce);
  }
}
