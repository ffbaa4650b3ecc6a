import { describe, expect, test } from 'vitest';
import { count } from '../support/counts.js';
import { type PlayedSchedule, playSchedules } from '../support/play-schedules.js';
import { DirectSchedule } from './local-process-model/direct.js';
import { GatewaySchedule } from './local-process-model/gateway.js';
import { held, heldLikeBefore, Survivors } from './local-process-model/leftovers.js';

const runs = count(32, 400);
const lanes = 10;
const seed = Number(process.env.TEST_SEED ?? count(1, Date.now() % 2 ** 31));
const kinds = ['group', 'stubborn', 'pipes', 'session', 'session-pipes'].map((kind) => `child: ${kind}`);
// What is rare is looked for by the long form: how far a process comes is a matter of time.
const ofTransports = [
  ...['open', 'START_FAILED', 'message', 'read', 'all is answered', 'delivered: unknown'],
  ...count(
    [],
    [
      ...['aborted', 'delivered: false', 'SIGSTOP', 'SIGCONT', 'SIGKILL', ...kinds],
      ...['code 0', 'code 3', 'SIGKILL', 'SIGSEGV', 'SIGTERM', 'stdout-closed', 'MESSAGE_TOO_LARGE'].map(
        (how) => `ended: ${how}`,
      ),
    ],
  ),
];
const ofGateways = [
  ...['result', 'SERVER_EXITED', 'SERVER_STOPPED', 'cancel', 'leave', 'all is used', 'delivered: false'],
  ...['delivered: true', 'start', 'restart', 'reload', 'stop'],
  ...count(
    [],
    [
      ...['delivered: unknown', 'question', 'REQUEST_TIMEOUT', 'MESSAGE_TOO_LARGE', 'TRANSPORT_CLOSED', ...kinds],
      ...['START_TIMEOUT', 'SIGSTOP', 'notifications/message'],
    ],
  ),
];

async function play(
  create: (setting: number, survivors: Survivors) => PlayedSchedule,
  mostSteps: number,
  happenings: readonly string[],
): Promise<void> {
  const before = held();
  const survivors = new Survivors();
  try {
    await playSchedules((setting) => create(setting, survivors), { runs, seed, lanes, mostSteps, happenings });
    // Those who hold a stream of a server from outside of its group live on: nobody waits for them.
    expect(await heldLikeBefore(before)).toEqual(before);
  } finally {
    await survivors.end();
  }
}

describe(`${runs} schedules of processes that misbehave`, () => {
  test('each message is told once and in order, each end as it was, and nothing is left', async () => {
    await play((...all) => new DirectSchedule(...all), 40, ofTransports);
  }, 1_800_000);

  test('each call of a caller is answered once and with the truth, and nothing is left', async () => {
    await play((...all) => new GatewaySchedule(...all), 40, ofGateways);
  }, 1_800_000);
});
