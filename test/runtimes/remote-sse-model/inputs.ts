import type { Chance } from '../../gateway/model/chance.js';
import type { Call, Judge } from './judge.js';
import type { Message } from './members.js';

type Fields = Readonly<Record<string, unknown>>;

interface Asked {
  readonly keys: readonly string[];
  readonly state: string | undefined;
}

const mostRounds = 3;

/** Of what a server of the stateless era needs to know before it can answer calls. */
export class Inputs {
  readonly #judge: Judge;
  readonly #asked = new Map<Call, Asked>();
  readonly #rounds = new Map<Call, number>();

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /** A call has come. True when it brings what it was asked for. */
  take(call: Call, { params = {} }: Message): boolean {
    const { inputResponses, requestState } = params as { inputResponses?: Fields; requestState?: unknown };
    const asked = this.#asked.get(call);
    const comesBack = inputResponses !== undefined || requestState !== undefined;
    const what = `call ${call.number} of ${call.member.name}`;
    if (!comesBack) return false;
    this.#judge.log(`${what} comes back with ${JSON.stringify(inputResponses)} and ${JSON.stringify(requestState)}`);
    this.#asked.delete(call);
    if (call.toldUndelivered) this.#judge.problem(`${what} comes, and its caller was told that it does not`);
    if (asked === undefined) {
      this.#judge.problem(`${what} comes with answers, and nothing was asked`);
      return true;
    }
    if (requestState !== asked.state)
      this.#judge.problem(`${what} comes back with ${requestState}, not ${asked.state}`);
    const keys = Object.keys(inputResponses ?? {}).sort();
    if (keys.join() !== [...asked.keys].sort().join()) this.#judge.problem(`${what} was asked ${asked.keys}: ${keys}`);
    for (const [key, answer] of Object.entries(inputResponses ?? {})) {
      const { roots, content } = answer as { roots?: { uri: string }[]; content?: { asked?: string } };
      const isOwn = key.startsWith('root')
        ? roots?.[0]?.uri === `file:///${call.member.index}`
        : content?.asked === `${call.number} ${key}`;
      if (!isOwn) this.#judge.problem(`${what} comes back with the answer of another: ${JSON.stringify(answer)}`);
    }
    this.#judge.count('comes back');
    return true;
  }

  mayAsk(call: Call): boolean {
    return (this.#rounds.get(call) ?? 0) < mostRounds;
  }

  /** What it needs: the same of all of them, but for the words. */
  need(call: Call, chance: Chance): Fields {
    const round = (this.#rounds.get(call) ?? 0) + 1;
    this.#rounds.set(call, round);
    const keys = chance.one([['a'], ['a', 'b'], ['root', 'a'], ['constructor'], []]);
    const state = chance.one([undefined, 'the same', `state ${call.number}.${round}`]);
    // Without either nobody could come back.
    const asked = { keys, state: keys.length === 0 ? (state ?? 'wait') : state };
    this.#asked.set(call, asked);
    const requestedSchema = { type: 'object', properties: { asked: { type: 'string' } } };
    const inputRequests = Object.fromEntries(
      keys.map((key) => [
        key,
        key === 'root'
          ? { method: 'roots/list' }
          : {
              method: 'elicitation/create',
              params: { mode: 'form', message: `${call.number} ${key}`, requestedSchema },
            },
      ]),
    );
    return {
      resultType: 'input_required',
      ...(keys.length > 0 && { inputRequests }),
      ...(asked.state !== undefined && { requestState: asked.state }),
    };
  }
}
