/** Members in which null may mean something. */
const free: ReadonlySet<string> = new Set(['experimental', 'extensions', '_meta']);

/**
 * The value without the members that are null: in many languages null is written for each that is not there, and the SDKs
 * refuse that.
 *
 * @param depth - how deep the protocol says what it has
 */
export function withoutNulls<T>(value: T, depth: number): T {
  return hasNull(value, depth) ? (copy(value, depth) as T) : value;
}

function hasNull(value: unknown, depth: number): boolean {
  return (
    typeof value === 'object' &&
    (value === null ||
      (depth > 0 && Object.entries(value).some(([key, member]) => hasNull(member, free.has(key) ? 0 : depth - 1))))
  );
}

function copy(value: unknown, depth: number): unknown {
  if (depth === 0 || typeof value !== 'object' || value === null) {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map((part) => copy(part, depth - 1));
  }
  const members = Object.entries(value).filter(([, member]) => member !== null);
  return Object.fromEntries(members.map(([key, member]) => [key, free.has(key) ? member : copy(member, depth - 1)]));
}
