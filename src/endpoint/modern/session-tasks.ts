import { isDeclared } from '../../instance/declared.js';
import { deliveredBefore } from '../../instance/era/delivered-before.js';
import { askable } from '../../instance/era/input-rounds.js';
import type { Response } from '../../instance/exchanges.js';
import { hasEnded } from '../../instance/task-status.js';
import type { Caller } from '../../runtime.js';
import type { JSONRPCRequest } from '../../sdk.js';
import { metaKeys } from '../../transport/modern.js';
import { metaOfTask, relatedTask, toModernTask, withRelatedTask } from '../../transport/tasks.js';
import { type Fields, isFields } from '../../util/fields.js';
import { KeptSizes, mostKept } from '../../util/kept-sizes.js';
import { textOf } from '../../util/text-of.js';
import { BoundedMap } from '../bounded-map.js';
import { problemOfQuestion } from '../legacy-initialize.js';
import type { PeerExtra } from '../peer.js';
import type { Asked, CallerSession, CallerSessions } from './caller-sessions.js';
import { toInputRequest } from './input-requests.js';
import { withoutGivenUpCode } from './translate-response.js';

/** A task that a server runs for the caller. */
interface SessionTask {
  readonly session: CallerSession;
  readonly taskId: string;
  /** What the caller calls it. */
  readonly shownId: string;
  /** Of a stateless server, which answers in the caller's own words. */
  readonly isPassed: boolean;
  /** What the server waits for, by the id under which the session asked. */
  readonly questions: Map<string, JSONRPCRequest>;
  /** The answer to `tasks/result`, which such servers wait with until the end, and ask on; and for whom it is. */
  payload: { readonly caller: Caller | undefined; readonly answer: Promise<Response> } | undefined;
  isRunning: boolean;
  readonly until: number;
}

const maxTasks = 10_000;
// A server that makes up new tools all the time must not fill our memory.
const maxRequired = 10_000;
/** How long a task of which nothing else is said holds on to its session, in milliseconds. */
const usualLifetimeMs = 60 * 60_000;

/** The methods that a caller may call on a task. */
export const taskMethods: ReadonlySet<string> = new Set(['tasks/get', 'tasks/update', 'tasks/cancel']);

/**
 * The tasks of a caller of 2026-07-28, each of which belongs to one of its sessions. Those of servers of 2025-11-25 are
 * translated: the caller asks how a task is, and finds its result, or what the server needs, in the answer; the server is
 * asked for each on its own.
 */
export class SessionTasks {
  readonly #sessions: CallerSessions;
  readonly #tasks = new BoundedMap<string, SessionTask>(maxTasks);
  /** The payloads that have come, by what the caller calls their tasks. */
  readonly #payloads = new KeptSizes<string>(mostKept);
  /** Tools that run as tasks alone, by the name that the caller knows. */
  readonly #required = new BoundedMap<string, true>(maxRequired);

  constructor(sessions: CallerSessions) {
    this.#sessions = sessions;
  }

  /** Looks at a list of tools on its way to the caller. */
  learn(tools: unknown): void {
    for (const tool of Array.isArray(tools) ? (tools as unknown[]) : []) {
      if (isFields(tool) && typeof tool.name === 'string') {
        const { taskSupport } = isFields(tool.execution) ? tool.execution : {};
        taskSupport === 'required' ? this.#required.set(tool.name, true) : this.#required.delete(tool.name);
      }
    }
  }

  /** Whether a tool has to be called as a task. */
  isRequired(tool: unknown): boolean {
    return this.#required.get(tool as string) === true;
  }

  /** Where to ask for a task that the caller names; undefined for one that nobody has told it of. */
  find(shownId: unknown): Pick<SessionTask, 'session' | 'taskId' | 'isPassed'> | undefined {
    return this.#tasks.get(shownId as string);
  }

