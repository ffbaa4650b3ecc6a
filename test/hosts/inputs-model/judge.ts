import type { JSONRPCRequest } from '../../../src/sdk.js';
import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import { Notes } from '../../support/play-schedules.js';
import { Causes } from './causes.js';
import { type Exchange, groupOf, isAble, type Leg, type Question, type State } from './parts.js';
import { QuestionJudge } from './question-judge.js';

/** How long a state is good. */
export const lifetimeMs = 600_000;

/** Sees everything that callers and servers get, and says what none of them should have got. */
export class Judge extends Notes {
  readonly exchanges: Exchange[] = [];
  readonly legs = new Map<number, Leg>();
  readonly states: State[] = [];
  readonly causes: Causes;
  readonly questions: QuestionJudge;
  /** Interceptors at work, by the leg. */
  readonly signals = new Map<number, AbortSignal>();
  readonly #owners = new Map<ScriptedInstance, string>();
  #progress: { readonly exchange: Exchange; readonly number: number }[] = [];
  turn = 0;
  /** The time at which the turn began. */
  turnFrom = 0;
  isClosing = false;
  readonly now: () => number;
  readonly timeoutMs: (leg: Leg) => number;

  constructor(now: () => number, timeoutMs: (leg: Leg) => number) {
    super();
    this.now = now;
    this.timeoutMs = timeoutMs;
    this.causes = new Causes(now);
    this.questions = new QuestionJudge(this);
  }

  /** Of which nobody can tell whether they go on. */
  get unsureLegs(): Leg[] {
    return [...this.legs.values()].filter(({ isUnsure }) => isUnsure);
  }

  get openLegs(): Leg[] {
    return [...this.legs.values()].filter(({ isOver }) => !isOver);
  }

  touch(leg: Leg): void {
    leg.touchedAt = this.turn;
  }

  /** What happens to a server happens to what it works on. */
  befell(what: string, server: string, instance?: ScriptedInstance): void {
    this.count(what);
    this.log(`${server}: ${what}`);
    this.causes.add(what, server);
    for (const leg of this.openLegs) {
      const isOfIt = instance === undefined ? leg.wish.server === server : leg.at?.instance === instance;
      isOfIt && this.touch(leg);
    }
  }

  // --- at a server ---

  arrived(instance: ScriptedInstance, request: JSONRPCRequest): void {
    const { arguments: given, _meta: meta, inputResponses, requestState } = request.params as Json;
    const leg = this.legs.get((meta as Json).x as number);
    const text = `request ${(meta as Json).x} at ${instance.context.server}`;
    this.log(text);
    if (leg === undefined || leg.wish.server !== instance.context.server) {
      return this.problem(`${text}: nobody has made it`);
    }
    if (leg.at !== undefined) {
      return this.problem(`${text}: it comes a second time`);
    }
    if (Number((given as Json).n) !== leg.wish.number) {
      this.problem(`${text}: its arguments are of another`);
    }
    leg.at = { instance, request };
    leg.arrivedAt = this.turn;
    this.touch(leg);
    const group = leg.wish.server === 'each' ? text : groupOf(leg.wish.user, leg.wish.server);
    if ((this.#owners.get(instance) ?? group) !== group) {
      this.problem(`${text}: the instance is of ${this.#owners.get(instance)}, not ${group}`);
    }
    this.#owners.set(instance, group);
    this.#checkInput(leg, { inputResponses, requestState }, text);
  }

  /** A stateless server gets its own state and what the caller has answered; one with sessions neither. */
  #checkInput({ begunWith, wish, number }: Leg, got: Json, text: string): void {
    const isPassed = wish.server === 'new' && begunWith?.kind === 'passed';
    const sent = this.exchanges.find((each) => each.number === number);
    const said = (begunWith?.leg.answer?.result ?? {}) as Json;
    const want = isPassed ? { inputResponses: sent?.responses, requestState: said.requestState } : {};
    if (JSON.stringify(got) !== JSON.stringify({ inputResponses: undefined, requestState: undefined, ...want })) {
      this.problem(`${text}: goes on with ${JSON.stringify(got)}, not ${JSON.stringify(want)}`);
    }
    isPassed && this.count('answer to a stateless server');
  }

