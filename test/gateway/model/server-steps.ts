import type { RequestId } from '../../../src/sdk.js';
import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Chance } from './chance.js';
import type { Question } from './judge.js';
import { levels } from './levels.js';
import { toQuestion } from './questions.js';
import { foreign, type Held, markOf, uriOf } from './servers.js';
import { taskOf } from './task-judge.js';
import type { World } from './world.js';

/** What servers do. */
export class ServerSteps {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  prepareOpen(chance: Chance): void {
    this.#world.nextOpen = chance.one(['wait', 'wait', 'fail', 'die in handshake', 'die after handshake']);
    this.#world.judge.log(`the next start: ${this.#world.nextOpen}`);
  }

  say(held: Held, result: Json): void {
    this.#world.servers.done.push(held);
    held.instance.answer(held.request, result);
  }

  answer(chance: Chance): void {
    const { held } = this.#world.servers;
    const one = chance.pick(held);
    if (one === undefined) {
      return;
    }
    held.splice(held.indexOf(one), 1);
    const { instance, request, rounds } = one;
    if (instance.closed) {
      return;
    }
    const isModern = this.#world.servers.memory(instance).generation.era === 'modern';
    const needsInput = chance.oneIn(this.#world.isAboutTasks ? 5 : 2);
    if (isModern && rounds < 3 && request.method !== 'completion/complete' && needsInput) {
      return this.needInput(one, chance);
    }
    const result = this.#world.complete(one);
    if (chance.oneIn(5) && taskOf(result) === undefined) {
      this.#world.servers.done.push(one);
      instance.say({ id: request.id, error: { code: -32050, message: 'no', data: result.structuredContent } });
      return;
    }
    this.say(one, result);
  }

  needInput({ instance, request }: Held, chance: Chance): void {
    const number = this.#world.number();
    const n = markOf(request.params).n as number;
    const call = this.#world.judge.calls.get(n);
    const question: Question = {
      number,
      instance,
      id: undefined,
      group: this.#world.judge.ownersOf(instance),
      call,
      withdrawn: false,
    };
    this.#world.judge.questions.set(number, question);
    if (call !== undefined) {
      call.isAnswered = true;
    }
    this.#world.judge.log(`${this.#world.judge.name(instance)} needs input for call ${n}: question ${number}`);
    instance.answer(request, {
      resultType: 'input_required',
      inputRequests: { [`q${number}`]: toQuestion(number, chance) },
      requestState: `state of ${number}`,
    });
  }

  repeatAnswer(chance: Chance): void {
    const done = chance.pick(this.#world.servers.done);
    const { c: whose } = markOf(done?.request.params);
    // What is not changed on its way would be the answer to what has the same id now.
    const isRaw = this.#world.members[whose as number]?.kind === 'raw';
    if (done !== undefined && !done.instance.closed && !isRaw) {
      const { n, c } = markOf(done.request.params);
      const mark = { n, c, server: done.instance.context.server };
      done.instance.answer(done.request, { resultType: 'complete', content: [], structuredContent: mark });
    }
  }

  saySomethingOdd(instance: ScriptedInstance, chance: Chance): void {
    const odd = chance.one<() => Json>([
      () => ({ id: chance.pick(foreign.slice(0, 5)), result: { content: [], structuredContent: { n: -1 } } }),
      () => ({ id: chance.pick(foreign), error: { code: -1, message: 'no' } }),
      () => ({ id: null, error: { code: -32700, message: 'no' } }),
      () => ({}),
      () => ({ method: 5 }),
      () => ({ id: {}, method: 'sampling/createMessage', params: { _meta: { q: -1 } } }),
      () => ({
        method: 'notifications/progress',
        params: { progressToken: chance.pick(foreign.slice(1, 5)), progress: 1, total: 2, n: -1 },
      }),
      () => ({ method: 'notifications/cancelled', params: { requestId: chance.pick(foreign), reason: 'odd' } }),
      () => ({ method: 'notifications/progress' }),
      () => ({ id: `ping ${this.#world.number()}`, method: 'ping' }),
    ])();
    this.#world.judge.log(`${this.#world.judge.name(instance)} says ${JSON.stringify(odd)}`);
    instance.say(odd);
  }

  progress(chance: Chance): void {
    const held = chance.pick(chance.oneIn(4) ? this.#world.servers.done : this.#world.servers.held);
    const progressToken = held?.request.params?._meta?.progressToken;
    if (held !== undefined && progressToken !== undefined && !held.instance.closed) {
      const { n } = markOf(held.request.params);
      held.instance.notify('notifications/progress', { progressToken, progress: this.#world.number(), total: 2, n });
    }
  }

  /** A server writes what it was told to; one that was told nothing writes whatever it likes. */
  log(instance: ScriptedInstance, chance: Chance): void {
    const group = this.#world.judge.ownersOf(instance);
    const { generation, level: told } = this.#world.servers.memory(instance);
    const { isolation } = generation;
    const number = this.#world.number();
    const level = chance.one(levels);
    const isTooLow = (levels as readonly unknown[]).indexOf(told) > levels.indexOf(level);
    if (group !== undefined && !isTooLow) {
      this.#world.judge.log(`${this.#world.judge.name(instance)} logs ${number}: ${level}, of ${told}`);
      instance.notify('notifications/message', { level, data: { group, isolation, number, told } });
    }
  }

  question(instance: ScriptedInstance, chance: Chance): void {
    const group = this.#world.judge.ownersOf(instance);
    const { era } = this.#world.servers.memory(instance).generation;
    const isInitialized = instance.requests('initialize').length > 0;
    if (group === undefined || era === 'modern' || !isInitialized) {
      return;
    }
    const number = this.#world.number();
    // Small ones others have, too.
    const own = new Set([...this.#world.judge.questions.values()].map((each) => each.instance === instance && each.id));
    const given = chance.one<RequestId>([1, 2, '1', String(number), -number]);
    const id = own.has(given) ? number : given;
    this.#world.judge.questions.set(number, { number, instance, id, group, call: undefined, withdrawn: false });
    this.#world.judge.log(
      `${this.#world.judge.name(instance)} asks ${group}: question ${number}, id ${JSON.stringify(id)}`,
    );
    instance.say({ id, ...toQuestion(number, chance) });
  }

  withdraw(instance: ScriptedInstance, chance: Chance): void {
    const own = [...this.#world.judge.questions.values()].filter(
      (each) => each.instance === instance && each.id !== undefined && !each.withdrawn,
    );
    const question = chance.pick(own);
    if (question !== undefined) {
      question.withdrawn = true;
      instance.notify('notifications/cancelled', { requestId: question.id, reason: String(question.number) });
    }
  }

  update(instance: ScriptedInstance, chance: Chance): void {
    const number = this.#world.number();
    this.#world.judge.log(`update ${number} at ${this.#world.judge.name(instance)}`);
    this.#world.servers.update(instance, uriOf(instance.context.server, chance.one([1, 2])), number);
  }

  die(instance: ScriptedInstance): void {
    this.#world.judge.count('death');
    this.#world.judge.log(`${this.#world.judge.name(instance)} dies`);
    this.#world.servers.die(instance);
  }
}
