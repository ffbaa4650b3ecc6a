import { randomUUID } from 'node:crypto';
import type { Clock } from '../../options.js';
import type { JSONRPCRequest, RequestId } from '../../sdk.js';
import { isFields } from '../../transport/modern.js';
import { toLegacyTask, withRelatedTask } from '../../transport/tasks.js';
import type { Response } from '../exchanges.js';
import { maxExtensions } from '../request-ledger.js';
import { deliveredBefore } from './delivered-before.js';
import { askable, toParams } from './input-rounds.js';

type Fields = Readonly<Record<string, unknown>>;
type RpcError = Extract<Response, { error: unknown }>['error'];

export interface TaskCallsOptions {
  readonly clock: Clock;
  /** How long the caller waits for news of a task, and a task for the caller's answer, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** An id that no other request to the server has. */
  nextId(): RequestId;
  /** Sends a request of ours; the envelope is added on the way. */
  request(id: RequestId, method: string, params: Fields): void;
  /** Asks the caller. */
  ask(request: JSONRPCRequest, original: RequestId): void;
  /** The caller is no longer asked. */
  withdraw(id: RequestId): void;
  /** Answers the caller's request. */
  answer(response: Response): void;
  /**
   * Nothing has come in time.
   *
   * @param why - undefined: of the caller, which was asked for input
   */
  overdue(original: RequestId, why?: string): void;
}

/** A request of the caller that waits for the end of a task. */
interface Wait {
  readonly id: RequestId;
  readonly taskId: string;
  /** The caller knows nothing of the task: its call simply takes until the task has ended. */
  readonly isHidden: boolean;
  /**
   * The server's keys of what the caller was asked already, and why it did not take the answer, if it did not: of all who wait
   * for the task.
   */
  readonly asked: Map<string, RpcError | undefined>;
  /** What the caller has not answered: our id, and the server's key. */
  readonly waiting: Map<RequestId, string>;
  timer: unknown;
  /** For what the caller has not answered, or for news of the task. */
  deadline: unknown;
  /** What was heard of the task last. */
  news: string | undefined;
  /** How often news have restarted the time-out. */
  extensions: number;
}

const shortestPauseMs = 50;
const usualPauseMs = 1_000;
const longestPauseMs = 60_000;
const mostResults = 1_000;

/**
 * Tasks of a server of 2026-07-28 for a caller of 2025-11-25. A caller that asked for a task gets one, and asks for it as it
 * is used to; a caller that did not gets the result of the call, however the server came by it.
 */
export class TaskCalls {
  readonly #options: TaskCallsOptions;
  readonly #waits = new Map<RequestId, Wait>();
  readonly #questions = new Map<RequestId, Wait>();
  readonly #asking = new Map<RequestId, (response: Response) => void>();
  /** Results of calls that were over at once, although the caller had asked for a task. */
  readonly #results = new Map<unknown, { readonly task: Fields; readonly result: Fields }>();
  #next = 1;

  constructor(options: TaskCallsOptions) {
    this.#options = options;
  }

  /** A call was answered with a task. */
  created({ id, params }: JSONRPCRequest, task: Fields): void {
    if (params?.task !== undefined) {
      this.#options.answer({ jsonrpc: '2.0', id, result: { task: toLegacyTask(task) } });
    } else {
      this.#wait(id, String(task.taskId), true, task.pollIntervalMs);
    }
  }

