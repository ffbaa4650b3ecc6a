import type { PeerExtra } from '../endpoint/peer.js';
import type { Clock } from '../options.js';
import type { Caller } from '../runtime.js';
import {
  isRequest,
  type JSONRPCMessage,
  type MessageExtraInfo,
  type RequestId,
  type TransportSendOptions,
} from '../sdk.js';
import { deliver } from '../transport/callback.js';
import { HeldQuestions } from './held-questions.js';
import { watch } from './web-body.js';
import type { WebServerTransport } from './web-sessions.js';

/**
 * The SDK's transport for a session of `gateway.fetch`. Tells with each message who sent it: `authInfo`, the only thing that
 * the SDK hands on, is the whole caller for it. Holds what is asked while the client has no stream, which the SDK drops.
 */
export class FetchTransport implements WebServerTransport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #inner: WebServerTransport;
  readonly #held: HeldQuestions;
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
    if (isRequest(message) && options?.relatedRequestId === undefined && !this.#hasStream) {
      const ask = () => void this.#inner.send(message).catch((error) => this.onerror?.(error));
      this.#held.add(message.id, JSON.stringify(message).length, ask);
      return;
    }
    await this.#inner.send(message, options);
  }

  async handleRequest(
    request: Request,
    options?: Parameters<WebServerTransport['handleRequest']>[1],
  ): Promise<Response> {
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
}

function withCaller({ authInfo, ...extra }: MessageExtraInfo = {}): PeerExtra {
  const caller = authInfo as unknown as Caller;
  return { ...extra, authInfo: caller.authInfo, caller } as PeerExtra;
}
