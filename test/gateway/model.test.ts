import { test } from 'vitest';
import { count } from '../support/counts.js';
import { playSchedules } from '../support/play-schedules.js';
import { Schedule } from './model/schedule.js';

const runs = count(450, 4_500);
// In the short form the same schedules each time: what is rare is looked for by the long one, with others each time.
const seed = Number(process.env.TEST_SEED ?? count(1, Date.now() % 2 ** 31));
const happenings = [
  ...['result', 'error of a server', 'progress', 'log', 'cancel', 'death', 'question', 'answer to a question'],
  ...[
    'input required',
    'answer to a stateless server',
    'theft',
    'subscribed',
    'unsubscribed',
    'updated',
    'may have changed',
    'task begun',
    'task: tasks/get',
    'task: tasks/result',
    'task: tasks/list',
    'question of a task',
    'answer to a task',
    'task played out',
  ],
  ...['reload', 'start', 'stop', 'restart', 'delivered: true', 'delivered: false', 'delivered: unknown'],
  ...['tools/call', 'prompts/get', 'resources/read', 'completion/complete', 'check', 'LIMIT_REACHED', 'CRASH_LOOP'],
  ...['NOT_AUTHORIZED', 'event: phase', 'event: progress', 'event: trouble', 'event: list-incomplete'],
  ...[
    'level',
    'level known',
    'task status',
    'task found',
    'roots changed',
    'snapshot',
    'asked, and slow',
    'asked, and silent',
    'SERVER_UNHEALTHY',
  ],
  ...['SERVER_EXITED', 'SERVER_STOPPED', 'START_FAILED', 'REQUEST_TIMEOUT', 'TRANSPORT_CLOSED', 'GATEWAY_CLOSED'],
];

test(`${runs} schedules of callers and servers of all kinds: each gets what is its own, once, and nothing is left`, async () => {
  await playSchedules((setting) => new Schedule(setting), { runs, seed, mostSteps: 120, happenings });
}, 1_800_000);
