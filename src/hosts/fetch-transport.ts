import type { PeerExtra } from '../endpoint/peer.js';
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
import { HeldQuestions } from './held-questions.js';
import { Refusal } from './refusal.js';
import { watch } from './web-body.js';
import type { WebServerTransport } from './web-sessions.js';

type HandleOptions = Parameters<WebServerTransport['handleRequest']>[1];

/** A POST with requests. */
interface Post {
  /** Its client has left. */
  isLost: boolean;
}

/**
 * The SDK's transport for a session of `gateway.fetch`. Tells with each message who sent it: `authInfo`, the only thing that
 * the SDK hands on, is the whole caller for it. What belongs to a request whose client has left goes to the stream of the
 * session, and what is asked while there is none waits for it: the SDK drops both.
 */
export class FetchTransport implements WebServerTransport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #inner: WebServerTransport;
  readonly #held: HeldQuestions;
  /** Requests that are not answered, each with the POST that it came with. */
  readonly #open = new Map<RequestId, Post>();
  #hasStream = false;

  constructor(inner: WebServerTransport, clock: Clock) {
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

  close(): Promise<void> {
    return this.#inner.close();
  }

  async send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if ('method' in message && message.method === 'notifications/cancelled') {
      if (this.#held.withdraw(message.params?.requestId as RequestId)) {
        return;
      }
    }
    if (isResponse(message)) {
      this.#open.delete(message.id as RequestId);
      await this.#inner.send(message, options);
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
    return watch(response, request.signal, () => {
      this.#hasStream = false;
    });
  }

  /** @throws Refusal */
  async #post(request: Request, options: HandleOptions): Promise<Response> {
    const messages = messagesOf(options?.parsedBody);
    const ids = messages.filter(isRequest).map(({ id }) => id);
    this.#checkIds(ids);
    const post: Post = { isLost: false };
    // Before there is a response: something may be asked at once.
    for (const id of ids) {
      this.#open.set(id, post);
    }
    const response = await this.#inner.handleRequest(request, options);
    if (!response.ok) {
      this.#forget(ids, post);
      return response;
    }
    for (const message of messages) {
      this.#seeCancel(message);
    }
    return watch(response, request.signal, () => {
      post.isLost = true;
    });
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

  /** Whoever cancels a request gets no answer to it: its id is free. */
  #seeCancel(message: JSONRPCMessage): void {
    if ('method' in message && message.method === 'notifications/cancelled') {
      this.#open.delete(message.params?.requestId as RequestId);
    }
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
