/** An object of which nothing is known but that it is one. */
export type Fields = Readonly<Record<string, unknown>>;

/** Whether the value is an object that JSON writes with braces. */
export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
