import { describe, expect, test } from 'vitest';
import { faultyRuntime, runSuite } from './collect.js';
import { faults } from './faults.js';

// Those that hang take the time of guards, and wait together.
describe('the contract suite', { concurrent: true, timeout: 300_000 }, () => {
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

  for (const [name, { fails, andMore, ...fault }] of Object.entries(faults)) {
    test(`fails on a runtime that ${name}`, async () => {
      const { failures } = await runSuite(() => faultyRuntime(fault));
      const failed = [...failures.keys()].filter((failure) => !andMore || fails.includes(failure));
      expect(failed.sort()).toEqual([...fails].sort());
    });
  }
});
