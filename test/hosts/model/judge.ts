import type { JSONRPCRequest, RequestId } from '../../../src/sdk.js';
import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import { Notes } from '../../support/play-schedules.js';
import { type Client, type Exchange, groupOf, nameOf, type Sent } from './clients.js';
import { ExpectedMessages } from './expected-messages.js';
import { textOf } from './odd-texts.js';
import { PlayedEvents } from './played-events.js';

/** What a server with sessions has asked. */
export interface Question {
  readonly number: number;
  readonly instance: ScriptedInstance;
  readonly id: RequestId;
  readonly group: string;
  isWithdrawn: boolean;
}

/** Sees everything that clients and servers get, and says what none of them should have got. */
export class Judge extends Notes {
  readonly clients: Client[] = [];
  readonly sent = new Map<number, Sent>();
  readonly exchanges: Exchange[] = [];
  readonly questions = new Map<number, Question>();
  readonly expected = new ExpectedMessages(this);
  readonly events = new PlayedEvents();
  readonly #owners = new Map<ScriptedInstance, string>();
  /** Transports of somebody else end the responses of a session without the answers. */
  isForeign = false;
  isClosing = false;
  /** The host ends what connections are left. */
  isCutting = false;

  /** Who alone uses an instance; undefined for one that is for everybody, or that nobody has used yet. */
  ownerOf(instance: ScriptedInstance): string | undefined {
    return this.#owners.get(instance);
  }

  /** The responses that come before one on its connection, as far as they have not ended. */
  before({ line, number }: Pick<Exchange, 'line' | 'number'>): readonly Exchange[] {
    return this.exchanges.filter((each) => each.line === line && each.end === undefined && each.number < number);
  }

  /** What comes in a response comes to its client. */
  isRead(exchange: Exchange): boolean {
    return !exchange.line.isPaused && this.before(exchange).length === 0;
  }

  // --- at a server ---

  arrived(instance: ScriptedInstance, request: JSONRPCRequest): Sent | undefined {
    const { n, text: said } = (request.params?.arguments ?? {}) as Json;
    const sent = this.sent.get(n as number);
    const text = `call ${n} at ${nameOfInstance(instance)}`;
    this.log(`${text} under ${JSON.stringify(request.id)}`);
    if (sent === undefined || sent.server !== instance.context.server) {
      this.problem(`${text}: nobody has made it`);
      return undefined;
    }
    const isAgain = request.params?.inputResponses !== undefined;
    if (said !== (sent.params.arguments as Json).text) {
      this.problem(`${text}: its text is another`);
    }
    if (sent.at !== undefined && !isAgain) {
      this.problem(`${text}: it comes a second time`);
    }
    if (isAgain) {
      this.#checkAnswers(sent, request.params?.inputResponses as Json, text);
    }
    sent.at = { instance, id: request.id };
    sent.isAnsweredByServer = false;
    if (sent.server === 'own') {
      const owner = groupOf(sent.client);
      if ((this.#owners.get(instance) ?? owner) !== owner) {
        this.problem(`${text}: the instance is of ${this.#owners.get(instance)}, the caller ${owner}`);
      }
      this.#owners.set(instance, owner);
    }
    return sent;
  }

  /** What a stateless server got for what it needed. */
  #checkAnswers(sent: Sent, answers: Json, text: string): void {
    for (const answer of Object.values(answers)) {
      this.count('answer to a stateless server');
      const { q, by } = ((answer as Json).content ?? {}) as Json;
      const client = this.clients[by as number];
      // A stateless caller may go on with its call from any of its programs.
      if (q !== sent.number || client === undefined || groupOf(client) !== groupOf(sent.client)) {
        this.problem(`${text}: answered with ${JSON.stringify(answer)}`);
      }
    }
  }

  /** What servers with sessions got for their questions. */
  checkQuestions(isOver: boolean): void {
    for (const { instance, id, number, group, isWithdrawn } of this.questions.values()) {
      const answers = instance.answers(id);
      if (answers.length > 1) {
        this.problem(`question ${number} to ${group} has ${answers.length} answers`);
      }
      if (answers.length === 0 && isOver && !isWithdrawn && !instance.closed) {
        this.problem(`question ${number} to ${group} has no answer`);
      }
      for (const { result } of answers) {
        const { q, by, isTheft } = ((result as Json | undefined)?.content ?? {}) as Json;
        const client = this.clients[by as number];
        // A thief may happen upon a question to itself.
        const isRight = (q === number) !== (isTheft === true) && client !== undefined && groupOf(client) === group;
        if (result !== undefined && !isRight) {
          this.problem(`question ${number} to ${group} is answered with ${JSON.stringify(result)}`);
        }
        result !== undefined && this.count('answer to a question');
      }
    }
  }

