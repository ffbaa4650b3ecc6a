import { randomUUID } from 'node:crypto';
import type { Clock } from '../../options.js';
import type { JSONRPCRequest, RequestId } from '../../sdk.js';
import { relatedTask } from '../../transport/tasks.js';
import { type Fields, isFields } from '../../util/fields.js';
import type { CallerSession } from './caller-sessions.js';
import type { ModernCall } from './modern-call.js';
import { type RequestStates, stateLifetimeMs } from './request-states.js';
import { toModernResult } from './results.js';

export interface InputRequestsOptions {
  readonly clock: Clock;
  readonly states: RequestStates;
  /** Whose states they are. */
  readonly caller: string;
  /** The caller did not come back in time. */
  onExpired(call: ModernCall): void;
}

/** The requests that may be answered with a need for input. */
export const resumable: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read']);

// More than any server asks for in one call.
const mostQuestions = 100;

/**
 * Turns what servers with sessions ask in the middle of a call into results of the stateless era that say that input is
 * required. The call goes on here; its `requestState` says which it is, and is good for one round.
 */
export class InputRequests {
  readonly #options: InputRequestsOptions;
  /** Other connections of the caller count their calls from 1 as well, and their states are good for the caller here. */
  readonly #id = randomUUID();
  /** Calls between two rounds. */
  readonly #held = new Map<string, ModernCall>();
  /** Whose a question may be besides the call in which it is asked. */
  readonly #others = new WeakMap<JSONRPCRequest, readonly ModernCall[]>();

  constructor(options: InputRequestsOptions) {
    this.#options = options;
  }

  /**
   * Puts a question of a server to the caller, in its call or in the next round of that.
   *
   * @param others - whose it may be as well, where the server does not say in which call it asks
   */
  ask(call: ModernCall, question: JSONRPCRequest, others: readonly ModernCall[]): void {
    const { method } = call.request;
    if (!resumable.has(method)) {
      return this.#refuse(call, question.id, `the client cannot be asked for input during ${method}`);
    }
    if (call.queue.length + call.questions.size >= mostQuestions) {
      return this.#refuse(call, question.id, 'the client has been asked too much in one call');
    }
    call.session.asked.set(question.id, call);
    call.queue.push(question);
    this.#others.set(question, others);
    if (call.reply !== undefined) {
      this.#nextRound(call);
    }
  }

  /** The call that goes on with this state; undefined when it has ended, or the round is over. */
  find(id: string, round: number): ModernCall | undefined {
    const call = this.#held.get(id);
    return call?.round === round ? call : undefined;
  }

  /** The caller has come back to a call: hands its answers on. */
  takeAnswers(call: ModernCall, responses: unknown): void {
    this.#held.delete(this.#nameOf(call));
    this.#options.clock.clearTimeout(call.timer);
    const given = isFields(responses) ? responses : {};
    for (const [key, question] of [...call.questions]) {
      const answer = Object.hasOwn(given, key) ? given[key] : undefined;
      if (isFields(answer)) {
        call.questions.delete(key);
        call.session.asked.delete(question.id);
        call.session.peer.receive({ jsonrpc: '2.0', id: question.id, result: answer });
      }
    }
  }

  /** Asks for what is missing, or has come up since. */
  goOn(call: ModernCall): void {
    if (call.reply !== undefined && (call.queue.length > 0 || call.questions.size > 0)) {
      this.#nextRound(call);
    }
  }

  /** A server no longer waits for an answer. */
  withdraw({ asked }: CallerSession, id: unknown): void {
    const call = asked.get(id as RequestId);
    if (call === undefined) {
      return;
    }
    asked.delete(id as RequestId);
    call.questions.delete(String(id));
    const index = call.queue.findIndex((question) => question.id === id);
    index >= 0 && call.queue.splice(index, 1);
  }

  /**
   * A call has ended. What it was to ask for others, since nobody could tell whose question it was, one of them asks.
   *
   * @param openCalls - of the same session and server in which the caller can be asked, the best first: to find them takes a look
   *   at each call
   */
  end(call: ModernCall, openCalls: () => readonly ModernCall[]): void {
    this.#held.delete(this.#nameOf(call));
    this.#options.clock.clearTimeout(call.timer);
    const left = [...call.questions.values(), ...call.queue];
    call.questions.clear();
    call.queue.length = 0;
    const open = left.length === 0 ? [] : openCalls();
    for (const question of left) {
      call.session.asked.delete(question.id);
      const others = this.#others.get(question) ?? [];
      const other = open.find((each) => others.includes(each));
      if (other === undefined) {
        this.#refuse(call, question.id, 'the client is no longer there to be asked');
      } else {
        this.ask(other, question, others);
      }
    }
  }

  #nextRound(call: ModernCall): void {
    const { clock, states, caller, onExpired } = this.#options;
    call.round += 1;
    for (const question of call.queue.splice(0)) {
      call.questions.set(String(question.id), question);
    }
    const inputRequests = Object.fromEntries(
      [...call.questions].map(([key, { method, params }]) => [key, toInputRequest(method, params)]),
    );
    const { round, request } = call;
    const requestState = states.seal(caller, request, { kind: 'held', call: this.#nameOf(call), round });
    const result = { resultType: 'input_required', inputRequests, requestState };
    this.#held.set(this.#nameOf(call), call);
    call.timer = clock.setTimeout(() => onExpired(call), stateLifetimeMs);
    call.answer({ jsonrpc: '2.0', id: request.id, result: toModernResult(request.method, result) });
  }

  #nameOf({ id }: ModernCall): string {
    return `${this.#id}.${id}`;
  }

  #refuse(call: ModernCall, id: RequestId, message: string): void {
    call.session.peer.receive({ jsonrpc: '2.0', id, error: { code: -32601, message } });
  }
}

/** A request without what only sessions know. */
export function toInputRequest(method: string, params: Fields | undefined): Fields {
  const { _meta, task: _, elicitationId: __, ...rest } = params ?? {};
  const { progressToken: ___, [relatedTask]: ____, ...meta } = isFields(_meta) ? _meta : {};
  const own = Object.keys(meta).length === 0 ? rest : { ...rest, _meta: meta };
  return { method, ...((params !== undefined || method !== 'roots/list') && { params: own }) };
}
