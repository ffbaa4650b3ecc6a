import { randomUUID } from 'node:crypto';
import type { JSONRPCRequest, RequestId } from '../../sdk.js';
import { metaOfTask, toLegacyTask, withRelatedTask } from '../../transport/tasks.js';
import type { Fields } from '../../util/fields.js';
import { KeptSizes, mostKept } from '../../util/kept-sizes.js';
import { textOf } from '../../util/text-of.js';
import type { Response, RpcError } from '../exchanges.js';
import { hasEnded } from '../task-status.js';
import { deliveredBefore } from './delivered-before.js';
import { TaskWaits, type TaskWaitsOptions } from './task-waits.js';

export interface TaskCallsOptions extends Omit<TaskWaitsOptions, 'request'> {
  /** An id that no other request to the server has. */
  nextId(): RequestId;
  /** Sends a request of ours; the envelope is added on the way. */
  request(id: RequestId, method: string, params: Fields): void;
}

const mostResults = 1_000;
const endedAlready: RpcError = { code: -32602, message: 'the task has ended already' };
/** Requests that the server gets under ids of our own. */
const ownRequests: ReadonlySet<unknown> = new Set(['tasks/get', 'tasks/result', 'tasks/cancel']);

/**
 * Tasks of a server of 2026-07-28 for a caller of 2025-11-25. A caller that asked for a task gets one, and asks for it as it
 * is used to; a caller that did not gets the result of the call, however the server came by it.
 */
export class TaskCalls {
  readonly #options: TaskCallsOptions;
  readonly #waits: TaskWaits;
  readonly #asking = new Map<RequestId, (response: Response) => void>();
  /** Results of calls that were over at once, although the caller had asked for a task. */
  readonly #results = new Map<unknown, { readonly task: Fields; readonly result: Fields }>();
  /** Those of them that the caller has got: it may ask for them once more. */
  readonly #got = new KeptSizes<unknown>(mostKept);

  constructor(options: TaskCallsOptions) {
    this.#options = options;
    this.#waits = new TaskWaits({ ...options, request: (method, params, then) => this.#ask(method, params, then) });
  }

  /** A call was answered with a task. */
  created({ id, params }: JSONRPCRequest, task: Fields): void {
    if (params?.task !== undefined) {
      this.#options.answer({ jsonrpc: '2.0', id, result: { ...metaOfTask(task), task: toLegacyTask(task) } });
    } else {
      this.#waits.begin(id, textOf(task.taskId), true, task.pollIntervalMs);
    }
  }

  /** The result of a call for which the caller wanted a task. */
  completed(result: Fields): Record<string, unknown> {
    const now = new Date(this.#options.clock.date()).toISOString();
    const times = { createdAt: now, lastUpdatedAt: now };
    const task = { taskId: randomUUID(), status: 'completed', ...times, ttl: null };
    if (this.#results.size >= mostResults) {
      this.#forget(this.#results.keys().next().value);
    }
    this.#results.set(task.taskId, { task, result });
    return { task };
  }

  /** Takes a request of the caller for a task; false when it is none. */
  takes({ id, method, params }: JSONRPCRequest): boolean {
    const taskId = params?.taskId;
    const done = this.#results.get(taskId);
    switch (method) {
      case 'tasks/get':
        if (done !== undefined) {
          this.#later(() => this.#reply(id, done.task));
        } else {
          this.#ask('tasks/get', { taskId }, (response) => this.#relay(id, response));
        }
        return true;
      case 'tasks/result':
        if (done !== undefined) {
          this.#later(() => this.#reply(id, withRelatedTask(done.result, taskId)));
          for (const oldest of this.#got.add(taskId, done.result)) {
            this.#forget(oldest);
          }
        } else {
          this.#waits.begin(id, textOf(taskId), false);
        }
        return true;
      case 'tasks/cancel':
        if (done !== undefined) {
          this.#later(() => this.#refuse(id, endedAlready));
        } else {
          this.#cancel(id, taskId);
        }
        return true;
      default:
        return false;
    }
  }

  /** The answer to a request of ours; false when it is none. */
  answered(response: Response): boolean {
    const then = this.#asking.get(response.id as RequestId);
    this.#asking.delete(response.id as RequestId);
    then?.(response);
    return then !== undefined;
  }

  /** The caller has answered a question; false when nobody here asked it. */
  callerAnswered(response: Response): boolean {
    return this.#waits.answered(response);
  }

  /**
   * The caller does not wait any more. A task that it knows of goes on.
   *
   * @returns whether there is nothing to cancel at the server: it has answered the request, or never got it
   */
  end(original: RequestId, method: string | undefined): boolean {
    return this.#waits.end(original) || ownRequests.has(method);
  }

  close(): void {
    this.#waits.close();
    this.#asking.clear();
  }

  #forget(taskId: unknown): void {
    this.#results.delete(taskId);
    this.#got.delete(taskId);
  }

  /** The server only says that it has heard, also of one that has ended; the caller expects to see the task, or an error then. */
  #cancel(id: RequestId, taskId: unknown): void {
    this.#ask('tasks/cancel', { taskId }, (cancelled) => {
      if ('error' in cancelled) {
        return this.#refuse(id, cancelled.error);
      }
      this.#ask('tasks/get', { taskId }, (response) => {
        if ('error' in response) {
          // The server has got what the caller has asked for.
          return this.#refuse(id, deliveredBefore(response.error));
        }
        const { status } = response.result;
        if (status !== 'cancelled' && hasEnded(status)) {
          this.#refuse(id, endedAlready);
        } else {
          this.#relay(id, response);
        }
      });
    });
  }

  #ask(method: string, params: Fields, then: (response: Response) => void): void {
    const id = this.#options.nextId();
    this.#asking.set(id, then);
    this.#options.request(id, method, params);
  }

  /** Never inside the caller's own `send`. */
  #later(run: () => void): void {
    queueMicrotask(run);
  }

  #relay(id: RequestId, response: Response): void {
    if ('error' in response) {
      this.#refuse(id, response.error);
    } else {
      this.#reply(id, { ...toLegacyTask(response.result), ...metaOfTask(response.result) });
    }
  }

  #reply(id: RequestId, result: Fields): void {
    this.#options.answer({ jsonrpc: '2.0', id, result: { ...result } });
  }

  #refuse(id: RequestId, error: RpcError): void {
    this.#options.answer({ jsonrpc: '2.0', id, error });
  }
}
