import type { Clock } from '../../options.js';
import type { JSONRPCRequest, RequestId } from '../../sdk.js';
import { mayPass } from '../../transport/http/status.js';
import { withRelatedTask } from '../../transport/tasks.js';
import { type Fields, isFields } from '../../util/fields.js';
import { textOf } from '../../util/text-of.js';
import type { Response, RpcError } from '../exchanges.js';
import { readableError } from '../readable-error.js';
import { maxExtensions } from '../request-ledger.js';
import { deliveredBefore } from './delivered-before.js';
import { askable, toParams } from './input-rounds.js';
import { translateError } from './translate-error.js';

export interface TaskWaitsOptions {
  readonly clock: Clock;
  /** How long the caller waits for news of a task, and a task for the caller's answer, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** Asks the server. */
  request(method: string, params: Fields, then: (response: Response) => void): void;
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
  /** How often in a row it was asked for in vain. */
  vain: number;
}

const shortestPauseMs = 50;
const usualPauseMs = 1_000;
const longestPauseMs = 60_000;
/** As often as the stream of an answer is taken up in vain. */
const mostVainTries = 5;

/** The caller's requests that wait for the ends of tasks: asks for each task now and then, and the caller for what it needs. */
export class TaskWaits {
  readonly #options: TaskWaitsOptions;
  readonly #waits = new Map<RequestId, Wait>();
  readonly #questions = new Map<RequestId, Wait>();
  #next = 1;

  constructor(options: TaskWaitsOptions) {
    this.#options = options;
  }

  /**
   * @param isHidden - the caller knows nothing of the task
   * @param pauseMs - after which the server wants to be asked for a task that has just begun
   */
  begin(id: RequestId, taskId: string, isHidden: boolean, pauseMs?: unknown): void {
    const asked = [...this.#waits.values()].find((other) => other.taskId === taskId)?.asked ?? new Map();
    const nothing = { timer: undefined, deadline: undefined, news: undefined, extensions: 0, vain: 0 };
    const wait: Wait = { id, taskId, isHidden, asked, waiting: new Map(), ...nothing };
    this.#waits.set(id, wait);
    this.#restartTimeout(wait);
    isHidden ? this.#pause(wait, pauseMs) : this.#poll(wait);
  }

  /** The caller has answered a question; false when nobody here asked it. */
  answered(response: Response): boolean {
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
      this.#options.request('tasks/update', { taskId, inputResponses: { [key]: response.result } }, (updated) => {
        // It may have got it all the same: then it asks for it no more.
        'error' in updated && wait.asked.set(key, updated.error);
      });
    } else {
      const message = `the client could not answer what the server asked: ${textOf(response.error.message)}`;
      this.#giveUp(wait, { ...response.error, message });
    }
    return true;
  }

  /** The caller does not wait any more. A task that it knows of goes on. @returns whether it has waited for the end of one */
  end(original: RequestId): boolean {
    const wait = this.#waits.get(original);
    if (wait === undefined) {
      return false;
    }
    this.#forget(wait);
    wait.isHidden && this.#options.request('tasks/cancel', { taskId: wait.taskId }, () => {});
    return true;
  }

  close(): void {
    for (const { timer, deadline } of this.#waits.values()) {
      this.#options.clock.clearTimeout(timer);
      this.#options.clock.clearTimeout(deadline);
    }
    this.#waits.clear();
    this.#questions.clear();
  }

  /** Without an answer the task could not go on. */
  #giveUp(wait: Wait, error: RpcError): void {
    this.#options.request('tasks/cancel', { taskId: wait.taskId }, () => {});
    this.#finish(wait, { jsonrpc: '2.0', id: wait.id, error });
  }

  #pause(wait: Wait, pauseMs: unknown): void {
    const given = typeof pauseMs === 'number' && Number.isFinite(pauseMs) ? pauseMs : usualPauseMs;
    const pause = Math.min(longestPauseMs, Math.max(shortestPauseMs, given));
    wait.timer = this.#options.clock.setTimeout(() => this.#poll(wait), pause);
  }

  #poll(wait: Wait): void {
    this.#options.request('tasks/get', { taskId: wait.taskId }, (response) => {
      if (this.#waits.get(wait.id) !== wait) {
        return;
      }
      if ('error' in response) {
        this.#failed(wait, response.error);
      } else {
        wait.vain = 0;
        this.#see(wait, response.result);
      }
    });
  }

  #failed(wait: Wait, error: RpcError): void {
    const { data } = error;
    const code = isFields(data) ? data.code : undefined;
    const mayComeBack = isFields(data) && typeof data.status === 'number' && mayPass(data.status);
    wait.vain += 1;
    if ((code === 'CONNECTION_FAILED' || mayComeBack) && wait.vain < mostVainTries) {
      return this.#pause(wait, undefined);
    }
    const { id, taskId, isHidden } = wait;
    // An error of ours says nothing of the task, which nobody waits for any more.
    isHidden && error.code > 0 && this.#options.request('tasks/cancel', { taskId }, () => {});
    // What was called has become the task that is asked for.
    this.#finish(wait, { jsonrpc: '2.0', id, error: isHidden ? deliveredBefore(error) : error });
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
          error: isFields(task.error) ? translateError(readableError(task.error)) : unknown,
        });
      }
      case 'cancelled':
        return this.#finish(wait, { jsonrpc: '2.0', id, error: { code: -32603, message: 'the task was cancelled' } });
      default:
        this.#extend(wait, JSON.stringify([task.status, task.statusMessage, task.lastUpdatedAt].map(textOf)));
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
        const method = isFields(input) ? textOf(input.method) : typeof input;
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
