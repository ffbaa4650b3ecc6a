import fc from 'fast-check';
import { expect, test } from 'vitest';
import { count } from '../support/counts.js';
import { Schedule } from './schedules/schedule.js';

const runs = count(1_000, 10_000);
const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31);
const happenings = [
  ...['answer', 'second answer', 'progress', 'log', 'cancel', 'leave', 'leave while starting', 'death'],
  ...['start', 'stop', 'restart', 'end of a connection'],
  ...['pulling', 'starting', 'ready', 'stopping', 'idle', 'failed'],
  ...['delivered: true', 'delivered: false', 'delivered: unknown'],
  ...['SERVER_EXITED', 'SERVER_STOPPED', 'SERVER_UNHEALTHY', 'START_FAILED', 'START_TIMEOUT', 'REQUEST_TIMEOUT'],
  ...['LIMIT_REACHED', 'GATEWAY_CLOSED'],
];
const number = fc.nat({ max: 2 ** 31 - 1 });

test(`${runs} schedules of starts, crashes, pauses, stops and closes: each request is answered once, and nothing is left`, async () => {
  console.log(`seed ${seed}: repeat with TEST_SEED`);
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
    // Without shrinking: a shorter schedule is another one, and most are as long as they have to be.
    { numRuns: runs, seed, endOnFailure: true },
  );
  // All that may happen did.
  expect([...seen.keys()]).toEqual(expect.arrayContaining(happenings));
}, 1_800_000);
