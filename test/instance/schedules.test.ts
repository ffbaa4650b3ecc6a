import fc from 'fast-check';
import { expect, test } from 'vitest';
import { count } from '../support/counts.js';
import { Schedule } from './schedules/schedule.js';

const runs = count(1_000, 10_000);
// Printed by fast-check when a schedule fails; TEST_SEED repeats all of them.
const seed = process.env.TEST_SEED === undefined ? undefined : Number(process.env.TEST_SEED);
const number = fc.nat({ max: 2 ** 31 - 1 });

test(`${runs} schedules of starts, crashes, pauses, stops and closes: each request is answered once, and nothing is left`, async () => {
  const seen = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(
      number,
      fc.array(number, { minLength: 5, maxLength: 100, size: 'max' }),
      async (setting, steps) => {
        const schedule = new Schedule(setting);
        for (const step of steps) {
          await schedule.step(step);
        }
        await schedule.finish();
        for (const [what, times] of schedule.judge.counts) {
          seen.set(what, (seen.get(what) ?? 0) + times);
        }
        expect(schedule.judge.problems, schedule.judge.lines.join('\n')).toEqual([]);
      },
    ),
    { numRuns: runs, ...(seed !== undefined && { seed }) },
  );
  if (process.env.SHOW) console.log(Object.fromEntries([...seen].sort()));
}, 1_800_000);
