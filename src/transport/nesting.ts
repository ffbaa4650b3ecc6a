/** So many levels are never too many for `JSON.stringify`. */
const surelyWritable = 500;

/**
 * Makes sure that a message can be written as JSON: it may be nested too deeply for that, and what a host has made of it may
 * hold a bigint, or itself. Costs a small part of what writing it does.
 *
 * @throws RangeError, TypeError
 */
export function assertWritable(message: object): void {
  if (isNested(message, surelyWritable)) {
    JSON.stringify(message);
  }
}

/** Whether a value has more than so many levels, or a bigint. */
function isNested(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) {
    return typeof value === 'bigint';
  }
  if (levels === 0) {
    return true;
  }
  if (Array.isArray(value)) {
    return value.some((item) => isNested(item, levels - 1));
  }
  for (const key in value) {
    if (isNested((value as Readonly<Record<string, unknown>>)[key], levels - 1)) {
      return true;
    }
  }
  return false;
}
