import { isError } from './is-error.js';
import { textOf } from './text-of.js';

/**
 * Waits for the end of each; what could not be stopped is told once all have come to their end.
 *
 * @throws the only failure, or an `AggregateError` that says what each of them said
 */
export async function allStopped(stops: readonly Promise<unknown>[]): Promise<void> {
  const failures = failuresOf(await Promise.allSettled(stops));
  if (failures.length === 1) {
    throw failures[0];
  }
  if (failures.length > 1) {
    const all = failures.map(textOf);
    throw new AggregateError(failures, `several instances could not be stopped: ${all.join('; ')}`);
  }
}

/** What they say, those that are no errors too. */
export function wordsOf(failures: readonly unknown[]): string {
  return failures.map((failure) => (isError(failure) ? String(failure) : textOf(failure))).join('; ');
}

/** What those of them that were rejected were rejected with. */
export function failuresOf(results: readonly PromiseSettledResult<unknown>[]): unknown[] {
  return results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
}
