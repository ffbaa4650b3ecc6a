import { GatewayError } from '../../errors.js';
import { readErrorBody } from './answer-error.js';
import { Backoff } from './backoff.js';
import type { HttpAnswer } from './call.js';
import { readEvents } from './events.js';
import { Exchange } from './exchange.js';
import { forgetsSession, holdsStream } from './session-lost.js';
import { isEventStream, mayPass, retryAfter, type Step, statusError } from './status.js';
import { readFailure, receiveEvent, type WireOptions } from './wire.js';

/**
 * The stream on which a server sends what belongs to no request: opened by GET, and opened again, from the last event on,
 * each time it ends. Servers need not offer it.
 */
export class ListeningStream {
  readonly #options: WireOptions;
  readonly #headers: () => Record<string, string>;
  readonly #onSessionLost: ((cause: GatewayError) => void) | undefined;
  readonly #backoff: Backoff;
  #exchange: Exchange | undefined;
  #timer: unknown;
  #lastEventId: string | undefined;
  /** The same, up to the last event that is behind us: was heard, or skipped. */
  #doneId: string | undefined;
  #everOpen = false;
  #isNotOffered = false;
  /** So that an outage of hours is reported once. */
  #troubled = false;
  #closed = false;

  /** @param onSessionLost - told when the server no longer knows the session; undefined when there is none */
  constructor(
    options: WireOptions,
    headers: () => Record<string, string>,
    onSessionLost: ((cause: GatewayError) => void) | undefined,
  ) {
    this.#options = options;
    this.#headers = headers;
    this.#onSessionLost = onSessionLost;
    this.#backoff = new Backoff(options.clock, options.random);
    void this.#open();
  }

  /** The server does not know what is asked for with GET: how it refuses that says nothing of the session. */
  get isNotOffered(): boolean {
    return this.#isNotOffered;
  }

  close(): void {
    this.#closed = true;
    this.#options.clock.clearTimeout(this.#timer);
    this.#exchange?.abort();
  }

  async #open(): Promise<void> {
    const { url } = this.#options;
    const exchange = new Exchange(this.#options, {
      url,
      method: 'GET',
      step: 'GET (messages of the server)',
      onNoAccess: 'renew',
      headers: {
        ...this.#headers(),
        accept: 'text/event-stream',
        // Compressed events tend to be held back until a block is full.
        'accept-encoding': 'identity',
        ...(this.#lastEventId !== undefined && { 'last-event-id': this.#lastEventId }),
      },
      // Some servers send no headers before the first event.
      headersTimeoutMs: 0,
    });
    this.#exchange = exchange;
    try {
      const answer = await exchange.answer;
      if (this.#closed) answer.abort();
      else if (isEventStream(answer)) {
        this.#read(exchange, answer);
      } else {
        await this.#refused(exchange, answer);
      }
    } catch (error) {
      if (this.#closed) return;
      const failure = GatewayError.is(error) ? error : exchange.failure(error);
      this.#trouble(failure);
      // A stream that was open is worth another try: access may come back, as it does for requests.
      const noAccess = failure.code === 'AUTH_REQUIRED' || failure.code === 'AUTH_FAILED';
      if (failure.code === 'CONNECTION_FAILED' || (noAccess && this.#everOpen)) this.#openAgain(false, noAccess);
    }
  }

  #read(exchange: Exchange, answer: HttpAnswer): void {
    const { server, maxMessageBytes } = this.#options;
    this.#everOpen = true;
    this.#troubled = false;
    this.#backoff.opened();
    readEvents(answer, maxMessageBytes, {
      event: (type, data) => {
        this.#doneId = this.#lastEventId;
        if (type === 'message' && data !== '') receiveEvent(data, this.#options);
      },
      id: (id) => {
        this.#lastEventId = id === '' ? undefined : id;
      },
      retry: (ms) => this.#backoff.asked(ms),
      end: (cause) => {
        if (this.#closed) return;
        const failure = cause && readFailure(cause, exchange, 'an event of the server', server);
        if (failure?.code === 'MESSAGE_TOO_LARGE') {
          // Without its id the same event would come again.
          if (this.#lastEventId === this.#doneId) this.#lastEventId = undefined;
          this.#doneId = this.#lastEventId;
          // A code of its own ends a transport, which this does not.
          this.#trouble(new GatewayError('MESSAGE_INVALID', `${failure.message}; it was skipped`));
        }
        this.#openAgain(cause === undefined);
      },
    });
  }

  async #refused(exchange: Exchange, answer: HttpAnswer): Promise<void> {
    const { server, url, clock } = this.#options;
    const step: Step = { server, url, name: 'GET (messages of the server)' };
    const { status } = answer;
    if (status === 405 || (!this.#everOpen && (status < 300 || notOffered.has(status)))) {
      // Not every server has something to say by itself; many do not know the right status for that.
      this.#isNotOffered = status === 404 || status === 400;
      if (status < 300) answer.abort();
      else this.#options.leftovers.discard(answer);
      return;
    }
    const body = await readErrorBody(answer, clock);
    if (this.#closed) return;
    const error = statusError(answer, exchange.hide(body), step, clock);
    if (this.#onSessionLost !== undefined && forgetsSession(answer, body, this.#lastEventId)) {
      this.#onSessionLost(error);
      return;
    }
    this.#trouble(error);
    const isRefused = status === 404 || status === 400;
    if (isRefused && !holdsStream(answer, body)) this.#lastEventId = undefined;
    if (isRefused || mayPass(status)) {
      this.#backoff.askedOnce(retryAfter(answer.header('retry-after'), clock) ?? 0);
      this.#openAgain(false, isRefused);
    }
  }

  #trouble(error: GatewayError): void {
    if (this.#troubled) return;
    this.#troubled = true;
    this.#options.onTrouble(error);
  }

  #openAgain(clean: boolean, isRefused = false): void {
    const wait = this.#backoff.next(clean, isRefused);
    this.#timer = this.#options.clock.setTimeout(() => void this.#open(), wait);
  }
}

const notOffered: ReadonlySet<number> = new Set([400, 404, 405, 406, 415, 501]);