  /** A session is closed, and its tasks cannot be asked for any more. */
  end(session: CallerSession): void {
    this.#tasks.deleteWhere((task, shownId) => {
      const isOfIt = task.session === session;
      isOfIt && this.#payloads.delete(shownId);
      return isOfIt;
    });
  }

  /** Whether a task needs its session at this time. */
  isUsing(session: CallerSession, now: number): boolean {
    return [...this.#tasks.values()].some((task) => task.session === session && task.isRunning && task.until > now);
  }

  /** A call was answered with a task, by a server with sessions or by a stateless one. @returns the answer for the caller */
  created(session: CallerSession, task: Fields, now: number, isPassed: boolean): Record<string, unknown> {
    const shown = isPassed ? task : { resultType: 'task', ...toModernTask(task) };
    const taskId = textOf(task.taskId);
    const shownId = this.#nameOf(session, taskId);
    const { ttlMs }: Fields = shown;
    const until = now + (typeof ttlMs === 'number' && ttlMs < usualLifetimeMs ? ttlMs : usualLifetimeMs);
    const questions = new Map<string, JSONRPCRequest>();
    const known = { session, taskId, shownId, isPassed, questions, payload: undefined, isRunning: true, until };
    this.#tasks.set(shownId, known);
    this.#payloads.delete(shownId);
    return { ...shown, taskId: shownId };
  }

  /** A stateless server has said how a task is. @returns the answer for the caller */
  passed({ method, params }: JSONRPCRequest, response: Response): Response {
    const task = this.#tasks.get(params?.taskId as string);
    if (task === undefined || method !== 'tasks/get') {
      return response;
    }
    if ('error' in response) {
      task.isRunning &&= mayRun(response.error);
      return response;
    }
    task.isRunning = !hasEnded(response.result.status);
    return { ...response, result: { ...response.result, taskId: task.shownId } };
  }

  /** Takes what a server asks in the course of a task; false for what belongs to none. */
  takes(session: CallerSession, question: JSONRPCRequest): boolean {
    const meta = question.params?._meta as Fields | undefined;
    const related = meta?.[relatedTask] as { taskId?: unknown } | undefined;
    const task = related === undefined ? undefined : this.#ofSession(session, related.taskId);
    if (task === undefined || !askable.has(question.method)) {
      return false;
    }
    task.questions.set(String(question.id), question);
    return true;
  }

  /** A server does not wait for an answer any more. */
  withdraw(session: CallerSession, id: unknown): void {
    for (const task of this.#tasks.values()) {
      task.session === session && task.questions.delete(String(id));
    }
  }

  /**
   * Answers a request for a task.
   *
   * @param asked - filled with how its task is asked for, which is in vain when nobody waits for that
   */
  async answer(
    { id, method, params = {} }: JSONRPCRequest,
    extra: PeerExtra | undefined,
    asked: Asked,
  ): Promise<Response> {
    const task = this.#tasks.get(params.taskId as string) as SessionTask;
    const done = { jsonrpc: '2.0' as const, id, result: {} };
    if (method === 'tasks/update') {
      this.#update(task, params.inputResponses);
      return done;
    }
    if (method === 'tasks/cancel') {
      const answer = await this.#sessions.ask(task.session, method, { taskId: task.taskId }, extra);
      if ('error' in answer) {
        return { ...answer, id };
      }
      this.#dropQuestions(task);
      return done;
    }
    const declared = params._meta?.[metaKeys.clientCapabilities] as Fields | undefined;
    return { ...(await this.#get(task, declared, extra, asked)), id };
  }

  /** @param declared - what who asks can be asked */
  async #get(
    task: SessionTask,
    declared: Fields | undefined,
    extra: PeerExtra | undefined,
    asked: Asked,
  ): Promise<Response> {
    const { session, taskId } = task;
    const answer = await this.#sessions.ask(session, 'tasks/get', { taskId }, extra, asked);
    if ('error' in answer) {
      task.isRunning &&= mayRun(answer.error);
      return answer;
    }
    const fields: Fields = { ...toModernTask(answer.result), ...metaOfTask(answer.result), taskId: task.shownId };
    const { status } = fields;
    task.isRunning = !hasEnded(status);
    switch (status) {
      case 'cancelled':
        this.#dropQuestions(task);
        return this.#toResponse(fields);
      case 'completed':
      case 'failed':
        return this.#ended(task, fields, extra);
      default: {
        if (status === 'input_required') {
          // Such servers ask only whoever waits for the result.
          void (task.payload?.answer ?? this.#result(task, extra));
        }
        const isAnswered = (question: JSONRPCRequest) =>
          isDeclared(declared, question.method) && problemOfQuestion(declared, question) === undefined;
        const inputRequests = Object.fromEntries(
          [...task.questions]
            .filter(([, question]) => isAnswered(question))
            .map(([key, { method, params }]) => [key, toInputRequest(method, params)]),
        );
        return this.#toResponse(
          task.questions.size > 0
            ? { ...fields, status: 'input_required', inputRequests }
            : { ...fields, status: 'working' },
        );
      }
    }
  }

  /** In this era a task has failed only when there is an error instead of a result. */
  async #ended(task: SessionTask, fields: Fields, extra: PeerExtra | undefined): Promise<Response> {
    const payload = await this.#result(task, extra);
    if ('error' in payload && fields.status === 'completed' && isOurs(payload.error)) {
      // A client asks for one that has failed no more, and this one has a result.
      return { ...payload, error: deliveredBefore(payload.error) };
    }
    // Whatever it has asked and not taken back, nobody can answer any more.
    this.#dropQuestions(task, 'the task has ended');
    return this.#toResponse(
      'error' in payload
        ? { ...fields, status: 'failed', error: withoutGivenUpCode(deliveredBefore(payload.error)) }
        : { ...fields, status: 'completed', result: withRelatedTask(payload.result) },
    );
  }

  async #result(task: SessionTask, extra: PeerExtra | undefined): Promise<Response> {
    if (task.payload === undefined || task.payload.caller !== extra?.caller) {
      // What one request may see of it says nothing of the next.
      const asking = this.#sessions.ask(task.session, 'tasks/result', { taskId: task.taskId }, extra);
      task.payload = { caller: extra?.caller, answer: asking };
      this.#payloads.delete(task.shownId);
    }
    const { payload } = task;
    const answer = await payload.answer;
    if ('error' in answer && isOurs(answer.error) && task.payload === payload) {
      // It may still be there.
      task.payload = undefined;
    } else if (task.payload === payload && !this.#payloads.has(task.shownId)) {
      for (const oldest of this.#payloads.add(task.shownId, answer)) {
        this.#forgetPayload(oldest);
      }
    }
    return answer;
  }

  /** Its server is asked for it once more, should anybody want it. */
  #forgetPayload(shownId: string): void {
    const task = this.#tasks.get(shownId);
    if (task !== undefined) {
      task.payload = undefined;
    }
  }

  #update(task: SessionTask, responses: unknown): void {
    for (const [key, question] of [...task.questions]) {
      const given = isFields(responses) && Object.hasOwn(responses, key) ? responses[key] : undefined;
      if (isFields(given)) {
        task.questions.delete(key);
        task.session.peer.receive({ jsonrpc: '2.0', id: question.id, result: { ...given } });
      }
    }
  }

  #dropQuestions(task: SessionTask, message = 'the task was cancelled'): void {
    for (const { id } of task.questions.values()) {
      const error = { code: -32601, message };
      task.session.peer.receive({ jsonrpc: '2.0', id, error });
    }
    task.questions.clear();
  }

  /** Sessions know nothing of each other: two servers may have given one id to two tasks. */
  #nameOf(session: CallerSession, taskId: string): string {
    let name = taskId;
    for (let number = 2; this.#isOther(name, session, taskId); number += 1) {
      name = `${taskId}-${number}`;
    }
    return name;
  }

  #isOther(name: string, session: CallerSession, taskId: string): boolean {
    const known = this.#tasks.get(name);
    return known !== undefined && (known.session !== session || known.taskId !== taskId);
  }

  #ofSession(session: CallerSession, taskId: unknown): SessionTask | undefined {
    return [...this.#tasks.values()].find((task) => task.session === session && task.taskId === taskId);
  }

  #toResponse(task: Fields): Response {
    return { jsonrpc: '2.0', id: 0, result: { resultType: 'complete', ...task } };
  }
}

/** Any other error than that there is no such task may pass, and one of ours, or of an interceptor, says nothing of the task. */
function mayRun({ code }: { readonly code: number }): boolean {
  return code !== -32602;
}

/** Ours say that the connection broke, or that it took too long; a server's are the outcome of the task. */
function isOurs({ code }: { readonly code: number }): boolean {
  return code > 0;
}
