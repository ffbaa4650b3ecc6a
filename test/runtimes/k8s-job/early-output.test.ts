import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/options.js';
import { findEarlyOutput, overlapStart } from '../../../src/runtimes/k8s-job/early-output.js';

const line = (number: number) => JSON.stringify({ jsonrpc: '2.0', method: 'n', params: { number } });

describe('what a container wrote before it was attached to', () => {
  test.each([
    ['all of it', ['a', 'b'], [], 2],
    ['none of it', ['a', 'b'], ['a', 'b'], 0],
    ['its beginning', ['a', 'b', 'c'], ['c', 'd'], 2],
    ['its beginning, while the rest is under way', ['a', 'b', 'c'], ['b'], 1],
    ['its beginning, of equal lines', ['a', 'a', 'a'], ['a', 'x'], 2],
    ['all of it, when what came is new', ['a', 'b'], ['x'], 2],
  ])('%s', (_, logged, arrived, start) => {
    expect(overlapStart(logged, arrived)).toBe(start);
  });

  test('is found as whoever tries each place finds it', () => {
    const lines = fc.array(fc.constantFrom('a', 'b', ' a'), { maxLength: 8 });
    fc.assert(
      fc.property(lines, lines, (logged, arrived) => {
        const fits = (start: number) =>
          arrived.every((text, at) => start + at >= logged.length || text.trim() === logged[start + at]?.trim());
        const starts = logged.map((_, start) => start);
        const expected = arrived.length === 0 ? logged.length : (starts.find(fits) ?? logged.length);
        expect(overlapStart(logged, arrived)).toBe(expected);
      }),
    );
  });

  test('is found in no time in a flood of equal lines', () => {
    const flood = (length: number, last: string) => [...Array<string>(length).fill('a'), last];
    const before = process.cpuUsage().user;
    expect(overlapStart(flood(60_000, 'b'), flood(30_000, 'b'))).toBe(30_000);
    // To try each place takes ten seconds or more.
    expect(process.cpuUsage().user - before).toBeLessThan(3_000_000);
  });

  test('messages, other lines and the attached stream come out apart', async () => {
    const stdout = new PassThrough();
    stdout.write(`${line(3)}\n${line(4).slice(0, 10)}`);
    const log = `warming up\n${line(1)}\n{"not": "a message"}\n${line(2)}\n${line(3)}\n`;
    const early = await findEarlyOutput(log, stdout, systemClock);
    expect(early.messages.toString()).toBe(`${line(1)}\n${line(2)}\n`);
    expect(early.others).toBe('warming up\n{"not": "a message"}');
    expect(early.attached.toString()).toBe(`${line(3)}\n${line(4).slice(0, 10)}`);
  });

  test('a log without messages costs no wait, and leaves the stream alone', async () => {
    const stdout = new PassThrough();
    stdout.write('early');
    const never = { ...systemClock, setTimeout: () => expect.unreachable() };
    const early = await findEarlyOutput('starting\n', stdout, never);
    expect(early).toEqual({ messages: Buffer.alloc(0), others: 'starting', attached: Buffer.alloc(0) });
    expect(String(stdout.read())).toBe('early');
  });
});
