import type { ServerDefinition } from './catalog/catalog.js';
import { compareDefinitions } from './catalog/compare.js';
import type { CatalogEntry } from './catalog-entry.js';
import { GatewayError } from './errors.js';
import type { ReloadResult } from './gateway-api.js';
import { liveliestOf, type ServerStatus } from './instance/server-status.js';
import { allStopped } from './util/all-stopped.js';

/** The entries of a catalog at work, in its order, and what still runs of entries that it had before. */
export class EntryTable {
  readonly #create: (definition: ServerDefinition) => CatalogEntry;
  #current = new Map<string, CatalogEntry>();
  readonly #retired = new Set<CatalogEntry>();

  constructor(create: (definition: ServerDefinition) => CatalogEntry) {
    this.#create = create;
  }

  get all(): readonly CatalogEntry[] {
    return [...this.#current.values()];
  }

  has(id: string): boolean {
    return this.#current.has(id);
  }

  /** @throws `GatewayError` `SERVER_UNKNOWN` */
  get(id: string): CatalogEntry {
    const entry = this.#current.get(id);
    if (entry === undefined) {
      const known = [...this.#current.keys()].join(', ');
      throw new GatewayError(
        'SERVER_UNKNOWN',
        `there is no server "${id}" in the catalog; there are: ${known || 'none'}`,
        { delivered: false },
      );
    }
    return entry;
  }

  /**
   * What the catalog has now of a server that somebody is using, who may not be meant to know of the others.
   *
   * @throws `GatewayError` `SERVER_UNKNOWN`
   */
  find(server: string): CatalogEntry {
    const entry = this.#current.get(server);
    if (entry === undefined) {
      throw new GatewayError('SERVER_UNKNOWN', 'the server is not in the catalog any more', {
        server,
        delivered: false,
      });
    }
    return entry;
  }

  /**
   * Takes over a catalog at once; entries that it does not change stay as they are.
   *
   * @returns what has changed, and the end of what no longer belongs to it
   */
  replace(
    definitions: readonly ServerDefinition[],
    graceMs: number,
  ): { readonly result: ReloadResult; readonly retired: Promise<unknown>[] } {
    this.#stale();
    const before = new Map(this.#current);
    const current = new Map<string, CatalogEntry>();
    const result = {
      added: [] as string[],
      removed: [] as string[],
      changed: [] as string[],
      unchanged: [] as string[],
    };
    const described: (() => void)[] = [];
    const leaving: { readonly entry: CatalogEntry; retire(): Promise<unknown> }[] = [];
    const leave = (old: CatalogEntry, grace: number | 'keep', why: string) => {
      // What was kept of the ones before it is kept no longer than it is.
      const earlier = [...this.#retired].filter(({ definition: { id }, isKept }) => isKept && id === old.definition.id);
      const all = grace === 'keep' ? [old] : [old, ...earlier];
      leaving.push(...all.map((entry) => ({ entry, retire: () => this.#retire(entry, grace, why) })));
    };
    for (const definition of definitions) {
      const { id } = definition;
      const old = before.get(id);
      before.delete(id);
      const difference = old === undefined ? undefined : compareDefinitions(old.definition, definition);
      if (old !== undefined && (difference === 'none' || difference === 'metadata')) {
        described.push(() => old.describeAs(definition));
        (difference === 'none' ? result.unchanged : result.changed).push(id);
        current.set(id, old);
        continue;
      }
      if (old === undefined || difference === 'type') {
        result.added.push(id);
      }
      if (difference === 'type') {
        result.removed.push(id);
      } else if (old !== undefined) {
        result.changed.push(id);
      }
      // Throws when a runtime does: then everything stays as it is.
      current.set(id, this.#create(definition));
      if (old !== undefined) {
        const { onReload } = definition;
        const mode = difference === 'type' ? 'drain' : onReload;
        leave(old, mode === 'keep' ? 'keep' : mode === 'now' ? 0 : graceMs, 'has changed');
      }
    }
    for (const [id, old] of before) {
      result.removed.push(id);
      leave(old, graceMs, 'is no longer there');
    }
    this.#current = current;
    for (const describe of described) {
      describe();
    }
    for (const { entry } of leaving) {
      // Before any of it goes: who is told of the end of one may close the gateway, which has to end the others.
      this.#retired.add(entry);
    }
    return { result, retired: leaving.map(({ retire }) => retire()) };
  }

  /** Every entry, with what still runs of the ones before it. */
  status(): readonly ServerStatus[] {
    const retired = Map.groupBy(this.#stale(), ({ definition }) => definition.id);
    return this.all.map((entry) => toStatus(entry, retired.get(entry.definition.id) ?? []));
  }

  statusOf(id: string): ServerStatus {
    return toStatus(this.get(id), this.#staleOf(id));
  }

  /** Stops what runs of an id: also what belongs to an earlier entry. */
  async stop(id: string, graceMs: number): Promise<void> {
    const stale = this.#staleOf(id);
    await allStopped([this.get(id).supervisor.stop(graceMs), ...stale.map((entry) => entry.stopKept(graceMs))]);
  }

  async restart(id: string, graceMs: number): Promise<void> {
    const { supervisor: current } = this.get(id);
    const stale = this.#staleOf(id);
    await allStopped([...stale.map(({ supervisor }) => supervisor.stop(graceMs)), current.restart(graceMs)]);
  }

  /** A text that a server of this id may have written, also one of an earlier entry, without the secrets of any. */
  redact(id: string, text: string): string {
    const earlier = [...this.#retired].filter(({ definition }) => definition.id === id);
    return earlier.reduce((shown, entry) => entry.redact(shown), this.#current.get(id)?.redact(text) ?? text);
  }

  /** Ends all servers, those of earlier entries too. */
  close(graceMs: number): Promise<void>[] {
    return [...this.all, ...this.#retired].map(({ supervisor }) => supervisor.close(graceMs));
  }

  closeSessions(reason: GatewayError): Promise<void>[] {
    return [...this.all, ...this.#retired].map(({ sessions }) => sessions.close(reason));
  }

  #retire(entry: CatalogEntry, graceMs: number | 'keep', why: string): Promise<void> {
    this.#retired.add(entry);
    const { id } = entry.definition;
    const text = `its entry in the catalog ${why}`;
    const reason = new GatewayError('SERVER_STOPPED', text, { server: id, delivered: false });
    return entry.retire(graceMs, reason).finally(() => this.#stale());
  }

  /** Those of which something runs; the others are forgotten, unless they have connections that are open. */
  #stale(): CatalogEntry[] {
    for (const entry of this.#retired) {
      entry.isGone && this.#retired.delete(entry);
    }
    return [...this.#retired].filter(({ supervisor }) => !supervisor.isGone);
  }

  #staleOf(id: string): CatalogEntry[] {
    return this.#stale().filter(({ definition }) => definition.id === id);
  }
}

function toStatus(entry: CatalogEntry, retired: readonly CatalogEntry[]): ServerStatus {
  const status = entry.status();
  const stale = retired.map(({ supervisor }) => supervisor.status());
  const all = [...stale, status];
  const instances = all.flatMap((each) => each.instances);
  const { phase, since } = liveliestOf(instances) ?? status;
  return {
    ...status,
    phase,
    since,
    stale: stale.length > 0,
    inFlight: all.reduce((sum, { inFlight }) => sum + inFlight, 0),
    instances,
  };
}
