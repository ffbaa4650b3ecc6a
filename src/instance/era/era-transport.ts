import { GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import {
  isRequest,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
  type TransportSendOptions,
} from '../../sdk.js';
import { deliver, runCallback } from '../../transport/callback.js';
import { takesPart } from '../../transport/json-part.js';
import { hasEnvelope, isFields, metaKeys, modernRevision, withoutEnvelope } from '../../transport/modern.js';
import { EarlyMessages } from '../early-messages.js';
import type { Response } from '../exchanges.js';
import type { LinkTransport } from '../link-transport.js';
import { toErrorResponse } from '../request-ledger.js';
import type { SendOutcome } from '../strict-transport.js';
import { EraSearch, firstOwnId } from './era-search.js';
import { ModernSession, toInitializeResult, toModernCapabilities } from './modern-session.js';
import { Questions } from './questions.js';
import { refusesLegacy, type ServerEra, type Verdict } from './server-era.js';

/** A connection with an instance of its own. */
export interface EraConnection extends LinkTransport {
  /** Whether it may end by itself and be no failure. */
  expectEnd?(expected: boolean): void;
  /** Nobody waits for the answer to this request any more; the server is not told. */
  forget?(id: RequestId): void;
}

export interface EraTransportOptions {
  readonly server: string;
  readonly era: ServerEra;
  readonly clock: Clock;
  /** How long a server may keep silent when it is asked for its era, until it gets `initialize` as well, in milliseconds. */
  readonly probeTimeoutMs: number;
  /** How long it may keep silent on both, until it is started afresh, in milliseconds. */
  readonly silenceTimeoutMs: number;
  /** For what no request of the connection is sent for, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** @param since - from when on the time counts in which the server has to find a place, where not from now on */
  connect(since?: number): EraConnection;
}

type Params = NonNullable<JSONRPCRequest['params']>;

// Of what servers ask beyond that, the rest is refused.
const mostEarly = 1_000;

/**
 * A connection to a server of either era for a caller that makes a session. On `initialize` it finds the era out, unless
 * that is known, and then passes messages through or translates them.
 */
export class EraTransport implements LinkTransport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #options: EraTransportOptions;
  #inner: EraConnection;
  #modern: ModernSession | undefined;
  /** Our own, while a handshake is under way. */
  #questions: Questions | undefined;
  #lastOwnId = firstOwnId;
  /** While a handshake is under way, the end of the connection may be followed by another one. */
  #shaking = false;
  /** One server ends and the next one starts, which is no failure unless the time for both runs out. */
  #isReplacing = false;
  /** What a server has asked before its handshake was over: one that takes its place knows nothing of that. */
  #early: RequestId[] | undefined = [];
  /** What a server that was started ahead has said to nobody yet. */
  #unheard: EarlyMessages | undefined;
  #ended = false;
  #lastError: Error | undefined;
  /** Why the connection ends. */
  #reason: GatewayError | undefined;
  #closed = false;
  #starting: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #isTold = false;

  constructor(options: EraTransportOptions) {
    this.#options = options;
    this.#inner = this.#attach();
  }

  get sessionId(): string | undefined {
    return this.#inner.sessionId;
  }

  /** Not while another server may take the place of the one that ends. */
  get isEnding(): boolean {
    return !this.#shaking && this.#inner.isEnding === true;
  }

  get isQueued(): boolean {
    return this.#inner.isQueued === true;
  }

  get waitedMs(): number {
    return this.#inner.waitedMs ?? 0;
  }

  setProtocolVersion(version: string): void {
    if (this.#modern === undefined) {
      this.#inner.setProtocolVersion?.(version);
    }
  }

  /** May be called again by whoever takes over a connection that was started ahead, and hears now what has come since. */
  start(): Promise<void> {
    this.#starting ??= this.#inner.start();
    if (this.onmessage !== undefined) {
      for (let next = this.#unheard?.take(); next !== undefined; next = this.#unheard?.take()) {
        deliver(this, next.message, next.extra);
      }
      this.#unheard = undefined;
      const reason = this.#reason;
      reason && runCallback({}, () => this.onerror?.(reason));
    }
    return this.#starting;
  }

  send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#post(message, options, (error) => (error === undefined ? resolve() : reject(error)))) {
        resolve();
      }
    });
  }

  post(
    message: JSONRPCMessage,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
    repeats?: boolean,
  ): boolean {
    return this.#post(message, options, onOutcome, repeats);
  }

  fail(reason: GatewayError): GatewayError {
    if (this.#shaking && reason.code === 'START_TIMEOUT') {
      this.#forgetEra();
    }
    if (!this.#isReplacing) {
      this.#inner.expectEnd?.(false);
    }
    return this.#inner.fail?.(reason) ?? reason;
  }

  async health(signal: AbortSignal): Promise<void> {
    await this.#inner.health?.(signal);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#closed = true;
    this.#modern?.close();
    this.#questions?.giveUp();
    await this.#inner.close();
    this.#onClose();
  }

  #post(
    message: JSONRPCMessage,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
    repeats?: boolean,
  ): boolean {
    if (this.#modern !== undefined) {
      this.#modern.send(message, onOutcome);
      return false;
    }
    if (isRequest(message) && message.method === 'initialize') {
      void this.#initialize(message);
      return true;
    }
    const passed = 'method' in message && hasEnvelope(message) ? toLegacy(message) : message;
    return this.#forward(passed, options, onOutcome, repeats);
  }

  #forward(
    message: JSONRPCMessage,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
    repeats?: boolean,
  ): boolean {
    const inner = this.#inner;
    if (inner.post !== undefined) {
      return inner.post(message, options, onOutcome, repeats);
    }
    inner.send(message, options).then(
      () => onOutcome(),
      (error: unknown) => onOutcome(this.#toGatewayError(error)),
    );
    return false;
  }

  async #initialize(request: JSONRPCRequest): Promise<void> {
    const params = request.params ?? {};
    const questions = new Questions((question, onOutcome) => this.#forward(question, undefined, onOutcome));
    this.#questions = questions;
    this.#shaking = true;
    // One that finds no place has to say so before the handshake takes too long.
    const since = this.#options.clock.now() - 1;
    try {
      const answer = await this.#shakeHands(request, params, questions, since);
      if (answer !== undefined && isTimeout(answer)) {
        this.#forgetEra();
      }
      if (answer !== undefined && !this.#closed) {
        deliver(this, { ...answer, id: request.id });
      }
    } catch (error) {
      const failure = this.#toGatewayError(error);
      if (!this.#closed) {
        deliver(this, toErrorResponse(request.id, failure, failure.message, false));
      }
    } finally {
      this.#shaking = false;
      this.#questions = undefined;
      this.#early = undefined;
      this.#ended && this.#onClose();
    }
  }

  /** It was asked as what it was known for, and kept silent: it may not be that any more, so the next start asks again. */
  #forgetEra(): void {
    this.#options.era.learn(undefined);
  }

  /** @returns the answer to `initialize`; undefined when the connection has ended, which is told on its own */
  async #shakeHands(
    request: JSONRPCRequest,
    params: Params,
    questions: Questions,
    since: number,
  ): Promise<Response | undefined> {
    const { era } = this.#options;
    let early: Response | undefined;
    if (era.known !== 'legacy') {
      const verdict = await this.#discover(questions, params, request);
      if (verdict === undefined) {
        return undefined;
      }
      if (verdict.era === 'modern') {
        return this.#begin(request, params, verdict);
      }
      if (verdict.era === 'failed') {
        return { jsonrpc: '2.0', id: request.id, error: verdict.error };
      }
      if (era.isFixed) {
        if (verdict.era === 'ended' && verdict.error !== undefined) {
          return { jsonrpc: '2.0', id: request.id, error: verdict.error };
        }
        const message = `the server does not speak revision ${modernRevision}, as protocol: modern says it does`;
        throw new GatewayError('START_FAILED', message, { server: this.#options.server, delivered: false });
      }
      if (verdict.era === 'ended') {
        this.#isReplacing = true;
        await this.#replace(since).finally(() => {
          this.#isReplacing = false;
        });
      } else {
        early = verdict.initialized;
      }
    }
    const answer = early ?? (await questions.ask(request));
    if (answer !== undefined && 'result' in answer) {
      era.learn('legacy');
    } else if (answer !== undefined && !era.isFixed && refusesLegacy(answer)) {
      // It was asked too early, or has changed since.
      const verdict = await this.#discover(questions, params);
      return verdict?.era === 'modern' ? this.#begin(request, params, verdict) : answer;
    } else if (answer !== undefined && !era.isFixed && answer.error.code < 0) {
      // It may not be what it was: the next start asks again.
      era.learn(undefined);
    }
    return answer;
  }

  #begin(request: JSONRPCRequest, caller: Params, { discovery }: Extract<Verdict, { era: 'modern' }>): Response {
    const { server, clock, era, requestTimeoutMs } = this.#options;
    era.learn('modern');
    this.#modern = new ModernSession({
      server,
      clock,
      requestTimeoutMs,
      caller,
      discovery,
      nextId: () => this.#nextId(),
      post: (message, onOutcome) => this.#forward(message, undefined, onOutcome) && onOutcome(),
      deliver: (message, extra) => deliver(this, message, extra),
    });
    return { jsonrpc: '2.0', id: request.id, result: toInitializeResult(server, caller, discovery) };
  }

  /** @param initialize - what a server that keeps silent gets as well */
  #discover(questions: Questions, params: Params, initialize?: JSONRPCRequest): Promise<Verdict | undefined> {
    const { era, clock, probeTimeoutMs, silenceTimeoutMs } = this.#options;
    const inner = this.#inner;
    const search = new EraSearch({
      clock,
      questions,
      isPatient: era.isFixed || era.known === 'modern',
      probeTimeoutMs,
      silenceTimeoutMs,
      expectEnd: (expected) => inner.expectEnd?.(expected && !era.isFixed),
      forget: (id) => inner.forget?.(id),
    });
    return search.run(this.#toProbe(params), initialize);
  }

  #toProbe({ capabilities, clientInfo }: Params): JSONRPCRequest {
    const meta = {
      [metaKeys.protocolVersion]: modernRevision,
      [metaKeys.clientCapabilities]: toModernCapabilities(capabilities),
      ...(isFields(clientInfo) && { [metaKeys.clientInfo]: clientInfo }),
    };
    return { jsonrpc: '2.0', id: this.#nextId(), method: 'server/discover', params: { _meta: meta } };
  }

  /** For a request of our own: what was asked before may still be open. */
  #nextId(): RequestId {
    this.#lastOwnId += 1;
    return this.#lastOwnId;
  }

  /** Starts afresh: the server has ended, or will not answer any more. */
  async #replace(since: number): Promise<void> {
    this.#inner.expectEnd?.(true);
    // It may hold what the next one needs: a file, a port, a container's name.
    await this.#inner.close();
    if (this.#closed) {
      return;
    }
    for (const requestId of this.#early?.splice(0) ?? []) {
      const params = { requestId, reason: 'the server has ended' };
      deliver(this, { jsonrpc: '2.0', method: 'notifications/cancelled', params });
    }
    this.#ended = false;
    this.#lastError = undefined;
    this.#inner = this.#attach(since);
    await this.#inner.start();
  }

  #attach(since?: number): EraConnection {
    const inner = this.#options.connect(since);
    inner.onmessage = takesPart((message: JSONRPCMessage, extra?: MessageExtraInfo) => this.#receive(message, extra));
    inner.onerror = (error) => {
      this.#reason = GatewayError.is(error) && error.code !== 'MESSAGE_INVALID' ? error : this.#reason;
      if (this.#shaking) {
        this.#lastError = error;
      } else {
        runCallback({}, () => this.onerror?.(error));
      }
    };
    inner.onclose = () => {
      if (this.#inner !== inner) {
        return;
      }
      this.#ended = true;
      this.#questions?.giveUp();
      this.#shaking || this.#onClose();
    };
    return inner;
  }

  #receive(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    if (this.#questions?.take(message)) {
      return;
    }
    if (this.#modern !== undefined) {
      this.#modern.receive(message, extra);
    } else {
      if (this.#early !== undefined && this.#early.length < mostEarly && isRequest(message)) {
        this.#early.push(message.id);
      }
      if (this.onmessage === undefined) {
        this.#keep(message, extra);
      } else {
        deliver(this, message, extra);
      }
    }
  }

  #keep(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    this.#unheard ??= new EarlyMessages();
    // Whoever says so much to nobody is not heard.
    this.#unheard.isFull() || this.#unheard.add(message, extra);
  }

  #onClose(): void {
    if (this.#isTold) {
      return;
    }
    this.#isTold = true;
    this.#closed || this.#modern?.failAll(this.#reason ?? this.#endedError());
    this.#closed = true;
    this.#modern?.close();
    const error = this.#lastError;
    error && runCallback({}, () => this.onerror?.(error));
    runCallback({}, () => this.onclose?.());
  }

  #endedError(): GatewayError {
    return new GatewayError('SERVER_EXITED', 'the server ended', {
      server: this.#options.server,
      delivered: 'unknown',
    });
  }

  #toGatewayError(error: unknown): GatewayError {
    return GatewayError.is(error)
      ? error
      : new GatewayError('TRANSPORT_CLOSED', String(error), { server: this.#options.server, delivered: false });
  }
}

/** No answer of the server, but ours in place of one that took too long. */
function isTimeout(answer: Response): boolean {
  return 'error' in answer && isFields(answer.error.data) && answer.error.data.code === 'REQUEST_TIMEOUT';
}

/** A message of the stateless era as a server with sessions may see it. */
function toLegacy(message: JSONRPCRequest | JSONRPCNotification): JSONRPCMessage {
  const { inputResponses: _, requestState: __, _meta, ...params }: Record<string, unknown> = { ...message.params };
  const meta = withoutEnvelope(_meta as Record<string, unknown> | undefined);
  return { ...message, params: { ...params, ...(meta && { _meta: meta }) } };
}
