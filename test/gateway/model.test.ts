import fc from 'fast-check';
import { expect, test } from 'vitest';
import { count } from '../support/counts.js';
import { Schedule } from './model/schedule.js';

const runs = count(800, 20_000);
// In the short form the same schedules each time: what is rare is looked for by the long one, with others each time.
const seed = Number(process.env.TEST_SEED ?? count(1, Date.now() % 2 ** 31));
const happenings = [
  ...['result', 'error of a server', 'progress', 'log', 'cancel', 'death', 'question', 'answer to a question'],
  ...['input required', 'answer to a stateless server', 'theft', 'subscribed', 'unsubscribed', 'updated', 'task'],
  ...['reload', 'start', 'stop', 'restart', 'delivered: true', 'delivered: false', 'delivered: unknown'],
  ...['SERVER_EXITED', 'SERVER_STOPPED', 'START_FAILED', 'REQUEST_TIMEOUT', 'TRANSPORT_CLOSED', 'GATEWAY_CLOSED'],
];
const number = fc.nat({ max: 2 ** 31 - 1 });

test(`${runs} schedules of callers and servers of all kinds: each gets what is its own, once, and nothing is left`, async () => {
  console.log(`seed ${seed}: repeat with TEST_SEED`);
  const seen = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(
      number,
      fc.array(number, { minLength: 5, maxLength: 120, size: 'max' }),
      async (setting, steps) => {
        const schedule = new Schedule(setting);
        for (const step of steps) {
          await schedule.step(step);
        }
        await schedule.end();
        for (const [what, times] of schedule.judge.counts) {
          seen.set(what, (seen.get(what) ?? 0) + times);
        }
        expect(schedule.judge.problems, schedule.judge.lines.join('\n')).toEqual([]);
      },
    ),
    { numRuns: runs, seed, endOnFailure: true },
  );
  // All that may happen did.
  expect([...seen.keys()]).toEqual(expect.arrayContaining(happenings));
}, 1_800_000);
