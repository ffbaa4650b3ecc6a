import { isError } from './is-error.js';

/** An error and what caused it, the outermost first. Of several that came together the first stands for all. */
export function causesOf(error: unknown): Error[] {
  const causes: Error[] = [];
  // The causes of a cause may go in a circle.
  for (let at = error; causes.length < 6 && isError(at); ) {
    causes.push(at);
    const { errors, cause } = at as Partial<AggregateError>;
    at = Array.isArray(errors) ? errors[0] : cause;
  }
  return causes;
}

/** The code of an error, or of what caused it, that says most; empty where none has one. */
export function codeOf(error: unknown): string {
  for (const { code } of causesOf(error) as NodeJS.ErrnoException[]) {
    // Of undici's own: what it has aborted for says more.
    if (typeof code === 'string' && code !== 'UND_ERR_ABORTED') return code;
  }
  return '';
}
