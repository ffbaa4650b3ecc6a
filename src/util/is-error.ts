/** Also one of another realm: under Jest, and in other contexts of `node:vm`, Node's own errors come from outside. */
export function isError(value: unknown): value is Error {
  try {
    return value instanceof Error || Object.prototype.toString.call(value) === '[object Error]';
  } catch {
    // Such as a proxy that is revoked, or whose traps throw.
    return false;
  }
}
