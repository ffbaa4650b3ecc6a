import { isPlainObject } from '../util/fields.js';
import type { ServerDefinition } from './catalog.js';

/**
 * What a reload has to do for an entry: nothing, to take over what changes no server, to replace its servers, or to treat
 * it as another one that has the same id.
 */
export type Difference = 'none' | 'metadata' | 'server' | 'type';

// What callers see of an entry; the server behind it is the same.
const metadata: ReadonlySet<string> = new Set<keyof ServerDefinition>([
  'displayName',
  'description',
  'tags',
  'tools',
  'listTimeoutMs',
  'onReload',
]);

/** Compares two definitions of one id as they are after validation, however they were written. */
export function compareDefinitions(before: ServerDefinition, after: ServerDefinition): Difference {
  if (before === after) {
    return 'none';
  }
  if (before.runtime.type !== after.runtime.type) {
    return 'type';
  }
  const keys = Object.keys(after).filter((key) => {
    const name = key as keyof ServerDefinition;
    // What is secret shows in the values that hold it.
    return name !== 'secrets' && name !== 'withVariables' && !isSame(before[name], after[name]);
  });
  return keys.length === 0 ? 'none' : keys.every((key) => metadata.has(key)) ? 'metadata' : 'server';
}

/** Plain data by content, whatever the order of keys; functions and instances by identity. */
function isSame(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) {
    return true;
  }
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((item, index) => isSame(item, other[index]));
  }
  if (!isPlainObject(one) || !isPlainObject(other)) {
    return false;
  }
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...keys].every((key) => isSame(one[key], other[key]));
}
