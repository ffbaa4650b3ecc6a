import { test } from 'vitest';
import { count } from '../support/counts.js';
import { playSchedules } from '../support/play-schedules.js';
import { Schedule } from './lists-model/schedule.js';

const runs = count(200, 2_000);
// In the short form the same schedules each time: what is rare is looked for by the long one, with others each time.
const seed = Number(process.env.TEST_SEED ?? count(1, Date.now() % 2 ** 31));
const happenings = [
  ...['change', 'silent change', 'death', 'failed start', 'reload', 'list_changed', 'used', 'refused'],
  ...['list: wait', 'list: fail', 'list: never', 'held an older list', 'held a good list', 'start', 'stop', 'restart'],
  ...['host: mark', 'host: rename', 'host: own', 'host: throw', 'host: nothing'],
  ...['of a snapshot', 'long list', 'cursor', 'completion/complete'],
];

test(`${runs} schedules of lists that change: each caller knows what there is, or that it has changed`, async () => {
  await playSchedules((setting) => new Schedule(setting), { runs, seed, mostSteps: 60, happenings });
}, 1_800_000);
