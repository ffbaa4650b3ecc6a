import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { systemClock } from '../../src/options.js';

/** Two ends of one connection: what is written to the first can be read from the second at once. */
async function pair(): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [[far]] = await Promise.all([once(server, 'connection'), once(near, 'connect')]);
  onTestFinished(() => {
    for (const end of [near, far, server]) end.unref();
    near.destroy();
    server.close();
  });
  return [near, far];
}

/** Sets a timer, has something come, and holds up the event loop until the timer is long overdue. */
async function overdue(onInput: (timer: unknown, ran: string[]) => void): Promise<string[]> {
  const [near, far] = await pair();
  const ran: string[] = [];
  const came = once(far, 'data');
  // Timers are what comes next after this part of a turn.
  await turn();
  const timer = systemClock.setTimeout(() => ran.push('timer'), 5);
  far.once('data', () => onInput(timer, ran));
  near.write('x');
  for (const end = performance.now() + 100; performance.now() < end; );
  await came;
  await turn();
  await turn();
  return ran;
}

test('a timer of a process that was held up runs after what came meanwhile has been read', async () => {
  expect(await overdue((_, ran) => ran.push('input'))).toEqual(['input', 'timer']);
});

test('one that what came meanwhile takes back does not run', async () => {
  expect(await overdue((timer) => systemClock.clearTimeout(timer))).toEqual([]);
});

test('one that was taken back, or never was, can be taken back', () => {
  const timer = systemClock.setTimeout(() => expect.unreachable(), 0);
  systemClock.clearTimeout(timer);
  systemClock.clearTimeout(timer);
  systemClock.clearTimeout(undefined);
});

test('one that is taken back while fake timers stand in for those of Node does not run', async () => {
  // As Sinon's are.
  const config = { shouldClearNativeTimers: false };
  vi.useFakeTimers({ ...config, toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate'] });
  onTestFinished(() => void vi.useRealTimers());
  let ran = false;
  const timer = systemClock.setTimeout(() => {
    ran = true;
  }, 5);
  for (const end = performance.now() + 30; performance.now() < end; );
  vi.advanceTimersByTime(5);
  systemClock.clearTimeout(timer);
  await turn();
  await turn();
  expect(ran).toBe(false);
});
