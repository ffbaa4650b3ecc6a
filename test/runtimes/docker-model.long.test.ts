import { test } from 'vitest';
import { playSchedules } from '../support/play-schedules.js';
import { quickenTime } from '../support/quick-time.js';
import { Schedule } from './docker-model/schedule.js';

const lanes = 12;
// For the long form alone: on a busy machine sockets take their time, and timers here are twenty times as fast.
const runs = 800;
const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31);
const happenings = [
  ...['open', 'abort', 'aborted', 'START_FAILED', 'death', 'out of memory', 'oom', 'cut', 'stuck', 'restart', 'kill'],
  ...['connection-lost', 'engine-lost', 'message', 'removal failed', 'STOP_FAILED', 'delivered: false', 'late: create'],
  ...['wait cut', 'wait taken late', 'calm'],
  ...['create', 'attach', 'start', 'wait', 'remove', 'inspect', 'list'].flatMap((call) =>
    ['late', 'cut before', 'refused'].map((fault) => `${fault}: ${call}`),
  ),
  ...['cut after', 'done later', 'failed after', 'broken answer', 'silent after'].map((fault) => `${fault}: create`),
];

test(`${runs} schedules of hosts on an engine that misbehaves: each open settles, and nothing is left`, async () => {
  const clock = quickenTime();
  const options = { runs, seed, lanes, mostSteps: 60, happenings };
  await playSchedules((setting) => new Schedule(clock, setting), options);
}, 1_800_000);
