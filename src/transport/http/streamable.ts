import { GatewayError } from '../../errors.js';
import {
  isNotification,
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCRequest,
  type RequestId,
} from '../../sdk.js';
import { settledWithin } from '../../util/abort.js';
import { modernVersion } from '../modern.js';
import { Backoff } from './backoff.js';
import { discard, readText } from './body.js';
import type { HttpAnswer } from './call.js';
import { EraHeaders } from './era.js';
import { readEvents } from './events.js';
import { Exchange } from './exchange.js';
import { ListeningStream } from './listening.js';
import { mediaType, type Step, showUrl, statusError } from './status.js';
import {
  type HttpSendOptions,
  parseErrorBody,
  parseMessages,
  readFailure,
  type Wire,
  type WireOptions,
} from './wire.js';

/** How long a server may take to end a session, or a stream whose answer has come. */
const farewellMs = 2_000;
const lingerMs = 5_000;
const errorBodyBytes = 64 * 1024;
/** How often in a row a broken stream is taken up in vain. */
const mostVainTries = 5;

/** A request that waits for its answer. */
interface Open {
  readonly request: JSONRPCRequest;
  readonly modern: boolean;
  exchange: Exchange;
  /** The answer is the rest of a stream of an earlier request, and bears that one's id. */
  readonly replay: boolean;
  /** Nobody waits any more: the end of its stream is no failure. */
  cancelled: boolean;
  /** Ends a wait between two tries. */
  wake(): void;
}

/**
 * MCP over Streamable HTTP, of the revisions from 2025-03-26 to 2025-11-25 with its sessions, and of 2026-07-28 without:
 * which of them a message belongs to stands in the message.
 *
 * Nothing is sent twice, except after a redirect or a refusal for want of access. A stream that breaks before its answer
 * is taken up from its last event where the server gave events ids; that asks for the answer, it does not send again.
 */
export class StreamableWire implements Wire {
  readonly #options: WireOptions;
  readonly #era = new EraHeaders();
  readonly #open = new Map<RequestId, Open>();
  #sessionId: string | undefined;
  #protocolVersion: string | undefined;
  /** The stateless revision that was last spoken, for notifications that do not name it. */
  #modern: string | undefined;
  #listening: ListeningStream | undefined;
  /** Notifications on their way: what comes after them waits, because connections keep no order among each other. */
  #ahead: Promise<void> | undefined;
  #spoken = false;
  #closed = false;

  constructor(options: WireOptions) {
    this.#options = options;
  }

  get sessionId(): string | undefined {
    return this.#sessionId;
  }

  /** True once the server has answered as Streamable HTTP does. */
  get spoken(): boolean {
    return this.#spoken;
  }

  setProtocolVersion(version: string): void {
    this.#protocolVersion = version;
  }

  send(message: JSONRPCMessage, body: string, options: HttpSendOptions): Promise<void> {
    const ahead = this.#ahead;
    const post = () => this.#post(message, body, options);
    if (!isNotification(message)) {
      return ahead === undefined ? post() : ahead.then(post);
    }
    const cancelled = message.method === 'notifications/cancelled' ? this.#open.get(cancelledId(message)) : undefined;
    if (cancelled?.modern) {
      this.#end(cancelled);
      return Promise.resolve();
    }
    const sent = ahead === undefined ? post() : ahead.then(post);
    const settled = sent.then(
      () => {},
      () => {},
    );
    this.#ahead = settled;
    void settled.then(() => {
      if (this.#ahead === settled) this.#ahead = undefined;
      if (cancelled !== undefined) this.#end(cancelled);
    });
    return sent;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listening?.close();
    for (const open of this.#open.values()) {
      open.exchange.abort();
      open.wake();
    }
    if (this.#sessionId !== undefined) await this.#farewell();
  }

  /** Tells the server that the session is over. It may refuse, or be gone: then there is nothing to tell. */
  async #farewell(): Promise<void> {
    const exchange = new Exchange(this.#options, {
      url: this.#options.url,
      method: 'DELETE',
      step: 'DELETE (end of the session)',
      headers: this.#sessionHeaders(),
      headersTimeoutMs: farewellMs,
    });
    const gone = exchange.answer.then(discard, () => {});
    await settledWithin(gone, farewellMs, this.#options.clock);
    exchange.abort();
  }

  #end(open: Open): void {
    open.cancelled = true;
    open.exchange.abort();
    open.wake();
  }

