import type { IncomingMessage, ServerResponse } from 'node:http';
import type { PeerExtra } from '../../endpoint/peer.js';
import { GatewayError } from '../../errors.js';
import { toErrorResponse, toUnwritable } from '../../instance/error-response.js';
import type { Clock } from '../../options.js';
import type { Caller } from '../../runtime.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
  type TransportSendOptions,
} from '../../sdk.js';
import { deliver } from '../../transport/callback.js';
import { handedOver } from '../../transport/handed-over.js';
import { type JsonPart, lengthOf, partOf, takesPart, withPart } from '../../transport/json-part.js';
import { type MessageJson, stringifyMessage } from '../../transport/message-json.js';
import { once } from '../../util/once.js';
import { cancelledIn } from '../cancelled-requests.js';
import { HeldQuestions } from '../held-questions.js';
import { Refusal } from '../refusal.js';
import type { SessionTransportSettings } from '../session-options.js';
import { isInitialize } from '../session-table.js';
import { Answer } from './answer.js';
import { checkListen, checkPost, checkRevision, readMessages } from './check-request.js';
import { EventStream } from './event-stream.js';
import type { NodeServerTransport } from './server-transport.js';

/**
 * One session of Streamable HTTP on `node:http` (2025-11-25, "Transports", "Streamable HTTP"), for requests that
 * {@link SessionTable} has admitted to it. Each answer goes to the response of its request, as JSON where nothing comes
 * before it; what belongs to none goes to the stream of the session. While there is none, a request waits a while for one,
 * and a notification goes nowhere.
 */
export class NodeHttpTransport implements NodeServerTransport {
  static {
    takesPart(NodeHttpTransport.prototype.send);
  }

  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;
  /** Known from the request on that begins the session. */
  sessionId?: string;

  readonly #settings: SessionTransportSettings;
  readonly #clock: Clock;
  readonly #open = new Map<RequestId, Answer>();
  readonly #held: HeldQuestions;
  #stream: { readonly events: EventStream; readonly response: ServerResponse } | undefined;
  #isStarted = false;
  #isClosed = false;

  constructor(settings: SessionTransportSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
    this.#held = new HeldQuestions(clock, (answer) => deliver(this, answer));
  }

  async start(): Promise<void> {
    if (this.#isStarted) {
      throw new GatewayError('TRANSPORT_CLOSED', 'the transport was started before');
    }
    this.#isStarted = true;
  }

  /**
   * Takes a request. Its answer may come later.
   *
   * @param caller - who sends this request
   * @throws Refusal
   */
  async handleRequest(
    request: IncomingMessage,
    response: ServerResponse,
    body: unknown,
    part?: JsonPart,
    caller?: Caller,
  ): Promise<void> {
    if (this.#isClosed) {
      throw new Refusal('session-unknown', 'Session not found');
    }
    switch (request.method) {
      case 'POST':
        return this.#post(request, response, body, part, caller);
      case 'GET':
        return this.#listen(request, response);
      default:
        checkRevision(request);
        await this.close();
        end(response, 200);
    }
  }

