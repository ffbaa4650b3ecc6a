import { AssertionError } from 'node:assert';
import timers from 'node:timers';
import { setImmediate } from 'node:timers/promises';

// Node's own, also where a test has put fake timers in the place of the global ones: a guard has to do with no time of theirs.
const { clearTimeout, setTimeout } = timers;

/** Settles like `promise`, or fails when that takes longer than `ms`: a guard against hanging, not a measure of speed. */
export function within<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const late = () => reject(new AssertionError({ message: `${what}: not within ${ms} ms` }));
    // Not unref'd: the process must not end before the case has failed.
    const timer = setTimeout(late, ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Lets everything that is ready to run do so: for what must not happen, and so has no event to wait for. */
export async function turns(count = 5): Promise<void> {
  for (let turn = 0; turn < count; turn++) await setImmediate();
}

/** Waits for conditions that change when something happens, and for nothing else. */
export class Waiters {
  readonly #guardMs: number;
  readonly #waiting = new Set<() => void>();

  constructor(guardMs: number) {
    this.#guardMs = guardMs;
  }

  /** Something happened: conditions may hold now. */
  wake(): void {
    for (const check of this.#waiting) check();
  }

  /** Settles when `condition` returns something, and rejects with what it throws. */
  async until<T>(what: string, condition: () => T | undefined | false, ms = this.#guardMs): Promise<T> {
    let check = () => {};
    const met = new Promise<T>((resolve, reject) => {
      check = () => {
        try {
          const value = condition();
          if (value !== undefined && value !== false) resolve(value);
        } catch (error) {
          reject(error);
        }
      };
      this.#waiting.add(check);
      check();
    });
    try {
      return await within(met, ms, what);
    } finally {
      this.#waiting.delete(check);
    }
  }
}
