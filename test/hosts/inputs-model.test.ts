import { test } from 'vitest';
import { count } from '../support/counts.js';
import { playSchedules } from '../support/play-schedules.js';
import { Schedule } from './inputs-model/schedule.js';

const runs = count(40, 4_000);
// In the short form the same schedules each time: what is rare is looked for by the long one, with others each time.
const seed = Number(process.env.TEST_SEED ?? count(1, Date.now() % 2 ** 31));
const happenings = [
  ...['result', 'error of a server', 'progress', 'question', 'answer to a question', 'question refused', 'asked again'],
  ...['input required: held', 'input required: passed', 'input required: again', 'answer to a stateless server'],
  ...[
    'state refused',
    'theft',
    'changed state',
    'twice at once',
    'no answer',
    'some answers',
    'leaves at once',
    'left',
  ],
  ...['never came back', 'told off', 'withdrawn', 'death', 'stop', 'restart', 'reload', 'memory'],
  ...['SERVER_EXITED', 'SERVER_STOPPED', 'REQUEST_TIMEOUT', 'GATEWAY_CLOSED'],
];

test(`${runs} schedules of stateless callers whose calls need input: each call has one outcome, each question one answer`, async () => {
  await playSchedules((setting) => new Schedule(setting), { runs, seed, mostSteps: 120, happenings });
}, 3_600_000);
