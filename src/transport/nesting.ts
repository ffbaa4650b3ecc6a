/** So many levels are never too many for `JSON.stringify`. */
const surelyWritable = 500;

/**
 * Makes sure that a message can be written as JSON: it may be nested too deeply for that, and what a host has made of it may
 * hold a bigint, or itself. Costs a small part of what writing it does.
 *
 * @throws RangeError, TypeError
 */
export function assertWritable(message: object): void {
  if (isNested(message, surelyWritable, true)) {
    JSON.stringify(message);
  }
}

/** Whether a message can be written as JSON. */
export function isWritable(message: object): boolean {
  try {
    assertWritable(message);
    return true;
  } catch {
    return false;
  }
}

/** Whether a value is nested more deeply than any sensible one: what holds it may be too deep to be written as JSON. */
export function isTooNested(value: unknown): boolean {
  return isNested(value, surelyWritable, false);
}

/** Whether a value has more than so many levels, or a bigint where that counts. */
function isNested(value: unknown, levels: number, orBigint: boolean): boolean {
  if (typeof value !== 'object' || value === null) {
    return orBigint && typeof value === 'bigint';
  }
  if (levels === 0) {
    return true;
  }
  if (Array.isArray(value)) {
    return value.some((item) => isNested(item, levels - 1, orBigint));
  }
  for (const key in value) {
    if (isNested((value as Readonly<Record<string, unknown>>)[key], levels - 1, orBigint)) {
      return true;
    }
  }
  return false;
}