  // --- at a client ---

  /** @param json - the message, as far as it is for people to read */
  received(exchange: Exchange, message: Json, json: string): void {
    const { client } = exchange;
    const text = `${nameOf(client)} gets in ${exchange.number}: ${json}`;
    this.log(text);
    const { id, method, params = {} } = message as { id?: RequestId; method?: string; params?: Json };
    if (method === undefined) {
      this.#answered(exchange, message, text);
    } else if (id !== undefined) {
      this.#asked(client, { id, number: (params._meta as Json | undefined)?.q, method }, text);
    } else if (method === 'notifications/progress') {
      this.#progress(exchange, params, text);
    } else if (method === 'notifications/message') {
      this.count('log');
      const { group, number } = params.data as Json;
      if (group !== groupOf(client)) {
        this.problem(`the log of another: ${text}`);
      }
      this.#once(exchange, number, text);
    } else if (method === 'notifications/cancelled') {
      this.count('withdrawn question');
      const index = client.asked.findIndex((asked) => asked.id === params.requestId);
      index !== -1 && client.asked.splice(index, 1);
    } else if (exchange.sent[0]?.method === 'subscriptions/listen') {
      const { 'io.modelcontextprotocol/subscriptionId': stream } = (params._meta ?? {}) as Json;
      this.count('listened');
      if (stream !== exchange.sent[0].id) {
        this.problem(`not of this stream: ${text}`);
      }
    }
  }

  /** What is kept for clients that come back comes in order, with nothing left out. */
  gotEvent(exchange: Exchange, id: string): void {
    const { client, number, what, eventId } = exchange;
    if (client.eventIds.has(id)) {
      this.problem(`the event ${id} comes a second time in ${number}`);
    }
    client.eventIds.add(id);
    const next = eventId === undefined ? id : this.events.after(eventId)[0];
    if (id !== next) {
      this.problem(`the event ${id} comes in ${number} behind ${eventId}, and not ${next}`);
    }
    what === 'resume' && this.count('event that was missed');
    exchange.eventId = id;
  }

  /** Every event has come to who reads its stream. */
  checkEvents(): void {
    for (const exchange of this.exchanges) {
      const { client, number, eventId, end, status, mayBeCut } = exchange;
      const isOpen = end === undefined && status === 200 && !mayBeCut && !client.hasEnded && !this.isClosing;
      if (isOpen && eventId !== undefined && this.isRead(exchange)) {
        const missing = this.events.after(eventId);
        if (missing.length > 0) {
          this.problem(`${nameOf(client)} has not read the events ${missing} in ${number}`);
        }
      }
    }
  }

  /** What has not begun, or has ended, is no session. */
  checkSessions(count: number, limit: number): void {
    const begun = this.exchanges.filter(({ sent, status = 200 }) => sent[0]?.method === 'initialize' && status === 200);
    const most = Math.min(limit, begun.length - this.clients.filter(({ isGone }) => isGone).length);
    if (count > most) {
      this.problem(`there are ${count} sessions, of ${most} at most`);
    }
  }

