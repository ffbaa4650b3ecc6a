/** An object of which nothing is known but that it is one. */
export type Fields = Readonly<Record<string, unknown>>;

/** Whether the value is an object that JSON writes with braces. */
export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An object that was written as `{ … }`, or parsed from text. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) {
    return false;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // An object from another realm has an Object.prototype of its own, whose prototype is null as well.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
