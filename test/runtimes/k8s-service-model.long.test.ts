import { expect, test } from 'vitest';
import { type Clock, systemClock } from '../../src/options.js';
import { playSchedules } from '../support/play-schedules.js';
import { quickenTime, realSleep } from '../support/quick-time.js';
import { Schedule } from './k8s-service-model/schedule.js';

const lanes = 8;
// For the long form alone: on a busy machine sockets take their time, and timers here are twenty times as fast.
const runs = 500;
const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31);
const happenings = [
  ...[
    'result',
    'progress',
    'question',
    'cancel',
    'closed',
    'check',
    'restart',
    'stop',
    'reload',
    'start given up',
    'readiness',
  ],
  ...['pod added', 'pod terminated', 'pod killed', 'API server restarted', 'SESSION_LOST', 'START_FAILED', 'DELETE'],
  ...['delivered: false', 'delivered: unknown', 'CONNECTION_FAILED', 'GATEWAY_CLOSED', 'SERVER_STOPPED'],
  ...['end', 'cut', 'expired', 'error', 'forgotten', 'nonsense', 'bookmark', 'wrong shape'].map(
    (how) => `watch: ${how}`,
  ),
  ...['none: endpoints', 'late: portforward', 'done later: portforward', 'cut after: portforward'],
];

/** Timers that have not come to their end, with where they come from. */
const waiting = new Map<unknown, string | undefined>();

function counted(clock: Clock): Clock {
  return {
    ...clock,
    setTimeout(run, ms) {
      const timer = clock.setTimeout(() => {
        waiting.delete(timer);
        run();
      }, ms);
      waiting.set(timer, new Error(`${ms} ms`).stack);
      return timer;
    },
    clearTimeout(timer) {
      waiting.delete(timer);
      clock.clearTimeout(timer);
    },
  };
}

test(`${runs} schedules of callers of a service whose cluster misbehaves: each call is answered once and carried out at most once, and nothing is left`, async () => {
  const clock = counted(quickenTime());
  Object.assign(systemClock, clock);
  await playSchedules((setting) => new Schedule(clock, setting), { runs, seed, lanes, mostSteps: 60, happenings });
  for (let turn = 0; turn < 150 && waiting.size > 0; turn += 1) await realSleep(20);
  expect([...waiting.values()]).toEqual([]);
}, 1_800_000);
