import { createHash } from 'node:crypto';
import { isPlainObject } from '../util/fields.js';
import type { ServerDefinition } from './catalog.js';

const identities = new WeakMap<object, number>();
let lastIdentity = 0;

/**
 * Says what would be started, in 64 hexadecimal digits: the same for two definitions whose runtime, spec, folder and names
 * of environment variables are the same. Values of variables and what does not change the server (names, tags, times)
 * do not count. A function or instance in the spec counts by identity.
 */
export function fingerprint({ runtime, env, baseDir }: Pick<ServerDefinition, 'runtime' | 'env' | 'baseDir'>): string {
  const names = Object.keys(env).sort();
  const parts = [runtime.type, canonical(runtime.spec, new Set()), canonical(names, new Set()), baseDir];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

/** JSON with sorted keys. What JSON does not know is a tagged text that no JSON value can equal. */
function canonical(value: unknown, around: Set<object>): string {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
        ? String(value)
        : `<${Object.is(value, -0) ? '-0' : value}>`;
    case 'object':
      break;
    case 'function':
      return identity(value);
    default:
      return `<${typeof value} ${String(value)}>`;
  }
  if (value === null) {
    return 'null';
  }
  if (around.has(value) || !(Array.isArray(value) || isPlainObject(value))) {
    return identity(value);
  }
  const within = new Set(around).add(value);
  if (Array.isArray(value)) {
    return `[${value.map((item) => canonical(item, within)).join(',')}]`;
  }
  const keys = Object.keys(value).filter((key) => value[key] !== undefined);
  return `{${keys
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key], within)}`)
    .join(',')}}`;
}

function identity(value: object): string {
  let number = identities.get(value);
  if (number === undefined) {
    lastIdentity++;
    number = lastIdentity;
    identities.set(value, number);
  }
  return `<identity ${number}>`;
}
