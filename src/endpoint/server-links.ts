import { toGatewayError } from '../instance/handshake.js';
import { Link, type LinkOwner } from '../instance/link.js';
import { ServerError } from '../instance/server-error.js';
import { copyMessage } from '../transport/copy-message.js';
import type { MirroredArgument } from '../transport/http/mirrored-arguments.js';
import { isFields } from '../util/fields.js';
import { CurrentServer, type CurrentServerOptions } from './current-server.js';
import type { EndpointServer } from './endpoint-server.js';
import { unknownFreshness } from './freshness.js';
import { MirroredTools } from './http/param-check.js';
import { type Interceptor, runInterceptor, senderOf } from './intercept.js';
import { listAll, type ServerList } from './list-all.js';
import { allListKinds, type ListItem, type ListKind, listKinds } from './list-kinds.js';
import type { PeerExtra } from './peer.js';
import { type ServerSnapshot, type SnapshotStore, takeSnapshot } from './snapshot.js';

export interface ServerLinksOptions extends CurrentServerOptions {
  readonly snapshots: SnapshotStore;
  readonly intercept: Interceptor | undefined;
  readonly owner: LinkOwner;
  /** Whether requests come with headers that have to say what their bodies do. */
  readonly overHttp: boolean;
}

/** How often a server has said that a list of it has changed. */
type Changes = Readonly<Partial<Record<ListKind, number>>>;

/** One caller's links to its servers, each made when it is first needed, and what is known of a server without asking it. */
export class ServerLinks {
  /** Filled from the lists that pass; undefined for callers who have no headers. */
  readonly #mirrored: MirroredTools | undefined;
  readonly #options: ServerLinksOptions;
  readonly #links = new Map<string, Link>();
  // Of servers whose lists are for this connection alone; better than one given by the host that turned out wrong.
  readonly #own = new Map<string, ServerSnapshot>();
  /** Of servers that a reload has replaced or taken away: no new requests, until the last one is answered. */
  readonly #retired = new Set<Link>();
  // A list that was asked for before the last of them is not kept.
  readonly #changes = new Map<string, Changes>();
  /** Of servers that go on although a reload has replaced their entry, for as long as that holds. */
  readonly #kept = new Map<Link, () => boolean>();
  #closed = false;

  constructor(options: ServerLinksOptions) {
    this.#options = options;
    this.#mirrored = options.overHttp ? new MirroredTools() : undefined;
  }

