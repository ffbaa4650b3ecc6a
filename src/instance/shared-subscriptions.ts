import type { JSONRPCRequest } from '../sdk.js';
import type { Link } from './link.js';
import { isPartOf, toUpdate } from './resource-part.js';
import type { SharedConnections } from './shared-connections.js';
import type { SharedTransport } from './shared-transport.js';

/**
 * What the connections of a session are subscribed to. The server knows of one subscription to a URI, however many have it,
 * and the next server is told of all. Each connection keeps its own, as it may move to another session.
 */
export class SharedSubscriptions {
  readonly #link: Link;
  readonly #connections: SharedConnections;

  constructor(link: Link, connections: SharedConnections) {
    this.#link = link;
    this.#connections = connections;
  }

  get any(): boolean {
    return this.#connections.all.some(({ subscriptions }) => subscriptions.size > 0);
  }

  /** Who is subscribed to a resource, or to one that it is a part of. */
  of(uri: string): SharedTransport[] {
    return this.#connections.all.filter(({ subscriptions }) => [...subscriptions].some((own) => isPartOf(uri, own)));
  }

  /** A connection asks the server for a subscription. */
  asked(from: SharedTransport, request: JSONRPCRequest): void {
    from.subscribing.add(request);
  }

  /** A request of a connection has its answer, and may have been one for a subscription. */
  answered(from: SharedTransport, request: JSONRPCRequest, isGranted: boolean): void {
    if (from.subscribing.delete(request) && isGranted) {
      from.subscriptions.add(uriOf(request));
    }
  }

  /** A connection waits no more for the answer to a request. */
  cancelled(from: SharedTransport, request: JSONRPCRequest): void {
    if (from.subscribing.delete(request)) {
      // The server may have done it before it hears of that.
      this.#tellOfEnd(uriOf(request));
    }
  }

  /**
   * A connection ends its subscription.
   *
   * @returns whether others keep it: the server knows of one, and the last to leave ends it
   */
  end(from: SharedTransport, uri: string): boolean {
    from.subscriptions.delete(uri);
    for (const asked of from.subscribing) {
      uriOf(asked) === uri && from.subscribing.delete(asked);
    }
    return this.#isWanted(uri);
  }

  /** A connection has gone. */
  leave(from: SharedTransport): void {
    for (const uri of new Set([...from.subscriptions, ...[...from.subscribing].map(uriOf)])) {
      this.#tellOfEnd(uri);
    }
    from.subscriptions.clear();
    from.subscribing.clear();
  }

  /** Another server has opened: what has changed since the one before nobody has heard. */
  renew(): void {
    const uris = new Set(this.#connections.all.flatMap(({ subscriptions }) => [...subscriptions]));
    for (const uri of uris) {
      const mayHaveChanged = () => {
        const subscribed = this.#connections.all.filter((each) => each.subscriptions.has(uri));
        // After one that has ended the next one is asked.
        this.#isServed && this.#connections.tell(subscribed, toUpdate(uri));
      };
      // What is refused has changed, too: who reads it again hears why.
      this.#link.ask('resources/subscribe', { uri }).then(mayHaveChanged, mayHaveChanged);
    }
  }

  #tellOfEnd(uri: string): void {
    // For one that ends, the next one would be started.
    if (!this.#isWanted(uri) && this.#isServed) {
      this.#link.ask('resources/unsubscribe', { uri }).catch(() => {});
    }
  }

  get #isServed(): boolean {
    return this.#link.handshake !== undefined && !this.#link.isEnding;
  }

  #isWanted(uri: string): boolean {
    return this.#connections.all.some(
      ({ subscriptions, subscribing }) =>
        subscriptions.has(uri) || [...subscribing].some((asked) => uriOf(asked) === uri),
    );
  }
}

/** The URI that is asked for in a request for a subscription. */
function uriOf({ params }: JSONRPCRequest): string {
  return params?.uri as string;
}
