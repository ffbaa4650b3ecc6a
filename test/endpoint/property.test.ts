import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Schedule } from './schedule.js';

const runs = process.env.TEST_LONG === '1' ? 20_000 : 2_000;
// Printed by fast-check when a schedule fails; TEST_SEED repeats all of them.
const seed = process.env.TEST_SEED === undefined ? undefined : Number(process.env.TEST_SEED);

test(`${runs} schedules: each request gets one answer, and nothing reaches another caller or request`, async () => {
  const seen = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat({ max: 2 ** 31 - 1 }), { minLength: 5, maxLength: 120, size: 'max' }),
      async (steps) => {
        const schedule = new Schedule();
        try {
          for (const step of steps) {
            await schedule.step(step);
          }
          await schedule.finish();
        } finally {
          await schedule.close();
        }
        for (const [what, count] of schedule.counts) {
          seen.set(what, (seen.get(what) ?? 0) + count);
        }
        expect(schedule.problems, schedule.log.join('\n')).toEqual([]);
      },
    ),
    { numRuns: runs, ...(seed !== undefined && { seed }) },
  );
  // A schedule in which nothing happens proves nothing.
  for (const what of [
    'answer',
    'failure',
    'progress',
    'log',
    'server request',
    'server answer',
    'cancel',
    'death',
    'late',
    'time-out',
  ]) {
    expect(seen.get(what) ?? 0, what).toBeGreaterThan(runs / 4);
  }
}, 600_000);
