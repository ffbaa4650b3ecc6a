import type { GatewayError } from '../errors.js';
import { isRequest, type JSONRPCMessage, type MessageExtraInfo, type RequestId } from '../sdk.js';
import { hasEnvelope } from '../transport/modern.js';
import type { ModernPeer, OpenExchange } from './modern/modern-peer.js';
import type { Peer, PeerFactory, SendToCaller } from './peer.js';

export interface DualPeerOptions {
  readonly createSession: PeerFactory;
  createModern(): ModernPeer;
}

/**
 * The merged peer on a connection whose caller may be of either era: each message says which it belongs to, and what a
 * caller never speaks is never made.
 */
export class DualPeer implements Peer {
  readonly #options: DualPeerOptions;
  readonly #send: SendToCaller;
  readonly #exchanges = new Map<RequestId, OpenExchange>();
  #session: Peer | undefined;
  #modern: ModernPeer | undefined;
  #closed = false;

  constructor(options: DualPeerOptions, send: SendToCaller) {
    this.#options = options;
    this.#send = send;
  }

  receive(message: JSONRPCMessage, extra?: MessageExtraInfo): void {
    if (this.#closed) {
      return;
    }
    if (isRequest(message) && hasEnvelope(message)) {
      this.#request(message, extra);
    } else if ('method' in message && message.method === 'notifications/cancelled' && this.#cancel(message.params)) {
      return;
    } else if (this.#session !== undefined || isRequest(message)) {
      this.#session ??= this.#options.createSession(this.#send);
      this.#session.receive(message, extra);
    }
  }

  isOpen(id: RequestId): boolean {
    return this.#exchanges.has(id) || this.#session?.isOpen(id) === true;
  }

  failAll(reason: GatewayError): void {
    this.#session?.failAll(reason);
    this.#modern?.failAll(reason);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#exchanges.clear();
    await Promise.all([this.#session?.close(), this.#modern?.close()]);
  }

  #request(request: Parameters<ModernPeer['request']>[0], extra: MessageExtraInfo | undefined): void {
    const { id } = request;
    if (this.isOpen(id)) {
      // An id that is in use would name two requests, of which only one could be answered.
      return;
    }
    this.#modern ??= this.#options.createModern();
    let isAnswered = false;
    const exchange = this.#modern.request(request, extra, (message) => {
      if (this.#closed) {
        return;
      }
      if (!('method' in message)) {
        isAnswered = true;
        this.#exchanges.delete(id);
      }
      this.#send(message, id);
    });
    if (!isAnswered) {
      this.#exchanges.set(id, exchange);
    }
  }

  #cancel(params: Readonly<Record<string, unknown>> | undefined): boolean {
    const id = params?.requestId as RequestId;
    const exchange = this.#exchanges.get(id);
    this.#exchanges.delete(id);
    const { _meta: _, requestId: __, ...rest } = params ?? {};
    exchange?.cancel(rest);
    return exchange !== undefined;
  }
}
