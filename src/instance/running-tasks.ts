import type { Clock } from '../options.js';
import { hasEnded } from './task-status.js';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Tasks that have not ended, as far as anybody has heard. One of which nothing is heard counts until its `ttl` is over: its
 * server may have forgotten it since.
 */
export class RunningTasks {
  readonly #clock: Clock;
  readonly #until = new Map<unknown, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether one runs. */
  get any(): boolean {
    const now = this.#clock.now();
    for (const [taskId, until] of this.#until) {
      if (until > now) {
        return true;
      }
      this.#until.delete(taskId);
    }
    return false;
  }

  /** Looks at a task in a result or notification. */
  see({ taskId, status, ttl }: Fields): void {
    if (hasEnded(status)) {
      this.#until.delete(taskId);
    } else if (status !== undefined) {
      this.#until.set(taskId, this.#end(taskId, ttl));
    }
  }

  forget(taskId: unknown): void {
    this.#until.delete(taskId);
  }

  clear(): void {
    this.#until.clear();
  }

  #end(taskId: unknown, ttl: unknown): number {
    if (typeof ttl === 'number') {
      return this.#clock.now() + ttl;
    }
    // Null says that it is kept for ever, and nothing that all is as it was.
    return (ttl === undefined ? this.#until.get(taskId) : undefined) ?? Number.POSITIVE_INFINITY;
  }
}