  /** The result of a call for which the caller wanted a task. */
  completed(result: Fields): Record<string, unknown> {
    const now = new Date(this.#options.clock.date()).toISOString();
    const times = { createdAt: now, lastUpdatedAt: now };
    const task = { taskId: randomUUID(), status: 'completed', ...times, ttl: null };
    if (this.#results.size >= mostResults) {
      this.#results.delete(this.#results.keys().next().value);
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
          this.#ask('tasks/get', { taskId }, (response) => this.#relay(id, response, toLegacyTask));
        }
        return true;
      case 'tasks/result':
        if (done !== undefined) {
          this.#later(() => this.#reply(id, withRelatedTask(done.result, taskId)));
        } else {
          this.#poll(this.#wait(id, String(taskId), false));
        }
        return true;
      case 'tasks/cancel':
        if (done !== undefined) {
          this.#later(() => this.#refuse(id, { code: -32602, message: 'the task has ended already' }));
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
    const id = response.id as RequestId;
    const wait = this.#questions.get(id);
    const key = wait?.waiting.get(id);
    if (wait === undefined || key === undefined) {
      return false;
    }
    this.#questions.delete(id);
    wait.waiting.delete(id);
    if (wait.waiting.size === 0) {
      this.#restartTimeout(wait);
    }
    const { taskId } = wait;
    if ('result' in response) {
      this.#ask('tasks/update', { taskId, inputResponses: { [key]: response.result } }, (updated) => {
        // It may have got it all the same: then it asks for it no more.
        'error' in updated && wait.asked.set(key, updated.error);
      });
    } else {
      const message = `the client could not answer what the server asked: ${response.error.message}`;
      this.#giveUp(wait, { ...response.error, message });
    }
    return true;
  }

