import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import type { JSONRPCErrorResponse, JSONRPCRequest, RequestId, TransportSendOptions } from '../sdk.js';
import { messageOf } from '../util/copy-error.js';
import { toErrorResponse } from './error-response.js';
import { wasNotTaken } from './link-transport.js';
import { maxExtensions, type OpenRequest, RequestLedger } from './request-ledger.js';
import type { SendOutcome, StrictTransport } from './strict-transport.js';

/** A connection, as its requests see it. */
export interface RequestingConnection {
  /** An answer of ours, where the server has none. */
  onAnswer(response: JSONRPCErrorResponse): void;
  /** It was answered, and its server still works on it. */
  onOverdue(request: OpenRequest): void;
  /** The server could not be sent a request. */
  onNotSent(failure: GatewayError): void;
  /** A request waits no longer, perhaps the last one. */
  onSettled(): void;
}

/** How long the requests of a connection to a server may take. */
export interface RequestTimes {
  readonly server: string;
  readonly requestTimeoutMs: number;
  /** A server that has just been started may be slower than its calls are to be. */
  readonly startTimeoutMs: number;
  readonly clock: Clock;
}

/**
 * The requests of one connection. Each gets one answer: the server's, or an error that says whether the server had been given
 * it.
 */
export class ConnectionRequests {
  readonly #server: string;
  readonly #timeoutMs: number;
  readonly #ledger: RequestLedger;
  readonly #connection: RequestingConnection;
  /** Who waits until none is open. */
  readonly #waiting: (() => void)[] = [];

  constructor({ server, requestTimeoutMs, startTimeoutMs, clock }: RequestTimes, connection: RequestingConnection) {
    this.#server = server;
    this.#timeoutMs = requestTimeoutMs;
    const handshakeMs = Math.max(requestTimeoutMs, startTimeoutMs);
    this.#ledger = new RequestLedger(requestTimeoutMs, handshakeMs, clock, (request) => this.#onOverdue(request));
    this.#connection = connection;
  }

  /** How many wait for an answer. */
  get size(): number {
    return this.#ledger.size;
  }

  has(id: RequestId): boolean {
    return this.#ledger.has(id);
  }

  /**
   * @param repeats - whether `onOutcome` is told, in place of an answer, that the session was lost before the request
   * @returns true when it has been handed over already: then `onOutcome` is not called
   */
  send(
    transport: StrictTransport,
    message: JSONRPCRequest,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
    repeats: boolean,
  ): boolean {
    const request = this.#ledger.add(message);
    const isHandedOver = transport.send(message, options, (failure) => {
      if (failure === undefined) {
        this.#ledger.delivered(request);
      } else if (failure.code === 'MESSAGE_INVALID') {
        this.#ledger.drop(request) && this.settle();
        onOutcome(failure);
        return;
      } else if (repeats && wasNotTaken(failure) && this.#ledger.drop(request)) {
        this.settle();
        onOutcome(failure);
        return;
      } else {
        this.#refuse(request, failure);
        this.#connection.onNotSent(failure);
      }
      onOutcome();
    });
    // The time-out counts from here in either case.
    request.delivered ||= isHandedOver;
    return isHandedOver;
  }

  /** Answers one that the server is not to get. */
  refuse(message: JSONRPCRequest, error: GatewayError): void {
    this.#refuse(this.#ledger.add(message), error);
  }

  /** Takes out the request that an answer of this id is for, before the answer is delivered; undefined when nobody waits for it. */
  takeAnswered(id: RequestId): OpenRequest | undefined {
    return this.#ledger.takeAnswered(id);
  }

  /** Tells that one waits no longer, such as for an answer that was taken and has been delivered. */
  settle(): void {
    this.#connection.onSettled();
    this.#wake();
  }

  /** Gives the request of a progress token more time. */
  extend(progressToken: unknown): void {
    this.#ledger.extend(progressToken);
  }

  /** Nobody waits for the answer any more. */
  forget(id: RequestId): void {
    if (this.#ledger.take(id) !== undefined) {
      this.settle();
    }
  }

  /** The server has ended a stream that somebody listens to, without an answer. */
  endStream(id: unknown): void {
    this.#ledger.endStream(id);
  }

  /** Nobody waits for any answer any more. */
  forgetAll(): void {
    this.#ledger.takeAll();
    this.#wake();
  }

  /** The server has ended: answers all, oldest first. */
  failAll(reason: GatewayError): void {
    for (const request of this.#ledger.takeAll()) {
      // What the runtime was still sending may have arrived.
      this.#answer(request, reason, request.delivered || 'unknown');
    }
    this.#wake();
  }

  /** Resolves when none waits for an answer. */
  whenNone(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#wake();
    });
  }

  /** Answers a request that was not handed over, unless the end of the server has answered it already. */
  #refuse(request: OpenRequest, error: GatewayError): void {
    if (this.#ledger.drop(request)) {
      this.#answer(request, error, error.delivered ?? 'unknown');
      this.settle();
    }
  }

  #answer(request: OpenRequest, error: GatewayError, delivered: boolean | 'unknown'): void {
    const outcome = delivered === false ? 'was not delivered' : 'got no answer, outcome unknown';
    const server = error.server === undefined ? '' : `"${error.server}": `;
    const message = `${server}${request.method} ${outcome}: ${messageOf(error)}`;
    this.#connection.onAnswer(toErrorResponse(request.id, error, delivered, message));
  }

  #onOverdue(request: OpenRequest): void {
    const { timeoutMs } = request;
    const limit = `${timeoutMs === this.#timeoutMs ? 'request' : 'start'}_timeout (${timeoutMs} ms)`;
    const text =
      request.extensions < maxExtensions
        ? `no answer within ${limit}`
        : `no answer, though progress has restarted ${limit} ${maxExtensions} times, which is as often as it may`;
    const error = new GatewayError('REQUEST_TIMEOUT', text, { server: this.#server, delivered: false });
    this.#answer(request, error, request.delivered || 'unknown');
    this.settle();
    this.#connection.onOverdue(request);
  }

  #wake(): void {
    if (this.#waiting.length > 0 && this.#ledger.size === 0) {
      for (const resolve of this.#waiting.splice(0)) {
        resolve();
      }
    }
  }
}