  send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if (this.#isClosed) {
      return Promise.reject(new GatewayError('TRANSPORT_CLOSED', 'the session has ended', { delivered: false }));
    }
    let json: MessageJson;
    try {
      json = stringifyMessage(message, partOf(options));
    } catch (cause) {
      if (isResponse(message) && cause instanceof RangeError) {
        return this.send(toUnwritable(message.id as RequestId));
      }
      return Promise.reject(
        new GatewayError('MESSAGE_INVALID', 'the message cannot be written as JSON', { delivered: false, cause }),
      );
    }
    if (!isResponse(message)) {
      this.#sendOn(message, json, options?.relatedRequestId);
      return handedOver;
    }
    const id = message.id as RequestId;
    const answer = this.#open.get(id);
    this.#open.delete(id);
    if (answer === undefined || answer.isLost) {
      const text = `nobody waits for the answer to request ${JSON.stringify(id)} any more`;
      return Promise.reject(new GatewayError('TRANSPORT_CLOSED', text, { delivered: false }));
    }
    answer.finish(id, json);
    return handedOver;
  }

  /** Answers what is open with an error, and ends the stream. */
  readonly close = once(async () => {
    this.#isClosed = true;
    const error = new GatewayError('TRANSPORT_CLOSED', 'the session has ended');
    for (const [id, answer] of this.#open) {
      answer.isLost || answer.finish(id, JSON.stringify(toErrorResponse(id, error, 'unknown')));
    }
    this.#open.clear();
    this.#held.clear();
    this.#stream?.events.end();
    this.onclose?.();
  });

  #sendOn(message: JSONRPCRequest | JSONRPCNotification, json: MessageJson, related: RequestId | undefined): void {
    if (message.method === 'notifications/cancelled' && this.#held.withdraw(message.params?.requestId as RequestId)) {
      return;
    }
    const answer = this.#open.get(related as RequestId);
    const events = answer === undefined || answer.isLost ? this.#stream?.events : answer;
    if (events !== undefined) {
      events.send(json);
    } else if (isRequest(message)) {
      this.#held.add(message.id, sizeOf(json), () => this.#stream?.events.send(json));
    }
  }

  #post(
    request: IncomingMessage,
    response: ServerResponse,
    body: unknown,
    part: JsonPart | undefined,
    caller: Caller | undefined,
  ): void {
    checkPost(request);
    const messages = readMessages(body);
    if (isInitialize(messages[0])) {
      this.#begin(response);
    } else {
      checkRevision(request);
    }
    const ids = this.#idsOf(messages);
    this.#setSessionId(response);
    ids.length > 0 && this.#await(response, ids);
    const own = toExtra(request, caller);
    const extra = part === undefined ? own : withPart(own, part);
    for (const message of messages) {
      deliver(this, message, extra);
    }
    for (const id of cancelledIn(messages)) {
      this.#cancel(id);
    }
    if (ids.length === 0) {
      end(response, 202);
    }
  }

  /** Whoever cancels a request gets no answer to it, and is not to hold a response for it. */
  #cancel(id: RequestId): void {
    const answer = this.#open.get(id);
    if (answer !== undefined) {
      this.#open.delete(id);
      answer.isLost || answer.drop(id);
    }
  }

  #begin(response: ServerResponse): void {
    if (this.sessionId !== undefined) {
      throw new Refusal('message', 'The session is initialized already');
    }
    if (response.headersSent) {
      throw new GatewayError('OPTION_INVALID', 'the host has begun the response: no session id fits in');
    }
    this.sessionId = this.#settings.sessionIdGenerator();
  }

  #idsOf(messages: readonly JSONRPCMessage[]): readonly RequestId[] {
    const ids = messages.filter(isRequest).map(({ id }) => id);
    for (const [index, id] of ids.entries()) {
      // Two requests of one name, of which only one could be answered.
      if (this.#open.has(id) || ids.indexOf(id) !== index) {
        throw new Refusal('message', `The request id ${JSON.stringify(id)} is in use by an open request`);
      }
    }
    return ids;
  }

  #await(response: ServerResponse, ids: readonly RequestId[]): void {
    const answer = new Answer(response, ids, this.#clock);
    for (const id of ids) {
      this.#open.set(id, answer);
    }
  }

  #listen(request: IncomingMessage, response: ServerResponse): void {
    checkListen(request);
    checkRevision(request);
    if (this.#stream !== undefined) {
      throw new Refusal('stream-open', 'The session has a stream already');
    }
    this.#setSessionId(response);
    const stream = { response, events: new EventStream(response, this.#clock) };
    this.#stream = stream;
    response.once('close', () => {
      if (this.#stream === stream) {
        this.#stream = undefined;
      }
    });
    this.#held.release();
  }

  #setSessionId(response: ServerResponse): void {
    if (this.sessionId !== undefined) {
      response.setHeader('mcp-session-id', this.sessionId);
    }
  }
}

/** Not in a chain: a `writeHead` that a framework has put in place, as restify does, may return nothing. */
function end(response: ServerResponse, status: number): void {
  response.writeHead(status);
  response.end();
}

function sizeOf(json: MessageJson): number {
  return typeof json === 'string' ? json.length : json[0].length + lengthOf(json[1]) + json[2].length;
}

function toExtra(request: IncomingMessage & { readonly auth?: unknown }, caller: Caller | undefined): PeerExtra {
  const { headers, auth } = request;
  return { requestInfo: { headers }, ...(auth !== undefined && { authInfo: auth as never }), caller };
}
