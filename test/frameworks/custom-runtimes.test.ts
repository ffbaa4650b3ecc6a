import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { addPackage, install, pack, root } from './install.js';

const run = promisify(execFile);
const folder = join(root, 'docs/examples/runtimes');

test('runtimes outside of the library pass the contract with nothing but its tarball', async () => {
  const packed = await pack();
  await install(folder);
  await addPackage(folder, packed.tarball);
  await rm(packed.folder, { recursive: true, force: true });
  const { stdout } = await run(process.execPath, ['--test', '--test-reporter=tap', '--test-concurrency=1'], {
    cwd: folder,
    maxBuffer: 64 * 1024 * 1024,
    // Without this Node's own test runner would report to a parent that is none.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  }).catch((error: { stdout: string }) => error);
  const failed = stdout.split('\n').filter((line) => /^\s*not ok/.test(line));
  const skipped = stdout.split('\n').filter((line) => / # SKIP/.test(line));
  for (const line of skipped) {
    console.warn(`SKIPPED ${line.trim()}`);
  }
  expect(failed).toEqual([]);
  const passed = Number(/^# pass (\d+)$/m.exec(stdout)?.[1]);
  expect(passed).toBeGreaterThan(skipped.length > 0 ? 40 : 80);
}, 600_000);
