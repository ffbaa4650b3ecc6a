import { checkOptions } from '../checks/check-options.js';
import { once } from '../util/once.js';
import { type CloseSessionsOptions, closeOptions } from './session-options.js';

/** Ends all sessions of a table, once: the first call says how long open requests may take. */
export function closeSessions(table: { close(graceMs: number): Promise<void> }) {
  let graceMs = 5_000;
  const close = once(() => table.close(graceMs));
  return {
    async close(options: CloseSessionsOptions = {}): Promise<void> {
      try {
        checkOptions('close', closeOptions, options);
        graceMs = options.graceMs ?? graceMs;
      } finally {
        // Whatever the options say, nothing may be left.
        await close();
      }
    },
    [Symbol.asyncDispose]: close,
  };
}