  /** A server says how far it is. */
  said({ open, touchedAt, answer }: Leg, number: number): void {
    if (open?.token !== undefined && touchedAt < this.turn && answer === undefined && open.sentAt < this.turn) {
      this.#progress.push({ exchange: open, number });
    }
  }

  // --- at a caller ---

  received(exchange: Exchange, message: Json): void {
    const text = `${exchange.user} gets in ${exchange.number}: ${JSON.stringify(message).slice(0, 600)}`;
    this.log(text);
    if ('method' in message) {
      return this.#notified(exchange, message, text);
    }
    if (message.id !== `r${exchange.number}`) {
      this.problem(`an answer to nothing: ${text}`);
    }
    if (exchange.answer !== undefined) {
      return this.problem(`a second answer: ${text}`);
    }
    exchange.answer = message;
    const error = message.error as Json | undefined;
    if (String(error?.message).includes('params.requestState is not good')) {
      return this.#refused(exchange, text);
    }
    if (exchange.isGood === false) {
      this.problem(`goes on with a state that is not good: ${text}`);
    }
    const leg = exchange.leg ?? exchange.state?.leg;
    if (leg === undefined) {
      return this.problem(`nothing was to be done: ${text}`);
    }
    if (leg.isOver && !leg.isUnsure) {
      this.problem(`a second outcome: ${text}`);
    }
    this.touch(leg);
    const result = message.result as Json | undefined;
    if (result?.resultType === 'input_required') {
      this.#needsInput(exchange, leg, result, text);
    } else {
      this.#ended(leg, message, text);
    }
  }

