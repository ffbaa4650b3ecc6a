import type { Json } from '../../endpoint/scripted-server.js';
import type { Chance } from '../../gateway/model/chance.js';
import { abilities, type Exchange, type Question, type State, serverIds, userNames } from './parts.js';
import type { GoingOn, World } from './world.js';

/** What callers do. */
export class CallerSteps {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  call(chance: Chance): Exchange {
    const user = chance.pick(userNames) as (typeof userNames)[0];
    // Where several calls are open in one session, it matters in which of them a server asks.
    const server = chance.oneIn(3) ? 'own' : chance.one(serverIds);
    const wish = this.#world.wish(user, server, chance.one(['tools/call', 'tools/call', 'prompts/get']));
    const own = abilities[userNames.indexOf(user)];
    const able = (chance.oneIn(4) ? chance.pick(abilities) : own) as Json;
    return this.#world.send(wish, user, able, chance.oneIn(2));
  }

  leave(chance: Chance): void {
    const open = this.#world.judge.exchanges.filter(({ isOver, hasLeft, answer }) => !isOver && !hasLeft && !answer);
    const exchange = chance.pick(open);
    exchange && this.#world.leave(exchange);
  }

  /** Comes back with answers to what was asked last, as it should be or not. */
  comeBack(chance: Chance): void {
    const { judge } = this.#world;
    const waiting = judge.states.filter(({ takers }) => takers.every(({ isGood }) => isGood === false));
    const state = chance.pick(chance.oneIn(8) ? judge.states : waiting);
    if (state === undefined) {
      return;
    }
    switch (chance.below(12)) {
      case 0:
        return this.#steal(state, chance);
      case 1:
        return this.#change(state, chance);
      case 2:
        this.#goOn(state, chance);
        this.#goOn(state, chance);
        return judge.count('twice at once');
      case 3:
        this.#goOn(state, chance, (key) => chance.pick([undefined, 5, null, [key]]));
        return judge.count('no answer');
      case 4:
        this.#goOn(state, chance, (_, answer) => (chance.oneIn(2) ? answer : undefined));
        return judge.count('some answers');
      case 5: {
        const exchange = this.#goOn(state, chance);
        this.#world.leave(exchange);
        return judge.count('leaves at once');
      }
      default:
        this.#goOn(state, chance);
    }
  }

  /** Answers everything that it was asked. */
  answer(state: State, chance: Chance): Exchange {
    return this.#goOn(state, chance);
  }

  #goOn(
    state: State,
    chance: Chance,
    change: (key: string, answer: Json) => unknown = (_, answer) => answer,
  ): Exchange {
    const { user } = state.wish;
    const able = chance.oneIn(6) && state.kind === 'held' ? chance.pick(abilities) : state.leg.abilities;
    return this.#send({ state, ...this.#responses(state, change) }, user, able as Json, chance);
  }

  /** The exchange that brings an answer is named in it: its number is the next one. */
  #responses(state: State, change: (key: string, answer: Json) => unknown): { responses: Json } {
    const x = this.#world.peek();
    const entries = [...state.keys].flatMap(([key, question]) => {
      const answer = change(key, answerTo(question, x));
      return answer === undefined ? [] : [[key, answer] as const];
    });
    return { responses: Object.fromEntries(entries) };
  }

  #send(on: GoingOn, user: Exchange['user'], able: Json, chance: Chance): Exchange {
    return this.#world.send(on.state.wish, user, able, chance.oneIn(2), on);
  }

  #steal(state: State, chance: Chance): void {
    const thief = chance.pick(userNames.filter((user) => user !== state.wish.user)) as Exchange['user'];
    if (state.text !== undefined) {
      this.#world.judge.count('theft');
      this.#send({ state, ...this.#responses(state, (_, answer) => answer) }, thief, state.leg.abilities, chance);
    }
  }

  /** With another request, or a state that somebody has made up from it. */
  #change(state: State, chance: Chance): void {
    const { text, wish } = state;
    if (text === undefined) {
      return;
    }
    const at = chance.below(text.length);
    const other = text[at] === 'A' ? 'B' : 'A';
    const params = { ...wish.params, arguments: { n: '0' } };
    const foreign = chance.pick(
      this.#world.judge.states.filter((each) => each.wish !== wish && each.text !== undefined),
    )?.text;
    const changed = chance.pick([
      { params },
      { params: { ...wish.params, name: wish.server === 'all' ? 'own__go' : 'all__go' } },
      { state: text.slice(0, at) + other + text.slice(at + 1) },
      { state: `${text}.` },
      ...(foreign === undefined ? [] : [{ state: foreign }]),
    ]) as NonNullable<GoingOn['changed']>;
    // The last letter of a signature stands for fewer bits than it has.
    if (changed.state !== undefined && at === text.length - 1) {
      return;
    }
    this.#world.judge.count('changed state');
    this.#send(
      { state, changed, ...this.#responses(state, (_, answer) => answer) },
      wish.user,
      state.leg.abilities,
      chance,
    );
  }
}

function answerTo(question: Question | undefined, x: number): Json {
  const _meta = { q: question?.number, x };
  switch (question?.method) {
    case 'roots/list':
      return { roots: [], _meta };
    case 'sampling/createMessage':
      return { role: 'assistant', model: 'm', content: { type: 'text', text: '' }, _meta };
    default:
      return { action: 'accept', content: {}, _meta };
  }
}
