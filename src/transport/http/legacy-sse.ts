import { GatewayError } from '../../errors.js';
import { isRequest, isResponse, type JSONRPCMessage, type RequestId } from '../../sdk.js';
import { settledWithin } from '../../util/abort.js';
import { findNamed } from '../json-rpc.js';
import { readErrorBody } from './answer-error.js';
import type { HttpAnswer } from './call.js';
import { readEvents } from './events.js';
import { Exchange } from './exchange.js';
import { asksForLife } from './health.js';
import { cancelledId, SendingOrder } from './sending-order.js';
import { mediaType, type Step, showUrl, statusError } from './status.js';
import { closedError, readFailure, receiveEvent, type Wire, type WireOptions } from './wire.js';

/** How long a server may take to acknowledge a request that it has answered already. */
const lingerMs = 5_000;

/**
 * MCP over HTTP+SSE, as revision 2024-11-05 has it: one stream for all that the server sends, which names the address
 * that messages are posted to. The stream is the session: when it ends, so does the session.
 */
export class LegacySseWire implements Wire {
  readonly sessionId = undefined;
  readonly #options: WireOptions;
  readonly #order = new SendingOrder();
  readonly #posts = new Set<Exchange>();
  /** Requests that are not acknowledged, each with what is done when nobody waits for that any more. */
  readonly #waiting = new Map<RequestId, () => void>();
  #stream: Exchange | undefined;
  #endpoint: URL | undefined;
  #protocolVersion: string | undefined;
  #closed = false;

  constructor(options: WireOptions) {
    this.#options = options;
  }

  setProtocolVersion(version: string): void {
    this.#protocolVersion = version;
  }

