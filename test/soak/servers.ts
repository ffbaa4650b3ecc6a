import { fileURLToPath } from 'node:url';

const echo = fileURLToPath(new URL('../bench/servers/echo.mjs', import.meta.url));
const sick = fileURLToPath(new URL('sick.mjs', import.meta.url));

const node = (...args: string[]) => ({ type: 'local-process', command: process.execPath, args }) as const;

/** Servers that all callers share. */
export const shared = Array.from({ length: 10 }, (_, index) => ({
  id: `shared-${index}`,
  isolation: 'shared' as const,
  runtime: node(echo),
}));

/** Servers of which one caller has an instance of its own; the first rests whenever it can, the second is replaced now and then. */
export const own = Array.from({ length: 5 }, (_, index) => ({
  id: `own-${index}`,
  ...(index === 0 && { idle_timeout: '1s' }),
  ...(index === 1 && { max_lifetime: '3s' }),
  runtime: node(echo),
}));

/** Servers that end as often as they are started, each in a way of its own. */
export const crashing = ['missing', 'early', 'late', 'called', 'killed'].map((mode, index) => ({
  id: `sick-${mode}`,
  ...(index % 2 === 0 && { isolation: 'shared' as const }),
  start_timeout: '5s',
  // In a hurry, so that a short run holds many ends.
  restart: { max: 3, window: '2s', backoff: '50ms', max_backoff: '500ms', cooldown: '1s' },
  runtime:
    mode === 'missing'
      ? { ...node(), command: fileURLToPath(new URL('no-such-server', import.meta.url)) }
      : node(sick, mode),
}));
