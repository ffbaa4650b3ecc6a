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
import { watch } from './web-body.js';
import type { WebServerTransport } from './web-sessions.js';

type HandleOptions = Parameters<WebServerTransport['handleRequest']>[1];

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
  /** Requests that are not answered and whose client has not left, each with the POST that it came with. */
  readonly #open = new Map<RequestId, Request>();
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
    } else if (this.#open.has(options?.relatedRequestId as RequestId)) {
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

  async #post(request: Request, options: HandleOptions): Promise<Response> {
    const ids = requestIdsOf(options?.parsedBody);
    if (ids.length === 0) {
      return this.#inner.handleRequest(request, options);
    }
    // Before there is a response: something may be asked at once.
    for (const id of ids) {
      this.#open.set(id, request);
    }
    return watch(await this.#inner.handleRequest(request, options), request.signal, () => this.#leave(ids, request));
  }

  /** A POST has ended. Ids that another one has used since are not its own any more. */
  #leave(ids: readonly RequestId[], request: Request): void {
    for (const id of ids) {
      if (this.#open.get(id) === request) {
        this.#open.delete(id);
      }
    }
  }
}

function requestIdsOf(body: unknown): readonly RequestId[] {
  const messages = (Array.isArray(body) ? body : [body]) as readonly JSONRPCMessage[];
  return messages.filter((message) => isJsonRpcMessage(message) && isRequest(message)).map(({ id }) => id);
}

function withCaller({ authInfo, ...extra }: MessageExtraInfo = {}): PeerExtra {
  const caller = authInfo as unknown as Caller;
  return { ...extra, authInfo: caller.authInfo, caller } as PeerExtra;
}
