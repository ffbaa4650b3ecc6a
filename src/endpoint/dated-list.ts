import type { Freshness } from './freshness.js';
import type { ServerList } from './list-all.js';

/** A list of one server, or of all, and when it came. */
export interface DatedList extends ServerList {
  readonly at: number;
}

/** What is left of its freshness. */
export function freshnessAt(date: number, { freshness, at }: DatedList): Freshness {
  return { ...freshness, ttlMs: Math.max(0, freshness.ttlMs - (date - at)) };
}
