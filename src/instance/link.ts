import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import {
  isResponse,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
  type Transport,
} from '../sdk.js';
import { type JsonPart, takesPart } from '../transport/json-part.js';
import { abortable } from '../util/abort.js';
import { withoutNulls } from '../util/without-nulls.js';
import { toUnwritable } from './error-response.js';
import { type Exchange, Exchanges, type Response } from './exchanges.js';
import { type Handshake, toGatewayError } from './handshake.js';
import { type InboxReader, LinkInbox } from './link-inbox.js';
import { LinkRequests, type RequestingLink } from './link-requests.js';
import { LinkRest } from './link-rest.js';
import type { LinkTransport } from './link-transport.js';
import { type LinkActivity, LinkWatch, type LinkWatchSettings, type WatchedLink } from './link-watch.js';
import { ServerError } from './server-error.js';
import { justInitialized, shakeHands } from './shake-hands.js';

type Params = NonNullable<JSONRPCRequest['params']>;

/** The caller's side of a link. */
export interface LinkOwner {
  readonly clock: Clock;
  /** What besides open requests keeps the link open. */
  activity(link: Link): LinkActivity;
  /** What the server gets as params of `initialize`: the caller's own. */
  initializeParams(): Params;
  /** Sent to each server once it is initialized: what the caller had asked for before. */
  onOpen(link: Link): void;
  /** A server that others share has come to rest, and another one is used: what the caller knows of it may not hold any more. */
  onReopened?(link: Link): void;
  /** @param origin - what it belongs to, when the way it came says so */
  onRequest(link: Link, request: JSONRPCRequest, origin: Exchange | undefined): void;
  onNotification(link: Link, notification: JSONRPCNotification, origin: Exchange | undefined): void;
  onEnd(link: Link, reason: GatewayError | undefined): void;
}

export interface LinkOptions {
  readonly server: string;
  /** For the answer to `initialize`; undefined where somebody below sees to it that one comes. */
  readonly startTimeoutMs: number | undefined;
  /** Undefined where somebody below watches already. */
  readonly watch: LinkWatchSettings | undefined;
  /** Whoever waits for an answer goes with the server: the next one has nobody to answer. */
  readonly isBound?: boolean;
  /** The end of a server that this one takes the place of. */
  readonly after?: Promise<void> | undefined;
  /** Aborted by a stop that comes from now on. Undefined where nobody waits here: each connection is asked for at once. */
  untilStopped?(): AbortSignal;
  connect(): LinkTransport;
}

/**
 * One caller's session with one server: the handshake in the caller's name, ids and progress tokens of its own, and the
 * way back for each answer. Opens when it is first needed, and again after its server has ended.
 */
export class Link implements WatchedLink, RequestingLink, InboxReader {
  readonly server: string;
  readonly #options: LinkOptions;
  readonly #owner: LinkOwner;
  readonly #exchanges = new Exchanges();
  readonly #inbox = new LinkInbox(this.#exchanges, this);
  readonly #requests = new LinkRequests(this.#exchanges, this);
  #watch: LinkWatch | undefined;
  readonly #rest: LinkRest;
  #transport: LinkTransport | undefined;
  /** What was given up while it started, and what those who waited for that wait for. */
  #givenUp: { readonly transport: LinkTransport; readonly next: Promise<Handshake> } | undefined;
  /** Somebody waits for the session itself, such as for what the server offers, and not for an answer alone. */
  #isAwaited = false;
  #isClosed = false;
  #opening: Promise<Handshake> | undefined;
  #handshake: Handshake | undefined;
  /** Another server has opened behind it, which the caller has not used yet. */
  #isReopened = false;
  #lastError: GatewayError | undefined;

  constructor(options: LinkOptions, owner: LinkOwner) {
    this.server = options.server;
    this.#options = options;
    this.#owner = owner;
    this.#rest = new LinkRest(this, owner.clock);
    if (options.after !== undefined) {
      this.#rest.begin(options.after);
    }
  }

  /** What the server said of itself; undefined unless the link is open. */
  get handshake(): Handshake | undefined {
    return this.#handshake;
  }

  /** @internal What its server gets messages on, from before its handshake on. */
  get transport(): LinkTransport | undefined {
    return this.#transport;
  }

