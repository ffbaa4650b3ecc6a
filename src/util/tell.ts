import { isThenable } from './is-thenable.js';

/**
 * Calls a listener of the host. What it throws, or rejects with where it is an async function, must not change what happens
 * to what it is told of, nor end the process.
 */
export function tell(listen: () => unknown): void {
  try {
    const told = listen();
    if (isThenable(told)) {
      told.then(undefined, () => {});
    }
  } catch {
    // It is the host's own.
  }
}
