import type { Handshake } from '../instance/handshake.js';
import type { Link } from '../instance/link.js';
import { isTooNested } from '../transport/nesting.js';
import { listAll } from './list-all.js';
import { allListKinds, type ListItem, type ListKind, listKinds } from './list-kinds.js';

/** What is known of a server without asking it: taken when it was asked last. Plain JSON. */
export interface ServerSnapshot {
  /** Of the definition that it was taken from; a snapshot of another definition is not used. */
  readonly fingerprint: string;
  /** As the server declared them, for the revision it speaks. */
  readonly capabilities: Readonly<Record<string, unknown>>;
  /** The server's own. */
  readonly instructions?: string | undefined;
  /** The server's own names; complete lists only. */
  readonly lists: Readonly<Partial<Record<ListKind, readonly ListItem[]>>>;
}

/** Owner of what is the same for all callers. */
export const everybody = 'everybody';

/** Snapshots by server id, as a host stores them between runs. */
export type GatewaySnapshot = Readonly<Record<string, ServerSnapshot>>;

/**
 * The snapshots of one gateway. Lists of an entry whose callers share instances are everybody's; others are kept for the
 * caller (or principal) that they were taken for, since a server may show each caller other things.
 */
export class SnapshotStore {
  #given: GatewaySnapshot;
  readonly #taken = new Map<string, ServerSnapshot>();
  readonly #max: number;
  readonly #maxItems: number;
  #items = 0;

  /**
   * Forgets what was taken longest ago beyond `max` snapshots, or `maxItems` items of lists in them: each caller may have its
   * own, and is seldom told to have gone for good.
   */
  constructor(given: GatewaySnapshot | undefined, max = 10_000, maxItems = 100_000) {
    this.#given = given ?? {};
    this.#max = max;
    this.#maxItems = maxItems;
  }

  /** @param owner - for whom it was taken; undefined for a caller that nobody can recognise */
  get(server: string, fingerprint: string, owner: string | undefined): ServerSnapshot | undefined {
    const taken = owner === undefined ? undefined : this.#taken.get(keyOf(server, owner));
    const snapshot = taken ?? (Object.hasOwn(this.#given, server) ? this.#given[server] : undefined);
    return snapshot?.fingerprint === fingerprint ? snapshot : undefined;
  }

  set(server: string, owner: string, snapshot: ServerSnapshot): void {
    const key = keyOf(server, owner);
    this.#forget(key);
    this.#items += sizeOf(snapshot);
    for (const oldest of this.#taken.keys()) {
      if (this.#taken.size < this.#max && this.#items <= this.#maxItems) {
        break;
      }
      this.#forget(oldest);
    }
    this.#taken.set(key, snapshot);
  }

  /** Servers of these ids are others now, or none: also where only values differ, which no fingerprint shows. */
  forget(servers: ReadonlySet<string>): void {
    this.#given = Object.fromEntries(Object.entries(this.#given).filter(([server]) => !servers.has(server)));
    for (const key of [...this.#taken.keys()]) {
      const [, server] = JSON.parse(key) as [string, string];
      servers.has(server) && this.#forget(key);
    }
  }

  #forget(key: string): void {
    const snapshot = this.#taken.get(key);
    if (snapshot !== undefined) {
      this.#taken.delete(key);
      this.#items -= sizeOf(snapshot);
    }
  }

  /** Everything that is the same for all callers, for the host to keep. */
  export(owner: string): GatewaySnapshot {
    const all: Record<string, ServerSnapshot> = { ...this.#given };
    for (const [key, snapshot] of this.#taken) {
      const [taken, server] = JSON.parse(key) as [string, string];
      if (taken === owner) {
        all[server] = snapshot;
      }
    }
    return all;
  }
}

function sizeOf({ lists }: ServerSnapshot): number {
  return Object.values(lists).reduce((sum, items) => sum + items.length, 0);
}

function keyOf(server: string, owner: string): string {
  return JSON.stringify([owner, server]);
}

/**
 * Asks an open link for everything that a snapshot holds.
 *
 * @param onList - told of each list that comes, also when others fail
 */
export async function takeSnapshot(
  link: Link,
  handshake: Handshake,
  fingerprint: string,
  onList: ((kind: ListKind, items: readonly ListItem[]) => void) | undefined,
): Promise<ServerSnapshot> {
  const lists = await Promise.all(
    allListKinds.map(async (kind) => {
      const { items } = await listAll(link, kind);
      onList?.(kind, items);
      return [kind, items] as const;
    }),
  );
  return {
    fingerprint,
    capabilities: Object.fromEntries(
      // What is nested too deeply could be sent to no caller, and kept by no host.
      Object.entries(handshake.capabilities).filter(([, declared]) => !isTooNested(declared)),
    ),
    ...(handshake.instructions !== undefined && { instructions: handshake.instructions }),
    lists: Object.fromEntries(
      lists.filter(([kind]) => handshake.capabilities[listKinds[kind].capability] !== undefined),
    ),
  };
}
