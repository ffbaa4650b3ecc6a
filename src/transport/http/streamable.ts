import { GatewayError } from '../../errors.js';
import { isNotification, isRequest, isResponse, type JSONRPCMessage, type RequestId } from '../../sdk.js';
import { settledWithin } from '../../util/abort.js';
import { copyError } from '../../util/copy-error.js';
import { findNamed, isAnswerTo } from '../json-rpc.js';
import { modernErrors, modernVersion } from '../modern.js';
import type { RelatedInfo } from '../related-info.js';
import { noAnswer, pageOf, readRefusal, unexpectedAnswer } from './answer-error.js';
import { AnswerStream } from './answer-stream.js';
import { readText } from './body.js';
import type { HttpAnswer } from './call.js';
import { EraHeaders } from './era.js';
import { type AccessRemedy, Exchange } from './exchange.js';
import { asksForLife } from './health.js';
import { ListeningStream } from './listening.js';
import { OpenRequest } from './open-request.js';
import { differing, sendAgain, toolsRequest } from './send-again.js';
import { cancelledId, SendingOrder } from './sending-order.js';
import { meansForgotten } from './session-lost.js';
import { mediaType, type Step, statusError } from './status.js';
import { farewellMs, StreamableSession } from './streamable-session.js';
import {
  closedError,
  type HttpSendOptions,
  parseErrorBody,
  parseMessages,
  readFailure,
  type Wire,
  type WireOptions,
} from './wire.js';

/**
 * MCP over Streamable HTTP, of the revisions from 2025-03-26 to 2025-11-25 with its sessions, and of 2026-07-28 without:
 * which of them a message belongs to stands in the message.
 *
 * Nothing is sent twice, except after a redirect, or a refusal for want of access or of headers. A stream that breaks before
 * its answer is taken up from its last event where the server gave events ids; that asks for the answer, it does not send
 * again.
 */
export class StreamableWire implements Wire {
  readonly #options: WireOptions;
  readonly #era = new EraHeaders();
  readonly #session: StreamableSession;
  readonly #order = new SendingOrder();
  readonly #open = new Map<RequestId, OpenRequest>();
  /** What is sent and has no answer: notifications, and answers to the server. */
  readonly #posts = new Set<Exchange>();
  /** The stateless revision that was last spoken, for notifications that do not name it. */
  #modern: string | undefined;
  #listening: ListeningStream | undefined;
  /** How many requests there are of which the server has not said yet whether it takes them. */
  #undecided = 0;
  #onDecided: (() => void) | undefined;
  #spoken = false;
  #closed = false;

  constructor(options: WireOptions) {
    this.#options = options;
    this.#session = new StreamableSession(options);
  }

  get sessionId(): string | undefined {
    return this.#session.id;
  }

  /** True once the server has answered as Streamable HTTP does. */
  get spoken(): boolean {
    return this.#spoken;
  }

  setProtocolVersion(version: string): void {
    this.#session.protocolVersion = version;
  }