  /** Asks for what came after an event. */
  #rest(step: string, lastEventId: string): Exchange {
    const { url } = this.#options;
    const headers = { accept: 'text/event-stream', 'accept-encoding': 'identity', 'last-event-id': lastEventId };
    return new Exchange(this.#options, {
      url,
      method: 'GET',
      step,
      headers: { ...this.#sessionHeaders(), ...headers },
      headersTimeoutMs: 0,
    });
  }

  #sessionHeaders(): Record<string, string> {
    return {
      ...(this.#sessionId !== undefined && { 'mcp-session-id': this.#sessionId }),
      ...(this.#protocolVersion !== undefined && { 'mcp-protocol-version': this.#protocolVersion }),
    };
  }

  async #post(message: JSONRPCMessage, body: string, options: HttpSendOptions): Promise<void> {
    const { server, url, headersTimeoutMs } = this.#options;
    if (this.#closed) {
      throw new GatewayError('TRANSPORT_CLOSED', 'the transport is closed', { server, delivered: false });
    }
    const version = modernVersion(message) ?? (isNotification(message) ? this.#modern : undefined);
    // A client that finds no stateless server goes on with initialize.
    if (isRequest(message)) this.#modern = version;
    const name = `POST ${'method' in message ? message.method : 'of an answer'}`;
    const request = isRequest(message) ? message : undefined;
    const step = { server, url, name };
    const token = request === undefined ? undefined : options.resumptionToken;
    const exchange =
      token !== undefined
        ? this.#rest(name, token)
        : new Exchange(this.#options, {
            url,
            method: 'POST',
            step: name,
            body,
            headers: {
              ...paramHeaders(options.headers),
              ...(version === undefined ? this.#sessionHeaders() : this.#era.write(message, version)),
              'content-type': 'application/json',
              accept: 'application/json, text/event-stream',
              'accept-encoding': 'gzip, br',
            },
            // The answer to a request takes as long as its work does, and headers may wait for it.
            headersTimeoutMs: request === undefined || request.method === 'initialize' ? headersTimeoutMs : 0,
          });
    if (request === undefined) {
      await this.#acknowledged(exchange, message, step);
      return;
    }
    const modern = version !== undefined;
    const open: Open = { request, modern, exchange, replay: token !== undefined, cancelled: false, wake: () => {} };
    this.#open.set(request.id, open);
    const cancel = () => this.#end(open);
    options.requestSignal?.addEventListener('abort', cancel, { once: true });
    if (options.requestSignal?.aborted) cancel();
    try {
      await this.#answered(open, step, options);
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
    return new GatewayError('TRANSPORT_CLOSED', 'the transport was closed', { server, delivered });
  }

  /** Waits until the server has taken a message that it does not answer. */
  async #acknowledged(exchange: Exchange, message: JSONRPCMessage, step: Step): Promise<void> {
    const answer = await exchange.answer;
    if (answer.status >= 300) await this.#refused(exchange, answer, step, undefined);
    this.#spoken = true;
    discard(answer);
    // Only sessions of the older revisions have a stream for what belongs to no request.
    if ('method' in message && message.method === 'notifications/initialized' && this.#modern === undefined) {
      this.#listening ??= this.#closed
        ? undefined
        : new ListeningStream({ ...this.#options, onLost: (reason) => this.#lost(reason) }, () =>
            this.#sessionHeaders(),
          );
    }
  }

  async #answered(open: Open, step: Step, options: HttpSendOptions): Promise<void> {
    const { exchange, request } = open;
    const answer = await exchange.answer;
    if (answer.status >= 300) {
      await this.#refused(exchange, answer, step, open);
      return;
    }
    this.#spoken = true;
    if (request.method === 'initialize') this.#takeSession(answer.header('mcp-session-id'));
    const type = mediaType(answer.header('content-type'));
    if (type === 'text/event-stream') {
      await this.#answeredByEvents(open, answer, step, options);
    } else if (type === 'application/json') {
      await this.#answeredByJson(open, answer, step);
    } else {
      throw await this.#unexpected(exchange, answer, type, step);
    }
  }

  async #answeredByJson(open: Open, answer: HttpAnswer, step: Step): Promise<void> {
    const { server, maxMessageBytes } = this.#options;
    const text = await readText(answer, maxMessageBytes).catch((error: unknown) => {
      throw readFailure(error, open.exchange, `the answer to ${open.request.method}`, server);
    });
    if (open.cancelled || this.#closed) return;
    const parsed = parseMessages(text);
    let answered = false;
    for (const message of parsed?.messages ?? []) answered = this.#deliver(message, open) || answered;
    if (!answered) {
      throw this.#invalid(
        `${step.name} was answered with ${parsed === undefined ? 'broken JSON' : 'JSON that is not its answer'}`,
      );
    }
  }

  async #answeredByEvents(open: Open, first: HttpAnswer, step: Step, options: HttpSendOptions): Promise<void> {
    const backoff = new Backoff(this.#options.clock, this.#options.random);
    const stream = { lastEventId: undefined as string | undefined, lively: false };
    let vain = 0;
    for (let answer: HttpAnswer | undefined = first; ; ) {
      if (answer !== undefined) {
        stream.lively = false;
        const end = await this.#readStream(open, answer, backoff, stream, options);
        if (end === 'answered') return;
        if (open.cancelled) return;
        vain = stream.lively ? 0 : vain + 1;
        if (this.#closed || open.modern || stream.lastEventId === undefined || vain >= mostVainTries) {
          throw this.#cutOff(open, end.cause, step);
        }
        await this.#pause(open, backoff.next(end.cause === undefined));
      } else {
        vain += 1;
        if (vain >= mostVainTries) throw this.#cutOff(open, undefined, step);
        await this.#pause(open, backoff.next(false));
      }
      if (open.cancelled) return;
      if (this.#closed) throw this.#cutOff(open, undefined, step);
      answer = await this.#takeUp(open, stream.lastEventId as string, step);
    }
  }

  /** Reads a stream until the answer has come, or the stream has ended without it. */
  #readStream(
    open: Open,
    answer: HttpAnswer,
    backoff: Backoff,
    stream: { lastEventId: string | undefined; lively: boolean },
    options: HttpSendOptions,
  ): Promise<'answered' | { readonly cause: GatewayError | undefined }> {
    const { server, clock, maxMessageBytes } = this.#options;
    const { exchange } = open;
    return new Promise((resolve) => {
      let answered = false;
      let linger: unknown;
      backoff.opened();
      readEvents(answer, maxMessageBytes, {
        event: (type, data) => {
          if (type !== 'message' || data === '' || open.cancelled || this.#closed) return;
          stream.lively = true;
          const parsed = parseMessages(data);
          if (parsed?.clean !== true)
            this.#options.onTrouble(this.#invalid('the server sent an event that is no message'));
          for (const message of parsed?.messages ?? []) {
            if (!this.#deliver(message, open)) continue;
            answered = true;
            // The server closes the stream now; one that forgets to must not keep the connection for ever.
            linger ??= clock.setTimeout(() => exchange.abort(), lingerMs);
            resolve('answered');
          }
        },
        id: (id) => {
          stream.lively = true;
          stream.lastEventId = id === '' ? undefined : id;
          if (id !== '') options.onresumptiontoken?.(id);
        },
        retry: (ms) => backoff.asked(ms),
        end: (cause) => {
          clock.clearTimeout(linger);
          if (!open.cancelled) options.onRequestStreamEnd?.();
          if (!answered) {
            resolve({ cause: cause && readFailure(cause, exchange, `the answer to ${open.request.method}`, server) });
          }
        },
      });
    });
  }

  #pause(open: Open, ms: number): Promise<void> {
    const { clock } = this.#options;
    return new Promise((resolve) => {
      const timer = clock.setTimeout(resolve, ms);
      open.wake = () => {
        clock.clearTimeout(timer);
        resolve();
      };
      if (open.cancelled || this.#closed) open.wake();
    });
  }

  /** Asks for the rest of a stream that broke. Undefined when the server could not be reached: it may be back later. */
  async #takeUp(open: Open, lastEventId: string, step: Step): Promise<HttpAnswer | undefined> {
    open.exchange = this.#rest(`GET (rest of ${open.request.method})`, lastEventId);
    try {
      const answer = await open.exchange.answer;
      if (answer.status === 200 && mediaType(answer.header('content-type')) === 'text/event-stream') return answer;
      answer.abort();
      if (answer.status >= 500) return undefined;
      throw this.#invalid(
        `${step.name}: its stream ended before the answer, and the rest was refused with HTTP ${answer.status}`,
      );
    } catch (error) {
      if (GatewayError.is(error) && error.code === 'CONNECTION_FAILED') return undefined;
      throw error;
    }
  }

  #cutOff(open: Open, cause: GatewayError | undefined, step: Step): GatewayError {
    if (this.#closed) return this.#closedError(undefined);
    if (cause !== undefined) return cause;
    const url = showUrl(this.#options.url);
    return this.#invalid(
      `${step.name}: ${url} ended the stream before it sent the answer to ${open.request.method}; does a proxy cut it?`,
    );
  }

  /** Hands on what came with the answer to a request. True when it is the answer. */
  #deliver(message: JSONRPCMessage, open: Open): boolean {
    const { request } = open;
    if (open.replay && isResponse(message)) message.id = request.id;
    if (!isResponse(message) || message.id !== request.id) {
      this.#options.onMessage(message, { relatedRequestId: request.id });
      return false;
    }
    if ('result' in message) {
      if (request.method === 'tools/list') this.#era.learn(message);
      if (request.method === 'initialize' && typeof message.result.protocolVersion === 'string') {
        this.#protocolVersion = message.result.protocolVersion;
      }
    }
    this.#options.onMessage(message, undefined);
    return true;
  }

  /** Makes of an answer that is no success what it means; throws, unless it is the server's own answer to the request. */
  async #refused(exchange: Exchange, answer: HttpAnswer, step: Step, open: Open | undefined): Promise<void> {
    const { clock } = this.#options;
    const text = await readText(answer, errorBodyBytes).catch(() => '');
    const body = parseErrorBody(text);
    if (body !== undefined) this.#spoken = true;
    if (body !== undefined && open !== undefined) {
      const { id } = open.request;
      // A server of the stateless era says with the status what kind of error the body holds.
      if (body.id === id || (open.modern && body.id == null)) {
        if (!open.cancelled && !exchange.aborted) this.#deliver({ jsonrpc: '2.0', id, error: body.error }, open);
        return;
      }
    }
    const error = statusError(answer, exchange.hide(text), step, clock);
    const forgotten = answer.status === 404 || (answer.status === 400 && /session/i.test(body?.error.message ?? ''));
    throw forgotten && this.#sessionId !== undefined && !open?.modern ? this.#lost(error) : error;
  }

  /** The server no longer knows the session. Returns the error for the request that found out, which is told first. */
  #lost(cause: GatewayError): GatewayError {
    const { server } = this.#options;
    const message = 'the server no longer knows the session: it was restarted, or the session expired; connect again';
    const exit = { reason: 'session-lost', stderrTail: '' };
    const details = { server, cause, status: cause.status, exit };
    setImmediate(() => {
      this.#sessionId = undefined;
      this.#options.onLost(new GatewayError('SESSION_LOST', message, { ...details, delivered: 'unknown' }));
    });
    return new GatewayError('SESSION_LOST', message, { ...details, delivered: false });
  }

  async #unexpected(exchange: Exchange, answer: HttpAnswer, type: string, step: Step): Promise<GatewayError> {
    const url = showUrl(step.url);
    if (answer.status === 202 || answer.status === 204 || type === '') {
      answer.abort();
      return this.#invalid(`${step.name} was answered by ${url} with HTTP ${answer.status} and no message`);
    }
    const text = exchange.hide(await readText(answer, errorBodyBytes).catch(() => ''));
    const title = /<title[^>]*>([^<]{1,200})/i.exec(text)?.[1]?.trim();
    const page = title === undefined ? '' : ` (a page "${title}")`;
    return this.#invalid(
      `${step.name} was answered by ${url} with content of type ${type}${page} instead of JSON or an event stream; is that the MCP endpoint?`,
      answer.status,
    );
  }

  #takeSession(id: string | undefined): void {
    // Visible ASCII alone, as the specification has it: it goes back in a header.
    if (id === undefined) return;
    if (/^[\x21-\x7e]{1,1024}$/.test(id)) this.#sessionId = id;
    else this.#options.onTrouble(this.#invalid('the server gave a session id that no header may hold; it is not used'));
  }

  #invalid(message: string, status?: number): GatewayError {
    const { server } = this.#options;
    return new GatewayError('ANSWER_INVALID', message, { server, status, delivered: 'unknown' });
  }
}

function cancelledId(message: JSONRPCMessage): RequestId {
  return ('params' in message ? message.params?.requestId : undefined) as RequestId;
}

/** Of the headers that a caller gives, those that mirror arguments. */
function paramHeaders(headers: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers)
      .map(([name, value]) => [name.toLowerCase(), value] as const)
      .filter(([name, value]) => /^mcp-param-[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name) && /^[\t\x20-\x7e]*$/.test(value)),
  );
}
