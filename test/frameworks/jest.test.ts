import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { addPackage, install, pack, root } from './install.js';

const run = promisify(execFile);
const folder = join(root, 'test/frameworks/jest');

test('the contract suite and the kit for tests run under Jest, from CommonJS', async () => {
  const packed = await pack();
  await install(folder);
  await addPackage(folder, packed.tarball);
  await rm(packed.folder, { recursive: true, force: true });
  const args = ['node_modules/jest/bin/jest.js', '--json', '--testMatch', '**/*.test.cjs'];
  const { stdout } = await run(process.execPath, args, { cwd: folder, maxBuffer: 64 * 1024 * 1024 }).catch(
    (error: { stdout: string }) => error,
  );
  const report = JSON.parse(stdout) as Record<string, number> & {
    testResults: { assertionResults: { status: string; fullName: string; failureMessages: string[] }[] }[];
  };
  const failed = report.testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status !== 'passed');
  expect(failed).toEqual([]);
  expect(report.numPassedTests).toBeGreaterThan(40);
  expect(report.numFailedTestSuites).toBe(0);
});
