import { GatewayError, type GatewayErrorCode } from '../errors.js';
import type { GatewayEvent } from '../events.js';
import { toGatewayError } from '../instance/handshake.js';
import { ServerError } from '../instance/server-error.js';
import type { Clock } from '../options.js';
import { failuresOf } from '../util/all-stopped.js';
import { isFields } from '../util/fields.js';
import { textOf } from '../util/text-of.js';
import { Timers } from '../util/timers.js';
import { AskedLists } from './asked-lists.js';
import { ChangedLists } from './changed-lists.js';
import { type DatedList, freshnessAt } from './dated-list.js';
import type { EndpointServer } from './endpoint-server.js';
import { leastFresh, unknownFreshness } from './freshness.js';
import { isToolAllowed } from './glob.js';
import { allListKinds, type ListItem, type ListKind, listKinds } from './list-kinds.js';
import { ListPages, type MergedList, type Page } from './list-pages.js';
import { MissingServers } from './missing-servers.js';
import type { CallerNames } from './names.js';
import type { OpenCall } from './open-call.js';
import type { PeerExtra } from './peer.js';
import type { ResourceOwners } from './resource-owners.js';
import type { ServerLinks } from './server-links.js';
import { ShownLists } from './shown-lists.js';
import { toWholeItem } from './whole-item.js';

export interface MergedListsOptions {
  /** In the order of the catalog, as it is now. */
  servers(): readonly EndpointServer[];
  readonly names: CallerNames;
  readonly owners: ResourceOwners;
  readonly clock: Clock;
  readonly links: ServerLinks;
  emit(event: GatewayEvent): void;
  /** Tells the caller that a list has changed. */
  onChanged(method: string): void;
}

/** With these a server has ended, or is about to. */
const endings: ReadonlySet<GatewayErrorCode> = new Set(['SERVER_EXITED', 'SERVER_STOPPED']);

// What is not there may come at any time.
const missing: DatedList = { items: [], freshness: unknownFreshness, at: 0 };

/**
 * The lists of all servers as one, in the order of the catalog. A server that does not answer within its `list_timeout`
 * costs its own part alone; when it answers later, or comes back, the caller is told that the list has changed.
 */
export class MergedLists {
  readonly #options: MergedListsOptions;
  readonly #pages: ListPages;
  // Made when it is needed, which for most of many callers it never is.
  #missing: MissingServers | undefined;
  readonly #changed: ChangedLists;
  readonly #timers: Timers;
  readonly #asked = new AskedLists();
  readonly #shown = new ShownLists();
  /** What the caller was shown without a server that was being stopped. */
  #withoutStopped: Map<string, Set<ListKind>> | undefined;
  #closed = false;

  constructor(options: MergedListsOptions) {
    this.#options = options;
    this.#timers = new Timers(options.clock);
    this.#changed = new ChangedLists(options.clock, options.onChanged);
    this.#pages = new ListPages(options.clock);
  }

  /**
   * The first page of a list as it is now.
   *
   * @param call - the caller's request for it
   */
  async first(kind: ListKind, extra: PeerExtra | undefined, call: OpenCall): Promise<Page> {
    return this.#pages.first(kind, await this.#all(kind, extra, call, true));
  }