  /** Requests of stateless callers stand for themselves, and each may hear the same. */
  #once({ client, number }: Exchange, what: unknown, text: string): void {
    const key = client.era === 'modern' ? `${number} ${what}` : what;
    if (client.seen.has(key)) {
      this.problem(`a second time: ${text}`);
    }
    client.seen.add(key);
  }

  #answered(exchange: Exchange, message: Json, text: string): void {
    const sent = exchange.sent.find(({ id, answers }) => id === message.id && answers === 0);
    const error = message.error as Json | undefined;
    if (sent === undefined) {
      return this.problem(`an answer to nothing: ${text}`);
    }
    sent.answers += 1;
    const data = error?.data as Json | undefined;
    data?.code !== undefined && this.count(String(data.code));
    if (data?.delivered === false && sent.at !== undefined) {
      this.problem(`not delivered, it says, and was: ${text}`);
    }
    const isOfClose = data?.code === 'TRANSPORT_CLOSED' || data?.code === 'GATEWAY_CLOSED';
    if (sent.isInTime && isOfClose && !sent.isCancelled) {
      this.problem(`answered in time, and refused: ${text}`);
    }
    const result = message.result as Json | undefined;
    if (sent.isTheft && result !== undefined) {
      this.problem(`what was stolen: ${text}`);
    }
    if (sent.method === 'initialize' && result !== undefined) {
      sent.client.version = String(result.protocolVersion);
    }
    if (sent.server === undefined || result === undefined) {
      return;
    }
    this.count('result');
    if (result.resultType === 'input_required') {
      return this.#needsInput(exchange.client, sent, result, text);
    }
    if ((result.structuredContent as Json | undefined)?.n !== sent.number) {
      this.problem(`the answer to another: ${text}`);
    }
    if ((result.structuredContent as Json).text !== textOf(-sent.number)) {
      this.problem(`the text is another: ${text}`);
    }
    const missing = sent.progress.filter((number) => !sent.client.seen.has(keyOf(exchange, number)));
    if (missing.length > 0) {
      this.problem(`progress ${missing} did not come before: ${text}`);
    }
  }

  #needsInput(client: Client, sent: Sent, { inputRequests, requestState }: Json, text: string): void {
    for (const [key, { method, params }] of Object.entries((inputRequests ?? {}) as Record<string, Json>)) {
      this.count('input required');
      const { q: number } = ((params as Json)._meta ?? {}) as Json;
      this.#asked(
        client,
        { id: undefined, number, method: String(method), of: { sent, state: requestState, key } },
        text,
      );
    }
  }

  #asked(client: Client, asked: Client['asked'][0], text: string): void {
    this.count('question');
    const question = this.questions.get(asked.number as number);
    const isOwn = question === undefined ? this.#isOfOwnCall(client, asked.number) : question.group === groupOf(client);
    if (!isOwn) {
      this.problem(`a question to another: ${text}`);
    }
    if (asked.id !== undefined && client.asked.some(({ id }) => id === asked.id)) {
      this.problem(`two open questions have one id: ${text}`);
    }
    client.asked.push(asked);
    client.seen.add(asked.number);
  }

  /** What a stateless server needs for a call is asked under the number of the call. */
  #isOfOwnCall(client: Client, number: unknown): boolean {
    return this.sent.get(number as number)?.client === client;
  }

  #progress(exchange: Exchange, params: Json, text: string): void {
    if (params.n === undefined) {
      return; // of the start, by the gateway
    }
    this.count('progress');
    const sent = this.sent.get(params.n as number);
    if (sent?.client !== exchange.client || sent.token !== params.progressToken) {
      return this.problem(`progress of another: ${text}`);
    }
    // The host may have given the response up, which the client has not heard yet.
    const isOver = sent.exchange?.end !== undefined || sent.exchange?.mayBeCut === true;
    if (sent.exchange !== exchange && !(exchange.isStream && isOver)) {
      this.problem(`progress of another request: ${text}`);
    }
    this.#once(exchange, params.progress, text);
  }

  /** A response has ended. */
  ended(exchange: Exchange): void {
    const { client, end, sent, status, statuses, what } = exchange;
    const text = `${nameOf(client)}: ${exchange.number} (${what}) has ended, ${end}, ${status}`;
    this.log(text);
    if (end === 'left') {
      return;
    }
    if (end === 'cut' && !exchange.mayBeCut && !this.isCutting) {
      this.problem(`broken off: ${text}`);
    }
    if (end === 'cut') {
      return;
    }
    if (!statuses.includes(status as number)) {
      this.problem(`not ${statuses}: ${text}`);
    }
    this.count(`status ${status}`);
    for (const each of sent) {
      const isSilent = each.isCancelled || (this.isForeign && !each.isInTime && (client.hasEnded || this.isClosing));
      if (status === 200 && each.answers === 0 && !isSilent && !exchange.isStream) {
        this.problem(`no answer to ${each.number}: ${text}`);
      }
      if (status !== 200 && client.era === 'legacy' && each.at !== undefined && !exchange.isStream) {
        this.problem(`refused, but ${each.number} came to its server: ${text}`);
      }
    }
  }

  /** A server hears of what nobody waits for any more. */
  checkCancellations(): void {
    for (const { number, at, isToldOff, isAnsweredByServer } of this.sent.values()) {
      const heard = at?.instance
        .notifications('notifications/cancelled')
        .some(({ params }) => params?.requestId === at.id);
      if (isToldOff && !isAnsweredByServer && heard === false && at?.instance.closed === false) {
        this.problem(`${at.instance.context.server} goes on with call ${number}, which was cancelled`);
      }
    }
  }
}

export function nameOfInstance(instance: ScriptedInstance): string {
  const { context, server } = instance;
  return `${context.server} (instance ${server.instances.indexOf(instance)}, generation ${context.env.GENERATION})`;
}

function keyOf({ client, number }: Exchange, what: unknown): unknown {
  return client.era === 'modern' ? `${number} ${what}` : what;
}
