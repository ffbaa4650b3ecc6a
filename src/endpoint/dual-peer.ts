import type { GatewayError } from '../errors.js';
import {
  isRequest,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
} from '../sdk.js';
import { hasEnvelope } from '../transport/modern.js';
import type { ModernPeer } from './modern/modern-peer.js';
import type { OpenExchange } from './modern/open-exchange.js';
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

  receive(message: JSONRPCMessage, extra?: MessageExtraInfo): boolean {
    if (this.#closed) {
      return true;
    }
    if (isRequest(message)) {
      if (this.isOpen(message.id)) {
        // Two requests of one name, of which only one could be answered.
        return false;
      }
      return hasEnvelope(message) ? this.#request(message, extra) : this.#toSession().receive(message, extra);
    }
    if (this.#exchanges.size > 0 && isCancellation(message) && this.#cancel(message.params)) {
      return true;
    }
    return this.#session?.receive(message, extra) ?? true;
  }

  isOpen(id: RequestId): boolean {
    return this.#exchanges.has(id) || (this.#session?.isOpen?.(id) ?? false);
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

  #toSession(): Peer {
    this.#session ??= this.#options.createSession(this.#send);
    return this.#session;
  }

  #request(request: JSONRPCRequest, extra: MessageExtraInfo | undefined): boolean {
    const { id } = request;
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
      this.#send(message, { related: id });
    });
    if (!isAnswered) {
      this.#exchanges.set(id, exchange);
    }
    return true;
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

function isCancellation(message: JSONRPCMessage): message is JSONRPCNotification {
  return 'method' in message && message.method === 'notifications/cancelled';
}
