import type { Clock } from '../options.js';
import type { Fields } from '../util/fields.js';
import type { Response } from './exchanges.js';
import { RunningTasks } from './running-tasks.js';

// Tasks that nobody asks for any more are forgotten at some point.
const maxTasks = 10_000;

/** Whose each task of a shared server is (revision 2025-11-25, "Tasks"), and whether one still runs. */
export class SharedTasks<Owner> {
  readonly #owners = new Map<string, Owner>();
  readonly #running: RunningTasks;

  constructor(clock: Clock) {
    this.#running = new RunningTasks(clock);
  }

  get running(): boolean {
    return this.#running.any;
  }

  get isEmpty(): boolean {
    return this.#owners.size === 0;
  }

  ownerOf(taskId: unknown): Owner | undefined {
    return this.#owners.get(taskId as string);
  }

  owns(owner: Owner, taskId: unknown): boolean {
    return this.ownerOf(taskId) === owner;
  }

  /** Notes a task in a result or notification for `owner`; one that another owns already stays theirs. */
  see(owner: Owner | undefined, fields: Fields): void {
    const task = (fields.task ?? fields) as Fields;
    if (owner === undefined || typeof task.taskId !== 'string') {
      return;
    }
    if (!this.#owners.has(task.taskId)) {
      if (this.#owners.size >= maxTasks) {
        const oldest = this.#owners.keys().next().value as string;
        this.#owners.delete(oldest);
        this.#running.forget(oldest);
      }
      this.#owners.set(task.taskId, owner);
    }
    this.#running.see(task);
  }

  /** The server has answered `tasks/result`. */
  resultAnswered(taskId: unknown, response: Response): void {
    this.#running.seeResult(taskId, response);
  }

  /** A list of tasks without those of others. */
  onlyOf(owner: Owner, result: Fields): Fields {
    return Array.isArray(result.tasks)
      ? { ...result, tasks: result.tasks.filter((task: { taskId?: unknown } | null) => this.owns(owner, task?.taskId)) }
      : result;
  }

  /** An owner has gone; its tasks are nobody's. */
  forget(owner: Owner): void {
    for (const [taskId, own] of this.#owners) {
      if (own === owner) {
        this.#owners.delete(taskId);
        this.#running.forget(taskId);
      }
    }
  }

  clear(): void {
    this.#owners.clear();
    this.#running.clear();
  }
}
