import type { Clock } from '../../options.js';
import type { JSONRPCErrorResponse, JSONRPCRequest, JSONRPCResultResponse } from '../../sdk.js';
import type { AccessRemedy, Exchange } from './exchange.js';
import type { Step } from './status.js';
import type { HttpSendOptions } from './wire.js';

/** How a request is sent. */
export interface OpenRequestOptions {
  /** The stateless revision that it follows, if it is one of that era. */
  readonly version: string | undefined;
  /** Its answer is the rest of a stream of an earlier request, and bears that one's id. */
  readonly replay: boolean;
  /** For messages. */
  readonly step: Step;
  readonly onNoAccess: AccessRemedy;
  /** What its sender wants to hear besides the answer. */
  readonly send: HttpSendOptions;
}

/** A request over Streamable HTTP that waits for its answer. */
export class OpenRequest {
  readonly request: JSONRPCRequest;
  readonly options: OpenRequestOptions;
  /** Sends it once more if it has other headers by now; undefined for what is sent once alone. */
  again: (() => Exchange | undefined) | undefined;
  /** Gets its answer, where it was asked on our own account. */
  onAnswer: ((response: JSONRPCResultResponse | JSONRPCErrorResponse) => void) | undefined;
  /** Its answer has come. */
  answered = false;
  #exchange: Exchange;
  #cancelled = false;
  #over = false;
  #wake = () => {};

  constructor(request: JSONRPCRequest, exchange: Exchange, options: OpenRequestOptions) {
    this.request = request;
    this.options = options;
    this.#exchange = exchange;
  }

  /** It is of the stateless era. */
  get modern(): boolean {
    return this.options.version !== undefined;
  }

  get exchange(): Exchange {
    return this.#exchange;
  }

  /** Nobody waits any more: that its stream ends is no failure. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** Cancelled, or the transport closes. */
  get over(): boolean {
    return this.#over;
  }

  /** Goes on with another exchange, which asks for the rest of the answer, or once more for all of it. */
  goOn(exchange: Exchange): void {
    this.#exchange = exchange;
    if (this.#over) exchange.abort();
  }

  cancel(): void {
    this.#cancelled = true;
    this.stop();
  }

  stop(): void {
    this.#over = true;
    this.#exchange.abort();
    this.#wake();
  }

  /** Like {@link stop}, save that the head of an answer that is on its way may still come. */
  sendNoMore(): void {
    this.#over = true;
    this.#exchange.sendNoMore();
  }

  /** Waits; not at all once it is over. */
  pause(ms: number, clock: Clock): Promise<void> {
    return new Promise((resolve) => {
      const timer = clock.setTimeout(resolve, ms);
      this.#wake = () => {
        clock.clearTimeout(timer);
        resolve();
      };
      if (this.#over) this.#wake();
    });
  }
}
