import type { ServerDefinition } from './catalog/catalog.js';
import type { CatalogEntry } from './catalog-entry.js';
import type { EndpointServer } from './endpoint/endpoint-server.js';
import { everybody } from './endpoint/snapshot.js';
import type { LinkTransport } from './instance/link-transport.js';
import type { LinkWatchSettings } from './instance/link-watch.js';
import { watchesItself } from './instance/session-pool.js';
import type { Caller, RuntimeProgress } from './runtime.js';

/** What the merged peer of one caller needs to know of an entry, as the catalog has it now: there is one for each caller. */
export class CallerServer implements EndpointServer {
  readonly id: string;
  readonly entry: CatalogEntry;
  readonly #caller: Caller;
  readonly #definition: ServerDefinition;
  /** What is shared is watched once, by the session that shares it: also its start, which may have to wait for a pull. */
  readonly #isWatched: boolean;

  constructor(entry: CatalogEntry, caller: Caller) {
    this.id = entry.definition.id;
    this.entry = entry;
    this.#caller = caller;
    this.#definition = entry.definition;
    this.#isWatched = watchesItself(entry.definition.isolation, caller);
  }

  get isPerRequest(): boolean {
    return this.#definition.isolation === 'request';
  }

  get displayName(): string {
    return this.#definition.displayName;
  }

  get fingerprint(): string {
    // With an instance for each request it has no tasks, which stand in what was known of it with others.
    return this.isPerRequest ? `${this.entry.fingerprint} request` : this.entry.fingerprint;
  }

  get listTimeoutMs(): number {
    return this.#definition.listTimeoutMs;
  }

  get startTimeoutMs(): number | undefined {
    return this.#isWatched ? this.#definition.startTimeoutMs : undefined;
  }

  get watch(): LinkWatchSettings | undefined {
    return this.#isWatched ? this.#definition : undefined;
  }

  get timesStopped(): number {
    return this.entry.supervisor.timesStopped;
  }

  get untilStopped(): AbortSignal {
    return this.entry.untilStopped;
  }

  get restart(): ServerDefinition['restart'] {
    return this.#definition.restart;
  }

  get tools(): ServerDefinition['tools'] {
    return this.#definition.tools;
  }

  isKept(): boolean {
    // With an instance for each request there is none that could go on.
    return this.entry.goesOn && !this.isPerRequest;
  }

  snapshotOwner(): string | undefined {
    const { principal, id } = this.#caller;
    const { isolation } = this.#definition;
    if (isolation === 'shared') {
      return everybody;
    }
    // As for who shares an instance.
    return isolation === 'principal' && principal !== undefined ? `principal ${principal}` : id && `caller ${id}`;
  }

  isRunning(caller: Caller): boolean {
    return this.entry.sessions.isRunning(caller);
  }

  connect(caller: Caller, onProgress: (progress: RuntimeProgress) => void): LinkTransport {
    return this.entry.sessions.connect(caller, onProgress);
  }
}