  /** Whether its server runs: it may rest behind a connection that is open. */
  get isRunning(): boolean {
    return this.#handshake !== undefined && this.#transport?.isResting !== true;
  }

  /** Whether its server has come to rest since the caller has used it: the next one may be another. */
  get hasRested(): boolean {
    return this.#isReopened || this.#transport?.isResting === true;
  }

  /** True while it opens and while it is open. */
  get isActive(): boolean {
    return this.#opening !== undefined;
  }

  /** Its server has ended, and is not gone yet: the next request waits, and opens the link again. */
  get isEnding(): boolean {
    return this.#transport?.isEnding === true;
  }

  /** Whether a request waits for its answer, or for the next server. */
  get isWaitedFor(): boolean {
    return this.#exchanges.isWorking;
  }

  /** Resolves when nothing is left of a server that was sent to rest; undefined when nothing is. */
  get resting(): Promise<void> | undefined {
    return this.#rest.end;
  }

  /** The caller's request that was sent last and is still open: what the server asks on its own belongs to it best. */
  get latestCallerId(): RequestId | undefined {
    return this.#exchanges.latestCallerId;
  }

  /** Opens the session, or waits for it to open. Rejects with a `GatewayError`. */
  open(): Promise<Handshake> {
    this.#isAwaited = true;
    return this.#opened();
  }

  #opened(): Promise<Handshake> {
    if (this.#isClosed) {
      return Promise.reject(this.#closedError());
    }
    this.#opening ??= this.#open();
    return this.#opening;
  }

  /** @internal */
  async openNext(isWanted: () => boolean): Promise<void> {
    const stopped = this.#options.untilStopped?.();
    if (this.isEnding || this.#requests.isLost) {
      await unlessStopped(this.#rest.whenGone(), stopped);
    }
    if (this.#rest.end !== undefined) {
      await unlessStopped(this.#rest.end, stopped);
    }
    if (isWanted()) {
      await this.#opened();
    }
  }

  /**
   * Sends a request under an id of the link's own, and its progress token, if it has one, with it. Opens the link first
   * when it is not open.
   *
   * @param message - the link's from now on: it gets the id
   * @param part - a large part of it, with the JSON of that
   * @returns the id under which it can be cancelled; undefined where the server will get nothing of it
   */
  request(message: JSONRPCRequest, exchange: Exchange, part?: JsonPart): RequestId | undefined {
    const id = this.#exchanges.open(exchange);
    if (this.#isReopened && exchange.isProbe !== true && this.#transport?.isResting !== true) {
      this.#isReopened = false;
      this.#owner.onReopened?.(this);
    }
    // For a check of ours nothing is started.
    const hasNext = exchange.isProbe !== true && this.#options.isBound !== true;
    const repeats = hasNext || exchange.onRefused !== undefined;
    const { isEnding } = this;
    // A server that ends says so itself where there will be no next one.
    if (this.#handshake === undefined || (isEnding && hasNext)) {
      this.#requests.sendNext(id, message, part, repeats);
      return id;
    }
    this.#requests.send(id, message, part, repeats);
    return isEnding ? undefined : id;
  }

  /** Nobody waits for an answer any more, as there will be none. @returns whether the server may know of the request */
  giveUp(id: RequestId): boolean {
    return this.#requests.forget(id) === 'sent';
  }

  /** Forgets a request and tells the server. A late answer goes nowhere. */
  cancel(id: RequestId, params: Params | undefined): void {
    const was = this.#requests.forget(id);
    if (was === undefined) {
      return;
    }
    if (was === 'sent' && this.#handshake !== undefined) {
      const own = withoutNulls({ ...params, requestId: id }, 1);
      this.notify({ jsonrpc: '2.0', method: 'notifications/cancelled', params: own });
      this.used();
      return;
    }
    const isWanted = this.#isAwaited || this.#options.isBound === true || this.activity() !== 'none';
    if (this.#transport?.isQueued === true && !isWanted) {
      // A server that nobody waits for takes no place from others.
      this.#endServer();
    }
  }

  /** Sends a notification or an answer, when the link is open. */
  notify(message: JSONRPCMessage): void {
    const transport = this.#transport;
    transport?.send(message).catch((error: unknown) => {
      // Any other failure is the end of the server, which is reported on its own.
      if (isResponse(message) && GatewayError.is(error) && error.code === 'MESSAGE_INVALID') {
        transport.send(toUnwritable(message.id as RequestId, error.cause)).catch(() => {});
      }
    });
  }

  /** Sends a notification also during the handshake, behind that: its server may have asked already for what has changed. */
  tell(message: JSONRPCNotification): void {
    this.#handshake === undefined
      ? this.#opening?.then(
          () => this.notify(message),
          () => {},
        )
      : this.notify(message);
  }

  /** Asks for something on the endpoint's own account. Rejects with the server's error or a `GatewayError`. */
  ask(method: string, params: Params | undefined, isProbe = false): Promise<Readonly<Record<string, unknown>>> {
    return new Promise((resolve, reject) => {
      this.request(
        { jsonrpc: '2.0', id: 0, method, ...(params && { params }) },
        {
          isProbe,
          onAnswer: (response) =>
            'result' in response
              ? resolve(response.result)
              : reject(new ServerError(this.server, method, response.error)),
        },
      );
    });
  }

  /** Tells that something that kept the link open has ended. @param goesOn - whoever got it is about to ask for more */
  used(goesOn = false): void {
    this.#watch?.used();
    this.#rest.used(goesOn);
  }

  /** Its server ends when what waits for it is done. */
  outlived(): void {
    this.#rest.outlived();
  }

  /** Serves what waits for it, and nothing else: its server ends when that is done. */
  retire(): void {
    this.#rest.retire();
  }

  /** Whoever waits for a start that is under way waits for one of what `connect` gives now. */
  startOver(): void {
    const transport = this.#transport;
    if (this.#handshake === undefined && transport !== undefined) {
      const isAwaited = this.#isAwaited;
      this.#endServer();
      this.#isAwaited = isAwaited;
      // At once: a stop that comes before the end of what was given up is one of the next one.
      const next = this.#opened();
      next.catch(() => {});
      this.#givenUp = { transport, next };
    }
  }

  /** For good. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const transport = this.#transport;
    this.#forget();
    this.#requests.failAll(this.#closedError());
    await Promise.all([transport?.close(), this.#rest.end]);
  }

  /** Ends the server; the next request starts another one. What the caller is subscribed to, another one takes over at once. */
  rest(): void {
    if (this.isEnding || this.#requests.isLost) {
      // Its end tells of it, those who wait for that too.
      return;
    }
    const activity = this.activity();
    this.#endServer();
    this.#requests.failProbes(this.#closedError());
    if (activity === 'subscribed' && !this.#rest.isRetired) {
      this.open().catch(() => {});
    }
  }

  #endServer(): void {
    const transport = this.#transport;
    this.#forget();
    this.#rest.begin(Promise.resolve(transport?.close()));
    this.#owner.onEnd(this, undefined);
  }

