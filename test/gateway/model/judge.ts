import type { GatewayLimits } from '../../../src/index.js';
import { isResponse, type JSONRPCRequest, type RequestId } from '../../../src/sdk.js';
import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import { Notes } from '../../support/play-schedules.js';
import { Causes, hasCause } from './causes.js';
import type { Entries } from './entries.js';
import { Healths } from './health.js';
import { Levels } from './levels.js';
import { type Asked, groupOf, isForCallers, isThere, type Member } from './members.js';
import { Roots } from './roots.js';
import { markOf, type PlayedServers } from './servers.js';
import { markOfTask, TaskJudge, taskOf } from './task-judge.js';

/** A request as its caller remembers it. */
export interface Sent {
  readonly number: number;
  readonly member: Member;
  readonly id: RequestId;
  readonly method: string;
  readonly params: Json;
  readonly token: RequestId | undefined;
  /** The call that it is, or goes on with. */
  readonly call: Call | undefined;
  /** What only a caller to whom it does not belong would send: it must be refused. */
  readonly isTheft: boolean;
  /** Of the log, for a stateless caller. */
  readonly level: string | undefined;
  /** What has happened before may be known by then, as causes count; and by the clock. */
  readonly since: number;
  readonly sentMs: number;
  answers: number;
  cancelled: boolean;
  result?: Json;
  error?: Json;
}

/** One call, which may take several requests of a stateless caller. */
export interface Call {
  readonly number: number;
  readonly member: Member;
  readonly server: string;
  /** What the interceptor makes of it. */
  readonly how: How;
  readonly isTask: boolean;
  /** When it was sent first, as causes count, and by the clock. */
  readonly since: number;
  readonly sentMs: number;
  /** Where it came without answers in it: once at most. */
  readonly arrivals: { readonly instance: ScriptedInstance; readonly id: RequestId }[];
  readonly token: RequestId | undefined;
  /** The latest request for it that a server got. */
  at:
    | { readonly instance: ScriptedInstance; readonly id: RequestId; readonly before?: RequestId | undefined }
    | undefined;
  /** The server has answered what it got last. */
  isAnswered: boolean;
  /** Its server has to hear that nobody waits any more. */
  toldOff: boolean;
  /** What its server has made of it, and when, as causes count. */
  task:
    | {
        readonly instance: ScriptedInstance;
        readonly taskId: unknown;
        /** Of the request that has become the task. */
        readonly progressToken: unknown;
        readonly since: number;
        readonly sinceMs: number;
      }
    | undefined;
  /** Nobody waits for the task, of which its caller does not know. */
  isTaskToldOff: boolean;
  /** What its caller wanted of the log when it was sent last, and whether that was sure. */
  level: string | undefined;
  isLevelSettled: boolean;
  /** How often its caller has sent it: a server that was replaced may know nothing of the state that is sent back. */
  requests: number;
}

export type How = 'pass' | 'wait' | 'refuse' | 'replace';

/** What a server asked. */
export interface Question {
  readonly number: number;
  readonly instance: ScriptedInstance;
  /** Of a server with sessions. */
  readonly id: RequestId | undefined;
  /** Who may hear it: connections that share the server, or the one whose call it belongs to. */
  readonly group: string | undefined;
  readonly call: Call | undefined;
  withdrawn: boolean;
  /** Since when nobody needs the answer any more, as causes count. */
  over?: number;
}

/** Sees everything that callers and servers get, and says what none of them should have got. */
export class Judge extends Notes {
  readonly sent: Sent[] = [];
  readonly causes = new Causes(() => this.lines.length);
  readonly calls = new Map<number, Call>();
  readonly questions = new Map<number, Question>();
  readonly #owners = new Map<ScriptedInstance, string>();
  readonly #callsAt = new Map<ScriptedInstance, number>();
  /** By update: what each member got of it. */
  readonly updates = new Map<number, Map<Member, number>>();
  readonly members: Member[] = [];
  readonly levels = new Levels(this);
  readonly roots = new Roots(this);
  readonly healths = new Healths(this);
  servers!: PlayedServers;
  entries!: Entries;
  readonly tasks = new TaskJudge(this);
  intercepts = false;
  limits: GatewayLimits | undefined;
  authorizes = false;
  nowMs: () => number = () => 0;

  /** Who shares an instance; undefined when nobody has used it yet. */
  ownersOf(instance: ScriptedInstance): string | undefined {
    const { isolation } = this.servers.memory(instance).generation;
    const data = instance.context.caller?.data as { c: number } | undefined;
    const member = data && this.members[data.c];
    return isolation === 'shared' ? 'everybody' : member ? groupOf(member, isolation) : this.#owners.get(instance);
  }

