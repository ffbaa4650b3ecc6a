import { test } from 'vitest';
import { playSchedules } from '../support/play-schedules.js';
import { quickenTime } from '../support/quick-time.js';
import { Schedule } from './k8s-job-model/schedule.js';

const lanes = 12;
// For the long form alone: on a busy machine sockets take their time, and timers here are twenty times as fast.
const runs = 800;
const seed = Number(process.env.TEST_SEED ?? Date.now() % 2 ** 31);
const happenings = [
  ...['open', 'abort', 'aborted', 'START_FAILED', 'death', 'oom', 'cut', 'stuck', 'restart', 'kill', 'STOP_FAILED'],
  ...['STOP_FAILED of a runtime', 'connection-lost', 'message', 'delivered: false', 'late: POST jobs'],
  ...['pod deleted', 'Job deleted', 'list: wrong shape', 'deleted'],
  ...['leases', 'jobs', 'secrets'].map((kind) => `crossed: ${kind}`),
  ...['end', 'cut', 'expired', 'error', 'forgotten', 'bookmark', 'wrong shape'].map((how) => `watch: ${how}`),
  ...['POST jobs', 'POST secrets', 'DELETE jobs', 'attach', 'watch', 'GET log'].flatMap((call) =>
    ['late', 'cut before', 'refused'].map((fault) => `${fault}: ${call}`),
  ),
  ...['cut after', 'done later', 'failed after', 'broken answer'].map((fault) => `${fault}: POST jobs`),
];

test(`${runs} schedules of hosts on a cluster that misbehaves: each open settles, and nothing is left`, async () => {
  const clock = quickenTime();
  const options = { runs, seed, lanes, mostSteps: 60, happenings };
  await playSchedules((setting) => new Schedule(clock, setting), options);
}, 1_800_000);
