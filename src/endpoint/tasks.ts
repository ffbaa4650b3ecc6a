import type { Response } from '../instance/exchanges.js';
import { RunningTasks } from '../instance/running-tasks.js';
import type { Clock } from '../options.js';
import { relatedTask } from '../transport/tasks.js';
import type { Fields } from '../util/fields.js';
import { OwnedIds } from './owned-ids.js';

/** Where a task of the merged peer runs. */
export interface TaskOrigin {
  readonly server: string;
  /** The server's own task id. */
  readonly taskId: string;
}

/**
 * Knows, for one caller, which server each task belongs to (revision 2025-11-25, "Tasks", experimental). Task ids keep
 * their own form; should two servers give out the same one, the later shows under an alias.
 */
export class TaskOwners {
  readonly #clock: Clock;
  readonly #ids = new OwnedIds();
  // By what runs them: after a reload two servers of one id may run.
  readonly #running = new Map<object, RunningTasks>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a task runs behind this link, as far as the caller has heard. */
  isRunning(link: object): boolean {
    return this.#running.get(link)?.any === true;
  }

  /** The server behind this link has answered a request: a task may have begun with it, or come further. */
  answered(link: object, result: Fields): void {
    for (const task of [result, result.task as Fields | null | undefined]) {
      typeof task?.taskId === 'string' && this.#note(link, task);
    }
  }

  /** The caller is not told of a task. */
  forget(link: object | undefined, taskId: unknown): void {
    link !== undefined && this.#running.get(link)?.forget(taskId);
  }

  /** The server behind this link has answered `tasks/result` of a task of its own. */
  resultAnswered(link: object | undefined, taskId: string, response: Response): void {
    link !== undefined && this.#running.get(link)?.seeResult(taskId, response);
  }

  /** The server behind a link has ended, and its tasks with it. */
  end(link: object): void {
    this.#running.delete(link);
  }

  find(taskId: unknown): TaskOrigin | undefined {
    const origin = typeof taskId === 'string' ? this.#ids.find(taskId) : undefined;
    return origin && { server: origin.server, taskId: origin.id };
  }

  /** What the caller answers to a server, in which the task id has become the server's own again. */
  restore<T extends Fields>(server: string, fields: T): T {
    const meta = fields._meta as Fields | undefined;
    const related = meta?.[relatedTask] as Fields | undefined;
    const origin = this.find(related?.taskId);
    return origin === undefined || origin.server !== server || origin.taskId === related?.taskId
      ? fields
      : { ...fields, _meta: { ...meta, [relatedTask]: { ...related, taskId: origin.taskId } } };
  }

  /**
   * A result or the params of a notification, in which task ids have become the caller's. Remembers them.
   *
   * @param link - where it came from; undefined when it came from no server, or was seen by `answered`
   * @param isItem - it is one of a list: what is nested in that is nobody's list, however deep a server may nest it
   */
  translate<T extends Fields>(server: string, fields: T, link: object | undefined, isItem = false): T {
    if (fields.taskId === undefined && fields.task === undefined && fields.tasks === undefined && !fields._meta) {
      return fields;
    }
    let changed: Record<string, unknown> | undefined;
    const replace = (key: string, value: unknown) => {
      changed ??= { ...fields };
      changed[key] = value;
    };
    if (typeof fields.taskId === 'string') {
      const visible = this.#ids.see(server, fields.taskId);
      this.#note(link, fields);
      visible !== fields.taskId && replace('taskId', visible);
    }
    const { task, tasks, _meta: meta } = fields as { task?: Fields; tasks?: unknown; _meta?: Fields };
    if (typeof task?.taskId === 'string') {
      const visible = this.#ids.see(server, task.taskId);
      this.#note(link, task);
      visible !== task.taskId && replace('task', { ...task, taskId: visible });
    }
    if (Array.isArray(tasks) && !isItem) {
      const list = tasks.map((item: Fields) =>
        typeof item?.taskId === 'string' ? this.translate(server, item, link, true) : item,
      );
      replace('tasks', list);
    }
    const related = meta?.[relatedTask] as Fields | undefined;
    if (typeof related?.taskId === 'string') {
      const visible = this.#ids.see(server, related.taskId);
      visible !== related.taskId && replace('_meta', { ...meta, [relatedTask]: { ...related, taskId: visible } });
    }
    return (changed as T | undefined) ?? fields;
  }

  #note(link: object | undefined, task: Fields): void {
    if (link === undefined) {
      return;
    }
    const running = this.#running.get(link) ?? new RunningTasks(this.#clock);
    this.#running.set(link, running);
    running.see(task);
  }
}
