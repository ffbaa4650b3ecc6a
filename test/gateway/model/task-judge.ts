import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import { hasCause } from './causes.js';
import { createChance } from './chance.js';
import type { Call, Judge, Sent } from './judge.js';
import { isThere, type Member } from './members.js';
import { hasEnded, type PlayedTask, relatedTask, ttlMs } from './played-tasks.js';
import { toQuestion } from './questions.js';

const ends = ['death', 'unhealthy', 'stopped', 'replaced', 'shown', 'closing'] as const;

/** Whether its caller does not know of the task that a stateless server makes of it. */
export function isHidden({ member, isTask }: Call): boolean {
  return member.era === 'legacy' && !isTask;
}

/** The task that a call was answered with, of either era. */
export function taskOf(result: Json | undefined): Json | undefined {
  return (result?.task as Json | undefined) ?? (result?.resultType === 'task' ? result : undefined);
}

/** Whose call a task was made of, which it says in every form of it. */
export function markOfTask({ statusMessage }: Json): Json | undefined {
  return typeof statusMessage === 'string' ? (JSON.parse(statusMessage) as Json) : undefined;
}

/** Which tasks callers know, and what they may get to see of them. */
export class TaskJudge {
  readonly #judge: Judge;
  /** Requests for tasks, with the calls that the tasks were of as far as their caller knew. */
  readonly #watched = new Map<Sent, Call | undefined>();
  /** Calls whose tasks somebody may have told their servers to end. */
  readonly #mayCancel = new Set<Call>();
  /** The same by group and id, of tasks of which no answer told, as their calls had been cancelled. */
  readonly #mayCancelUntold = new Set<string>();
  /** Of those who share tasks: the call that each was made of, by its id. */
  readonly #known = new Map<string, Map<unknown, Call>>();
  /** Of what is numbered. */
  readonly #heard = new Set<string>();

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /** The ids that a caller has heard of, and that others have. */
  idsFor(member: Member): { readonly own: readonly unknown[]; readonly all: readonly unknown[] } {
    const own = [...this.#of(member).keys()];
    return { own, all: ['t1', ...[...this.#known.values()].flatMap((known) => [...known.keys()])] };
  }

  /** A call was answered with a task. */
  created(member: Member, call: Call, task: Json, text: string): void {
    this.#judge.count('task begun');
    const known = this.#of(member);
    const other = known.get(task.taskId);
    // Stateless callers over HTTP are forgotten after a while.
    const isRecent = other !== undefined && this.#judge.nowMs() - other.sentMs < 300_000;
    if (isRecent && other !== call) {
      this.#judge.problem(`${this.#judge.who(member)} has another task of this id, of call ${other.number}: ${text}`);
    }
    known.set(task.taskId, call);
  }

  #seen(sent: Sent, result: Json): void {
    const { member, params, method } = sent;
    const text = `${this.#judge.who(member)} asks with ${method} for ${params.taskId}: ${JSON.stringify(result)}`;
    const parts =
      method === 'tasks/list'
        ? (result.tasks as Json[])
        : [result, result.result as Json | undefined].filter((part) => part !== undefined);
    for (const part of parts) {
      const mark = (part.structuredContent as Json | undefined) ?? markOfTask(part);
      if (mark === undefined) {
        continue;
      }
      this.#judge.count(`task: ${method}`);
      const call = this.#judge.calls.get(mark.n as number);
      if (call === undefined || this.#groupOf(call.member) !== this.#groupOf(member)) {
        this.#judge.problem(`the task of another: ${text}`);
      }
      const expected = this.#of(member).get(part.taskId ?? params.taskId);
      if (expected !== undefined && expected !== call) {
        this.#judge.problem(`another task than that of call ${expected.number}: ${text}`);
      }
    }
    const known = this.#of(member).get(params.taskId);
    known && this.#fits(sent, known, result, text);
    if (method === 'tasks/get' && result.inputRequests !== undefined) {
      this.#needsInput(sent, params.taskId, result.inputRequests as Json);
    }
  }

  /** What is said of a task is what its server says. */
  #fits({ method, params, since, sentMs }: Sent, call: Call, result: Json, text: string): void {
    const { instance, taskId } = call.task ?? {};
    const task = instance && this.#judge.servers.memory(instance).tasks.get(taskId);
    if (instance === undefined || task === undefined || instance.closed) {
      // One that the gateway has made of an answer; or what is said may be of the end of its server.
      return;
    }
    const wrong = (why: string) => this.#judge.problem(`${why}, and its server has it ${task.status}: ${text}`);
    const isOf = (mark: unknown) => (mark as Json | undefined)?.n === call.number;
    const hasEndedBefore = task.endedMs !== undefined && task.endedMs < sentMs;
    if (method === 'tasks/cancel' && !instance.requests(method).some((each) => each.params?.taskId === taskId)) {
      wrong('the cancellation of a task has not come');
    } else if (method === 'tasks/result') {
      const related = (result._meta as Json | undefined)?.[relatedTask] as Json | undefined;
      if (task.status !== 'completed' || !isOf(result.structuredContent) || related?.taskId !== params.taskId) {
        wrong('a task has a result');
      }
    } else if (method === 'tasks/get') {
      const { status } = result;
      const { message } = (result.error ?? {}) as Json;
      if (
        String(message).startsWith('unknown task') &&
        this.#judge.causes.since(since, call.server, ['replaced', 'shown'])
      ) {
        return; // A reload took its server away just before it was asked for the result.
      }
      if (hasEnded(result as never) ? status !== task.status : hasEndedBefore) {
        wrong(`a task is ${status}`);
      }
      const { structuredContent } = (result.result ?? {}) as Json;
      const { data } = (result.error ?? {}) as Json;
      if (call.member.era === 'modern' && status === 'completed' && !isOf(structuredContent)) {
        wrong('a task has no result of its own');
      }
      // With what it has failed may not have been heard.
      const isOfOurs = typeof (data as Json | undefined)?.code === 'string';
      if (call.member.era === 'modern' && status === 'failed' && !isOf(data) && !isOfOurs) {
        wrong('a task has no error of its own');
      }
    }
  }

  /** A request for a task has failed. */
  #refused(sent: Sent, call: Call, error: Json): void {
    const { member, params, method } = sent;
    const { instance, taskId, sinceMs = 0 } = call.task ?? {};
    if (instance === undefined || instance.closed || sent.cancelled) {
      return;
    }
    const task = this.#judge.servers.memory(instance).tasks.get(taskId) as PlayedTask;
    const text = String(error.message);
    const data = error.data as Json | undefined;
    const isOfOurs = typeof data?.code === 'string';
    // Callers over HTTP are forgotten after a while.
    const isForgotten = member.kind.startsWith('fetch') && this.#judge.nowMs() - sinceMs >= ttlMs;
    const isLate = task.endedMs !== undefined && this.#judge.nowMs() - task.endedMs > 5_000;
    if (error.code === -32021 && member.era === 'modern' && member.capabilities.extensions === undefined) {
      return;
    }
    // Where its server, a stateless one, acknowledges that.
    const isTooLate = method === 'tasks/cancel' && task.endedMs !== undefined && task.status !== 'cancelled';
    const isRight =
      text === 'the task has ended already'
        ? isTooLate
        : error.code === -32050
          ? method === 'tasks/result' && task.status !== 'completed' && data?.n === call.number
          : data?.code === 'REQUEST_TIMEOUT'
            ? hasCause(this.#judge, sent, { ...call, sentMs: sent.sentMs }, error) && !isLate
            : hasCause(this.#judge, sent, call, error) || isForgotten;
    if (!isRight || (text === 'the task was cancelled' && !isOfOurs && task.status !== 'cancelled')) {
      const asks = `${this.#judge.who(member)} asks with ${method} for ${params.taskId}, which is ${task.status}`;
      this.#judge.problem(`${asks}, and is told without a cause: ${JSON.stringify(error)}`);
    }
  }

  /** A caller hears how a task is, without that it has asked. */
  told(member: Member, params: Json, text: string): void {
    this.#judge.count('task status');
    if (params.c !== member.index || (member.era === 'modern' && member.kind !== 'raw')) {
      this.#judge.problem(`${this.#judge.who(member)} hears of the task of ${params.c}: ${text}`);
    }
    const what = `status ${params.number}`;
    if (this.#heard.has(what)) {
      this.#judge.problem(`${this.#judge.who(member)} hears it a second time: ${text}`);
    }
    this.#heard.add(what);
  }

  /** Looks at the answer to a request for a task, or for all of them. */
  watch(sent: Sent): Sent {
    const call = this.#of(sent.member).get(sent.params.taskId);
    this.#watched.set(sent, call);
    if (sent.method === 'tasks/cancel') {
      call && this.#mayCancel.add(call);
      this.#mayCancelUntold.add(JSON.stringify([this.#groupOf(sent.member), sent.params.taskId]));
    }
    return sent;
  }

  answered(sent: Sent): void {
    const known = this.#watched.get(sent);
    const call = this.#watchedCall(sent);
    if (this.#watched.delete(sent)) {
      sent.result && this.#seen(sent, sent.result);
      sent.error && known && this.#refused(sent, known, sent.error);
      sent.error && call && couldNotAnswer(sent.error) && this.#mayCancel.add(call);
    }
  }

  /** The call whose task a request is for: it may have told of the task since. */
  #watchedCall(sent: Sent): Call | undefined {
    return this.#watched.get(sent) ?? this.#of(sent.member).get(sent.params.taskId);
  }

  /** Nobody ends a task but those whose it is; one that nobody knows of ends with the call. */
  checkEnds(instances: readonly ScriptedInstance[]): void {
    for (const sent of this.#watched.keys()) {
      const call = this.#watchedCall(sent);
      // Perhaps it was just refused, as its caller cannot answer what the server asks: the refusal is not heard.
      const isUnheard = sent.cancelled || !isThere(sent.member);
      isUnheard && sent.method === 'tasks/result' && call && this.#mayCancel.add(call);
    }
    for (const instance of instances) {
      for (const { params } of instance.requests('tasks/cancel')) {
        const task = this.#judge.servers.memory(instance).tasks.get(params?.taskId);
        const call = this.#judge.calls.get(task?.mark.n as number);
        const mayCancel =
          call === undefined ||
          this.#mayCancel.has(call) ||
          this.#mayCancelUntold.has(JSON.stringify([this.#groupOf(call.member), params?.taskId]));
        if (!mayCancel && !isHidden(call)) {
          this.#judge.problem(`${this.#judge.name(instance)} is told to end the task of call ${call.number} by nobody`);
        }
      }
    }
  }

  /** Whether two reach the same tasks. */
  areOne(one: Member, other: Member): boolean {
    return this.#groupOf(one) === this.#groupOf(other);
  }

  /** Whether somebody waits with it for the task of a call. */
  isResultOf({ member, method, params }: Sent, call: Call): boolean {
    return method === 'tasks/result' && this.#of(member).get(params.taskId) === call;
  }

  /** A task comes further. */
  progressed(call: Call, { progress }: Json): void {
    this.#heard.add(`progress ${progress} of ${call.number}`);
  }

  hasHeard(what: string): boolean {
    return this.#heard.has(what);
  }

  /** A server that has made a task of a call without a word to its caller hears when that does not wait any more. */
  checkCancelled(number: number, instance: ScriptedInstance, taskId: unknown): void {
    this.#judge.count('hidden task cancelled');
    if (!instance.requests('tasks/cancel').some(({ params }) => params?.taskId === taskId)) {
      this.#judge.problem(`${this.#judge.name(instance)} goes on with the task of call ${number}, which was cancelled`);
    }
  }

  /** A server that runs a task of somebody who is there is not ended before the task's time is over, without a reason. */
  closed(instance: ScriptedInstance): void {
    for (const { mark, status } of this.#judge.servers.memory(instance).tasks.all) {
      const call = this.#judge.calls.get(mark.n as number);
      if (call?.task === undefined || hasEnded({ status })) {
        continue;
      }
      const { member, server, since, task } = call;
      const isKnown = [...this.#of(member).values()].includes(call);
      const isWaitedFor = isKnown && member.kind.startsWith('merged') && isThere(member);
      const isYoung = this.#judge.nowMs() - task.sinceMs < ttlMs;
      if (isWaitedFor && isYoung && !this.#judge.causes.since(since, server, ends)) {
        this.#judge.problem(`${this.#judge.name(instance)} is ended, in which the task of call ${call.number} runs`);
      }
    }
  }

  // --- what a task needs ---

  /** A server asks in the course of a task. */
  question(instance: ScriptedInstance, { mark }: PlayedTask, number: number): { number: number; json: Json } {
    const judge = this.#judge;
    const call = judge.calls.get(mark.n as number);
    const group = judge.ownersOf(instance);
    const id = judge.servers.memory(instance).generation.era === 'legacy' ? number : undefined;
    judge.questions.set(number, { number, instance, id, group, call, withdrawn: true });
    judge.log(`${judge.name(instance)} asks in the task of call ${mark.n}: question ${number}`);
    judge.count('question of a task');
    return { number, json: toQuestion(number, createChance(number)) };
  }

  /** A stateless server got an answer. */
  updated(instance: ScriptedInstance, { mark }: PlayedTask, key: string, answer: Json): void {
    const text = `the task of call ${mark.n} at ${this.#judge.name(instance)}`;
    const question = this.#judge.questions.get(Number(key.slice(1)));
    if (question === undefined) {
      return; // of one that made it up
    }
    this.#judge.count('answer to a task');
    if (question.call?.number !== mark.n) {
      this.#judge.problem(`${text}: answers to another question: ${key}`);
    }
    this.#judge.checkAnswer(question, answer, text);
  }

  /** A stateless caller finds in a task what it needs. */
  #needsInput({ member, since }: Sent, taskId: unknown, inputRequests: Json): void {
    for (const [key, each] of Object.entries(inputRequests as Record<string, Json>)) {
      const params = (each.params ?? {}) as Json;
      const number = (params._meta as Json | undefined)?.q;
      const { over = since } = this.#judge.questions.get(number as number) ?? {};
      if (over < since) {
        this.#judge.problem(`${this.#judge.who(member)} is asked what nobody needs any more: ${JSON.stringify(each)}`);
      }
      if (!member.asked.some((asked) => asked.number === number)) {
        const task = { taskId, key };
        this.#judge.asked(
          member,
          { id: undefined, number, method: String(each.method), params, task },
          JSON.stringify(each),
        );
      }
    }
  }

  #of(member: Member): Map<unknown, Call> {
    const group = this.#groupOf(member);
    const known = this.#known.get(group) ?? new Map<unknown, Call>();
    this.#known.set(group, known);
    return known;
  }

  /** Connections have their own; stateless requests over HTTP are of one caller. */
  #groupOf({ kind, caller, seen, index }: Member): string {
    return kind === 'fetch modern'
      ? JSON.stringify([caller?.id, caller?.principal, seen.servers, seen.tags])
      : `connection ${index}`;
  }
}

/** The task needed what its caller could not be asked: it is cancelled. */
function couldNotAnswer({ message }: Json): boolean {
  return String(message).startsWith('the client could not answer');
}
