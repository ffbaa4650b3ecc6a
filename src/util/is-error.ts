/**
 * Also one of another realm: under Jest, and in other contexts of `node:vm`, Node's own errors come from outside, and so do those
 * of an `AbortSignal`.
 */
export function isError(value: unknown): value is Error {
  try {
    return value instanceof Error || /^\[object (Error|DOMException)]$/.test(Object.prototype.toString.call(value));
  } catch {
    // Such as a proxy that is revoked, or whose traps throw.
    return false;
  }
}