  #refused(exchange: Exchange, text: string): void {
    this.count('state refused');
    exchange.isRefused = true;
    if (exchange.isGood === true || exchange.state === undefined) {
      this.problem(`a good state is refused: ${text}`);
    }
    if (exchange.leg !== undefined) {
      exchange.leg.isOver = true;
      exchange.leg.at && this.problem(`refused, and came to its server: ${text}`);
    }
  }

  #notified(exchange: Exchange, { method, params }: Json, text: string): void {
    const { n, x, progress, progressToken } = params as Json;
    if (method !== 'notifications/progress' || n === undefined) {
      return; // of the start, by the gateway
    }
    const leg = exchange.leg ?? exchange.state?.leg;
    const last = exchange.progress.at(-1) ?? 0;
    if (leg?.number !== x || progressToken !== exchange.token || exchange.answer || Number(progress) <= last) {
      this.problem(`progress of another: ${text}`);
    }
    this.count('progress');
    exchange.progress.push(progress as number);
  }

  #needsInput(exchange: Exchange, leg: Leg, result: Json, text: string): void {
    const { inputRequests = {}, requestState } = result as { inputRequests?: Json; requestState?: string };
    const said = leg.answer?.result as Json | undefined;
    const isPages = (leg.answer?.error as Json | undefined)?.code === -32_042 && 'page0' in inputRequests;
    const kind = leg.wish.server === 'new' ? 'passed' : isPages ? 'again' : 'held';
    this.count(`input required: ${kind}`);
    const keys = kind === 'held' ? this.questions.shown(leg, inputRequests, text) : new Map();
    if (kind === 'passed') {
      const want = JSON.stringify(said?.inputRequests ?? {});
      if (
        JSON.stringify(inputRequests) !== want ||
        (requestState === undefined) !== (said?.requestState === undefined)
      ) {
        this.problem(`not what the server needs: ${text}`);
      }
      if (requestState?.includes(String(said?.requestState))) {
        this.problem(`the state of the server is told: ${text}`);
      }
    }
    const more = { readAt: this.now(), writtenFrom: this.turnFrom, takers: [], goodAt: undefined };
    const state: State = { text: requestState, kind, wish: leg.wish, leg, keys, ...more };
    for (const key of kind === 'held' ? [] : Object.keys(inputRequests)) {
      keys.set(key, undefined);
    }
    this.states.push(state);
    leg.open = undefined;
    leg.state = kind === 'held' ? state : undefined;
    leg.isOver ||= kind !== 'held';
    if (kind === 'held' && exchange.state?.kind === 'held') {
      this.count('asked again');
    }
  }

  #ended(leg: Leg, message: Json, text: string): void {
    leg.isOver = true;
    leg.open = undefined;
    leg.state = undefined;
    const error = message.error as Json | undefined;
    const said = leg.answer?.error as Json | undefined;
    if (error === undefined) {
      const { n, x } = ((message.result as Json).structuredContent ?? (message.result as Json)._meta ?? {}) as Json;
      if (n !== leg.wish.number || x !== leg.number || leg.answer?.result === undefined) {
        this.problem(`the answer to another: ${text}`);
      }
      return this.count('result');
    }
    const isOfServer =
      said !== undefined && (error.code === said.code || (said.code === -32_042 && error.code === -32_021));
    const data = error.data as Json | undefined;
    if (isOfServer) {
      return this.count('error of a server');
    }
    this.count(String(data?.code ?? error.code));
    if (data?.delivered === false && leg.at !== undefined) {
      this.problem(`not delivered, it says, and was: ${text}`);
    }
    if (!this.causes.mayEnd(leg, error, this.timeoutMs(leg), this.isClosing)) {
      this.problem(`for no reason: ${text}`);
    }
  }

  /** The response is read to its end. */
  over(exchange: Exchange, status: number | undefined): void {
    exchange.isOver = true;
    if (exchange.hasLeft || exchange.answer !== undefined) {
      return;
    }
    this.log(`${exchange.number} ends without an answer: ${status}`);
    if (status !== 503 || !this.isClosing) {
      this.problem(`${exchange.number} has no answer, but status ${status}`);
    }
    exchange.isRefused = true;
    if (exchange.leg !== undefined) {
      exchange.leg.isOver = true;
    }
  }

  // --- when all is quiet ---

  settled(): void {
    this.#takeUp();
    // Its server knows, unless it may be for the time that it took.
    for (const leg of this.legs.values()) {
      if (leg.isUnsure && cancellationsOf(leg) > 0 && this.now() - leg.beganAt < this.timeoutMs(leg)) {
        leg.isUnsure = false;
        leg.isToldOff = true;
      }
    }
    for (const leg of this.openLegs) {
      this.#expire(leg);
    }
    this.questions.settled();
    for (const leg of this.openLegs) {
      this.#checkLeg(leg);
    }
    for (const { exchange, number } of this.#progress) {
      if (!exchange.progress.includes(number) && !exchange.hasLeft && exchange.isGood !== undefined) {
        this.problem(`progress ${number} has not come in ${exchange.number}`);
      }
    }
    this.#progress = [];
  }

  /** Finds out which of the requests with one state goes on, if any. */
  #takeUp(): void {
    for (const { kind, leg, takers, text, goodAt } of this.states) {
      const now = takers.filter(({ sentAt, isGood }) => sentAt === this.turn && isGood !== false);
      if (kind !== 'held' || now.length === 0) {
        continue;
      }
      const known = now.filter(({ hasLeft, isRefused }) => !hasLeft && !isRefused);
      const isOpen = now.some(({ hasLeft, isRefused }) => hasLeft && !isRefused);
      if (known.length > 1) {
        this.problem(`${known.map(({ number }) => number)} go on with one state`);
      }
      if (known.length === 0 && !isOpen && goodAt === this.turn && !this.isClosing) {
        this.problem(`none of ${now.map(({ number }) => number)} goes on with ${text}`);
      }
      const [taker] = known;
      if (taker !== undefined) {
        this.questions.given(taker);
        if (taker.answer === undefined && !leg.isOver) {
          leg.open = taker;
          leg.state = undefined;
          taker.leg = leg;
        }
      } else if (isOpen) {
        this.#leftIn(
          leg,
          now.filter(({ isRefused }) => !isRefused),
        );
      }
    }
  }

  /** Who goes on has left in the same turn: it may be cancelled, or have been asked again. */
  #leftIn(leg: Leg, takers: readonly Exchange[]): void {
    leg.isUnsure = true;
    leg.isOver = true;
    for (const taker of takers) {
      this.questions.given(taker);
    }
  }

  /** The caller has not come back, and cannot any more. */
  #expire(leg: Leg): void {
    const { at, answer, state, beganAt } = leg;
    if (state !== undefined && this.now() - state.readAt >= lifetimeMs) {
      this.count('never came back');
      leg.isOver = true;
      const isLate = this.now() - beganAt >= this.timeoutMs(leg);
      leg.isToldOff = at !== undefined && answer === undefined && !isLate && !at.instance.closed;
      this.checkToldOff(leg);
    }
  }

  #checkLeg(leg: Leg): void {
    const { number, at, answer, open, state, isUnsure, abilities } = leg;
    const text = `request ${number} of ${leg.wish.user} to ${leg.wish.server}`;
    if (isUnsure) {
      return;
    }
    if (answer !== undefined && open !== undefined) {
      this.problem(`${text} waits, and has been answered`);
    }
    // One that has a question before it may have met the end of its server, and hears of that when it comes back.
    const hasMetItsEnd = state !== undefined && this.causes.hasBefallen(leg.wish.server, leg.beganAt);
    if (at === undefined && !hasMetItsEnd && !this.isClosing && !this.causes.isShaken(leg.wish.server)) {
      this.problem(`${text} has not come to its server`);
    }
    if (at?.instance.closed && open !== undefined && !this.causes.isShaken(leg.wish.server)) {
      this.problem(`${text} waits for a server that has ended`);
    }
    if (state !== undefined && Object.keys(abilities).length === 0) {
      this.problem(`${text} was asked, and cannot be`);
    }
  }

  /** A server hears once of what nobody waits for, and so does whoever stands around it. */
  checkToldOff(leg: Leg): void {
    const { number, at, isToldOff, isUnsure, answer } = leg;
    if (at === undefined) {
      return;
    }
    const { instance } = at;
    const heard = cancellationsOf(leg);
    const signal = this.signals.get(number);
    if (heard > 1) {
      this.problem(`${number} is cancelled ${heard} times`);
    }
    if (isToldOff && heard === 0 && !instance.closed) {
      this.problem(`${instance.context.server} goes on with ${number}, for which nobody waits`);
    }
    if (isToldOff && signal?.aborted === false) {
      this.problem(`the interceptor of ${number} is not told that nobody waits`);
    }
    if (!isToldOff && !isUnsure && answer !== undefined && signal?.aborted === true && !this.isClosing) {
      this.problem(`the interceptor of ${number} is told that nobody waits, and was answered`);
    }
    isToldOff && this.count('told off');
  }
}

function cancellationsOf({ at }: Leg): number {
  const cancelled = at?.instance.notifications('notifications/cancelled') ?? [];
  return cancelled.filter(({ params }) => params?.requestId === at?.request.id).length;
}

/** Of those that a server works on, the ones in which it may ask this. */
export function mayAsk(leg: Leg, { told, method, instance, group }: Question): boolean {
  const { wish, abilities } = leg;
  const isOfServer = wish.server === instance.context.server && groupOf(wish.user, wish.server) === group;
  // Servers that callers share may ask none of them.
  const mayAny = wish.server !== 'all' && !(wish.server === 'principals' && wish.user !== 'ann');
  return isOfServer && mayAny && isAble(abilities, method) && (told === undefined || told === leg);
}
