import { describe, expect, test } from 'vitest';
import { startHost } from '../support/host.js';

const guardMs = 60_000;

describe('a host that waits, and has nothing else to do, does not end before it has the outcome:', () => {
  test.each([
    ['a back-off', 'START_FAILED,START_FAILED'],
    ['a start that does not come to its end', 'START_TIMEOUT'],
    ['a start ahead that does not come to its end', 'START_TIMEOUT'],
    ['a check that takes its time', 'done'],
    ['the close of a server that does not come to its end', 'STOP_FAILED'],
  ])('%s', async (what, outcome) => {
    const host = startHost('waits', [what]);
    expect(await host.lines.next()).toEqual({ done: false, value: outcome });
    expect(await host.ended(guardMs)).toBe(0);
  });
});
