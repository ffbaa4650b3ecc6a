import { isTooNested } from './nesting.js';

/**
 * Copies `value` as a round trip through JSON would, without the text in between: whoever gets the copy can change it
 * and nobody else sees it. Strings are shared, so a message costs by its number of values, not by its bytes.
 *
 * @throws TypeError for what JSON cannot hold (a bigint), RangeError for what contains itself.
 */
export function copyMessage<T>(value: T): T {
  return copy(value, '') as T;
}

/** The same of what a server may have written: nested too deeply to be written again, it stays as it is. */
export function copyWritable<T>(value: T): T {
  return isTooNested(value) ? value : copyMessage(value);
}

function copy(value: unknown, key: string): unknown {
  if (typeof value === 'object' && value !== null) {
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function') return copyPlain(toJSON.call(value, key));
  }
  return copyPlain(value);
}

function copyPlain(value: unknown): unknown {
  switch (typeof value) {
    case 'object':
      if (value === null) return null;
      return Array.isArray(value) ? copyArray(value) : copyObject(value);
    case 'number':
      // JSON knows no negative zero.
      return Number.isFinite(value) ? value + 0 : null;
    case 'bigint':
      throw new TypeError('a bigint cannot be written as JSON');
    case 'function':
    case 'symbol':
      return undefined;
    default:
      return value;
  }
}

function copyArray(from: readonly unknown[]): unknown[] {
  const to: unknown[] = new Array(from.length);
  for (let index = 0; index < from.length; index++) to[index] = copy(from[index], String(index)) ?? null;
  return to;
}

function copyObject(from: object): object {
  const to: Record<string, unknown> = {};
  for (const key of Object.keys(from)) {
    const value = copy((from as Record<string, unknown>)[key], key);
    if (value === undefined) continue;
    // An assignment would set the prototype.
    if (key === '__proto__') {
      Object.defineProperty(to, key, { value, enumerable: true, configurable: true, writable: true });
    } else {
      to[key] = value;
    }
  }
  return to;
}