  /** Without an answer the task could not go on. */
  #giveUp(wait: Wait, error: RpcError): void {
    this.#ask('tasks/cancel', { taskId: wait.taskId }, () => {});
    this.#finish(wait, { jsonrpc: '2.0', id: wait.id, error });
  }

  /** The caller does not wait any more. A task that it knows of goes on. */
  end(original: RequestId): void {
    const wait = this.#waits.get(original);
    if (wait !== undefined) {
      this.#forget(wait);
      wait.isHidden && this.#ask('tasks/cancel', { taskId: wait.taskId }, () => {});
    }
  }

  close(): void {
    for (const { timer, deadline } of this.#waits.values()) {
      this.#options.clock.clearTimeout(timer);
      this.#options.clock.clearTimeout(deadline);
    }
    this.#waits.clear();
    this.#questions.clear();
    this.#asking.clear();
  }

  #wait(id: RequestId, taskId: string, isHidden: boolean, pauseMs?: unknown): Wait {
    const asked = [...this.#waits.values()].find((other) => other.taskId === taskId)?.asked ?? new Map();
    const nothing = { timer: undefined, deadline: undefined, news: undefined, extensions: 0 };
    const wait: Wait = { id, taskId, isHidden, asked, waiting: new Map(), ...nothing };
    this.#waits.set(id, wait);
    this.#restartTimeout(wait);
    if (isHidden) {
      this.#pause(wait, pauseMs);
    }
    return wait;
  }

  #pause(wait: Wait, pauseMs: unknown): void {
    const given = typeof pauseMs === 'number' && Number.isFinite(pauseMs) ? pauseMs : usualPauseMs;
    const pause = Math.min(longestPauseMs, Math.max(shortestPauseMs, given));
    wait.timer = this.#options.clock.setTimeout(() => this.#poll(wait), pause);
  }

  #poll(wait: Wait): void {
    this.#ask('tasks/get', { taskId: wait.taskId }, (response) => {
      if (this.#waits.get(wait.id) !== wait) {
        return;
      }
      if ('error' in response) {
        // What was called has become the task that is asked for.
        this.#finish(wait, wait.isHidden ? { ...response, error: deliveredBefore(response.error) } : response);
      } else {
        this.#see(wait, response.result);
      }
    });
  }

  #see(wait: Wait, task: Fields): void {
    const { id, taskId, isHidden } = wait;
    switch (task.status) {
      case 'completed': {
        const result = isFields(task.result) ? task.result : {};
        const { resultType: _, ...own } = withRelatedTask(result, isHidden ? undefined : taskId);
        return this.#finish(wait, { jsonrpc: '2.0', id, result: own });
      }
      case 'failed': {
        const unknown = { code: -32603, message: 'the task has failed' };
        return this.#finish(wait, {
          jsonrpc: '2.0',
          id,
          error: isFields(task.error) ? (task.error as RpcError) : unknown,
        });
      }
      case 'cancelled':
        return this.#finish(wait, { jsonrpc: '2.0', id, error: { code: -32603, message: 'the task was cancelled' } });
      default:
        this.#extend(wait, JSON.stringify([task.status, task.statusMessage, task.lastUpdatedAt]));
        this.#askCaller(wait, isFields(task.inputRequests) ? task.inputRequests : {});
        // What the caller was asked may have ended it all.
        this.#waits.get(id) === wait && this.#pause(wait, task.pollIntervalMs);
    }
  }

  #askCaller(wait: Wait, inputRequests: Fields): void {
    for (const [key, input] of Object.entries(inputRequests)) {
      const refusal = wait.asked.get(key);
      if (refusal !== undefined) {
        const message = `the server did not take what the client has answered: ${refusal.message}`;
        return this.#giveUp(wait, { ...refusal, message });
      }
      if (wait.asked.has(key)) {
        continue;
      }
      if (!isFields(input) || !askable.has(input.method)) {
        const method = isFields(input) ? String(input.method) : typeof input;
        const message = `the server needs input of a kind that cannot be asked for: ${method}`;
        return this.#giveUp(wait, { code: -32603, message });
      }
      wait.asked.set(key, undefined);
      const id = `task:${this.#next++}`;
      wait.waiting.set(id, key);
      this.#questions.set(id, wait);
      this.#restartTimeout(wait);
      const params = withRelatedTask(toParams(input), wait.isHidden ? undefined : wait.taskId);
      this.#options.ask({ jsonrpc: '2.0', id, method: String(input.method), params }, wait.id);
      if (this.#waits.get(wait.id) !== wait) {
        // The answer has ended it all.
        return;
      }
    }
  }

  /** As with progress of a request: a bounded number of times. While the caller is asked, its answer is waited for. */
  #extend(wait: Wait, news: string): void {
    const isNews = wait.news !== undefined && wait.news !== news;
    wait.news = news;
    if (isNews && wait.waiting.size === 0 && wait.extensions < maxExtensions) {
      wait.extensions += 1;
      this.#restartTimeout(wait);
    }
  }

  #restartTimeout(wait: Wait): void {
    const { clock, requestTimeoutMs, overdue } = this.#options;
    clock.clearTimeout(wait.deadline);
    wait.deadline = clock.setTimeout(() => {
      const why = wait.waiting.size > 0 ? undefined : 'the task of the call has not ended';
      this.end(wait.id);
      overdue(wait.id, why);
    }, requestTimeoutMs);
  }

  /** The server only says that it has heard; the caller expects to see the task. */
  #cancel(id: RequestId, taskId: unknown): void {
    this.#ask('tasks/cancel', { taskId }, (cancelled) => {
      if ('error' in cancelled) {
        this.#refuse(id, cancelled.error);
      } else {
        this.#ask('tasks/get', { taskId }, (response) => this.#relay(id, response, toLegacyTask));
      }
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

  #relay(id: RequestId, response: Response, translate: (result: Fields) => Record<string, unknown>): void {
    if ('error' in response) {
      this.#refuse(id, response.error);
    } else {
      this.#reply(id, translate(response.result));
    }
  }

  #reply(id: RequestId, result: Fields): void {
    this.#options.answer({ jsonrpc: '2.0', id, result: { ...result } });
  }

  #refuse(id: RequestId, error: RpcError): void {
    this.#options.answer({ jsonrpc: '2.0', id, error });
  }

  #finish(wait: Wait, response: Response): void {
    this.#forget(wait);
    this.#options.answer({ ...response, id: wait.id });
  }

  #forget(wait: Wait): void {
    this.#waits.delete(wait.id);
    this.#options.clock.clearTimeout(wait.timer);
    this.#options.clock.clearTimeout(wait.deadline);
    for (const [id, key] of wait.waiting) {
      this.#questions.delete(id);
      this.#options.withdraw(id);
      // Another one that waits asks in its place.
      wait.asked.delete(key);
    }
    wait.waiting.clear();
  }
}