  // --- at a server ---

  arrived(instance: ScriptedInstance, request: JSONRPCRequest): Call | undefined {
    const { n, c } = markOf(request.params);
    const call = this.calls.get(n as number);
    const text = `call ${n} of ${c} at ${this.name(instance)}`;
    this.log(`${text} under ${JSON.stringify(request.id)}`);
    if (call === undefined) {
      this.problem(`${text}: nobody has made it`);
      return undefined;
    }
    const { isolation } = this.servers.memory(instance).generation;
    const owners = groupOf(call.member, isolation);
    const expected = this.ownersOf(instance);
    if (expected === undefined) {
      this.#owners.set(instance, owners);
    } else if (expected !== owners) {
      this.problem(`${text}: the instance is of ${expected}, the caller ${owners}`);
    }
    if (call.server !== instance.context.server) {
      this.problem(`${text}: it was for ${call.server}`);
    }
    if (call.how === 'refuse' && this.intercepts) {
      this.problem(`${text}: it was refused`);
    }
    this.levels.arrived(instance, request, call);
    // Of a round with input, the id of the one before is in a cancellation that has crossed its answer.
    const before = call.at?.instance === instance ? call.at.id : undefined;
    const at = { instance, id: request.id, before };
    call.at = at;
    call.isAnswered = false;
    if (request.params?.inputResponses === undefined) {
      call.arrivals.push(at);
      if (call.arrivals.length > call.requests) {
        this.problem(`${text}: it comes a second time`);
      }
      const calls = (this.#callsAt.get(instance) ?? 0) + 1;
      this.#callsAt.set(instance, calls);
      if (isolation === 'request' && calls > 1) {
        this.problem(`${text}: the instance has served another request`);
      }
    } else {
      this.#answersArrived(call, request, text);
    }
    return call;
  }

  #answersArrived(call: Call, request: JSONRPCRequest, text: string): void {
    const { inputResponses, requestState } = request.params as Json;
    for (const [key, answer] of Object.entries(inputResponses as Json)) {
      const question = this.questions.get(Number(key.slice(1)));
      this.count('answer to a stateless server');
      if (question === undefined || question.call !== call || requestState !== `state of ${question.number}`) {
        this.problem(`${text}: answers to another question: ${JSON.stringify(request.params)}`);
        continue;
      }
      this.checkAnswer(question, answer as Json, text);
    }
  }

  /** What a question was answered with, by somebody who may. */
  checkAnswer(question: Question, result: Json, text: string): void {
    const { q, by } = answerOf(result);
    const member = this.members[by as number];
    if (q !== question.number) {
      this.problem(`${text}: question ${question.number} is answered with ${JSON.stringify(result)}`);
    } else if (member === undefined || !this.#isFor(question, member)) {
      this.problem(`${text}: question ${question.number} to ${question.group} is answered by ${by}`);
    }
  }

