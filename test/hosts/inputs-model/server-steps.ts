import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Chance } from '../../gateway/model/chance.js';
import { groupOf, isAble, type Leg, type Question, type ServerId, serverIds } from './parts.js';
import type { World } from './world.js';

const requestedSchema = { type: 'object', properties: {} };

/** What servers do, and what is done to them. */
export class ServerSteps {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** What servers work on; some of it although nobody waits any more. */
  #held(chance: Chance): Leg | undefined {
    const all = [...this.#world.judge.legs.values()].filter(({ at, answer }) => at && !at.instance.closed && !answer);
    return chance.pick(chance.oneIn(10) ? all : all.filter(({ isOver }) => !isOver));
  }

  answer(chance: Chance): void {
    const leg = this.#held(chance);
    if (leg === undefined) {
      return;
    }
    const isNew = leg.wish.server === 'new';
    switch (chance.below(8)) {
      case 0:
        return this.#say(leg, { error: { code: -32_050, message: 'no' } });
      case 1: {
        const pages = [{ mode: 'url', message: 'look', url: 'https://example.com', elicitationId: 'e' }];
        return isNew
          ? this.complete(leg)
          : this.#say(leg, { error: { code: -32_042, message: 'look', data: { elicitations: pages } } });
      }
      default:
        return isNew && chance.oneIn(2) ? this.#needInput(leg, chance) : this.complete(leg);
    }
  }

  complete(leg: Leg): void {
    const { number, wish } = leg;
    const own = wish.method === 'tools/call' ? { content: [] } : { messages: [] };
    const type = wish.server === 'new' ? { resultType: 'complete' } : {};
    this.#say(leg, { result: { ...own, ...type, _meta: { n: wish.number, x: number } } });
  }

  #needInput(leg: Leg, chance: Chance): void {
    const _meta = { x: leg.number };
    const inputs = [
      { message: 'who?', requestedSchema, _meta },
      { message: 'why?', requestedSchema },
    ];
    const asked = inputs.slice(0, chance.below(3)).map((params) => ({ method: 'elicitation/create', params }));
    const requestState = `state of ${leg.number}`;
    this.#say(leg, {
      result: {
        resultType: 'input_required',
        ...(asked.length > 0 && { inputRequests: Object.fromEntries(asked.map((each, at) => [`in${at}`, each])) }),
        ...((asked.length === 0 || !chance.oneIn(3)) && { requestState }),
      },
    });
  }

  #say(leg: Leg, answer: Json): void {
    const { judge } = this.#world;
    judge.log(`${leg.wish.server} answers ${leg.number}: ${JSON.stringify(answer)}`);
    judge.touch(leg);
    leg.answer = answer;
    leg.at?.instance.say({ id: leg.at.request.id, ...answer });
  }

  progress(chance: Chance): void {
    const leg = this.#held(chance);
    const progressToken = leg?.at?.request.params?._meta?.progressToken;
    if (leg !== undefined && progressToken !== undefined) {
      const progress = this.#world.number();
      this.#world.judge.log(`${leg.wish.server} says progress ${progress} of ${leg.number}`);
      this.#world.judge.said(leg, progress);
      const { number: x, wish } = leg;
      leg.at?.instance.notify('notifications/progress', { progressToken, progress, n: wish.number, x });
    }
  }

  /** Asks in a call, of which it may say so. */
  ask(chance: Chance): void {
    const leg = this.#held(chance);
    const { clock, servers } = this.#world;
    // What has ended here is no request any more of which anybody could know.
    const isLate = leg !== undefined && clock.now() - leg.beganAt >= servers.timeoutMs(leg.wish.server);
    if (leg?.at === undefined || leg.wish.server === 'new' || leg.isOver || isLate) {
      return;
    }
    for (let left = chance.oneIn(4) ? 2 : 1; left > 0; left -= 1) {
      this.#ask(leg, leg.at.instance, leg.wish.server === 'each' || chance.oneIn(2), chance);
    }
  }

  #ask(leg: Leg, instance: ScriptedInstance, isTold: boolean, chance: Chance): void {
    const { judge } = this.#world;
    const number = this.#world.number();
    const id = chance.one([number, String(number), -number]);
    const [method, own] = chance.one<readonly [string, Json]>([
      ['elicitation/create', { message: 'who?', requestedSchema }],
      ['elicitation/create', { message: 'who?', requestedSchema }],
      ['sampling/createMessage', { messages: [], maxTokens: 1 }],
      ['roots/list', {}],
    ]);
    const question: Question = {
      ...{ number, method, instance, id, group: groupOf(leg.wish.user, leg.wish.server) },
      // Another program of the caller is asked where this one cannot be.
      ...{
        told: isTold && isAble(leg.abilities, method) ? leg : undefined,
        isLate: false,
        isElsewhere: false,
        askedAt: judge.turn,
        withdrawnAt: undefined,
        doneAt: undefined,
        given: [],
      },
    };
    judge.questions.asked(question);
    const message = { jsonrpc: '2.0', id, method, params: { ...own, _meta: { q: number } } } as const;
    const relatedRequestId = leg.at?.request.id;
    // As servers over HTTP do, which answer each request in its own response.
    instance.onmessage?.(message as never, (isTold ? { relatedRequestId } : undefined) as never);
  }

  withdraw(chance: Chance): void {
    const { judge } = this.#world;
    const question = chance.pick(judge.questions.open);
    if (question !== undefined) {
      judge.count('withdrawn');
      judge.log(`question ${question.number} is taken back`);
      question.withdrawnAt = judge.turn;
      question.instance.notify('notifications/cancelled', { requestId: question.id });
    }
  }

  die(chance: Chance): void {
    const instance = chance.pick(this.#world.servers.live);
    if (instance !== undefined) {
      this.#world.judge.befell('death', instance.context.server, instance);
      instance.die();
    }
  }

  /** Stops, starts anew or replaces a server. */
  operate(chance: Chance): void {
    const { gateway, judge, servers } = this.#world;
    const id = chance.one<ServerId>(serverIds);
    const what = chance.one(['stop', 'restart', 'reload']);
    judge.befell(what, id);
    const graceMs = chance.one([0, 3_000]);
    what === 'reload' && servers.change(id);
    const run = { stop: () => gateway.stop(id, { graceMs }), restart: () => gateway.restart(id, { graceMs }) };
    const done: Promise<unknown> =
      what === 'reload' ? gateway.reload(servers.catalog as never, { graceMs }) : run[what as 'stop']();
    const before = judge.causes.of(id);
    done.catch((error: unknown) => {
      // Another one may have come between.
      judge.isClosing || judge.causes.of(id) > before || judge.problem(`${what} failed: ${String(error)}`);
    });
  }
}