  /** The link to the server of this id that there is now: a reload may have replaced the one that is given. */
  to(given: EndpointServer): Link {
    const { id } = given;
    let link = this.#links.get(id);
    if (link === undefined) {
      const { owner, servers } = this.#options;
      const server = servers.get(id) ?? given;
      link = new Link(new CurrentServer(server, this.#options, this), owner);
      if (servers.has(id)) {
        this.#links.set(id, link);
      } else {
        // The catalog has it no more, or the caller may not see it: it must not stand in the way of another server of this id.
        this.#retire(link);
      }
      if (this.#closed) {
        // For an interceptor that goes on after its caller has left: everything fails, nothing starts.
        link.close().catch(() => {});
      }
    }
    return link;
  }

  /**
   * The server of this id is another one now, or none.
   *
   * @param isKept - whether a server that runs goes on until it ends
   */
  replace(id: string, isKept: () => boolean): void {
    this.#own.delete(id);
    this.#changes.delete(id);
    this.forgetTools(id);
    const link = this.#links.get(id);
    const next = this.#options.servers.get(id);
    if (next?.isPerRequest === true) {
      // Who waits for one start would share its instance.
      for (const other of this.#retired) {
        other.server === id && other.startOver();
      }
    }
    if (link === undefined) {
      return;
    }
    if (link.handshake === undefined && next !== undefined) {
      // Who waits for its start gets a server of the new entry, and has to find there later what it has begun.
      link.startOver();
      return;
    }
    if (isKept() && link.isRunning) {
      // Of several reloads, it is the first that has replaced it.
      this.#kept.has(link) || this.#kept.set(link, isKept);
      return;
    }
    this.#links.delete(id);
    this.#kept.delete(link);
    if (link.isActive || link.isWaitedFor) {
      this.#retire(link);
    }
  }

  #retire(link: Link): void {
    // What waited for a start that failed was answered after the end of that was told.
    for (const other of this.#retired) {
      other.isActive || other.isWaitedFor || this.#retired.delete(other);
    }
    this.#retired.add(link);
    link.retire();
  }

  /** Whether requests go to it. */
  has(link: Link): boolean {
    return this.#links.get(link.server) === link;
  }

  /**
   * The server behind a link has ended.
   *
   * @returns whether it went on after a reload until now, and another one is to take its place: where it was stopped, only
   *   when somebody waits for the next one
   */
  ended(link: Link): boolean {
    this.forgetTools(link.server);
    const isKept = this.#kept.get(link);
    this.#kept.delete(link);
    if (!link.isWaitedFor) {
      this.#retired.delete(link);
    }
    return isKept !== undefined && (isKept() || link.isWaitedFor);
  }

  isRunning(id: string): boolean {
    return this.#links.get(id)?.handshake !== undefined;
  }

  /** The same of its server, which may rest behind a link that is open. */
  isServing(id: string): boolean {
    return this.#links.get(id)?.isRunning === true;
  }

  /** The links that are initialized, those that a reload has replaced among them; the server of one may rest. */
  open(): Link[] {
    return this.#all().filter((link) => link.handshake !== undefined);
  }

  /** The links whose servers are running and initialized. */
  running(): Link[] {
    return [...this.#links.values()].filter((link) => link.isRunning);
  }

  /** The links whose servers are running, or start, likewise. */
  active(): Link[] {
    return this.#all().filter((link) => link.isActive);
  }

  #all(): Link[] {
    return [...this.#links.values(), ...this.#retired];
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#all().map((link) => link.close()));
  }

  snapshot(server: EndpointServer): ServerSnapshot | undefined {
    const { snapshots, caller } = this.#options;
    return (
      this.#own.get(server.id) ?? snapshots.get(server.id, server.fingerprint, server.snapshotOwner(caller.current))
    );
  }

  #keep(server: EndpointServer, snapshot: ServerSnapshot): void {
    const { snapshots, caller, servers } = this.#options;
    if (servers.get(server.id)?.entry !== server.entry) {
      // A reload has replaced it while it was asked.
      return;
    }
    const owner = server.snapshotOwner(caller.current);
    if (owner === undefined) {
      this.#own.set(server.id, snapshot);
    } else {
      snapshots.set(server.id, owner, snapshot);
    }
  }

  /**
   * Takes a snapshot of a server that has just started, when somebody may use it later.
   *
   * @param onList - told of each list that comes; nothing where nobody has seen any of it
   */
  async refreshSnapshot(
    link: Link,
    server: EndpointServer,
    onList: ((kind: ListKind, items: readonly ListItem[]) => void) | undefined,
  ): Promise<void> {
    const owner = server.snapshotOwner(this.#options.caller.current);
    const isKept = owner !== undefined || this.snapshot(server) !== undefined;
    if (link.handshake !== undefined && (isKept || onList !== undefined)) {
      const before = this.#changes.get(server.id);
      const snapshot = await takeSnapshot(link, link.handshake, server.fingerprint, onList);
      const isCurrent = (kind: ListKind) => before?.[kind] === this.#changes.get(server.id)?.[kind];
      isKept && this.#keep(server, withLists(snapshot, isCurrent));
    }
  }

  /**
   * All of one server's list, by way of the interceptor.
   *
   * @param extra - of the request that needs it
   * @param signal - aborted when nobody waits for it any more
   * @param ask - what the interceptor stands around
   */
  async list(
    server: EndpointServer,
    kind: ListKind,
    extra: PeerExtra | undefined,
    signal: AbortSignal,
    ask = () => this.ask(server, kind),
  ): Promise<ServerList> {
    const { intercept, caller, overHttp } = this.#options;
    if (intercept === undefined) {
      const list = await ask();
      // Over HTTP it becomes JSON at once.
      return list.isKept && !overHttp ? { ...list, items: toOwn(list.items) } : list;
    }
    const { method } = listKinds[kind];
    const request = { ...senderOf(extra, caller.current), server: server.id, method, params: {}, signal };
    let freshness = unknownFreshness;
    const result = await runInterceptor(intercept, request, async () => {
      const list = await ask();
      ({ freshness } = list);
      return { [kind]: toOwn(list.items) };
    });
    return {
      items: Array.isArray(result[kind]) ? result[kind].filter(isFields) : [],
      // What an interceptor shows may be for this caller alone.
      freshness: { ...freshness, isPublic: false },
    };
  }

  /** What a tool asks for in headers; asks its server for its tools when they are not known, or may be others after its rest. */
  async mirrored(server: EndpointServer, tool: string): Promise<readonly MirroredArgument[]> {
    const hasRested = this.#links.get(server.id)?.hasRested === true;
    if (this.#mirrored !== undefined && (hasRested || !this.#mirrored.knows(server.id))) {
      await this.ask(server, 'tools');
    }
    return this.#mirrored?.of(server.id, tool) ?? [];
  }

  /** A server has said that a list has changed: what is known of it is shown no more, also while the server rests. */
  changed(link: Link, method: string): void {
    this.forgetTools(link.server);
    const server = this.#options.servers.get(link.server);
    if (server === undefined || !this.has(link) || this.#kept.has(link)) {
      return;
    }
    // Not by each kind of the snapshot: one that the host has kept may hold what another release knows.
    const others = allListKinds.filter((kind) => listKinds[kind].changed === method);
    const changes: Record<string, number> = { ...this.#changes.get(server.id) };
    for (const kind of others) {
      changes[kind] = (changes[kind] ?? 0) + 1;
    }
    this.#changes.set(server.id, changes);
    const snapshot = this.snapshot(server);
    if (snapshot !== undefined) {
      this.#keep(
        server,
        withLists(snapshot, (kind) => !others.includes(kind)),
      );
    }
  }

  /** A server may have other tools now. */
  forgetTools(server: string): void {
    this.#mirrored?.forget(server);
  }

  /**
   * All of one server's list, as the server gives it.
   *
   * @param known - what a server that does not run, or is being stopped, has said before will do
   */
  async ask(given: EndpointServer, kind: ListKind, known = false): Promise<ServerList> {
    const server = this.#options.servers.get(given.id) ?? given;
    const link = this.to(server);
    const before = known ? this.snapshot(server) : undefined;
    const items = before && listOf(before, kind);
    // The server may have others by now.
    const then = items && { items, freshness: unknownFreshness, isKept: true };
    if (then !== undefined && !link.isRunning && !server.isRunning(this.#options.caller.current)) {
      return then;
    }
    const change = this.#changes.get(server.id)?.[kind];
    let list: ServerList;
    try {
      list = await listAll(link, kind, () => this.#options.owner.clock.now());
    } catch (error) {
      if (then !== undefined && isRefusedByStop(error)) {
        return then;
      }
      throw error;
    }
    kind === 'tools' && this.#mirrored?.learn(server.id, list.items);
    const snapshot = this.snapshot(server);
    const isCurrent = this.#changes.get(server.id)?.[kind] === change;
    if (snapshot === undefined || !declares(snapshot, kind) || !isCurrent || this.#closed || this.#kept.has(link)) {
      return list;
    }
    this.#keep(server, { ...snapshot, lists: { ...snapshot.lists, [kind]: list.items } });
    return { ...list, isKept: true };
  }
}

function declares({ capabilities }: ServerSnapshot, kind: ListKind): boolean {
  return capabilities[listKinds[kind].capability] !== undefined;
}

/** What a snapshot knows of a list: nothing where it has changed since then. */
function listOf(snapshot: ServerSnapshot, kind: ListKind): readonly ListItem[] | undefined {
  return snapshot.lists[kind] ?? (declares(snapshot, kind) ? undefined : []);
}

function withLists(snapshot: ServerSnapshot, isOf: (kind: ListKind) => boolean): ServerSnapshot {
  const lists = Object.entries(snapshot.lists).filter(([kind]) => isOf(kind as ListKind));
  return { ...snapshot, lists: Object.fromEntries(lists) };
}

/** A list for who may change it in place, an interceptor or a client in the same process: the list itself may be shown to others. */
function toOwn(items: readonly ListItem[]): readonly ListItem[] {
  try {
    return copyMessage(items);
  } catch {
    // What an in-process server may give, and JSON cannot hold.
    return items.map((item) => ({ ...item }));
  }
}

/** A server that lets its last requests end takes no more of them. */
function isRefusedByStop(error: unknown): boolean {
  return error instanceof ServerError && toGatewayError(error.server, error.error)?.code === 'SERVER_STOPPED';
}
