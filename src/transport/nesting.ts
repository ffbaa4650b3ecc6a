/** So many levels are never too many for `JSON.stringify`. */
const surelyWritable = 500;

/**
 * Makes sure that what was read from JSON can be written as JSON: it may be nested too deeply for that. Costs a small part of
 * what writing it does.
 *
 * @throws RangeError
 */
export function assertWritable(message: object): void {
  if (isNested(message, surelyWritable)) {
    JSON.stringify(message);
  }
}

/** Whether a value has more than so many levels. */
function isNested(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) {
    return false;
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
