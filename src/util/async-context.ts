import { AsyncResource } from 'node:async_hooks';

/** Calls a function in one async context: what an `AsyncLocalStorage` of the host holds there. */
export type RunInContext = <Args extends unknown[], Result>(run: (...args: Args) => Result, ...args: Args) => Result;

/** The context that there is now: what is called in it later sees nothing of whoever else is served by then. */
export function currentContext(): RunInContext {
  // What AsyncLocalStorage.snapshot() gives takes ten times as long to call.
  const context = new AsyncResource('open-mcp-gateway');
  return (run, ...args) => context.runInAsyncScope(run, undefined, ...args);
}

/** Whatever context there is when it is called. */
export const anyContext: RunInContext = (run, ...args) => run(...args);
