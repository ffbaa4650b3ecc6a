import type { LinkOptions } from '../instance/link.js';
import type { LinkTransport } from '../instance/link-transport.js';
import type { LinkWatchSettings } from '../instance/link-watch.js';
import type { RuntimeProgress } from '../runtime.js';
import type { EndpointServer } from './endpoint-server.js';
import type { LatestCaller } from './latest-caller.js';

export interface CurrentServerOptions {
  /** By id, as the catalog has them now. */
  readonly servers: ReadonlyMap<string, EndpointServer>;
  readonly caller: LatestCaller;
  onProgress(server: EndpointServer, progress: RuntimeProgress): void;
}

/** What a link needs of its server, which is another one when the link opens again after a reload. */
export class CurrentServer implements LinkOptions {
  readonly #first: EndpointServer;
  readonly #options: CurrentServerOptions;
  readonly #user: object;

  constructor(first: EndpointServer, options: CurrentServerOptions, user: object) {
    this.#first = first;
    this.#options = options;
    this.#user = user;
  }

  get server(): string {
    return this.#first.id;
  }

  get startTimeoutMs(): number | undefined {
    return this.#now.startTimeoutMs;
  }

  untilStopped(): AbortSignal {
    return this.#now.untilStopped;
  }

  get watch(): LinkWatchSettings | undefined {
    return this.#now.watch;
  }

  connect(): LinkTransport {
    const { caller, onProgress } = this.#options;
    const transport = this.#now.connect(caller.current, (progress) => onProgress(this.#now, progress));
    // After a reload that met a start, two links may share a session.
    return Object.assign(transport, { user: this.#user });
  }

  get #now(): EndpointServer {
    return this.#options.servers.get(this.server) ?? this.#first;
  }
}
