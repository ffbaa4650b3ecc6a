import { types } from 'node:util';

/** Also one of another realm: under Jest, and in other contexts of `node:vm`, Node's own errors come from outside. */
export function isError(value: unknown): value is Error {
  return value instanceof Error || types.isNativeError(value);
}