  /** A later page; undefined for a cursor that is not ours, of another list, or of one that was forgotten. */
  next(kind: ListKind, cursor: unknown): Page | undefined {
    const servers = new Map(this.#options.servers().map((server) => [server.id, server]));
    return this.#pages.next(kind, cursor, (id, { name }) => {
      const server = servers.get(id);
      if (server === undefined || kind !== 'tools') {
        return server !== undefined;
      }
      const origin = this.#options.names.resolve('tool', String(name));
      // The name may lead to another server by now.
      return origin?.server === id && isToolAllowed(server.tools, origin.name);
    });
  }

  /** A server says that one of its lists has changed. */
  changedBy(server: string, method: string): void {
    for (const kind of allListKinds) {
      if (listKinds[kind].changed === method) {
        this.#asked.outdate(server, kind);
        this.changed(kind);
      }
    }
  }

  /** A server has gone, or is another one. */
  forget(server: string): void {
    this.#missing?.delete(server);
    this.#shown.forget(server);
    this.#withoutStopped?.delete(server);
    this.#asked.outdate(server);
  }

  /** A server has ended: a list that has not come yet may be of two, and one that it has refused may be asked for again. */
  ended(server: string): void {
    this.#asked.outdate(server, undefined, false);
    this.#stopped(server);
  }

  /** A server that was stopped is gone: what the caller was shown without it may be asked for again. */
  #stopped(server: string, kinds: Iterable<ListKind> = this.#withoutStopped?.get(server) ?? []): void {
    for (const kind of kinds) {
      this.#asked.outdate(server, kind);
      // The next start, which may be for that very list, is no second word of it.
      this.#shown.forget(server, kind);
      this.changed(kind);
    }
    this.#withoutStopped?.delete(server);
  }

  /**
   * A server has started: a list that has come already is not its own.
   *
   * @returns what takes its lists; undefined where the caller was shown none of them
   */
  started(server: string): ((kind: ListKind, items: readonly ListItem[]) => void) | undefined {
    this.#asked.outdate(server, undefined, true);
    return this.#shown.has(server)
      ? (kind, items) => this.#shown.isOther(server, kind, items) && this.changed(kind)
      : undefined;
  }

  /** A list is not what the caller has last seen. */
  changed(kind: ListKind): void {
    this.#changed.add(kind);
  }

  close(): void {
    this.#closed = true;
    this.#changed.close();
    this.#timers.endAll();
    this.#missing?.close();
    this.#asked.close();
  }

  /**
   * Makes the names or URIs of all servers known that answer within their `list_timeout`.
   *
   * @param call - the caller's request that needs them
   * @returns the ids of those that did not
   */
  async learn(kind: ListKind, extra: PeerExtra | undefined, call: OpenCall): Promise<readonly string[]> {
    return (await this.#all(kind, extra, call, false)).missed;
  }

  /** @param isShown - the caller gets it */
  async #all(
    kind: ListKind,
    extra: PeerExtra | undefined,
    call: OpenCall,
    isShown: boolean,
  ): Promise<MergedList & { readonly missed: readonly string[] }> {
    const gathered = this.#asked.gather(kind);
    const parts = new Map(
      await Promise.all(
        this.#options.servers().map(async (server) => {
          const part = await this.#part(server, kind, extra, call, isShown);
          gathered.outdated.set(server.id, false);
          this.#runs(server) || this.#stopped(server.id);
          return [server.id, part] as const;
        }),
      ),
    );
    this.#asked.merged(gathered);
    // A reload may have taken some from the caller meanwhile, or tools of them.
    const shown = this.#options.servers().flatMap((server) => {
      const part = parts.get(server.id);
      return part === undefined ? [] : [[server, part] as const];
    });
    const lists = this.#merge(
      kind,
      shown.map(([server, part]) => [
        server,
        part === missing ? undefined : part.items.map((item) => toWholeItem(kind, item)),
      ]),
      isShown,
    );
    if (isShown && this.#options.servers().some(({ id }) => gathered.outdated.get(id) !== false)) {
      // The caller was told of the change, or of a server that a reload has added, before it gets the list.
      this.changed(kind);
    }
    const now = this.#options.clock.now();
    const freshness = leastFresh(shown.map(([, part]) => freshnessAt(now, part)));
    const missed = shown.flatMap(([{ id }, part]) => (part === missing ? id : []));
    let end = 0;
    const ends = shown.map(([{ id }], index) => {
      end += lists[index]?.length ?? 0;
      return [id, end] as const;
    });
    return { items: lists.flat(), ends, freshness, at: now, missed };
  }

  async #part(
    server: EndpointServer,
    kind: ListKind,
    extra: PeerExtra | undefined,
    call: OpenCall,
    isShown: boolean,
  ): Promise<DatedList> {
    const { clock, links } = this.#options;
    const run = call.begin(server.id);
    const { signal } = run;
    const asking = this.#asked.ask(server.id, kind);
    const isKept = asking.own !== undefined;
    let isAsked = false;
    const ask = async () => {
      isAsked = true;
      asking.own ??= { ...(await links.ask(server, kind, true)), at: clock.now() };
      return asking.own;
    };
    let late = false;
    const asked = links.list(server, kind, extra, signal, ask).then(
      (list) => {
        const { own } = asking;
        // What an interceptor says itself, or what is known without it, brings no server back.
        this.#runs(server) && this.#missing?.delete(server.id);
        if (late && own !== undefined && !this.#closed && this.#isCurrent(server)) {
          this.#asked.keep(asking);
          // Where only the interceptor takes long, the caller would ask again for ever.
          isKept || this.changed(kind);
        }
        return { ...list, at: own?.at ?? clock.now() };
      },
      (error: unknown) => {
        // An interceptor that is done with what nobody waits for says nothing of its server.
        const isGivenUp = signal.aborted && (!isAsked || (error === signal.reason && !late));
        isGivenUp || this.#miss(server, kind, error, isAsked, isShown);
        late && !this.#runs(server) && this.#stopped(server.id);
        return missing;
      },
    );
    return new Promise((resolve) => {
      const show = (part: DatedList) => {
        resolve(part);
        if (isShown) {
          const isReplaced = asking.isOutdated && !this.#isCurrent(server);
          // What an interceptor says itself is no matter of the server: no start of that makes another list of it.
          const isOfServer = isAsked || late;
          isOfServer && !isReplaced && this.#shown.set(server.id, kind, asking.own?.items);
          asking.isOutdated && (isReplaced || part !== missing) && this.changed(kind);
        }
      };
      const timer = this.#timers.start(() => {
        late = true;
        const error = new GatewayError('REQUEST_TIMEOUT', `no list within list_timeout (${server.listTimeoutMs} ms)`, {
          server: server.id,
        });
        this.#report(server, kind, error);
        show(missing);
        run.abort(error);
      }, server.listTimeoutMs);
      void asked.then((part) => {
        this.#asked.end(asking);
        call.done(run);
        this.#timers.end(timer);
        late || show(part);
      });
    });
  }

  /**
   * A server could not be asked.
   *
   * @param isAsked - false where an interceptor has not even tried
   * @param isShown - the caller gets the list without it
   */
  #miss(server: EndpointServer, kind: ListKind, error: unknown, isAsked: boolean, isShown: boolean): void {
    if (this.#closed) {
      return;
    }
    this.#report(server, kind, error);
    const ours = toOurs(error);
    if (!isAsked) {
      return;
    }
    if (GatewayError.is(ours) && ours.code === 'SERVER_STOPPED') {
      if (!isShown) {
        return;
      }
      // It is tried again when the caller asks again: nobody starts what the host stops.
      this.#withoutStopped ??= new Map();
      const kinds = this.#withoutStopped.get(server.id) ?? new Set();
      this.#withoutStopped.set(server.id, kinds.add(kind));
    } else if (this.#isDown(server, error) && this.#isCurrent(server)) {
      this.#missing ??= new MissingServers({
        clock: this.#options.clock,
        reach: (missed) => this.#reach(missed),
        onStopped: (id) => this.#stopped(id, this.#shown.lacking(id)),
      });
      this.#missing.add(server);
    }
  }

  /** Starts a server that the caller lacks lists of: by opening its link, or where that is open by asking for them. */
  async #reach(server: EndpointServer): Promise<void> {
    const { links } = this.#options;
    if (!links.isRunning(server.id)) {
      await links.to(server).open();
      return;
    }
    const kinds = this.#shown.lacking(server.id);
    const asked = await Promise.allSettled(kinds.map((kind) => links.ask(server, kind)));
    if (server.isPerRequest && this.#isCurrent(server)) {
      // Of any other the start has been told, and is compared.
      this.#stopped(
        server.id,
        kinds.filter((_, index) => asked[index]?.status === 'fulfilled'),
      );
    }
    const down = failuresOf(asked).find((error) => this.#isDown(server, error));
    if (down !== undefined) {
      throw down;
    }
  }

  /**
   * Whether a list did not come as its server is not there. One that runs has had its say; what it says the next time is not to
   * be waited for. Of one that has just ended it may not be known yet, and of one for each request nothing else says so.
   */
  #isDown(server: EndpointServer, error: unknown): boolean {
    const ours = toOurs(error);
    return (
      GatewayError.is(ours) &&
      (endings.has(ours.code) ||
        !this.#options.links.isServing(server.id) ||
        (server.isPerRequest && wasNotSent(error)))
    );
  }

  /** Its end is yet to come: one that was stopped in its start has had it, and an instance for one request alone has none. */
  #runs({ id, isPerRequest }: EndpointServer): boolean {
    return !isPerRequest && this.#options.links.isServing(id);
  }

  /** No reload has replaced it. */
  #isCurrent({ entry }: EndpointServer): boolean {
    return this.#options.servers().some((server) => server.entry === entry);
  }

  #report(server: EndpointServer, kind: ListKind, error: unknown): void {
    this.#options.emit({
      type: 'list-incomplete',
      server: server.id,
      list: kind,
      reason: { code: codeOf(error), message: toMessage(error, listKinds[kind].method) },
      at: this.#options.clock.date(),
    });
  }

  #merge(
    kind: ListKind,
    parts: readonly (readonly [EndpointServer, readonly ListItem[] | undefined])[],
    isShown: boolean,
  ): readonly (readonly ListItem[])[] {
    const { owners, emit, clock } = this.#options;
    const lists = parts.map(([server, items]) => [server.id, items] as const);
    const onConflict = ({ server, uri }: { server: string; uri: string }) =>
      emit({ type: 'uri-conflict', server, uri, at: clock.date() });
    switch (kind) {
      case 'resources':
        return owners.list(lists, onConflict, isShown);
      case 'resourceTemplates':
        return owners.listTemplates(lists, onConflict, isShown);
      default: {
        const named = kind === 'tools' ? 'tool' : 'prompt';
        const all = parts.map(([server, items = []]) => this.#qualify(named, server, items));
        isShown && this.#options.names.show(named);
        return all;
      }
    }
  }

  #qualify(kind: 'tool' | 'prompt', server: EndpointServer, items: readonly ListItem[]): ListItem[] {
    const seen = new Set<string>();
    return items.flatMap((item) => {
      const { name } = item;
      if (typeof name !== 'string' || seen.has(name) || (kind === 'tool' && !isToolAllowed(server.tools, name))) {
        return [];
      }
      seen.add(name);
      return [{ ...item, name: this.#options.names.qualify(kind, server.id, name) }];
    });
  }
}

/** Whether the instance for a request was not there. */
function wasNotSent(error: unknown): boolean {
  return error instanceof ServerError && isFields(error.error.data) && error.error.data.delivered === false;
}

/** What an error is that came as the answer of a server, and is one of ours. */
function toOurs(error: unknown): unknown {
  return error instanceof ServerError ? toGatewayError(error.server, error.error) : error;
}

function codeOf(error: unknown): GatewayErrorCode | 'UNKNOWN' {
  const ours = toOurs(error);
  return GatewayError.is(ours) ? ours.code : 'UNKNOWN';
}

/** Without the words of a server: they are the caller's, and may be anything. */
function toMessage(error: unknown, method: string): string {
  if (error instanceof ServerError) {
    const code = codeOf(error);
    const name = code === 'UNKNOWN' ? '' : ` (${code})`;
    return `"${error.server}": ${method} was answered with error ${error.error.code}${name}`;
  }
  return textOf(error);
}
