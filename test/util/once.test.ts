import { expect, test } from 'vitest';
import { once } from '../../src/util/once.js';

test('what throws in place of a promise has failed for every caller', async () => {
  let runs = 0;
  const run = once<void>(() => {
    runs += 1;
    throw new Error('broken');
  });
  const first = (async () => run())();
  await expect(first).rejects.toThrow('broken');
  // Not waited for without end.
  const second = (async () => run())().catch((error: Error) => error.message);
  expect(await Promise.race([second, new Promise((resolve) => setImmediate(resolve, 'waits'))])).toBe('broken');
  expect(runs).toBe(1);
});
