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
  /** How many connections are subscribed to a URI, and how many requests of theirs ask for it: who leaves looks at no other. */
  readonly #wanted = new Map<string, number>();
  /** How many of that are subscriptions. */
  #granted = 0;

  constructor(link: Link, connections: SharedConnections) {
    this.#link = link;
    this.#connections = connections;
  }

  get any(): boolean {
    return this.#granted > 0;
  }

  /** Who is subscribed to a resource, or to one that it is a part of. */
  of(uri: string): SharedTransport[] {
    return this.#connections.all.filter(({ subscriptions }) => [...subscriptions].some((own) => isPartOf(uri, own)));
  }

  /** A connection comes, perhaps with what it had in another session. What that has not answered it asks for again. */
  enter(from: SharedTransport): void {
    from.subscribing.clear();
    for (const uri of from.subscriptions) {
      this.#count(uri, 1);
    }
    this.#granted += from.subscriptions.size;
  }

  /** A connection asks the server for a subscription. */
  asked(from: SharedTransport, request: JSONRPCRequest): void {
    from.subscribing.add(request);
    this.#count(uriOf(request), 1);
  }

  /** A request of a connection has its answer, and may have been one for a subscription. */
  answered(from: SharedTransport, request: JSONRPCRequest, isGranted: boolean): void {
    const uri = uriOf(request);
    if (this.#asksNoMore(from, request) && isGranted && !from.subscriptions.has(uri)) {
      from.subscriptions.add(uri);
      this.#count(uri, 1);
      this.#granted += 1;
    }
  }

  /** A connection waits no more for the answer to a request. */
  cancelled(from: SharedTransport, request: JSONRPCRequest): void {
    if (this.#asksNoMore(from, request)) {
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
    if (from.subscriptions.delete(uri)) {
      this.#count(uri, -1);
      this.#granted -= 1;
    }
    for (const asked of from.subscribing) {
      uriOf(asked) === uri && this.#asksNoMore(from, asked);
    }
    return this.#wanted.has(uri);
  }

  /** A connection has gone. */
  leave(from: SharedTransport): void {
    const uris = [...from.subscriptions, ...[...from.subscribing].map(uriOf)];
    for (const uri of uris) {
      this.#count(uri, -1);
    }
    this.#granted -= from.subscriptions.size;
    for (const uri of new Set(uris)) {
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
    if (!this.#wanted.has(uri) && this.#isServed) {
      this.#link.ask('resources/unsubscribe', { uri }).catch(() => {});
    }
  }

  get #isServed(): boolean {
    return this.#link.handshake !== undefined && !this.#link.isEnding;
  }

  /** @returns whether it did */
  #asksNoMore(from: SharedTransport, request: JSONRPCRequest): boolean {
    const has = from.subscribing.delete(request);
    has && this.#count(uriOf(request), -1);
    return has;
  }

  #count(uri: string, change: number): void {
    const count = (this.#wanted.get(uri) ?? 0) + change;
    count > 0 ? this.#wanted.set(uri, count) : this.#wanted.delete(uri);
  }
}

/** The URI that is asked for in a request for a subscription. */
function uriOf({ params }: JSONRPCRequest): string {
  return params?.uri as string;
}
