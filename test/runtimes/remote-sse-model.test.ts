import { test } from 'vitest';
import { count } from '../support/counts.js';
import { playSchedules } from '../support/play-schedules.js';
import { Schedule } from './remote-sse-model/schedule.js';

const runs = count(72, 1_000);
// In the short form the same schedules each time, as far as the network allows: what is rare is looked for by the long one.
const seed = Number(process.env.TEST_SEED ?? count(1, Date.now() % 2 ** 31));
const happenings = [
  ...['result', 'progress', 'log', 'question', 'cancel', 'closed', 'restart', 'reload', 'stop', 'the server goes down'],
  ...['refused', 'failed', 'redirected', 'redirected elsewhere', 'token refused', 'session forgotten', 'DELETE'],
  ...['answer: JSON', 'answer: events', 'answer: cut', 'answer: cut inside', 'rest: stream', 'stream disturbed'],
  ...['listen: listens', 'told of a change', 'all changes are known', 'watching interrupted'],
  ...['stream interrupted', 'rest of what it says by itself: stream', 'all is heard'],
  ...['acknowledged: at once', 'acknowledged: behind the answer', 'delivered: false', 'delivered: unknown'],
  ...['consent: asked', 'scope refused', 'who grants: redirected', 'who grants: cut'],
  ...['answer: need', 'comes back', 'input required: at once'],
  ...['elicited: answered', 'elicited: refused', 'listened to'],
  ...count([], ['consent: given', 'consent: taken', 'input required: late', 'host: page late']),
  ...['said by itself', 'token: renewed', 'host: headers failed', 'host: headers late', 'host: tokens late'],
  ...[
    'MESSAGE_TOO_LARGE',
    'CONNECTION_FAILED',
    'SESSION_LOST',
    'HTTP_STATUS',
    'ANSWER_INVALID',
    'AUTH_REQUIRED',
    'REQUEST_TIMEOUT',
  ],
];

test(`${runs} schedules of callers and a remote server that misbehaves: each call is answered once and carried out at most once, and nothing is left`, async () => {
  await playSchedules((setting) => new Schedule(setting), { runs, seed, mostSteps: 60, happenings });
}, 1_800_000);
