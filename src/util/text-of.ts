import { isError } from './is-error.js';

/** What an error says; of anything else its text. JSON may hold what has none, such as `{ "toString": 1 }`. */
export function textOf(error: unknown): string {
  try {
    return isError(error) ? error.message : String(error);
  } catch {
    return Object.prototype.toString.call(error);
  }
}
