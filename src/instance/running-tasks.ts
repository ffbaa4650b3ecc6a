import type { Clock } from '../options.js';
import type { Fields } from '../util/fields.js';
import type { Response } from './exchanges.js';
import { hasEnded } from './task-status.js';

// A server that begins tasks without end must not fill our memory.
const maxTasks = 10_000;
// As many go at once that looking at all of them costs little for each that comes.
const roomMade = 1_000;

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
    this.#dropExpired();
    return this.#until.size > 0;
  }

  /** Looks at a task in a result or notification, which revision 2026-07-28 writes with another name for its `ttl`. */
  see({ taskId, status, ttl, ttlMs = ttl }: Fields): void {
    if (hasEnded(status)) {
      this.#until.delete(taskId);
    } else if (status !== undefined) {
      this.#makeRoom(taskId);
      this.#until.set(taskId, this.#end(taskId, ttlMs));
    }
  }

  /** The server has answered `tasks/result`, as it does when the task has ended: with its result, or the error that it ended in. */
  seeResult(taskId: unknown, response: Response): void {
    // An error of ours says nothing of the task.
    if ('result' in response || response.error.code < 0) {
      this.#until.delete(taskId);
    }
  }

  forget(taskId: unknown): void {
    this.#until.delete(taskId);
  }

  clear(): void {
    this.#until.clear();
  }

  /** When there are too many, forgets those whose time is over, and the oldest ones if these are too few. */
  #makeRoom(taskId: unknown): void {
    if (this.#until.size < maxTasks || this.#until.has(taskId)) {
      return;
    }
    this.#dropExpired();
    for (const oldest of this.#until.keys()) {
      if (this.#until.size <= maxTasks - roomMade) {
        break;
      }
      this.#until.delete(oldest);
    }
  }

  /** All of them, wherever they stand: one without an end may stand before them. */
  #dropExpired(): void {
    const now = this.#clock.now();
    for (const [taskId, until] of this.#until) {
      if (until <= now) {
        this.#until.delete(taskId);
      }
    }
  }

  #end(taskId: unknown, ttl: unknown): number {
    if (typeof ttl === 'number') {
      return this.#clock.now() + ttl;
    }
    // Null says that it is kept for ever, and nothing that all is as it was.
    return (ttl === undefined ? this.#until.get(taskId) : undefined) ?? Number.POSITIVE_INFINITY;
  }
}
