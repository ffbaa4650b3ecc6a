import type { JSONRPCRequest } from '../../../src/sdk.js';
import { hold, type Json, RpcError, type ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Era } from './entries.js';

export const tasksExtension = 'io.modelcontextprotocol/tasks';
export const relatedTask = 'io.modelcontextprotocol/related-task';
const clientCapabilities = 'io.modelcontextprotocol/clientCapabilities';

export const ttlMs = 60_000;

export interface PlayedTask {
  readonly taskId: string;
  /** The call that it was made of. */
  readonly mark: Json;
  status: 'working' | 'input_required' | 'completed' | 'failed' | 'cancelled';
  /** What it needs to go on. */
  question: { readonly number: number; readonly json: Json } | undefined;
  /** Requests for its result, with which a server with sessions waits for the end. */
  readonly waiting: JSONRPCRequest[];
  /** By the clock, once it has ended. */
  endedMs: number | undefined;
}

export interface PlayedTasksOptions {
  /** What a server asks in the course of a task. */
  question(instance: ScriptedInstance, task: PlayedTask): { readonly number: number; readonly json: Json };
  /** What was asked is not needed any more. */
  dropped(question: number): void;
  /** Somebody has answered a stateless server. */
  updated(instance: ScriptedInstance, task: PlayedTask, key: string, answer: Json): void;
}

/** The tasks of one instance, as revision 2025-11-25 has them or as that of the stateless era does. */
export class PlayedTasks {
  readonly #instance: ScriptedInstance;
  readonly #era: Era;
  readonly #nextId: () => string;
  readonly #options: PlayedTasksOptions;
  readonly #tasks = new Map<string, PlayedTask>();

  constructor(instance: ScriptedInstance, era: Era, nextId: () => string, options: PlayedTasksOptions) {
    this.#instance = instance;
    this.#era = era;
    this.#nextId = nextId;
    this.#options = options;
  }

  get all(): PlayedTask[] {
    return [...this.#tasks.values()];
  }

  get(taskId: unknown): PlayedTask | undefined {
    return this.#tasks.get(String(taskId));
  }

  /** @returns the answer to the call; other servers give out the same ids */
  create(mark: Json): Json {
    const taskId = this.#nextId();
    const nothing = { question: undefined, waiting: [], endedMs: undefined };
    const task: PlayedTask = { taskId, mark, status: 'working', ...nothing };
    this.#tasks.set(taskId, task);
    const shown = this.toJson(task);
    return this.#era === 'legacy' ? { task: shown } : { resultType: 'task', ...shown };
  }

  toJson({ taskId, mark, status }: PlayedTask): Json {
    const common = { taskId, status, statusMessage: JSON.stringify(mark), createdAt: 'c', lastUpdatedAt: 'l' };
    return this.#era === 'legacy'
      ? { ...common, ttl: ttlMs, pollInterval: 500, ...mark }
      : { ...common, ttlMs, pollIntervalMs: 500 };
  }

  answer(request: JSONRPCRequest): Json | typeof hold {
    const { method, params } = request;
    const isKnown =
      this.#era === 'legacy' ? method !== 'tasks/update' : !['tasks/list', 'tasks/result'].includes(method);
    if (!isKnown) {
      throw new RpcError(-32601, 'no such method');
    }
    if (method === 'tasks/list') {
      return { tasks: this.all.map((task) => this.toJson(task)) };
    }
    const task = this.get(params?.taskId);
    if (task === undefined) {
      throw new RpcError(-32602, 'no such task');
    }
    switch (method) {
      case 'tasks/get':
        return this.#era === 'legacy' ? this.toJson(task) : { resultType: 'complete', ...this.#whole(task) };
      case 'tasks/cancel':
        hasEnded(task) || this.end(task, 'cancelled');
        return this.#era === 'legacy' ? this.toJson(task) : { resultType: 'complete' };
      case 'tasks/update':
        this.#update(task, (params?.inputResponses ?? {}) as Json);
        return { resultType: 'complete' };
      default:
        task.waiting.push(request);
        hasEnded(task) ? this.#tellWaiting(task) : this.#ask(task);
        return hold;
    }
  }

  /** It cannot go on without an answer. */
  needInput(task: PlayedTask): void {
    if (!hasEnded(task)) {
      task.status = 'input_required';
      this.#ask(task);
    }
  }

  end(task: PlayedTask, status: 'completed' | 'failed' | 'cancelled'): void {
    task.status = status;
    task.endedMs = this.#instance.context.clock.now();
    const { question } = task;
    task.question = undefined;
    if (question !== undefined) {
      this.#options.dropped(question.number);
      const { number } = question;
      const isOpen = this.#era === 'legacy' && this.#instance.answers(number).length === 0;
      isOpen && this.#instance.notify('notifications/cancelled', { requestId: number, reason: String(number) });
    }
    this.#tellWaiting(task);
  }

  #whole(task: PlayedTask): Json {
    const { status, question, mark } = task;
    return {
      ...this.toJson(task),
      ...(question && { inputRequests: { [`q${question.number}`]: question.json } }),
      ...(status === 'completed' && { result: { resultType: 'complete', content: [], structuredContent: mark } }),
      ...(status === 'failed' && { error: { code: -32050, message: 'no', data: mark } }),
    };
  }

  /** Who has sessions asks whoever waits for the result. */
  #ask(task: PlayedTask): void {
    if (task.status !== 'input_required' || task.question !== undefined) {
      return;
    }
    if (this.#era === 'modern') {
      task.question = this.#options.question(this.#instance, task);
    } else if (task.waiting.length > 0) {
      task.question = this.#options.question(this.#instance, task);
      const { number, json } = task.question;
      const { _meta, ...params } = json.params as Json;
      const meta = { ...(_meta as Json), [relatedTask]: { taskId: task.taskId } };
      this.#instance.say({ id: number, method: json.method, params: { ...params, _meta: meta } });
    }
  }

  #update(task: PlayedTask, responses: Json): void {
    for (const [key, answer] of Object.entries(responses)) {
      this.#options.updated(this.#instance, task, key, answer as Json);
      if (task.question !== undefined && key === `q${task.question.number}`) {
        task.question = undefined;
        task.status = 'working';
      }
    }
  }

  #tellWaiting({ taskId, status, mark, waiting }: PlayedTask): void {
    for (const { id } of waiting.splice(0)) {
      if (status === 'completed') {
        const _meta = { [relatedTask]: { taskId } };
        this.#instance.answer({ id }, { content: [], structuredContent: mark, _meta });
      } else {
        this.#instance.say({ id, error: { code: -32050, message: status, data: mark } });
      }
    }
  }
}

export function hasEnded({ status }: Pick<PlayedTask, 'status'>): boolean {
  return status !== 'working' && status !== 'input_required';
}

/** Whether whoever calls a stateless server lets it make a task of the call. */
export function allowsTask({ params }: JSONRPCRequest): boolean {
  const capabilities = params?._meta?.[clientCapabilities] as { extensions?: Json } | undefined;
  return capabilities?.extensions?.[tasksExtension] !== undefined;
}
