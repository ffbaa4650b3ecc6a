import type { Link } from '../instance/link.js';
import type { EndpointServer } from './endpoint-server.js';
import type { ServerLinks } from './server-links.js';
import type { Subscriptions } from './subscriptions.js';

export interface ToldSubscriptionsOptions {
  /** By id, as the catalog has them now. */
  readonly servers: ReadonlyMap<string, EndpointServer>;
  readonly links: ServerLinks;
  readonly subscriptions: Subscriptions;
  /** What the caller is subscribed to may have changed while no server could say so. */
  onMayHaveChanged(link: Link, uri: string): void;
}

const nothing = () => {};

/** Tells servers that have taken the place of others what the caller is subscribed to. */
export class ToldSubscriptions {
  readonly #options: ToldSubscriptionsOptions;

  constructor(options: ToldSubscriptionsOptions) {
    this.#options = options;
  }

  /** Where the server has ended meanwhile, or a reload has replaced it, the next one is told of a subscription as well. */
  tell(id: string, uri: string): void {
    const { servers, links, subscriptions } = this.#options;
    const server = servers.get(id);
    if (server === undefined) {
      return;
    }
    const isSubscribed = subscriptions.has(id, uri);
    const next = links.to(server);
    if (next.handshake === undefined || (next.isEnding && !isSubscribed)) {
      this.takeOver(id);
    } else {
      isSubscribed ? this.#renew(next, uri) : next.ask('resources/unsubscribe', { uri }).catch(nothing);
    }
  }

  /** A server has opened. */
  opened(link: Link): void {
    for (const uri of this.#options.subscriptions.of(link.server)) {
      this.#renew(link, uri);
    }
  }

  /** The server that the catalog has now takes over what the caller is subscribed to. */
  takeOver(id: string): void {
    const { servers, links, subscriptions } = this.#options;
    const server = servers.get(id);
    // An instance that is gone after one request would be started for nothing.
    if (server?.isPerRequest === false && subscriptions.of(id).length > 0) {
      links.to(server).open().catch(nothing);
    }
  }

  /** Subscribes at a server that another one was before: what has changed meanwhile nobody has heard. */
  #renew(link: Link, uri: string): void {
    const { subscriptions, onMayHaveChanged } = this.#options;
    const mayHaveChanged = () => {
      // After one that has ended the next one is asked.
      if (subscriptions.has(link.server, uri) && link.isRunning && !link.isEnding) {
        onMayHaveChanged(link, uri);
      }
    };
    // What is refused has changed, too: who reads it again hears why.
    link.ask('resources/subscribe', { uri }).then(mayHaveChanged, mayHaveChanged);
  }
}