  /** What is asked in a call is for its caller; connections of one caller may answer for each other. */
  #isFor({ instance, group, call }: Question, member: Member): boolean {
    const { isolation } = this.servers.memory(instance).generation;
    const isOwn =
      call !== undefined &&
      (call.member === member || (call.task !== undefined && this.tasks.areOne(call.member, member)));
    return isOwn || (!isForCallers(group) && groupOf(member, isolation) === group);
  }

  /** Stateless callers come back with an answer, or do not; a session over HTTP goes on for a while without its client. */
  #canAnswer({ instance, group }: Question): boolean {
    const { isolation } = this.servers.memory(instance).generation;
    return this.members.every(
      (member) =>
        (member.era === 'legacy' && !(member.kind === 'fetch' && member.hasLeft)) ||
        groupOf(member, isolation) !== group,
    );
  }

  /** A server does not need an answer any more. */
  over(question: number): void {
    (this.questions.get(question) as Question).over = this.lines.length;
  }

  /** What servers with sessions got for their questions. */
  checkQuestions(atEnd: boolean): void {
    for (const question of this.questions.values()) {
      const { instance, id, number, group, withdrawn } = question;
      if (id === undefined) {
        continue;
      }
      const answers = instance.answers(id);
      if (answers.length > 1) {
        this.problem(`question ${number} to ${group} has ${answers.length} answers`);
      }
      if (answers.length === 0 && atEnd && !withdrawn && !instance.closed && this.#canAnswer(question)) {
        this.problem(`question ${number} to ${group} at ${this.name(instance)} has no answer`);
      }
      for (const { result } of answers) {
        if (result !== undefined) {
          this.count('answer to a question');
          this.checkAnswer(question, result as Json, 'at a server');
        }
      }
    }
  }

  /** What a server has asked is taken back with its end. */
  checkWithdrawn(): void {
    for (const member of this.members.filter(({ kind, hasLeft, closes }) => kind === 'merged' && !hasLeft && !closes)) {
      for (const { id, number, isAnswered } of member.asked) {
        const question = this.questions.get(number as number);
        if (id !== undefined && !isAnswered && question?.instance.closed) {
          this.problem(`${this.who(member)} is still asked question ${number}, and its server has ended`);
        }
        // In the call of another connection of the caller it may be asked for as long as the gateway remembers that.
        if (id !== undefined && !isAnswered && question?.call?.member === member && question.id === undefined) {
          const { call } = question;
          const isWaiting = [...member.open.values()].some(
            (sent) => sent.call === call || this.tasks.isResultOf(sent, call),
          );
          isWaiting || this.problem(`${this.who(member)} is still asked question ${number}, for nothing`);
        }
      }
    }
  }

  /** An instance of a request ends when nobody waits for that any more. */
  checkOfRequests(): void {
    for (const { number, at, member } of this.calls.values()) {
      const isLeft = at !== undefined && !at.instance.closed && isThere(member);
      if (isLeft && this.servers.memory(at.instance).generation.isolation === 'request') {
        // What a stateless caller is asked goes between two requests.
        const asked = [...this.questions.values()].some((each) => each.instance === at.instance);
        const isOpen = [...member.open.values()].some(({ call }) => call?.number === number);
        isOpen ||
          (asked && member.era === 'modern') ||
          this.problem(`${this.name(at.instance)} goes on, for call ${number} that is over`);
      }
    }
  }

  /** Nobody is answered what somebody else has asked. */
  checkAnswered(instances: readonly ScriptedInstance[]): void {
    for (const instance of instances) {
      const own = new Set<unknown>();
      for (const question of this.questions.values()) {
        question.instance === instance && own.add(question.id);
      }
      for (const message of instance.received) {
        const { id, result } = message as { id?: unknown; result?: Json };
        // What is odd by itself, as callers that are not translated may say too.
        const isOdd =
          typeof id === 'object' || id === 'odd' || String(id).startsWith('ping ') || result?.nobody === true;
        if (isResponse(message) && !isOdd && !own.has(id)) {
          this.problem(`${this.name(instance)} is answered what it has not asked: ${JSON.stringify(message)}`);
        }
      }
    }
  }

  // --- at the host ---

  checkSecrets(text: string): void {
    if (text.includes('hush-')) {
      this.problem(`a secret shows: ${text}`);
    }
  }

  // --- at a caller ---

  received(member: Member, message: Json): void {
    const text = JSON.stringify(message);
    this.log(`${this.who(member)} gets ${text}`);
    this.checkSecrets(text);
    if (member.hasLeft) {
      return this.problem(`${this.who(member)} has left, and gets ${text}`);
    }
    if (member.closes > 0) {
      return this.problem(`${this.who(member)} is closed, and gets ${text}`);
    }
    const { method, id, params = {} } = message as { method?: string; id?: RequestId; params?: Json };
    if (method === undefined) {
      return this.#answered(member, message);
    }
    if (id !== undefined && method === 'ping') {
      return; // of a server that is reached untouched
    }
    if (id !== undefined) {
      return this.asked(member, { id, number: (params._meta as Json | undefined)?.q, method, params }, text);
    }
    if (method === 'notifications/progress') {
      this.#progress(member, params, text);
    } else if (method === 'notifications/message') {
      this.#logged(member, params, text);
    } else if (method === 'notifications/cancelled') {
      const index = member.asked.findIndex((asked) => asked.id === params.requestId);
      const [asked] = index === -1 ? [] : member.asked.splice(index, 1);
      // Without a number in it, it is the gateway's, for a server that has ended.
      if (/^\d+$/.test(String(params.reason)) && asked && String(asked.number) !== params.reason) {
        this.problem(`${this.who(member)} hears that another question is withdrawn: ${text}`);
      }
    } else if (method === 'notifications/tasks/status') {
      this.tasks.told(member, params, text);
    } else if (method === 'notifications/resources/updated') {
      this.#updated(member, params, text);
    }
  }

  #answered(member: Member, message: Json): void {
    const id = message.id as RequestId;
    const sent = member.open.get(id) ?? member.crossing.get(id);
    if (sent === undefined) {
      if (id !== undefined && id !== null && id !== 'odd') {
        this.problem(`${this.who(member)} gets an answer to nothing: ${JSON.stringify(message)}`);
      }
      return;
    }
    sent.answers += 1;
    member.open.delete(id);
    const error = message.error as Json | undefined;
    const result = message.result as Json | undefined;
    if (result !== undefined) sent.result = result;
    if (error !== undefined) sent.error = error;
    this.tasks.answered(sent);
    const { call } = sent;
    const data = error?.data as Json | undefined;
    if (data?.code !== undefined) {
      this.count(String(data.code));
      this.count(`delivered: ${data.delivered}`);
    }
    if (error !== undefined && call !== undefined && !sent.cancelled && !hasCause(this, sent, call, error)) {
      this.problem(`${this.who(member)} is told of a failure without a cause: ${JSON.stringify(message)}`);
    }
    if (sent.isTheft && result !== undefined) {
      this.problem(`${this.who(member)} gets for what it has stolen: ${JSON.stringify(message)}`);
    }
    if (call === undefined) {
      return;
    }
    if (result?.resultType === 'input_required') {
      return this.#needsInput(member, sent, result);
    }
    const mark = (result?.structuredContent ?? (data?.n === undefined ? undefined : data)) as Json | undefined;
    if (mark !== undefined || result !== undefined) {
      this.count(error === undefined ? 'result' : 'error of a server');
      error === undefined && this.count(sent.method);
      const task = taskOf(result);
      task && this.tasks.created(member, call, task, JSON.stringify(message));
      // One that the gateway has made of an answer says nothing of it.
      const isOwn = task !== undefined && markOfTask(task) === undefined;
      const { n, c, server } = mark ?? (task && markOfTask(task)) ?? {};
      if (!isOwn && (n !== call.number || c !== member.index || server !== call.server)) {
        this.problem(`${this.who(member)} gets for call ${call.number} to ${call.server}: ${JSON.stringify(message)}`);
      }
      if (call.arrivals.length === 0 && call.how !== 'replace') {
        this.problem(`call ${call.number} is answered by a server that never got it: ${JSON.stringify(message)}`);
      }
    } else if (data?.delivered === false && call.arrivals.length > 0 && call.requests === 1) {
      this.problem(`call ${call.number} is said not to be delivered, and was: ${JSON.stringify(message)}`);
    }
  }

  #needsInput(member: Member, sent: Sent, { inputRequests, requestState }: Json): void {
    this.count('input required');
    for (const [key, each] of Object.entries((inputRequests ?? {}) as Record<string, Json>)) {
      const params = (each.params ?? {}) as Json;
      const number = (params._meta as Json | undefined)?.q;
      const of = { sent, state: requestState, key };
      this.asked(member, { id: undefined, number, method: String(each.method), params, of }, JSON.stringify(each));
    }
  }

  asked(member: Member, asked: Asked, text: string): void {
    this.count('question');
    const question = this.questions.get(asked.number as number);
    if (question === undefined) {
      // What is odd has no number.
      return asked.number === -1 ? undefined : this.problem(`${this.who(member)} is asked what nobody asked: ${text}`);
    }
    if (!this.#isFor(question, member)) {
      this.problem(`${this.who(member)} gets a question to another: ${text}`);
    }
    // In a call of a stateless caller it is the caller's own.
    if (isForCallers(question.group) && question.call === undefined) {
      this.problem(`${this.who(member)} is asked by a server that others share: ${text}`);
    }
    if (member.asked.some(({ number, isLeft }) => number === asked.number && !isLeft)) {
      this.problem(`${this.who(member)} is asked a second time: ${text}`);
    }
    const [capability = ''] = asked.method.split('/');
    const { era } = this.servers.memory(question.instance).generation;
    // Where nothing is translated, it is the server that has been told.
    const isPassed = member.kind === 'raw' || (member.era === 'modern' && era === 'modern');
    if (!isPassed && member.capabilities[capability] === undefined) {
      this.problem(`${this.who(member)} has not declared that it can answer: ${text}`);
    }
    if (asked.id !== undefined && member.asked.some(({ id }) => id === asked.id)) {
      this.problem(`two open questions to ${this.who(member)} have one id: ${text}`);
    }
    member.asked.push(asked);
  }

  #progress(member: Member, params: Json, text: string): void {
    if (params.total === undefined) {
      return; // of the start, by the gateway
    }
    this.count('progress');
    const sent = [...member.open.values(), ...member.crossing.values()].find(({ call }) => call?.number === params.n);
    const call = this.calls.get(params.n as number);
    if (
      call?.isTask === true &&
      call.member === member &&
      (call.token === params.progressToken || member.kind === 'raw')
    ) {
      this.tasks.progressed(call, params);
      return; // it goes on while the task does
    }
    if (member.kind === 'raw' && (call === undefined || call.member === member)) {
      return; // as the server says it
    }
    if (sent === undefined || sent.token !== params.progressToken) {
      this.problem(`${this.who(member)} gets progress that is of none of its open calls: ${text}`);
    }
  }

  #logged(member: Member, params: Json, text: string): void {
    this.count('log');
    const { group, isolation, number, told } = params.data as Json & { group: string; isolation: 'caller' };
    if (groupOf(member, isolation) !== group || isForCallers(group)) {
      this.problem(`${this.who(member)} gets the log of another: ${text}`);
    }
    this.#once(member, `log ${number}`, text);
    this.levels.logged(member, params.level, told, text);
  }

  #updated(member: Member, params: Json, text: string): void {
    this.count('updated');
    const uri = String(params.uri);
    const own = uri.startsWith('mcp-gateway:') ? decodeURIComponent(uri.slice(uri.lastIndexOf('/') + 1)) : uri;
    if (!member.subscriptions.has(own)) {
      this.problem(`${this.who(member)} is not subscribed: ${text}`);
    }
    if (params.update === undefined) {
      this.count('may have changed');
      return; // as the gateway says when another server has taken over
    }
    const times = this.updates.get(params.update as number);
    times?.set(member, (times.get(member) ?? 0) + 1);
    this.#once(member, `update ${params.update} ${uri}`, text);
  }

  /** Requests of stateless callers stand for themselves, and each may hear the same. */
  #once(member: Member, what: string, text: string): void {
    if (member.era === 'legacy' && member.heard.has(what)) {
      this.problem(`${this.who(member)} hears it a second time: ${text}`);
    }
    member.heard.add(what);
  }

  // --- when all is over ---

  checkAnswers(): void {
    for (const { number, member, id, method, answers, cancelled } of this.sent) {
      if (answers > 1 || (answers === 0 && !cancelled && !member.hasLeft)) {
        this.problem(
          `request ${number} (${method}, ${JSON.stringify(id)}) of ${this.who(member)} has ${answers} answers`,
        );
      }
    }
  }

  /** Each cancellation belongs to the call that was cancelled, and reaches its server while that runs. */
  checkCancellations(instances: readonly ScriptedInstance[]): void {
    for (const instance of instances) {
      for (const { params } of instance.notifications('notifications/cancelled')) {
        const call = /^\d+$/.test(String(params?.reason)) ? this.calls.get(Number(params?.reason)) : undefined;
        const { at } = call ?? {};
        if (call && at && (at.instance !== instance || ![at.id, at.before].includes(params?.requestId as RequestId))) {
          this.problem(`the cancellation of call ${call.number} is of another request: ${JSON.stringify(params)}`);
        }
      }
    }
    for (const { number, at, toldOff, isAnswered, task, isTaskToldOff } of this.calls.values()) {
      if (task !== undefined && isTaskToldOff && !task.instance.closed) {
        this.tasks.checkCancelled(number, task.instance, task.taskId);
      }
      const heard = at?.instance
        .notifications('notifications/cancelled')
        .some(({ params }) => params?.requestId === at.id);
      if (toldOff && !isAnswered && heard === false && at?.instance.closed === false) {
        this.problem(`${this.name(at.instance)} goes on with call ${number}, which was cancelled`);
      }
    }
  }

  name(instance: ScriptedInstance): string {
    const { number, generation } = this.servers.memory(instance);
    return `${instance.context.server} (instance ${number}, ${JSON.stringify(generation)})`;
  }

  who({ index, kind, to, caller }: Member): string {
    return `caller ${index} (${kind}${to === undefined ? '' : ` to ${to}`}, ${caller?.id}, ${caller?.principal})`;
  }
}

/** Who answers which question: with his roots he does so in the only one of them. */
function answerOf({ roots, _meta, content }: Json): Json {
  if (!Array.isArray(roots)) {
    return ((_meta ?? content) as Json | undefined) ?? {};
  }
  const [q, by] = String((roots as Json[])[0]?.uri)
    .slice('file:///'.length)
    .split('/')
    .map(Number);
  return { q, by };
}
