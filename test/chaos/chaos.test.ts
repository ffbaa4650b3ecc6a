import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { describeWithDocker, describeWithKubernetes } from '../support/real-parts.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs the chaos as `npm run chaos` does. */
async function chaos(...args: string[]): Promise<{ code: number | null; output: string }> {
  if (!existsSync(`${root}/dist/index.js`)) {
    throw new Error('the chaos runs the built package: run `npm run build` first');
  }
  const child = spawn(process.execPath, ['test/chaos/main.ts', ...args], { cwd: root });
  let output = '';
  const keep = (chunk: Buffer) => {
    output += chunk.toString();
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, output };
}

/** How many calls of an entry were answered. */
function answered(output: string, entry: string): number {
  return Number(new RegExp(`\\| ${entry} +\\| \\d+ +\\| (\\d+)`).exec(output)?.[1] ?? 0);
}

async function expectClean(minutes: number, runtimes: string, ...entries: string[]): Promise<void> {
  const { code, output } = await chaos('--minutes', String(minutes), '--runtimes', runtimes);
  console.log(output.slice(0, output.indexOf('\n')));
  expect(code, output).toBe(0);
  expect(output).toMatch(/\nnothing is left, lost, doubled or misdelivered\n$/);
  for (const entry of entries) expect(answered(output, entry), output).toBeGreaterThan(0);
}

describe('hosts, servers and connections that are killed at random', { timeout: 600_000 }, () => {
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
    for (const text of ['lost: ', 'doubled: ', 'misdelivered: ', 'left: processes: ']) expect(output).toContain(text);
  });
});

describeWithDocker('containers that are killed at random', () => {
  test('leave nothing, and lose, double and misdeliver nothing', { timeout: 600_000 }, () =>
    expectClean(0.2, 'docker', 'docker'),
  );
});

describeWithKubernetes('Jobs and pods that are killed at random', () => {
  test('leave nothing, and lose, double and misdeliver nothing', { timeout: 600_000 }, () =>
    expectClean(0.15, 'k8s-job,k8s-service', 'job', 'service'),
  );
});