  /** Whoever runs the server has to find it alive, and the server itself has to answer. */
  async probe(signal: AbortSignal): Promise<void> {
    // Each of the two: a server that wants consent has answered, and what it does for others goes on while a person consents.
    await Promise.all([this.#transport?.health?.(signal).catch(mayWantConsent), this.#ping().catch(mayWantConsent)]);
  }

  fail(failures: number): void {
    const message = `the server did not answer ${failures} health checks in a row`;
    this.#transport?.fail?.(this.#error('SERVER_UNHEALTHY', message));
  }

  /** An error is a sign of life too; and while we drain the server, it is we who refuse to ask. */
  async #ping(): Promise<void> {
    try {
      await this.ask('ping', undefined, true);
    } catch (error) {
      const ours = toGatewayError(this.server, (error as ServerError).error);
      if (ours !== undefined && ours.code !== 'SERVER_STOPPED') {
        throw ours;
      }
    }
  }

  activity(): LinkActivity {
    return this.#exchanges.isWorking ? 'working' : this.#owner.activity(this);
  }

  /** @internal */
  onAnswer(response: Response, part?: JsonPart): void {
    this.#requests.answer(response, part);
  }

  /** @internal */
  onRequest(request: JSONRPCRequest, origin: Exchange | undefined): void {
    this.#owner.onRequest(this, request, origin);
  }

  /** @internal */
  onNotification(notification: JSONRPCNotification, origin: Exchange | undefined): void {
    this.#owner.onNotification(this, notification, origin);
  }

  async #open(): Promise<Handshake> {
    try {
      // One that ends now may hold what the next one needs: a file, a port, a container's name.
      await unlessStopped(this.#rest.end, this.#options.untilStopped?.());
    } catch (error) {
      // Who comes after the stop waits for a start of its own.
      this.#opening = undefined;
      throw error;
    }
    if (this.#isClosed) {
      throw this.#closedError();
    }
    // As they are now: a reload of the catalog may change what the next connection needs.
    const { startTimeoutMs, watch } = this.#options;
    const transport = this.#options.connect();
    this.#transport = transport;
    let handshake: Handshake;
    try {
      this.#listen(transport);
      handshake = await shakeHands(transport, this.#exchanges, {
        server: this.server,
        startTimeoutMs,
        clock: this.#owner.clock,
        params: () => this.#owner.initializeParams(),
        endedError: (when) => this.endedError(when),
      });
      if (this.#transport !== transport) {
        throw this.endedError(justInitialized);
      }
      this.#handshake = handshake;
    } catch (error) {
      let failure = error;
      // It may have ended by itself, and another one may be under way already.
      const isCurrent = this.#transport === transport;
      if (isCurrent) {
        this.#forget();
        // Before it is closed: a server that runs and makes no handshake has failed.
        failure = (GatewayError.is(error) && transport.fail?.(error)) || error;
      }
      // Whoever waits is told at once: the next one waits for its end, and so does close().
      this.#rest.begin(transport.close());
      // It may have asked something in its handshake, and the next one may ask under the same id.
      isCurrent && this.#owner.onEnd(this, undefined);
      if (this.#givenUp?.transport === transport) {
        return this.#givenUp.next;
      }
      throw failure;
    }
    this.#watch = watch && new LinkWatch(watch, this.#owner.clock, this);
    this.#watch?.start(transport.waitedMs ?? 0);
    this.#owner.onOpen(this);
    this.#rest.whenDone();
    // Its server may have ended with what it was told here.
    return handshake;
  }

