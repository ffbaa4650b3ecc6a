import type { PeerExtra } from '../endpoint/peer.js';
import { GatewayError } from '../errors.js';
import { toErrorResponse } from '../instance/error-response.js';
import type { Clock } from '../options.js';
import type { Caller } from '../runtime.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type MessageExtraInfo,
  type RequestId,
  type TransportSendOptions,
} from '../sdk.js';
import { deliver } from '../transport/callback.js';
import { isJsonRpcMessage } from '../transport/json-rpc.js';
import { bounded } from './bounded-body.js';
import { cancelledIn } from './cancelled-requests.js';
import { HeldQuestions } from './held-questions.js';
import { Refusal } from './refusal.js';
import { watch } from './web-body.js';
import type { WebServerTransport } from './web-sessions.js';

type HandleOptions = Parameters<WebServerTransport['handleRequest']>[1];

/** The SDK's transport, as far as it is needed. */
export interface SdkTransport extends WebServerTransport {
  /** Ends the response to a request. */
  closeSSEStream(id: RequestId): void;
}

/** A POST with requests. */
interface Post {
  /** Those that are neither answered nor cancelled. */
  readonly waiting: Set<RequestId>;
  readonly cancelled: RequestId[];
  /** While its messages are handed on. */
  taken: Promise<unknown> | undefined;
  /** Its client has left. */
  isLost: boolean;
}

/**
 * The SDK's transport for a session of `gateway.fetch`. Tells with each message who sent it: `authInfo`, the only thing that
 * the SDK hands on, is the whole caller for it. What belongs to a request whose client has left goes to the stream of the
 * session, and what is asked while there is none waits for it: the SDK drops both. What is cancelled holds no response,
 * and a client that does not read is given up.
 */
