import type { Path } from '../checks/path.js';
import { isPlainObject } from '../util/fields.js';
import type { Environment } from './catalog.js';
import { interpolate, unresolved } from './interpolate.js';
import type { Secrets } from './secrets.js';

/** Deeper than any catalog needs; keeps recursion away from the end of the stack. */
const deepest = 64;

/** Names that mean something to JavaScript and nothing to a catalog. */
export const forbiddenKeys: ReadonlySet<PropertyKey> = new Set(['__proto__', 'constructor', 'prototype']);

/** What `replaceVariables` works with. */
export interface Replacement {
  /** Without it nothing is replaced, and only the form of each `${…}` is checked. */
  readonly env: Environment | undefined;
  readonly secrets: Secrets;
  /** Whether `null` means something at this path. */
  mayBeNull(path: Path): boolean;
  /** Takes a problem; what is at `path` cannot be judged any further. */
  report(path: Path, message: string, atKey?: boolean): void;
  /** Takes a path whose final value is not known yet. */
  skip(path: Path): void;
}

/**
 * Copies lists and plain objects with `${VAR}` replaced in their strings, and reports what no part of a catalog may
 * hold: `null` where it means nothing, NUL, endless nesting, keys such as `__proto__`. Everything else (functions, instances) stays as it is.
 */
export function replaceVariables(value: unknown, path: Path, replacement: Replacement): unknown {
  return replace(value, [...path], new Set(), replacement);
}

/**
 * @param path - is changed on the way and as it was at the end: a catalog has too many values to copy it for each
 * @param around - the lists and objects that hold the value, likewise
 */
function replace(value: unknown, path: PropertyKey[], around: Set<object>, replacement: Replacement): unknown {
  if (typeof value === 'string') {
    return replaceString(value, path, replacement);
  }
  if (value === null) {
    if (replacement.mayBeNull(path)) {
      return null;
    }
    replacement.report([...path], 'has no value: give it one, or leave the key out');
    return undefined;
  }
  const isList = Array.isArray(value);
  if (!isList && !isPlainObject(value)) {
    return value;
  }
  // One that holds itself twice would have twice as much on each level.
  if (path.length > deepest || around.has(value)) {
    replacement.report([...path], `is nested more than ${deepest} levels deep`);
    return undefined;
  }
  around.add(value);
  const copy = isList
    ? Array.from(value, (item, index) => replaceBelow(item, path, index, around, replacement))
    : replaceObject(value, path, around, replacement);
  around.delete(value);
  return copy;
}

function replaceObject(
  value: Record<string, unknown>,
  path: PropertyKey[],
  around: Set<object>,
  replacement: Replacement,
): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    if (forbiddenKeys.has(key)) {
      const message = `the key ${JSON.stringify(key)} is not allowed: choose another name`;
      replacement.report([...path, key], message, true);
    } else if (key.includes('\0')) {
      replacement.report([...path, key], 'the key holds a NUL character: remove it', true);
    } else {
      const part = value[key];
      if (part !== undefined) {
        copy[key] = replaceBelow(part, path, key, around, replacement);
      }
    }
  }
  return copy;
}

function replaceBelow(
  value: unknown,
  path: PropertyKey[],
  key: PropertyKey,
  around: Set<object>,
  replacement: Replacement,
): unknown {
  path.push(key);
  const replaced = replace(value, path, around, replacement);
  path.pop();
  return replaced;
}

function replaceString(text: string, path: Path, { env, secrets, report, skip }: Replacement): string {
  const { value, problems, used } = interpolate(text, env);
  for (const variable of used) {
    secrets.addVariable(variable);
  }
  for (const problem of problems) {
    report([...path], problem);
  }
  if (value.includes('\0')) {
    report([...path], 'holds a NUL character: remove it');
  }
  if (env === undefined && problems.length === 0 && text.includes('${')) {
    skip([...path]);
  }
  if (env === unresolved && used.length > 0) {
    secrets.addLater([...path]);
  }
  // Where nothing was put in from outside, the text itself may be a credential.
  if (used.length === 0 || (env !== unresolved && used.every(({ isDefault }) => isDefault))) {
    secrets.addLiteral(path, value);
  } else if (env !== unresolved) {
    secrets.addPassword(path, value);
  }
  return value;
}
