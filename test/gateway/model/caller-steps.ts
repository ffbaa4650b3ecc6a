import type { RequestId } from '../../../src/sdk.js';
import type { Json } from '../../endpoint/scripted-server.js';
import type { Chance } from './chance.js';
import { serverIds } from './entries.js';
import type { Call, How, Sent } from './judge.js';
import { levels } from './levels.js';
import { type Asked, isThere, join, type Member } from './members.js';
import { relatedTask } from './played-tasks.js';
import { foreign, uriOf } from './servers.js';
import type { What, World } from './world.js';

const ids: readonly RequestId[] = [0, 1, 2, '1', 'x'];
/** What may be asked of tasks. */
const methods = {
  legacy: [
    [2, 'tasks/get'],
    [2, 'tasks/result'],
    [1, 'tasks/cancel'],
    [2, 'tasks/list'],
  ],
  modern: [
    [8, 'tasks/get'],
    [1, 'tasks/cancel'],
    [1, 'tasks/update'],
  ],
} as const;
const tokens: readonly (RequestId | undefined)[] = [undefined, 0, 1, '1'];

/** What callers do. */
export class CallerSteps {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  join(chance: Chance): void {
    const { judge } = this.#world;
    const index = this.#world.members.length;
    const member = join(index, chance, {
      gateway: this.#world.gateway,
      entries: this.#world.entries,
      isAboutTasks: this.#world.isAboutTasks,
      onMessage: (who, message) => judge.received(who, message),
      onClose: (who) => {
        judge.log(`${judge.who(who)} is closed`);
        who.closes += 1;
        const open = [...who.open.values()].map(({ number, method }) => `${number} (${method})`);
        if (open.length > 0 && !who.hasLeft) {
          // Unless its start has failed, by which it knows.
          const text = `${judge.who(who)} is closed before its requests ${open} were answered`;
          setImmediate(() => who.open.size > 0 && judge.problem(text));
        }
      },
      onUnanswered: (who, id, why) => judge.log(`${judge.who(who)} has no answer to ${JSON.stringify(id)}: ${why}`),
      onStart: (who, starting) =>
        starting.catch((error: unknown) => {
          judge.log(`${judge.who(who)} could not start: ${String(error)}`);
          who.open.clear();
          this.#world.judge.sent.forEach((sent) => {
            if (sent.member === who) sent.cancelled = true;
          });
        }),
      problem: (text) => judge.problem(text),
    });
    if (member === undefined) {
      return;
    }
    this.#world.members.push(member);
    judge.log(
      `${judge.who(member)} joins: ${JSON.stringify({ ...member.seen, capabilities: member.capabilities, era: member.era })}`,
    );
    if (member.era === 'legacy') {
      const clientInfo = { name: `caller ${index}`, version: '1' };
      const { capabilities } = member;
      this.#world.request(
        member,
        'initialize',
        { protocolVersion: '2025-11-25', capabilities, clientInfo },
        { id: 'initialize' },
      );
    } else if (member.capabilities.extensions !== undefined && chance.oneIn(2)) {
      // By that it learns which tools run as tasks alone.
      this.ask(member, chance, 'tools/list');
    }
  }

  call(member: Member, chance: Chance): void {
    // Where ids are not changed on their way, they are used once, as they should be.
    const id = member.to !== undefined ? `raw ${this.#world.number()}` : (chance.pick(ids) as RequestId);
    if (member.open.has(id) || member.crossing.has(id)) {
      return;
    }
    const how = chance.one<How>(['pass', 'pass', 'pass', 'wait', 'refuse', 'replace']);
    const { isAboutTasks } = this.#world;
    const isTask = member.era === 'legacy' && chance.oneIn(isAboutTasks ? 2 : 4);
    // Where it is about tasks, few servers have many of them.
    const isFew = isAboutTasks && !chance.oneIn(4);
    this.#world.call(
      member,
      member.to ?? (isFew ? chance.one(['a', 'b']) : chance.one(serverIds)),
      isFew
        ? chance.one<What>(['go', 'slow', 'slow'])
        : chance.one<What>(['go', 'go', 'go', 'now', 'slow', 'slow', 'ask', 'read', 'complete']),
      how,
      id,
      chance.pick(tokens),
      isTask,
    );
  }

  cancel(member: Member, chance: Chance): void {
    const sent = chance.pick([...member.open.values()].filter(({ method }) => method !== 'initialize'));
    sent && this.giveUp(sent);
  }

  /** Waits no more for an answer. */
  giveUp(sent: Sent): void {
    const { member } = sent;
    this.#world.judge.count('cancel');
    this.#world.judge.log(`${this.#world.judge.who(member)} cancels ${sent.number}`);
    sent.cancelled = true;
    if (sent.call !== undefined) {
      sent.call.toldOff = sent.call.at !== undefined && !sent.call.isAnswered;
      const { task } = sent.call;
      sent.call.isTaskToldOff = task !== undefined && member.era === 'legacy' && this.#world.isKnown(task.since);
    }
    if (sent.method === 'resources/subscribe') {
      // Whether it came through is not known.
      member.subscriptions.set(String(sent.params.uri), 'asked');
    }
    if (sent.method === 'tasks/result') {
      // What it was asked meanwhile is withdrawn, of which it hears nothing where it has no stream but that of the request.
      for (const each of member.asked) {
        const related = (each.params._meta as Json | undefined)?.[relatedTask] as Json | undefined;
        if (related !== undefined && related.taskId === sent.params.taskId) each.isLeft = true;
      }
    }
    member.open.delete(sent.id);
    member.crossing.set(sent.id, sent);
    const reason = String(sent.call?.number ?? 'enough');
    this.#world.send(member, { method: 'notifications/cancelled', params: { requestId: sent.id, reason } });
  }

  ask(
    member: Member,
    chance: Chance,
    method = chance.one(['tools/list', 'resources/list', 'prompts/list', 'ping', 'no/such']),
  ): void {
    this.#world.request(member, method, {}, {});
  }

  /** Wants the log from another level on: with a word of its own, or from now on with each request. */
  setLevel(member: Member, chance: Chance): void {
    const level = chance.one(levels);
    if (!member.isLevelSettled) {
      return;
    }
    member.levels.add(level);
    if (member.era === 'modern') {
      member.level = chance.oneIn(4) ? undefined : level;
      return;
    }
    member.isLevelSettled = false;
    const sent = this.#world.request(member, 'logging/setLevel', { level }, {});
    this.#world.watch(sent, () => {
      member.isLevelSettled = sent.result !== undefined && !sent.cancelled;
      member.level = level;
    });
  }

  changeRoots(member: Member): number {
    const number = this.#world.number();
    this.#world.judge.log(`${this.#world.judge.who(member)} has other roots: ${number}`);
    const params = { c: member.index, number };
    member.era === 'legacy' && this.#world.send(member, { method: 'notifications/roots/list_changed', params });
    return number;
  }

  subscribe(member: Member, chance: Chance): void {
    const server = member.to ?? chance.one(serverIds);
    const uri = uriOf(server, chance.one([1, 2]));
    if (member.subscriptions.has(uri)) {
      return;
    }
    member.subscriptions.set(uri, 'asked');
    if (member.era === 'modern') {
      this.#world.request(
        member,
        'subscriptions/listen',
        { notifications: { resourceSubscriptions: [uri] } },
        {},
      ).cancelled = true;
      return;
    }
    const sent = this.#world.request(member, 'resources/subscribe', { uri }, {});
    this.#world.watch(sent, () => {
      if (sent.result !== undefined && !sent.cancelled) {
        this.#world.judge.count('subscribed');
        member.subscriptions.set(uri, 'made');
      }
    });
  }

  unsubscribe(member: Member, chance: Chance): void {
    const uri = chance.pick([...member.subscriptions.entries()].filter(([, state]) => state === 'made'))?.[0];
    if (uri === undefined || member.era === 'modern') {
      return;
    }
    member.subscriptions.set(uri, 'ending');
    const sent = this.#world.request(member, 'resources/unsubscribe', { uri }, {});
    this.#world.watch(sent, () => {
      if (sent.result !== undefined) {
        this.#world.judge.count('unsubscribed');
        member.subscriptions.delete(uri);
      }
    });
  }

  /** Somebody who knows of tasks asks for one, or for one of others. */
  aboutTask(chance: Chance): void {
    const { tasks } = this.#world.judge;
    const member = chance.pick(
      this.#world.members.filter((each) => isThere(each) && tasks.idsFor(each).own.length > 0),
    );
    if (member === undefined) {
      return;
    }
    const { own, all } = tasks.idsFor(member);
    // What somebody asks for he asks for again.
    const taskId = chance.pick(chance.oneIn(4) ? all : own.slice(-2));
    const method = chance.weigh(methods[member.era]);
    const more = method === 'tasks/update' && { inputResponses: { q0: {} } };
    const params = method === 'tasks/list' ? {} : { taskId, ...more };
    tasks.watch(this.#world.request(member, method, params, {}));
  }

  respond(member: Member, chance: Chance): void {
    const asked = chance.pick(member.asked);
    if (asked === undefined || chance.oneIn(6)) {
      // An answer that nobody waits for.
      this.#world.send(member, { id: chance.below(20) + 1_000_000, result: { nobody: true } });
      return;
    }
    const thief = chance.pick(
      this.#world.members.filter((each) => isThere(each) && each.era === 'modern' && each !== member),
    );
    if (asked.of !== undefined && thief !== undefined && chance.oneIn(4)) {
      return this.steal(thief, member, asked);
    }
    this.respondTo(member, asked, member.kind !== 'raw' && chance.oneIn(4));
  }

  answerTo(member: Member, { method, number }: Asked): Json {
    const mark = { q: number, by: member.index };
    if (method === 'roots/list') {
      return { roots: [{ uri: `file:///${number}/${member.index}` }] };
    }
    return method === 'elicitation/create'
      ? { action: 'accept', content: mark }
      : { role: 'assistant', model: 'm', content: { type: 'text', text: 'x' }, _meta: mark };
  }

  respondTo(member: Member, asked: Asked, again = false): void {
    const { of, task, id, number } = asked;
    this.#world.judge.log(`${this.#world.judge.who(member)} answers question ${String(number)}`);
    if (task !== undefined) {
      again || member.asked.splice(member.asked.indexOf(asked), 1);
      const inputResponses = { [task.key]: this.answerTo(member, asked) };
      this.#world.request(member, 'tasks/update', { taskId: task.taskId, inputResponses }, {});
      return;
    }
    if (of === undefined) {
      // Whoever answers a second time is not heard.
      again || member.asked.splice(member.asked.indexOf(asked), 1);
      asked.isAnswered = true;
      this.#world.send(member, { id, result: this.answerTo(member, asked) });
      return;
    }
    member.asked.splice(member.asked.indexOf(asked), 1);
    const { sent, state, key } = of;
    for (const other of member.asked.filter((each) => each.of?.state === state)) {
      // It has no answer in this round, and comes again in the next one.
      other.isLeft = true;
    }
    const { requestState: _, inputResponses: __, ...params } = sent.params;
    const inputResponses = { [key]: this.answerTo(member, asked) };
    const more = { requestState: state, inputResponses };
    this.#world.request(member, sent.method, { ...params, ...more }, { call: sent.call as Call, token: sent.token });
  }

  /** Goes on with a call of another. */
  steal(thief: Member, member: Member, asked: Asked): void {
    const { sent, state, key } = asked.of as NonNullable<Asked['of']>;
    const same = (one: Member) => JSON.stringify([one.caller?.id, one.caller?.principal, one.to]);
    // A server of the stateless era that callers reach untouched decides itself.
    if (
      thief.kind === 'raw' ||
      ((thief.caller?.id ?? thief.caller?.principal) !== undefined && same(thief) === same(member))
    ) {
      return;
    }
    this.#world.judge.count('theft');
    const { inputResponses: _, requestState: __, ...params } = sent.params;
    const inputResponses = { [key]: this.answerTo(thief, asked) };
    this.#world.request(thief, sent.method, { ...params, requestState: state, inputResponses }, { isTheft: true });
  }

  saySomethingOdd(member: Member, chance: Chance): void {
    const odd = chance.one<() => Json>([
      () => ({
        method: 'notifications/cancelled',
        params: { requestId: chance.pick([...ids, 99, undefined]) === undefined ? null : 'nobody' },
      }),
      () => ({
        method: 'notifications/progress',
        params: { progressToken: chance.pick(foreign), progress: 1, number: -1 },
      }),
      () => ({ id: 'odd', result: {} }),
      () => ({ id: 'odd', error: { code: -1, message: 'no' } }),
      () => ({ method: 'notifications/no/such', params: { n: 1 } }),
    ])();
    this.#world.judge.log(`${this.#world.judge.who(member)} says ${JSON.stringify(odd)}`);
    this.#world.send(member, odd);
  }

  leave(member: Member): void {
    this.#world.judge.log(`${this.#world.judge.who(member)} leaves`);
    member.hasLeft = true;
    member
      .leave()
      .catch((error: unknown) =>
        this.#world.judge.problem(`${this.#world.judge.who(member)} cannot leave: ${String(error)}`),
      );
  }
}