export class FetchTransport implements WebServerTransport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #inner: SdkTransport;
  readonly #held: HeldQuestions;
  /** Requests that are not answered, each with the POST that it came with. */
  readonly #open = new Map<RequestId, Post>();
  #hasStream = false;
  /** The session ends, and what comes from now on would get no answer of it. */
  #isEnding = false;

  /** @param create - makes the SDK's transport, whose client may end the session */
  constructor(create: (settings: { onsessionclosed(): Promise<void> }) => SdkTransport, clock: Clock) {
    const inner = create({ onsessionclosed: () => this.#answerOpen() });
    this.#inner = inner;
    this.#held = new HeldQuestions(clock, (answer) => deliver(this, answer));
    inner.onmessage = (message, extra) => this.onmessage?.(message, withCaller(extra));
    inner.onerror = (error) => this.onerror?.(error);
    inner.onclose = () => {
      this.#held.clear();
      this.onclose?.();
    };
  }

  get sessionId(): string | undefined {
    return this.#inner.sessionId;
  }

  start(): Promise<void> {
    return this.#inner.start();
  }

  /** Answers what is open with an error, and ends the stream. */
  async close(): Promise<void> {
    await this.#answerOpen();
    await this.#inner.close();
  }

  async send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if ('method' in message && message.method === 'notifications/cancelled') {
      if (this.#held.withdraw(message.params?.requestId as RequestId)) {
        return;
      }
    }
    if (isResponse(message)) {
      const id = message.id as RequestId;
      const post = this.#open.get(id);
      this.#open.delete(id);
      await this.#inner.send(message, options);
      post?.waiting.delete(id);
      this.#endCancelled(post);
    } else if (this.#open.get(options?.relatedRequestId as RequestId)?.isLost === false) {
      await this.#inner.send(message, options);
    } else if (this.#hasStream || !isRequest(message)) {
      await this.#inner.send(message);
    } else {
      const ask = () => void this.#inner.send(message).catch((error) => this.onerror?.(error));
      this.#held.add(message.id, JSON.stringify(message).length, ask);
    }
  }

  async handleRequest(request: Request, options?: HandleOptions): Promise<Response> {
    if (request.method === 'POST') {
      return this.#post(request, options);
    }
    const response = await this.#inner.handleRequest(request, options);
    if (request.method !== 'GET' || !response.ok) {
      return response;
    }
    this.#hasStream = true;
    this.#held.release();
    const watched = watch(response, request, () => {
      this.#hasStream = false;
    });
    return bounded(watched);
  }

  /** @throws Refusal */
  async #post(request: Request, options: HandleOptions): Promise<Response> {
    const messages = messagesOf(options?.parsedBody);
    const ids = messages.filter(isRequest).map(({ id }) => id);
    const cancelled = cancelledIn(messages);
    const before = cancelled.flatMap((id) => this.#open.get(id)?.taken ?? []);
    if (before.length > 0) {
      // It would overtake what it cancels, which then went on without a response.
      await Promise.allSettled(before);
    }
    if (this.#isEnding) {
      throw new Refusal('session-unknown', 'Session not found');
    }
    this.#checkIds(ids);
    const post: Post = { waiting: new Set(ids), cancelled: [], taken: undefined, isLost: false };
    // Before there is a response: something may be asked at once.
    for (const id of ids) {
      this.#open.set(id, post);
    }
    const taking = this.#inner.handleRequest(request, options);
    post.taken = taking;
    const response = await taking;
    post.taken = undefined;
    if (!response.ok) {
      this.#forget(ids, post);
      return response;
    }
    for (const id of cancelled) {
      this.#cancel(id);
    }
    const watched = watch(response, request, () => {
      post.isLost = true;
    });
    return bounded(watched);
  }

  /** The SDK would answer the wrong one of two requests of one name, and the other never. */
  #checkIds(ids: readonly RequestId[]): void {
    // A batch may hold very many: the SDK counts them later.
    const once = new Set(ids);
    const used = ids.find((id) => this.#open.has(id) || !once.delete(id));
    if (used !== undefined) {
      throw new Refusal('message', `The request id ${JSON.stringify(used)} is in use by an open request`);
    }
  }

  /** Whoever cancels a request gets no answer to it, and is not to hold a response for it. */
  #cancel(id: RequestId): void {
    const post = this.#open.get(id);
    this.#open.delete(id);
    if (post?.waiting.delete(id)) {
      post.cancelled.push(id);
      this.#endCancelled(post);
    }
  }

  /** Ends the response to a POST of which nothing is waited for any more. The SDK waits for the answers to what was cancelled. */
  #endCancelled(post: Post | undefined): void {
    if (post === undefined || post.waiting.size > 0) {
      return;
    }
    for (const id of post.cancelled) {
      this.#inner.closeSSEStream(id);
      // Nobody reads it; by it the SDK forgets the request, and says that it was in vain.
      const error = { code: -32603, message: 'the request was cancelled' };
      this.#inner.send({ jsonrpc: '2.0', id, error }).catch(() => {});
    }
  }

  async #answerOpen(): Promise<void> {
    this.#isEnding = true;
    // What is being taken has no response yet that an answer could go to.
    await Promise.allSettled([...this.#open.values()].map(({ taken }) => taken));
    const error = new GatewayError('TRANSPORT_CLOSED', 'the session has ended');
    const answers = [...this.#open.keys()].map((id) => this.send(toErrorResponse(id, error, 'unknown')));
    // Nobody hears of it whose client has left.
    await Promise.allSettled(answers);
  }

  #forget(ids: readonly RequestId[], post: Post): void {
    for (const id of ids) {
      if (this.#open.get(id) === post) {
        this.#open.delete(id);
      }
    }
  }
}

function messagesOf(body: unknown): readonly JSONRPCMessage[] {
  const messages: readonly unknown[] = Array.isArray(body) ? body : [body];
  return messages.filter(isJsonRpcMessage);
}

function withCaller({ authInfo, ...extra }: MessageExtraInfo = {}): PeerExtra {
  const caller = authInfo as unknown as Caller;
  return { ...extra, authInfo: caller.authInfo, caller } as PeerExtra;
}
