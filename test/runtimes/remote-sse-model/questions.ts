import type { RequestId } from '../../../src/sdk.js';
import { createChance } from '../../gateway/model/chance.js';
import type { Call, Judge } from './judge.js';
import type { Member, Message } from './members.js';

type Fields = Readonly<Record<string, unknown>>;

/** How the schedule goes on with what a caller does later. */
export interface Later {
  readonly isKind: boolean;
  later(run: () => void): void;
  now(): number;
}

export interface QuestionsOptions {
  readonly play: Later;
  send(message: Message): Promise<void>;
  /** Makes the call once more, with what was asked for it. */
  comeBack(call: Call, params: Fields): void;
}

interface Question {
  readonly call: Call | undefined;
  isOpen: boolean;
}

/** As long as a `requestState` of the gateway is good. */
const lifetimeMs = 10 * 60_000;

/** What one caller is asked in the course of its calls: by requests, or in results that say that input is required. */
export class Questions {
  readonly #judge: Judge;
  readonly #member: Member;
  readonly #options: QuestionsOptions;
  readonly #all = new Map<RequestId, Question>();
  /** When the caller was asked for input. */
  readonly #since = new Map<Call, number>();
  #count = 0;

  constructor(judge: Judge, member: Member, options: QuestionsOptions) {
    this.#judge = judge;
    this.#member = member;
    this.#options = options;
  }

  /** A request of a server. True when it is one for the caller itself. */
  asked({ id, method, params }: Message): boolean {
    if (id === undefined || (method !== 'elicitation/create' && method !== 'roots/list')) return false;
    const call = this.#callOf(params ?? {});
    if (this.#all.has(id)) this.#judge.problem(`${this.#member.name} is asked twice under ${JSON.stringify(id)}`);
    const question = { call, isOpen: true };
    this.#all.set(id, question);
    this.#judge.log(`${this.#member.name} is asked ${JSON.stringify(id)} in call ${call?.number}`);
    const isLate = call !== undefined && call.answers > 0 && !call.mayTrail && !call.cancelled;
    if (isLate) this.#judge.problem(`${this.#member.name} is asked in call ${call.number}, which is answered`);
    const error = { code: -32_603, message: 'nobody is there' } as const;
    const how = this.#how('never');
    this.#judge.count(`question of a call: ${how}`);
    const answer = () => {
      if (!question.isOpen || !this.#member.isThere) return;
      question.isOpen = false;
      const answered = how === 'refused' ? { error } : { result: this.#answerTo(method, params) };
      this.#options.send({ id, ...answered } as Message).catch(() => {});
    };
    if (how === 'late') this.#options.play.later(answer);
    else if (how !== 'never') answer();
    return true;
  }

  /** A server waits for no answer any more. */
  withdrawn(id: unknown): void {
    const question = this.#all.get(id as RequestId);
    if (question !== undefined) question.isOpen = false;
  }

  /** A call is answered with a need for input. */
  required(call: Call, { inputRequests, requestState }: Fields): void {
    const asked = Object.entries((inputRequests ?? {}) as Record<string, { method: string; params?: Fields }>);
    for (const [, { params }] of asked) this.#callOf(params ?? {});
    call.isBetween = true;
    this.#since.set(call, this.#options.play.now());
    const how = this.#how('gives up');
    this.#judge.count(`input required: ${how}`);
    const inputResponses = Object.fromEntries(
      asked.map(([key, { method, params }]) => [key, this.#answerTo(method, params)]),
    );
    const params = { ...(asked.length > 0 && { inputResponses }), ...(requestState !== undefined && { requestState }) };
    const comeBack = () => {
      // It may have been given up meanwhile, or nobody is there.
      call.cancelled ||= !this.#member.isThere;
      if (!call.cancelled) this.#options.comeBack(call, params);
    };
    if (how === 'gives up') call.cancelled = true;
    else if (how === 'late') this.#options.play.later(comeBack);
    else comeBack();
  }

  /** A call that was asked for input is answered with an error. */
  failed(call: Call, message: string): void {
    const age = this.#options.play.now() - (this.#since.get(call) ?? 0);
    if (message.includes('requestState is not good') && age < lifetimeMs)
      this.#judge.problem(`call ${call.number} comes back after ${age} ms: ${message}`);
  }

  /** Nobody is asked any more for what is over. */
  check(): void {
    for (const [id, { call, isOpen }] of this.#all) {
      const isOver = call !== undefined && (call.answers > 0 || call.cancelled) && !call.mayTrail;
      if (isOpen && isOver)
        this.#judge.problem(
          `${this.#member.name} is still asked ${JSON.stringify(id)}, and call ${call.number} is over`,
        );
    }
  }

  /** Whose call a question is asked in. */
  #callOf({ message }: Fields): Call | undefined {
    if (message === undefined) return undefined;
    const call = this.#judge.calls.get(Number.parseInt(String(message), 10));
    if (call?.member !== this.#member) this.#judge.problem(`${this.#member.name} is asked "${message}" of another`);
    return call;
  }

  #answerTo(method: string | undefined, params: Fields | undefined): Fields {
    if (method === 'roots/list') return { roots: [{ uri: `file:///${this.#member.index}` }] };
    return { action: 'accept', content: { asked: String(params?.message) } };
  }

  #how<Odd extends string>(odd: Odd): 'at once' | 'late' | 'refused' | Odd {
    this.#count += 1;
    const chance = createChance(this.#member.index * 7_919 + this.#count * 104_729);
    const isOdd = this.#options.play.isKind ? 0 : 1;
    return chance.weigh<'at once' | 'late' | 'refused' | Odd>([
      [6, 'at once'],
      [4 * isOdd, 'late'],
      [odd === 'never' ? isOdd : 0, 'refused'],
      [isOdd, odd],
    ]);
  }
}
