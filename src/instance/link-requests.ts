import { GatewayError } from '../errors.js';
import type { JSONRPCRequest, RequestId } from '../sdk.js';
import { type JsonPart, withPart } from '../transport/json-part.js';
import { toErrorResponse } from './error-response.js';
import { type Exchanges, type Response, setOwnIds } from './exchanges.js';
import { type LinkTransport, wasNotTaken } from './link-transport.js';
import type { SendOutcome } from './strict-transport.js';

/** A link, as its requests see it. */
export interface RequestingLink {
  readonly server: string;
  /** What its server gets messages on; undefined when there is no server. */
  readonly transport: LinkTransport | undefined;
  /**
   * Opens it, once nothing is left of the server before. Rejects with a `GatewayError`.
   *
   * @param isWanted - asked just before: nothing is started for what was cancelled meanwhile
   */
  openNext(isWanted: () => boolean): Promise<void>;
  /** Why its server has ended, that ended then. */
  endedError(when: string): GatewayError;
  /** Something that kept it open has ended. @param goesOn - whoever got it is about to ask for more */
  used(goesOn?: boolean): void;
}

/**
 * The requests of a link on their way: to the server that there is, or to the next one, when this one ends or refuses them
 * unread. Each gets one answer, the server's or an error that says whether the server had got it.
 */
export class LinkRequests {
  readonly #exchanges: Exchanges;
  readonly #link: RequestingLink;
  /** Those that wait for the next server: this one knows nothing of them. */
  #unsent: Set<RequestId> | undefined;
  #isLost = false;

  constructor(exchanges: Exchanges, link: RequestingLink) {
    this.#exchanges = exchanges;
    this.#link = link;
  }

  /** The server does not know the session any more: it ends, though it may not know yet. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** The link has no server any more. */
  gone(): void {
    this.#exchanges.forgetTasks();
    this.#isLost = false;
  }

  /** @param repeats - whether the next server gets it if this one does not know the session any more */
  send(id: RequestId, message: JSONRPCRequest, part: JsonPart | undefined, repeats: boolean): void {
    const { transport } = this.#link;
    if (transport === undefined) {
      // It has ended between its handshake and this turn.
      this.answer(toErrorResponse(id, this.#link.endedError('before it was sent the request')));
      return;
    }
    const onOutcome: SendOutcome = (error, isForNext) => {
      if (error !== undefined && repeats && (isForNext === true || wasNotTaken(error))) {
        this.#isLost ||= transport === this.#link.transport;
        const onRefused = this.#exchanges.get(id)?.onRefused;
        if (onRefused === undefined) {
          this.sendNext(id, message, part, false);
        } else if (this.#exchanges.forget(id)) {
          onRefused(error);
        }
      } else if (error !== undefined) {
        this.answer(toErrorResponse(id, error));
      }
    };
    setOwnIds(message, id);
    if (transport.post !== undefined) {
      transport.post(message, part && withPart(undefined, part), onOutcome, repeats);
    } else {
      transport.send(message).catch((error: unknown) => {
        onOutcome(GatewayError.is(error) ? error : this.#notSent(error));
      });
    }
  }

  /** Sends it as soon as the link is open. */
  sendNext(id: RequestId, message: JSONRPCRequest, part: JsonPart | undefined, repeats: boolean): void {
    this.#unsent ??= new Set();
    this.#unsent.add(id);
    this.#link
      .openNext(() => this.#exchanges.has(id))
      .then(
        () => this.#takeUnsent(id) && this.#sendWaiting(id, message, part, repeats),
        (error: GatewayError) => this.#takeUnsent(id) && this.answer(toErrorResponse(id, error)),
      );
  }

  /** Sends what has waited, unless it must not go any more. */
  #sendWaiting(id: RequestId, message: JSONRPCRequest, part: JsonPart | undefined, repeats: boolean): void {
    const error = this.#exchanges.get(id)?.refusal?.();
    if (error === undefined) {
      this.send(id, message, part, repeats);
    } else {
      this.answer({ jsonrpc: '2.0', id, error });
    }
  }

  /** Nobody waits for it any more. @returns what the server may know of it; undefined when nobody waited for it before */
  forget(id: RequestId): 'sent' | 'unsent' | undefined {
    if (!this.#exchanges.forget(id)) {
      return undefined;
    }
    return this.#takeUnsent(id) ? 'unsent' : 'sent';
  }

  answer(response: Response, part?: JsonPart): void {
    const exchange = this.#exchanges.answer(response, part);
    if (exchange !== undefined && exchange.isProbe !== true) {
      // Of a list in pages the next one is asked for. Some write null, or an empty text, where there is none.
      this.#link.used('result' in response && Boolean(response.result.nextCursor));
    }
  }

  /** No server will answer any of them. */
  failAll(error: GatewayError): void {
    for (const id of this.#exchanges.ids) {
      this.answer(toErrorResponse(id, error, this.#takeUnsent(id) ? false : 'unknown'));
    }
  }

  /** No answer comes to what we have asked ourselves. */
  failProbes(error: GatewayError): void {
    for (const id of this.#exchanges.ids) {
      this.#exchanges.get(id)?.isProbe && this.answer(toErrorResponse(id, error));
    }
  }

  /** @returns whether it was still waiting for the next server; it does so no more */
  #takeUnsent(id: RequestId): boolean {
    const wasUnsent = this.#unsent?.delete(id) === true;
    if (this.#unsent?.size === 0) {
      this.#unsent = undefined;
    }
    return wasUnsent;
  }

  #notSent(cause: unknown): GatewayError {
    return new GatewayError('TRANSPORT_CLOSED', String(cause), { server: this.#link.server, delivered: false });
  }
}
