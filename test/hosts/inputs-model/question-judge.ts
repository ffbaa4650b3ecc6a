import { isFields } from '../../../src/util/fields.js';
import type { Json } from '../../endpoint/scripted-server.js';
import { type Judge, lifetimeMs, mayAsk } from './judge.js';
import { type Exchange, isAble, type Leg, type Question } from './parts.js';

/** Sees what servers with sessions ask: each question comes to whom it is for, and its answer once, from there. */
export class QuestionJudge {
  readonly #judge: Judge;
  readonly #all = new Map<number, Question>();

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /** Those that wait for an answer. */
  get open(): Question[] {
    return [...this.#all.values()].filter(
      ({ doneAt, withdrawnAt, instance }) => doneAt === undefined && withdrawnAt === undefined && !instance.closed,
    );
  }

  asked(question: Question): void {
    this.#all.set(question.number, question);
    this.#judge.log(
      `${question.instance.context.server} asks ${question.number}${question.told ? ` in ${question.told.number}` : ''}`,
    );
    for (const leg of this.#judge.openLegs) {
      mayAsk(leg, question) && this.#judge.touch(leg);
    }
  }

  /** @returns what a caller is asked, by the keys */
  shown(leg: Leg, inputs: Json, text: string): Map<string, Question> {
    const judge = this.#judge;
    const keys = new Map<string, Question>();
    for (const [key, { method, params }] of Object.entries(inputs as Record<string, Json>)) {
      const question = this.#all.get(((params as Json)._meta as Json | undefined)?.q as number);
      if (question === undefined || question.method !== method) {
        judge.problem(`nobody has asked this: ${text}`);
        continue;
      }
      keys.set(key, question);
      const { told, doneAt = judge.turn, withdrawnAt = judge.turn, number } = question;
      if (!isAble(leg.abilities, question.method) || !mayAsk(leg, { ...question, told: undefined })) {
        judge.problem(`question ${number} comes to another: ${text}`);
      }
      if (told !== undefined && told !== leg) {
        this.#shownElsewhere(question, told, text);
      }
      if (doneAt < judge.turn || withdrawnAt < judge.turn) {
        judge.problem(`question ${number} is not open any more: ${text}`);
      }
      judge.count('question');
    }
    if (keys.size === 0) {
      judge.problem(`input is required, and nothing asked: ${text}`);
    }
    return keys;
  }

  /** One that asked in a call which was over already may come to any other, but which was over is seen at the end of a turn. */
  #shownElsewhere(question: Question, { number }: Leg, text: string): void {
    if (question.askedAt < this.#judge.turn && !question.isLate) {
      this.#judge.problem(`question ${question.number} is of ${number}: ${text}`);
    }
    question.isElsewhere = true;
  }

  /** A request goes on, with these answers. */
  given(taker: Exchange): void {
    for (const [key, question] of taker.state?.keys ?? []) {
      const answer = taker.responses[key];
      if (question !== undefined && isFields(answer)) {
        question.given.push(taker);
      }
    }
  }

  /** Whether it may wait in a call of which nobody can tell whether it goes on. */
  isUnsure(question: Question): boolean {
    return this.#judge.unsureLegs.some((leg) => mayAsk(leg, whoMay(question)));
  }

  settled(): void {
    for (const question of this.#all.values()) {
      this.#checkAnswers(question);
      this.#checkTold(question);
    }
    for (const question of this.open) {
      this.#checkWaiting(question);
    }
  }

  #checkTold(question: Question): void {
    const { number, told, askedAt, isElsewhere } = question;
    if (told === undefined || askedAt < this.#judge.turn) {
      return;
    }
    question.isLate = told.isOver || told.isUnsure;
    if (isElsewhere && !question.isLate) {
      this.#judge.problem(`question ${number} is of ${told.number}, and came to another`);
    }
  }

  #checkAnswers(question: Question): void {
    const { number, instance, id, given, withdrawnAt } = question;
    const judge = this.#judge;
    const answers = instance.answers(id);
    const [answer] = answers;
    if (answers.length > 1) {
      judge.problem(`question ${number} has ${answers.length} answers`);
    }
    if (answer === undefined) {
      const sure = given.find(({ hasLeft }) => !hasLeft);
      if (sure !== undefined && withdrawnAt === undefined && !instance.closed) {
        judge.problem(`the answer of ${sure.number} to question ${number} has not come`);
      }
      return;
    }
    if (question.doneAt !== undefined) {
      return;
    }
    question.doneAt = judge.turn;
    if (withdrawnAt !== undefined && withdrawnAt < judge.turn) {
      judge.problem(`question ${number} was taken back, and is answered`);
    }
    if ('error' in answer) {
      judge.count('question refused');
      this.#checkRefusal(question, answer.error as Json);
      return;
    }
    const { q, x } = ((answer.result as Json)._meta ?? {}) as Json;
    if (q !== number || !given.some((each) => each.number === x)) {
      judge.problem(`question ${number} is answered with ${JSON.stringify(answer)}`);
    }
    judge.count('answer to a question');
  }

  /** Refused is only what no request is there for, or what a caller has never come back to answer. */
  #checkRefusal(question: Question, error: Json): void {
    const { number, instance, askedAt } = question;
    this.#judge.log(`question ${number} is refused: ${error.message}`);
    if ([...this.#judge.legs.values()].some((leg) => this.#hasExpired(leg) && isShownIn(leg, question))) {
      return;
    }
    const { openLegs, now, timeoutMs } = this.#judge;
    const [leg] = openLegs.filter(
      (each) =>
        mayAsk(each, question) &&
        each.at?.instance === instance &&
        each.answer === undefined &&
        each.arrivedAt < askedAt &&
        now() - each.beganAt < timeoutMs(each) &&
        this.#isOfOneSession(each) &&
        !each.isUnsure,
    );
    if (leg !== undefined) {
      this.#judge.problem(`question ${number} is refused, and could be asked in ${leg.number}: ${error.message}`);
    }
  }

  #hasExpired({ state }: Leg): boolean {
    return state !== undefined && this.#judge.now() - state.readAt >= lifetimeMs;
  }

  /**
   * Whether all that its server works for has the same abilities. One that does not say in which call it asks is asked for by
   * the session of one set of them, whose calls alone the question may be in.
   */
  #isOfOneSession({ at, abilities }: Leg): boolean {
    const others = [...this.#judge.legs.values()].filter((each) => each.at?.instance === at?.instance);
    return others.every((each) => JSON.stringify(each.abilities) === JSON.stringify(abilities));
  }

  /** A question that waits does so because its caller has not come back. */
  #checkWaiting(question: Question): void {
    const legs = this.#judge.openLegs.filter((leg) => mayAsk(leg, whoMay(question)));
    if (this.#judge.isClosing || this.isUnsure(question)) {
      return;
    }
    const { number, instance } = question;
    if (!legs.some(({ state }) => state !== undefined)) {
      this.#judge.problem(`question ${number} of ${instance.context.server} waits, and nobody has it before them`);
    }
    const shown = legs.filter((leg) => isShownIn(leg, question));
    if (shown.length > 1) {
      this.#judge.problem(`question ${number} is asked in ${shown.map((leg) => leg.number)} at once`);
    }
  }
}

function isShownIn({ state }: Leg, question: Question): boolean {
  return [...(state?.keys.values() ?? [])].includes(question);
}

/** The question, in whatever call it is where nobody can tell. */
function whoMay(question: Question): Question {
  return question.isLate ? { ...question, told: undefined } : question;
}