  /**
   * Opens the stream, and waits until the server has named the address.
   *
   * @throws `GatewayError`; nothing is left open then
   */
  async connect(): Promise<void> {
    const { server, url, headersTimeoutMs } = this.#options;
    const step: Step = { server, url, name: 'GET (stream of HTTP+SSE)' };
    const stream = new Exchange(this.#options, {
      url,
      method: 'GET',
      step: step.name,
      headers: { accept: 'text/event-stream', 'accept-encoding': 'identity' },
      headersTimeoutMs,
    });
    this.#stream = stream;
    const answer = await stream.answer;
    const type = mediaType(answer.header('content-type'));
    if (answer.status !== 200) {
      throw statusError(
        answer,
        stream.hide(await readErrorBody(answer, this.#options.clock)),
        step,
        this.#options.clock,
      );
    }
    if (type !== 'text/event-stream') {
      answer.abort();
      const what = type === '' ? 'no content type' : type;
      throw this.#invalid(`${step.name}: ${showUrl(url)} answered with ${what} instead of an event stream`);
    }
    this.#endpoint = await this.#read(stream, answer);
  }

  send(message: JSONRPCMessage, body: string): Promise<void> {
    const cancelled = this.#waiting.get(cancelledId(message) as RequestId);
    const sent = this.#order.send(message, () => this.#post(message, body));
    // Not for long: the cancellation may be waiting for the very connection of what it cancels.
    if (cancelled !== undefined) void settledWithin(sent, lingerMs, this.#options.clock).then(cancelled);
    return sent;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const post of this.#posts) post.abort();
    this.#stream?.abort();
  }

  /** Resolves with the address for messages; what comes later is handed on. */
  #read(stream: Exchange, answer: HttpAnswer): Promise<URL> {
    const { server, url, clock, headersTimeoutMs, maxMessageBytes } = this.#options;
    return new Promise<URL>((resolve, reject) => {
      let named = false;
      /** There is no session, so its stream cannot be lost. */
      let refused = false;
      const refuse = (message: string) => {
        refused = true;
        reject(this.#invalid(message));
        stream.abort();
      };
      const late = clock.setTimeout(() => {
        const what = `${showUrl(url)} opened its stream and did not name the address for messages within the time allowed`;
        refuse(`${what}; is it an MCP server, or does a proxy hold its events back?`);
      }, headersTimeoutMs);
      readEvents(answer, maxMessageBytes, {
        event: (type, data) => {
          if (type === 'message') {
            this.#receive(data);
          } else if (type === 'endpoint' && !named) {
            named = true;
            clock.clearTimeout(late);
            const endpoint = URL.parse(data, url.href);
            if (endpoint !== null && endpoint.origin === url.origin) {
              resolve(endpoint);
            } else {
              const where = endpoint === null ? 'no address' : endpoint.origin;
              refuse(`the server wants messages to go to ${where}, which is not its own origin; refused`);
            }
          }
        },
        id() {},
        retry() {},
        end: (cause) => {
          clock.clearTimeout(late);
          if (refused) return;
          if (this.#closed) {
            reject(closedError(server, false));
            return;
          }
          const failure = cause && readFailure(cause, stream, 'an event of the server', server);
          if (!named) {
            reject(
              failure ??
                this.#invalid(
                  `${showUrl(url)} ended its stream before it named the address for messages; does a proxy hold its events back?`,
                ),
            );
          } else {
            this.#lost(failure);
          }
        },
      });
    });
  }

  #receive(data: string): void {
    for (const message of receiveEvent(data, this.#options)) {
      if (isResponse(message)) findNamed(this.#waiting, message.id)?.();
    }
  }

  async #post(message: JSONRPCMessage, body: string): Promise<void> {
    const { server, headersTimeoutMs } = this.#options;
    const url = this.#endpoint;
    if (this.#closed || url === undefined) {
      throw new GatewayError('TRANSPORT_CLOSED', 'the transport is closed', { server, delivered: false });
    }
    const step: Step = { server, url, name: `POST ${'method' in message ? message.method : 'of an answer'}` };
    const isSignOfLife = asksForLife(message);
    // Some servers acknowledge a request when its work is done, which takes as long as it does.
    const needsWork = isRequest(message) && message.method !== 'initialize' && !isSignOfLife;
    const post = new Exchange(this.#options, {
      url,
      method: 'POST',
      step: step.name,
      body,
      headers: {
        'content-type': 'application/json',
        ...(this.#protocolVersion !== undefined && { 'mcp-protocol-version': this.#protocolVersion }),
      },
      headersTimeoutMs: needsWork ? 0 : headersTimeoutMs,
      onNoAccess: isSignOfLife ? 'renew' : 'ask',
    });
    const taken = this.#taken(post, step);
    return isRequest(message) ? this.#takenOrAnswered(message.id, post, taken) : taken;
  }

  /** Waits until the server has acknowledged a message. */
  async #taken(post: Exchange, step: Step): Promise<void> {
    const { server, clock } = this.#options;
    this.#posts.add(post);
    try {
      const answer = await post.answer;
      if (answer.status < 300) {
        this.#options.leftovers.discard(answer);
        return;
      }
      const text = await readErrorBody(answer, clock);
      throw statusError(answer, post.hide(text), step, clock);
    } catch (error) {
      if (!this.#closed || !GatewayError.is(error)) throw error;
      const { delivered } = error;
      throw closedError(server, delivered);
    } finally {
      this.#posts.delete(post);
    }
  }

  /** The same for a request, or until it is answered or cancelled: what becomes of its POST is then of no interest. */
  #takenOrAnswered(id: RequestId, post: Exchange, taken: Promise<void>): Promise<void> {
    const { clock } = this.#options;
    return new Promise((resolve, reject) => {
      let late: unknown;
      let isOver = false;
      const settle = () => {
        resolve();
        if (!isOver) late ??= clock.setTimeout(() => post.abort(), lingerMs);
      };
      this.#waiting.set(id, settle);
      const end = () => {
        isOver = true;
        clock.clearTimeout(late);
        // Another may have come under the same id.
        if (this.#waiting.get(id) === settle) this.#waiting.delete(id);
      };
      void taken.then(resolve, reject).then(end);
    });
  }

  #lost(cause: GatewayError | undefined): void {
    const { server } = this.#options;
    const tooLarge = cause?.code === 'MESSAGE_TOO_LARGE';
    const message = tooLarge
      ? 'the server sent an event that is larger than max_message; the session is over'
      : `the stream of the server ended${cause === undefined ? '' : ` (${cause.message})`}; connect again`;
    this.#options.onLost(
      new GatewayError(tooLarge ? 'MESSAGE_TOO_LARGE' : 'SESSION_LOST', message, {
        server,
        cause,
        exit: { reason: tooLarge ? 'message-too-large' : 'stream-ended', stderrTail: '' },
        delivered: 'unknown',
      }),
    );
  }

  #invalid(message: string): GatewayError {
    return new GatewayError('ANSWER_INVALID', message, { server: this.#options.server, delivered: false });
  }
}
