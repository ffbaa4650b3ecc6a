import { GatewayError } from '../../errors.js';
import type { JSONRPCMessage } from '../../sdk.js';
import { copyError } from '../../util/copy-error.js';
import { runCallback } from '../callback.js';
import { answerInvalid, readErrorBody } from './answer-error.js';
import { Backoff } from './backoff.js';
import type { HttpAnswer } from './call.js';
import { readEvents } from './events.js';
import type { Exchange } from './exchange.js';
import type { OpenRequest } from './open-request.js';
import { forgetsSession } from './session-lost.js';
import { isEventStream, mayPass, retryAfter, type Step, showUrl, statusError } from './status.js';
import { parseMessages, readFailure, type WireOptions } from './wire.js';

/** How often in a row a stream is taken up in vain: it cannot be had, or is cut before anything has come. */
const mostVainTries = 5;

export interface AnswerStreamOptions {
  readonly wire: WireOptions;
  readonly open: OpenRequest;
  /** Hands a message on. True when it is the answer. */
  deliver(message: JSONRPCMessage): boolean;
  /** Asks for what came after an event, in the step of that name. */
  rest(step: string, lastEventId: string): Exchange;
  /** Told when the server no longer knows the session; gives the error for the request. Undefined when there is none. */
  sessionLost(): ((cause: GatewayError) => GatewayError) | undefined;
}

/** How a stream ended without the answer: in good order, or cut off by `cause`. */
interface Ended {
  readonly cause: GatewayError | undefined;
}

/**
 * The answer to a request as a stream of events. One that breaks before the answer is taken up from its last event, where
 * the server gave events ids; that asks for the answer, it does not send the request again.
 */
export class AnswerStream {
  readonly #options: AnswerStreamOptions;
  readonly #backoff: Backoff;
  #lastEventId: string | undefined;
  /** Something has come since the stream was last opened. */
  #lively = false;

  constructor(options: AnswerStreamOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.wire.clock, options.wire.random);
  }

  /**
   * Resolves with the answer, which was delivered, or once the request is cancelled.
   *
   * @throws `GatewayError` when the answer cannot come any more
   */
  async read(first: HttpAnswer): Promise<void> {
    const { open, wire } = this.#options;
    let vain = 0;
    for (let answer: HttpAnswer | undefined = first; ; ) {
      this.#lively = false;
      // That the server cannot be reached is like a stream that is cut at once.
      const end: Ended | 'answered' | undefined = answer && (await this.#readOne(answer));
      if (end === 'answered' || open.cancelled) return;
      const clean = end !== undefined && end.cause === undefined;
      // A server may have its client poll: it ends a stream in good order whenever it likes, and works on.
      vain = this.#lively || clean ? 0 : vain + 1;
      const lastEventId = this.#lastEventId;
      // It would come as large again.
      const tooLarge = end?.cause?.code === 'MESSAGE_TOO_LARGE';
      if (open.over || open.modern || tooLarge || lastEventId === undefined || vain >= mostVainTries) {
        throw this.#cutOff(end?.cause);
      }
      await open.pause(this.#backoff.next(clean), wire.clock);
      if (open.cancelled) return;
      if (open.over) throw this.#cutOff(undefined);
      answer = await this.#takeUp(lastEventId);
    }
  }

  /** Reads a stream until the answer has come, or the stream has ended without it. */
  #readOne(answer: HttpAnswer): Promise<Ended | 'answered'> {
    const { wire, open, deliver } = this.#options;
    const { send } = open.options;
    const { server, maxMessageBytes, leftovers } = wire;
    const { exchange } = open;
    const host = { onerror: (error: Error) => wire.onTrouble(error) };
    return new Promise((resolve) => {
      let answered = false;
      this.#backoff.opened();
      readEvents(answer, maxMessageBytes, {
        event: (type, data) => {
          if (type !== 'message' || data === '' || open.over) return;
          this.#lively = true;
          const parsed = parseMessages(data);
          if (parsed?.clean !== true) {
            wire.onTrouble(answerInvalid(server, 'the server sent an event that is no message'));
          }
          for (const message of parsed?.messages ?? []) {
            if (!deliver(message)) continue;
            answered = true;
            leftovers.keep(answer);
            resolve('answered');
          }
        },
        id: (id) => {
          this.#lively = true;
          this.#lastEventId = id === '' ? undefined : id;
          if (id !== '') runCallback(host, () => send.onresumptiontoken?.(id));
        },
        retry: (ms) => this.#backoff.asked(ms),
        end: (cause) => {
          if (answered) leftovers.ended(answer);
          if (!open.cancelled) wire.inOrder(() => runCallback(host, () => send.onRequestStreamEnd?.()));
          if (answered) return;
          const what = `the answer to ${open.request.method}`;
          resolve({ cause: cause && readFailure(cause, exchange, what, server) });
        },
      });
    });
  }

  /** Asks for the rest of a stream that broke. Undefined when it cannot be had now, and may be later. */
  async #takeUp(lastEventId: string): Promise<HttpAnswer | undefined> {
    const { open, rest, wire } = this.#options;
    const step = { ...open.options.step, name: `GET (rest of ${open.request.method})` };
    open.goOn(rest(step.name, lastEventId));
    try {
      const answer = await open.exchange.answer;
      if (isEventStream(answer)) return answer;
      if (!mayPass(answer.status)) throw await this.#refused(answer, step, lastEventId);
      answer.abort();
      this.#backoff.askedOnce(retryAfter(answer.header('retry-after'), wire.clock) ?? 0);
      return undefined;
    } catch (error) {
      if (!GatewayError.is(error)) throw error;
      if (error.code === 'CONNECTION_FAILED') return undefined;
      // What it says of itself is true of the question for the rest alone.
      throw copyError(error, { delivered: 'unknown' });
    }
  }

  /** The error for a refusal that is not going to pass. */
  async #refused(answer: HttpAnswer, rest: Step, lastEventId: string): Promise<GatewayError> {
    const { open, wire } = this.#options;
    const { step } = open.options;
    const onSessionLost = this.#options.sessionLost();
    const { status } = answer;
    if (onSessionLost !== undefined && status >= 400) {
      const body = await readErrorBody(answer, wire.clock);
      if (forgetsSession(answer, body, lastEventId)) {
        return onSessionLost(statusError(answer, open.exchange.hide(body), rest, wire.clock));
      }
    }
    answer.abort();
    const refusal = `the rest was refused with HTTP ${status}`;
    return answerInvalid(step.server, `${step.name}: its stream ended before the answer, and ${refusal}`);
  }

  #cutOff(cause: GatewayError | undefined): GatewayError {
    if (cause !== undefined) return cause;
    const { open } = this.#options;
    const { step } = open.options;
    const what = `ended the stream before it sent the answer to ${open.request.method}`;
    return answerInvalid(step.server, `${step.name}: ${showUrl(step.url)} ${what}; does a proxy cut it?`);
  }
}
