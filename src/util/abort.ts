import type { Clock } from '../options.js';

/** Settles like `promise`, or rejects with `signal.reason` as soon as `signal` is aborted. Leaves no listener behind. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => {});
    return Promise.reject(signal.reason);
  }
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/**
 * A signal that either of two aborts, until `release` is called. What `AbortSignal.any` keeps in a signal that lives long, Node
 * 22 never lets go.
 */
export function eitherSignal(one: AbortSignal, other: AbortSignal): { readonly signal: AbortSignal; release(): void } {
  const either = new AbortController();
  const abort = () => either.abort(one.aborted ? one.reason : other.reason);
  const release = () => {
    one.removeEventListener('abort', abort);
    other.removeEventListener('abort', abort);
  };
  one.addEventListener('abort', abort);
  other.addEventListener('abort', abort);
  if (one.aborted || other.aborted) abort();
  return { signal: either.signal, release };
}

/** True when `promise` settled within `ms`, whatever its outcome; false when the time was up first. */
export function settledWithin(promise: Promise<unknown>, ms: number, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.setTimeout(() => resolve(false), ms);
    const done = () => {
      clock.clearTimeout(timer);
      resolve(true);
    };
    promise.then(done, done);
  });
}
