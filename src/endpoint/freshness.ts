import type { Fields } from '../util/fields.js';
import { type ListKind, listKinds } from './list-kinds.js';

/** For how long a list is good, and for whom. */
export interface Freshness {
  /** From when it came, in milliseconds. */
  readonly ttlMs: number;
  /** Whether it is the same for everybody. */
  readonly isPublic: boolean;
}

/** Of a list of which nothing is known. */
export const unknownFreshness: Freshness = { ttlMs: 0, isPublic: false };

/**
 * How long the list of a server with sessions is good that tells of changes, in milliseconds: whoever listens hears of them
 * at once, and whoever does not is late by so much at most.
 */
const toldTtlMs = 60_000;

/** Of a list that is not there: another start of the server may bring it, and callers are told then. */
export const noListFreshness: Freshness = { ttlMs: toldTtlMs, isPublic: true };

/** Whether a list result says how long it is good, as those of stateless servers do, and no others. */
export function saysFreshness({ ttlMs, cacheScope }: Fields): boolean {
  return ttlMs !== undefined || cacheScope !== undefined;
}

/**
 * What a list result says of itself. Servers with sessions say nothing: theirs is good for a while when they have promised to
 * tell of changes, and for this caller alone.
 *
 * @param capabilities - what the server has declared
 */
export function readFreshness(kind: ListKind, result: Fields, capabilities: Fields): Freshness {
  const { ttlMs, cacheScope } = result;
  if (!saysFreshness(result)) {
    const { listChanged } = (capabilities[listKinds[kind].capability] ?? {}) as { listChanged?: unknown };
    return { ttlMs: listChanged === true ? toldTtlMs : 0, isPublic: false };
  }
  return {
    ttlMs: typeof ttlMs === 'number' && Number.isFinite(ttlMs) && ttlMs > 0 ? ttlMs : 0,
    isPublic: cacheScope === 'public',
  };
}

/** Of several lists as one: good until the first of them is not any more, and for everybody if all are. */
export function leastFresh(parts: readonly Freshness[]): Freshness {
  return parts.length === 0
    ? noListFreshness
    : { ttlMs: Math.min(...parts.map(({ ttlMs }) => ttlMs)), isPublic: parts.every(({ isPublic }) => isPublic) };
}

/** As the stateless era writes it. */
export function toCacheFields({ ttlMs, isPublic }: Freshness): { ttlMs: number; cacheScope: 'public' | 'private' } {
  return { ttlMs: Math.round(ttlMs), cacheScope: isPublic ? 'public' : 'private' };
}
