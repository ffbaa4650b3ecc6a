import type { Freshness } from './freshness.js';
import type { ServerList } from './list-all.js';

/** A list of one server, or of all, and when it came: not by the clock of the machine, which may be set. */
export interface DatedList extends ServerList {
  readonly at: number;
}

/** What is left of its freshness. */
export function freshnessAt(now: number, { freshness, at }: DatedList): Freshness {
  return { ...freshness, ttlMs: Math.max(0, freshness.ttlMs - (now - at)) };
}
