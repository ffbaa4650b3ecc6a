import { randomUUID } from 'node:crypto';
import type { Clock } from '../../options.js';
import type { JSONRPCRequest, RequestId } from '../../sdk.js';
import { type Fields, isFields } from '../../util/fields.js';
import { textOf } from '../../util/text-of.js';
import type { Response, RpcError } from '../exchanges.js';

export interface InputRoundsOptions {
  readonly clock: Clock;
  /** How long the caller may take to answer the questions of one round, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** An id that no other request to the server has. */
  nextId(): RequestId;
  /** Sends the request to the server once more, under an id that it has not seen. */
  retry(request: JSONRPCRequest): void;
  /** Asks the caller. */
  ask(request: JSONRPCRequest, original: RequestId): void;
  /** The caller is no longer asked. */
  withdraw(id: RequestId): void;
  /** Answers the caller's request. */
  fail(original: RequestId, error: RpcError): void;
  /** The caller has not answered in time what it was asked for its request. */
  overdue(original: RequestId): void;
}

interface Round {
  /** As it was sent first, with the caller's id. */
  readonly request: JSONRPCRequest;
  /** The id that the server knows it by now. */
  current: RequestId;
  count: number;
  requestState: unknown;
  responses: Record<string, unknown>;
  /** What the caller has not answered: our id, and the server's key. */
  readonly waiting: Map<RequestId, string>;
  timer: unknown;
}

/** What a client may be asked for. */
export const askable: ReadonlySet<unknown> = new Set(['elicitation/create', 'sampling/createMessage', 'roots/list']);
const mostRounds = 32;
/** How long a server that only asks for patience is left alone. */
const pauseMs = 250;

/**
 * Does for a caller that can be asked what the stateless era leaves to clients: where a server answers that it needs input,
 * the caller gets real requests, and the server the same request again with what the caller has answered.
 */
export class InputRounds {
  readonly #options: InputRoundsOptions;
  readonly #byCaller = new Map<RequestId, Round>();
  readonly #byServer = new Map<RequestId, Round>();
  readonly #byQuestion = new Map<RequestId, Round>();
  #next = 1;

  constructor(options: InputRoundsOptions) {
    this.#options = options;
  }

  /** The caller's request that the server knows by this id; undefined when it knows it by the caller's own. */
  originalOf(id: RequestId): RequestId | undefined {
    return this.#byServer.get(id)?.request.id;
  }

  /** The id that the server knows a request of the caller by; undefined while it has answered that it needs input. */
  currentOf(original: RequestId): RequestId | undefined {
    const round = this.#byCaller.get(original);
    if (round === undefined) {
      return original;
    }
    return this.#byServer.has(round.current) ? round.current : undefined;
  }

  /** A server needs input for a request. */
  required(request: JSONRPCRequest, result: Fields): void {
    const round = this.#byCaller.get(request.id) ?? this.#begin(request);
    this.#byServer.delete(round.current);
    round.count += 1;
    if (round.count > mostRounds) {
      this.#fail(round, -32603, `the server asked for input ${mostRounds} times for one request`);
      return;
    }
    round.requestState = result.requestState;
    // The names are the server's.
    round.responses = Object.create(null);
    const inputs = Object.entries(isFields(result.inputRequests) ? result.inputRequests : {});
    const unknown = inputs.find(([, input]) => !isFields(input) || !askable.has(input.method));
    if (unknown !== undefined) {
      const method = isFields(unknown[1]) ? textOf(unknown[1].method) : typeof unknown[1];
      this.#fail(round, -32603, `the server needs input of a kind that cannot be asked for: ${method}`);
      return;
    }
    if (inputs.length === 0 && typeof result.requestState !== 'string') {
      // The same request again would be the call once more.
      this.#fail(round, -32603, 'the server needs input, and says neither which nor a state to come back with');
      return;
    }
    if (inputs.length === 0) {
      round.timer = this.#options.clock.setTimeout(() => this.#retry(round), pauseMs);
      return;
    }
    const questions = inputs.map(([key, input]) => {
      const id = `input:${this.#next++}`;
      round.waiting.set(id, key);
      this.#byQuestion.set(id, round);
      return { jsonrpc: '2.0', id, method: (input as Fields).method, params: toParams(input as Fields) } as const;
    });
    const { clock, requestTimeoutMs } = this.#options;
    round.timer = clock.setTimeout(() => {
      this.end(request.id);
      this.#options.overdue(request.id);
    }, requestTimeoutMs);
    for (const question of questions) {
      // The answer to one before may have ended it all.
      if (this.#byQuestion.has(question.id)) {
        this.#options.ask(question as JSONRPCRequest, request.id);
      }
    }
  }

  /** The caller has answered; what nobody waits for goes nowhere. */
  answered(response: Response): void {
    const id = response.id as RequestId;
    const round = this.#byQuestion.get(id);
    const key = round?.waiting.get(id);
    if (round === undefined || key === undefined) {
      return;
    }
    this.#byQuestion.delete(id);
    round.waiting.delete(id);
    if ('error' in response) {
      const { code, message, data } = response.error;
      this.#fail(round, code, `the client could not answer what the server asked: ${textOf(message)}`, data);
      return;
    }
    round.responses[key] = response.result;
    if (round.waiting.size === 0) {
      this.#retry(round);
    }
  }

  /** A request of the caller has its answer, or needs none any more. */
  end(original: RequestId): void {
    const round = this.#byCaller.get(original);
    if (round === undefined) {
      return;
    }
    this.#byCaller.delete(original);
    this.#byServer.delete(round.current);
    this.#options.clock.clearTimeout(round.timer);
    for (const id of round.waiting.keys()) {
      this.#byQuestion.delete(id);
      this.#options.withdraw(id);
    }
    round.waiting.clear();
  }

  close(): void {
    for (const round of this.#byCaller.values()) {
      this.#options.clock.clearTimeout(round.timer);
    }
    this.#byCaller.clear();
    this.#byServer.clear();
    this.#byQuestion.clear();
  }

  #begin(request: JSONRPCRequest): Round {
    const round: Round = {
      request,
      current: request.id,
      count: 0,
      requestState: undefined,
      responses: {},
      waiting: new Map(),
      timer: undefined,
    };
    this.#byCaller.set(request.id, round);
    return round;
  }

  #retry(round: Round): void {
    this.#options.clock.clearTimeout(round.timer);
    round.current = this.#options.nextId();
    this.#byServer.set(round.current, round);
    const { requestState, responses, request } = round;
    const params = {
      ...request.params,
      ...(Object.keys(responses).length > 0 && { inputResponses: responses }),
      ...(requestState !== undefined && { requestState }),
    };
    this.#options.retry({ ...request, id: round.current, params });
  }

  #fail(round: Round, code: number, message: string, data?: unknown): void {
    this.end(round.request.id);
    this.#options.fail(round.request.id, { code, message, ...(data !== undefined && { data }) });
  }
}

/** Sessions know a page that a person is sent to by an id, which the stateless era has no use for. */
export function toParams({ method, params }: Fields): Fields {
  const given = isFields(params) ? params : {};
  return method === 'elicitation/create' && given.mode === 'url' && given.elicitationId === undefined
    ? { ...given, elicitationId: randomUUID() }
    : given;
}
