import { AsyncLocalStorage } from 'node:async_hooks';

/** Calls a function in one async context: what `AsyncLocalStorage` of the host holds there. */
export type RunInContext = <Args extends unknown[], Result>(run: (...args: Args) => Result, ...args: Args) => Result;

/** The context that there is now: what is called in it later sees nothing of whoever else is served by then. */
export function currentContext(): RunInContext {
  return AsyncLocalStorage.snapshot();
}

/** Whatever context there is when it is called. */
export const anyContext: RunInContext = (run, ...args) => run(...args);
