import type { JSONRPCMessage } from '../sdk.js';
import type { RelatedInfo } from '../transport/related-info.js';
import type { Exchange } from './exchanges.js';
import type { SharedTransport } from './shared-transport.js';

/** A request of a connection. */
export interface SharedExchange extends Exchange {
  readonly from: SharedTransport;
}

/** The connections that share a session, and which of them what the server says is for. */
export class SharedConnections {
  readonly #all = new Set<SharedTransport>();
  #latest: SharedTransport | undefined;

  get size(): number {
    return this.#all.size;
  }

  get all(): SharedTransport[] {
    return [...this.#all];
  }

  add(transport: SharedTransport): void {
    this.#all.add(transport);
  }

  delete(transport: SharedTransport): void {
    this.#all.delete(transport);
    if (this.#latest === transport) {
      this.#latest = this.all.at(-1);
    }
  }

  clear(): void {
    this.#all.clear();
  }

  /** It has asked for something. */
  used(transport: SharedTransport): void {
    this.#latest = transport;
  }

  /**
   * The connection in whose request the server asks, else of those that can answer one that waits for the server, for stateless
   * callers can be asked only then, else any; of several the one that asked last.
   */
  whoAnswers(method: string, origin: Exchange | undefined): SharedTransport | undefined {
    const from = fromOf(origin);
    if (from?.answers(method)) {
      return from;
    }
    const { all } = this;
    const latest = this.#latest ?? all.at(-1);
    const able = all.filter((transport) => transport.answers(method));
    const waiting = able.filter(({ isWaiting }) => isWaiting);
    const some = waiting.length > 0 ? waiting : able;
    return some.find((transport) => transport === latest) ?? some.at(-1) ?? latest;
  }

  /** Tells each user of some connections once. */
  tell(some: readonly SharedTransport[], message: JSONRPCMessage, origin?: Exchange): void {
    // The connection of the request that it belongs to, or that asked last, comes before another one of its user.
    const first = fromOf(origin) ?? this.#latest;
    const heard = new Set<unknown>();
    for (const transport of some.toSorted((a, b) => +(b === first) - +(a === first))) {
      if (!heard.has(transport.user)) {
        heard.add(transport.user);
        deliverTo(transport, message, origin);
      }
    }
  }
}

/** Delivers a message with the request that it belongs to, if that is one of the connection. */
export function deliverTo(to: SharedTransport, message: JSONRPCMessage, origin: Exchange | undefined): void {
  const related: RelatedInfo | undefined = fromOf(origin) === to ? { relatedRequestId: origin?.callerId } : undefined;
  to.deliver(message, related);
}

/** The connection whose request it is, unless it is one of ours. */
function fromOf(origin: Exchange | undefined): SharedTransport | undefined {
  return (origin as Partial<SharedExchange> | undefined)?.from;
}
