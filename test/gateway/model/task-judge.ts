import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import { createChance } from './chance.js';
import type { Call, Judge, Sent } from './judge.js';
import { isThere, type Member } from './members.js';
import { hasEnded, type PlayedTask, ttlMs } from './played-tasks.js';
import { toQuestion } from './questions.js';

const ends = ['death', 'unhealthy', 'stopped', 'replaced', 'shown', 'closing'] as const;

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
  readonly #watched = new Set<Sent>();
  /** Of those who share tasks: the call that each was made of, by its id. */
  readonly #known = new Map<string, Map<unknown, Call>>();

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

  #seen(member: Member, { params, method }: Sent, result: Json): void {
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
    if (method === 'tasks/get' && result.inputRequests !== undefined) {
      this.#needsInput(member, params.taskId, result.inputRequests as Json);
    }
  }

  /** A caller hears how a task is, without that it has asked. */
  told(member: Member, params: Json, text: string): void {
    this.#judge.count('task status');
    if (params.c !== member.index || (member.era === 'modern' && member.kind !== 'raw')) {
      this.#judge.problem(`${this.#judge.who(member)} hears of the task of ${params.c}: ${text}`);
    }
  }

  /** Looks at the answer to a request for a task, or for all of them. */
  watch(sent: Sent): Sent {
    this.#watched.add(sent);
    return sent;
  }

  answered(sent: Sent): void {
    if (this.#watched.delete(sent) && sent.result !== undefined) {
      this.#seen(sent.member, sent, sent.result);
    }
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
  #needsInput(member: Member, taskId: unknown, inputRequests: Json): void {
    for (const [key, each] of Object.entries(inputRequests as Record<string, Json>)) {
      const params = (each.params ?? {}) as Json;
      const number = (params._meta as Json | undefined)?.q;
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