  send(message: JSONRPCMessage, body: string, options: HttpSendOptions): Promise<void> {
    const cancelled = this.#open.get(cancelledId(message) as RequestId);
    if (cancelled?.modern) {
      cancelled.cancel();
      return Promise.resolve();
    }
    const sent = this.#order.send(message, () => this.#post(message, body, options));
    // Not for long: the cancellation may be waiting for the very connection of what it cancels.
    if (cancelled !== undefined)
      void settledWithin(sent, farewellMs, this.#options.clock).then(() => cancelled.cancel());
    return sent;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listening?.close();
    const taken = Promise.allSettled([...this.#posts].map(({ answer }) => answer));
    await Promise.all([this.#endSession(), settledWithin(taken, farewellMs, this.#options.clock)]);
    for (const post of this.#posts) post.abort();
  }

  /** One that the server is about to begin ends as well, once its id has come. */
  async #endSession(): Promise<void> {
    const open = [...this.#open.values()];
    const begun = open.map((each) => {
      if (each.request.method !== 'initialize') return each.stop();
      each.sendNoMore();
      return each.exchange.answer;
    });
    await settledWithin(Promise.allSettled(begun), farewellMs, this.#options.clock);
    for (const each of open) each.stop();
    await this.#session.end();
  }

  /** What a stream tells when the server no longer knows its session; undefined when there is none. */
  get #onSessionLost(): ((cause: GatewayError) => GatewayError) | undefined {
    return this.#session.id === undefined ? undefined : (cause) => this.#lost(cause);
  }

  #lost(cause: GatewayError): GatewayError {
    if (this.#session.loss !== undefined) return this.#session.loss;
    const others = new Promise<void>((resolve) => {
      this.#onDecided = resolve;
      if (this.#undecided === 0) resolve();
    });
    return this.#session.lost(cause, settledWithin(others, farewellMs, this.#options.clock));
  }

  #decide(): void {
    this.#undecided -= 1;
    if (this.#undecided === 0) this.#onDecided?.();
  }

  /** Asks for what came after an event. */
  #rest(step: string, lastEventId: string, onNoAccess: AccessRemedy): Exchange {
    const { url } = this.#options;
    const headers = { accept: 'text/event-stream', 'accept-encoding': 'identity', 'last-event-id': lastEventId };
    return new Exchange(this.#options, {
      url,
      method: 'GET',
      step,
      onNoAccess,
      headers: { ...this.#session.headers(), ...headers },
      headersTimeoutMs: 0,
    });
  }

  async #post(message: JSONRPCMessage, body: string, options: HttpSendOptions): Promise<void> {
    const { server, url, headersTimeoutMs } = this.#options;
    if (this.#closed) {
      throw new GatewayError('TRANSPORT_CLOSED', 'the transport is closed', { server, delivered: false });
    }
    const version = modernVersion(message) ?? (isNotification(message) ? this.#modern : undefined);
    // A client that finds no stateless server goes on with initialize.
    if (isRequest(message)) this.#modern = version;
    if (version === undefined && this.#session.loss !== undefined) throw this.#session.loss;
    const name = `POST ${'method' in message ? message.method : 'of an answer'}`;
    const request = isRequest(message) ? message : undefined;
    const step = { server, url, name };
    const token = request === undefined ? undefined : options.resumptionToken;
    // Before the server has spoken, the same finds out how to speak with it, for somebody who waits.
    const onNoAccess = this.#spoken && asksForLife(message) ? 'renew' : 'ask';
    const write = () => (version === undefined ? this.#session.headers() : this.#era.write(message, version));
    const send = (written: Readonly<Record<string, string>>) =>
      new Exchange(this.#options, {
        url,
        method: 'POST',
        step: name,
        onNoAccess,
        body,
        headers: { ...paramHeaders(options.headers), ...written, ...postHeaders },
        // The answer to a request takes as long as its work does, and headers may wait for it.
        headersTimeoutMs: request === undefined || request.method === 'initialize' ? headersTimeoutMs : 0,
      });
    const written = write();
    const exchange = token !== undefined ? this.#rest(name, token, onNoAccess) : send(written);
    if (request === undefined) {
      this.#posts.add(exchange);
      try {
        await this.#acknowledged(exchange, message, step);
      } catch (error) {
        throw this.#closed ? this.#closedError(error) : error;
      } finally {
        this.#posts.delete(exchange);
      }
      return;
    }
    const replay = token !== undefined;
    const open = new OpenRequest(request, exchange, { version, replay, step, onNoAccess, send: options });
    // What a stream is resumed for was delivered.
    if (request.method === 'tools/call' && token === undefined) open.again = () => differing(written, write(), send);
    this.#open.set(request.id, open);
    const cancel = () => open.cancel();
    options.requestSignal?.addEventListener('abort', cancel, { once: true });
    if (options.requestSignal?.aborted) cancel();
    try {
      await this.#answered(open);
      // The answer came too late to be handed on.
      if (open.over && !open.answered) throw this.#closedError(undefined);
    } catch (error) {
      if (open.cancelled) return;
      throw this.#closed ? this.#closedError(error) : error;
    } finally {
      options.requestSignal?.removeEventListener('abort', cancel);
      if (this.#open.get(request.id) === open) this.#open.delete(request.id);
    }
  }

  #closedError(cause: unknown): GatewayError {
    const { server } = this.#options;
    const delivered = GatewayError.is(cause) ? cause.delivered : 'unknown';
    return closedError(server, delivered);
  }

  /** Waits until the server has taken a message that it does not answer. */
  async #acknowledged(exchange: Exchange, message: JSONRPCMessage, step: Step): Promise<void> {
    const answer = await exchange.answer;
    if (answer.status >= 300) await this.#refused(exchange, answer, step, undefined);
    this.#spoken = true;
    this.#options.leftovers.discard(answer);
    // Only sessions of the older revisions have a stream for what belongs to no request.
    if ('method' in message && message.method === 'notifications/initialized' && this.#modern === undefined) {
      this.#listening ??= this.#closed
        ? undefined
        : new ListeningStream(
            { ...this.#options, onMessage: (received, info) => this.#handOn(received, info) },
            () => this.#session.headers(),
            this.#onSessionLost,
          );
    }
  }

  async #answered(open: OpenRequest): Promise<void> {
    const { exchange, request } = open;
    const { step, onNoAccess } = open.options;
    let answer: HttpAnswer;
    let isSentAgain = false;
    this.#undecided += 1;
    try {
      answer = await exchange.answer;
      if (answer.status >= 300) {
        isSentAgain = await this.#refused(exchange, answer, step, open);
        if (!isSentAgain) return;
      }
    } finally {
      this.#decide();
    }
    if (isSentAgain) return this.#answered(open);
    this.#spoken = true;
    if (request.method === 'initialize') this.#session.begin(answer.header('mcp-session-id'));
    const type = mediaType(answer.header('content-type'));
    if (type === 'text/event-stream') {
      const stream = new AnswerStream({
        wire: this.#options,
        open,
        deliver: (message) => this.#deliver(message, open),
        rest: (name, lastEventId) => this.#rest(name, lastEventId, onNoAccess),
        sessionLost: () => (this.#listening?.isNotOffered === true ? undefined : this.#onSessionLost),
      });
      await stream.read(answer);
    } else if (type === 'application/json') {
      await this.#answeredByJson(open, answer);
    } else {
      throw await unexpectedAnswer(exchange, answer, step, this.#options.clock);
    }
  }

  async #answeredByJson(open: OpenRequest, answer: HttpAnswer): Promise<void> {
    const { server, maxMessageBytes } = this.#options;
    const text = await readText(answer, maxMessageBytes).catch((error: unknown) => {
      throw readFailure(error, open.exchange, `the answer to ${open.request.method}`, server);
    });
    if (open.over) return;
    const parsed = parseMessages(text);
    let answered = false;
    for (const message of parsed?.messages ?? []) answered = this.#deliver(message, open) || answered;
    const refusal = answered ? undefined : parseErrorBody(text);
    if (refusal !== undefined && refusal.id == null) {
      // The server could not tell which request it was; here only one was asked.
      answered = this.#deliver({ jsonrpc: '2.0', id: open.request.id, error: refusal.error }, open);
    }
    if (!answered) {
      const what =
        parsed === undefined ? `broken JSON${pageOf(open.exchange.hide(text))}` : 'JSON that is not its answer';
      throw noAnswer(open.options.step, what, answer.status);
    }
  }

  /** Hands on what did not come where it belongs. A request whose answer it is waits for nothing more on its own connection. */
  #handOn(message: JSONRPCMessage, info: RelatedInfo | undefined): void {
    this.#options.onMessage(message, info);
    if (isResponse(message)) findNamed(this.#open, message.id)?.cancel();
  }

  /** Hands on what came with the answer to a request. True when it is the answer. */
  #deliver(message: JSONRPCMessage, open: OpenRequest): boolean {
    const { request } = open;
    if (isResponse(message) && (open.options.replay || isAnswerTo(request.id, message.id))) message.id = request.id;
    if (!isResponse(message) || message.id !== request.id) {
      this.#handOn(message, { relatedRequestId: request.id });
      return false;
    }
    // Some servers send it twice.
    if (open.answered) return true;
    open.answered = true;
    if ('result' in message) {
      if (request.method === 'tools/list' && open.modern) {
        const { server, onTrouble } = this.#options;
        for (const problem of this.#era.learn(message))
          onTrouble(new GatewayError('MESSAGE_INVALID', problem, { server }));
      }
      if (request.method === 'initialize' && typeof message.result.protocolVersion === 'string') {
        this.#session.protocolVersion = message.result.protocolVersion;
      }
    }
    open.onAnswer === undefined ? this.#options.onMessage(message, undefined) : open.onAnswer(message);
    return true;
  }

  /**
   * Makes of an answer that is no success what it means; throws, unless it is the server's own answer to the request.
   *
   * @returns whether the request was sent again
   */
  async #refused(exchange: Exchange, answer: HttpAnswer, step: Step, open: OpenRequest | undefined): Promise<boolean> {
    const { clock, maxMessageBytes } = this.#options;
    // A server may give its answer to a request with such a status.
    const mayAnswer = open !== undefined && mediaType(answer.header('content-type')) === 'application/json';
    const { text, isWhole } = await readRefusal(answer, clock, mayAnswer ? maxMessageBytes : undefined);
    const body = parseErrorBody(text);
    const id = open?.request.id;
    // A server that takes no POST has another way, though it says so as an error of JSON-RPC.
    if (body !== undefined && (answer.status !== 405 || isAnswerTo(id, body.id))) this.#spoken = true;
    const error = statusError(answer, exchange.hide(text), step, clock);
    // It may have been the answer to what was carried out.
    if (mayAnswer && !isWhole) throw copyError(error, { delivered: 'unknown' });
    if (this.#session.id !== undefined && !open?.modern && meansForgotten(answer, text, body, id)) {
      throw this.#lost(error);
    }
    // A server of the stateless era says with the status what kind of error the body holds.
    if (body !== undefined && open !== undefined && (isAnswerTo(id, body.id) || (open.modern && body.id == null))) {
      const isOfHeaders = open.modern && body.error.code === modernErrors.headerMismatch;
      if (isOfHeaders && (await this.#sendAgain(open))) return true;
      if (!open.over) this.#deliver({ jsonrpc: '2.0', id: open.request.id, error: body.error }, open);
      return false;
    }
    throw error;
  }

  /**
   * A call was refused for its headers: the tools of the server are not known yet, or others by now. Asks for them, and sends
   * the call once more if that gives it other headers.
   */
  async #sendAgain(open: OpenRequest): Promise<boolean> {
    const { again } = open;
    // A server that refuses the second one means something else.
    open.again = undefined;
    if (again === undefined) return false;
    const next = await sendAgain(open, again, (cursor) => this.#learnTools(open, cursor));
    if (next === undefined) return false;
    open.goOn(next);
    return true;
  }

  /** @returns the cursor of the next page of tools; undefined where there is none, or no answer came */
  async #learnTools(open: OpenRequest, cursor: unknown): Promise<unknown> {
    const { step, onNoAccess } = open.options;
    // It is of the stateless era: no other is refused for its headers.
    const version = open.options.version as string;
    const request = toolsRequest(open.request, cursor);
    const name = `POST ${request.method}`;
    const exchange = new Exchange(this.#options, {
      url: this.#options.url,
      method: 'POST',
      step: name,
      onNoAccess,
      body: JSON.stringify(request),
      headers: { ...this.#era.write(request, version), ...postHeaders },
      headersTimeoutMs: 0,
    });
    open.goOn(exchange);
    const options = { version, replay: false, step: { ...step, name }, onNoAccess, send: {} };
    const list = new OpenRequest(request, exchange, options);
    let next: unknown;
    list.onAnswer = (response) => {
      next = 'result' in response ? response.result.nextCursor : undefined;
    };
    // Why no list comes is no matter of the call, which has an answer.
    await this.#answered(list).catch(() => {});
    return next;
  }
}

const postHeaders = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
  'accept-encoding': 'gzip, br',
};

/** Of the headers that a caller gives, those that mirror arguments. */
function paramHeaders(headers: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers)
      .map(([name, value]) => [name.toLowerCase(), value] as const)
      .filter(([name, value]) => /^mcp-param-[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name) && /^[\t\x20-\x7e]*$/.test(value)),
  );
}
