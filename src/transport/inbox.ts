/**
 * Runs what is put in, in order, once it is open; never inside `put` or `open`, so that nobody's callback runs in the
 * middle of somebody else's `send`. What gives `true` is followed by the rest with the next turn of microtasks.
 *
 * What is put in must not throw.
 */
export class Inbox {
  #waiting: (() => unknown)[] = [];
  #next = 0;
  #open = false;
  #scheduled = false;

  /** Whether all that was put in has run, or was forgotten. */
  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  put(run: () => unknown): void {
    this.#waiting.push(run);
    this.#schedule();
  }

  open(): void {
    this.#open = true;
    this.#schedule();
  }

  /** Forgets what has not run yet. */
  clear(): void {
    this.#waiting = [];
    this.#next = 0;
  }

  #schedule(): void {
    if (!this.#open || this.#scheduled || this.#waiting.length === 0) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#drain());
  }

  #drain(): void {
    for (let run = this.#waiting[this.#next]; run !== undefined; run = this.#waiting[this.#next]) {
      this.#next++;
      if (run() === true) {
        queueMicrotask(() => this.#drain());
        return;
      }
    }
    this.clear();
    this.#scheduled = false;
  }
}
