import { test } from 'vitest';
import { count } from '../support/counts.js';
import { playSchedules } from '../support/play-schedules.js';
import { Schedule } from './model/schedule.js';

const runs = count(120, 1_200);
// In the short form the same schedules each time: what is rare is looked for by the long one, with others each time.
const seed = Number(process.env.TEST_SEED ?? count(1, Date.now() % 2 ** 31));
const happenings = [
  ...['result', 'progress', 'log', 'cancel', 'hang up', 'batch', 'odd', 'upload', 'cut upload', 'listened'],
  ...[
    'question',
    'answer to a question',
    'withdrawn question',
    'theft of a question',
    'resumed',
    'event that was missed',
  ],
  ...['theft of events', 'swell', 'input required', 'death', 'reload', 'SERVER_EXITED', 'TRANSPORT_CLOSED'],
  ...['stalls', 'is deaf'],
  // How far a request comes is a matter of time: what is rare is looked for by the long form.
  ...count([], ['flood', 'answer to a stateless server']),
  ...[200, 202, 400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 500, 503].map((status) => `status ${status}`),
];

test(`${runs} schedules of clients over HTTP and hosts of all kinds: each gets what is its own, once, and nothing is left`, async () => {
  await playSchedules((setting) => Schedule.open(setting), { runs, seed, mostSteps: 100, happenings });
}, 7_200_000);
