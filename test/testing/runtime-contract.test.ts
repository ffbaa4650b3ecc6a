import { describe, expect, test } from 'vitest';
import { faultyRuntime, runSuite } from './collect.js';
import { faults } from './faults.js';

describe('the contract suite', { timeout: 300_000 }, () => {
  test('passes on the runtime that the broken ones wrap', async () => {
    const { names, failures } = await runSuite(() => faultyRuntime({}));
    expect([...failures]).toEqual([]);
    expect(names.length).toBeGreaterThan(50);
  });

  test('leaves out what a server does before anybody spoke to it, for a runtime that starts none', async () => {
    const all = await runSuite(() => faultyRuntime({}));
    const { names, failures } = await runSuite(() =>
      faultyRuntime({ factory: (inner) => ({ supports: { ...inner.supports, starts: false } }) }),
    );
    expect([...failures]).toEqual([]);
    expect(all.names.filter((name) => !names.includes(name))).toEqual([
      'rule 2: open() returns a transport that nobody has started',
      'rule 3: messages that came before start() are delivered in order',
      'rule 3: what a server said before it ended is delivered by a start() that comes later',
      'rule 5: the reason comes when a server ends before it has answered anything',
    ]);
  });

  const known = Object.entries(faults);
  describe.each([
    { concurrent: false, some: known.filter(([, { hangs = false }]) => !hangs) },
    // Those wait for guards most of the time; the last one the longest.
    { concurrent: true, some: known.filter(([, { hangs = false }]) => hangs).reverse() },
  ])('fails on a runtime that', ({ concurrent, some }) => {
    test.for(some)('%s', { concurrent }, async ([, fault]) => {
      // Where each case waits for its guard they wait together; another that fails of that does no harm there.
      const atOnce = fault.hangs && fault.andMore ? 100 : undefined;
      const { failures } = await runSuite(() => faultyRuntime(fault), atOnce);
      const failed = [...failures.keys()].filter((failure) => !fault.andMore || fault.fails.includes(failure));
      expect(failed.sort()).toEqual([...fault.fails].sort());
    });
  });
});
