import { Link, type LinkOwner } from '../instance/link.js';
import type { Caller, RuntimeProgress } from '../runtime.js';
import type { EndpointServer } from './endpoint-server.js';
import type { Interceptor } from './intercept.js';
import { listAll } from './list-all.js';
import { type ListItem, type ListKind, listKinds } from './list-kinds.js';
import { changedKinds, type ServerSnapshot, type SnapshotStore, takeSnapshot } from './snapshot.js';

export interface ServerLinksOptions {
  readonly caller: Caller;
  readonly snapshots: SnapshotStore;
  readonly intercept: Interceptor | undefined;
  readonly owner: LinkOwner;
  onProgress(server: EndpointServer, progress: RuntimeProgress): void;
}

/** One caller's links to its servers, each made when it is first needed, and what is known of a server without asking it. */
export class ServerLinks {
  readonly #options: ServerLinksOptions;
  readonly #links = new Map<string, Link>();

  constructor(options: ServerLinksOptions) {
    this.#options = options;
  }

  to(server: EndpointServer): Link {
    let link = this.#links.get(server.id);
    if (link === undefined) {
      const { caller, owner, onProgress } = this.#options;
      const { id, startTimeoutMs, watch } = server;
      const connect = () => server.connect(caller, (progress) => onProgress(server, progress));
      link = new Link({ server: id, startTimeoutMs, watch, connect }, owner);
      this.#links.set(id, link);
    }
    return link;
  }

  /** The links whose servers are running and initialized. */
  open(): Link[] {
    return [...this.#links.values()].filter((link) => link.handshake !== undefined);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#links.values()].map((link) => link.close()));
  }

  snapshot(server: EndpointServer): ServerSnapshot | undefined {
    const { snapshots, caller } = this.#options;
    return snapshots.get(server.id, server.fingerprint, server.snapshotOwner(caller));
  }

  /**
   * Takes a snapshot of a server that has just started, when somebody may use it later or an earlier one was used.
   *
   * @returns the kinds of lists in which an earlier snapshot was wrong
   */
  async refreshSnapshot(link: Link, server: EndpointServer): Promise<ListKind[]> {
    const { snapshots, caller } = this.#options;
    const owner = server.snapshotOwner(caller);
    const before = this.snapshot(server);
    if (link.handshake === undefined || (before === undefined && owner === undefined)) {
      return [];
    }
    const after = await takeSnapshot(link, link.handshake, server.fingerprint);
    snapshots.set(server.id, owner, after);
    return before === undefined ? [] : changedKinds(before, after);
  }

  /** All of one server's list, by way of the interceptor. */
  async list(server: EndpointServer, kind: ListKind): Promise<readonly ListItem[]> {
    const { intercept, caller } = this.#options;
    const link = this.to(server);
    if (intercept === undefined) {
      return listAll(link, kind);
    }
    const request = {
      caller,
      authInfo: caller.authInfo,
      server: server.id,
      method: listKinds[kind].method,
      params: {},
    };
    const result = await intercept(request, async () => ({ [kind]: await listAll(link, kind) }));
    return Array.isArray(result[kind]) ? (result[kind] as ListItem[]) : [];
  }
}
