import { describe, expect, test } from 'vitest';
import { faultyRuntime, runSuite } from './collect.js';
import { faults } from './faults.js';

describe('the contract suite', () => {
  test('passes on the runtime that the broken ones wrap', async () => {
    const { names, failures } = await runSuite(() => faultyRuntime({}));
    expect([...failures]).toEqual([]);
    expect(names.length).toBeGreaterThan(50);
  });

  for (const [name, { fails, andMore, ...fault }] of Object.entries(faults)) {
    test(`fails on a runtime that ${name}`, async () => {
      const { failures } = await runSuite(() => faultyRuntime(fault));
      const failed = [...failures.keys()].filter((failure) => !andMore || fails.includes(failure));
      expect(failed.sort()).toEqual([...fails].sort());
    });
  }
});
