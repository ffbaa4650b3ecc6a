import { test } from 'vitest';
import { count } from '../support/counts.js';
import { playSchedules } from '../support/play-schedules.js';
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

test(`${runs} schedules of starts, crashes, pauses, stops and closes: each request is answered once, and nothing is left`, async () => {
  await playSchedules((setting) => new Schedule(setting), { runs, seed, mostSteps: 100, happenings });
}, 1_800_000);