  // Apart from the handshake, whose promises these would hold for as long as the session lives.
  #listen(transport: LinkTransport): void {
    this.#lastError = undefined;
    transport.refusal = ({ id }) => this.#exchanges.get(id)?.refusal?.();
    transport.onmessage = takesPart((message: JSONRPCMessage, extra?: MessageExtraInfo) =>
      this.#inbox.receive(message, extra),
    );
    transport.onerror = (error) => {
      // A line that was skipped ends nothing.
      this.#lastError = GatewayError.is(error) && error.code !== 'MESSAGE_INVALID' ? error : this.#lastError;
    };
    transport.onclose = () => this.#onClose(transport);
    transport.onreopened = (handshake) => {
      if (this.#transport === transport && this.#handshake !== undefined) {
        this.#handshake = handshake;
        this.#opening = Promise.resolve(handshake);
        this.#isReopened = this.activity() === 'none';
        this.#isReopened || this.#owner.onReopened?.(this);
      }
    };
  }

  #onClose(transport: Transport): void {
    if (this.#transport !== transport) {
      return;
    }
    const reason = this.endedError('by itself');
    this.#forget();
    this.#owner.onEnd(this, reason);
  }

  #forget(): void {
    this.#watch?.stop();
    this.#requests.gone();
    this.#transport = undefined;
    this.#isAwaited = false;
    this.#rest.gone();
    this.#opening = undefined;
    this.#handshake = undefined;
    this.#isReopened = false;
  }

  #closedError(): GatewayError {
    return this.#error('TRANSPORT_CLOSED', 'the session with the server is closed');
  }

  /** @internal */
  endedError(when: string): GatewayError {
    return this.#lastError ?? this.#error('SERVER_EXITED', `the server ended ${when}`);
  }

  #error(code: GatewayError['code'], message: string): GatewayError {
    return new GatewayError(code, message, { server: this.server, delivered: false });
  }
}

/** Waits for the end of a server; rejects as soon as a stop comes that the start of the next one is not to outlive. */
async function unlessStopped(end: Promise<void> | undefined, stopped: AbortSignal | undefined): Promise<void> {
  await (end === undefined || stopped === undefined ? end : abortable(end, stopped));
  stopped?.throwIfAborted();
}

/** @throws any error but of a server that wants a person to consent */
function mayWantConsent(error: unknown): void {
  if (!GatewayError.is(error) || error.code !== 'AUTH_REQUIRED') {
    throw error;
  }
}
