import { describe, expect, test } from 'vitest';
import { describeWithDocker } from '../support/real-parts.js';
import { chaos, expectClean } from './run-chaos.js';

describe('hosts, servers and connections that are killed at random', { concurrent: true, timeout: 600_000 }, () => {
  test('leave nothing, and lose, double and misdeliver nothing', async () => {
    await expectClean(0.25, 'local-process,remote-sse,in-process', 'local', 'tree', 'shared', 'remote', 'inside');
  });

  test('are found out when a library is careless', async () => {
    const library = ['--library', 'test/chaos/careless-library.mjs'];
    const { code, output } = await chaos(
      '--minutes',
      '0.1',
      '--longest',
      '10',
      '--runtimes',
      'local-process',
      ...library,
    );
    expect(code, output).toBe(1);
    for (const text of [
      'lost: ',
      'doubled: ',
      'misdelivered: ',
      'told not to be delivered, and executed: ',
      'left: processes: ',
    ])
      expect(output).toContain(text);
  });
});

describeWithDocker('containers that are killed at random', () => {
  test('leave nothing, and lose, double and misdeliver nothing', { timeout: 600_000 }, () =>
    expectClean(0.2, 'docker', 'docker'),
  );
});
