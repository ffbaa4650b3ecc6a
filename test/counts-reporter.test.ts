import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

function run(...files: string[]): { code: number | null; lastLine: string | undefined } {
  const { status, stdout } = spawnSync(
    process.execPath,
    ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/fixtures/counts/vitest.config.ts', ...files],
    { cwd: root, encoding: 'utf8' },
  );
  return { code: status, lastLine: stdout.trimEnd().split('\n').at(-1) };
}

test.each([
  ['a failed test and a failed set-up', 'mixed', '1 passed, 2 failed, 2 skipped'],
  ['a file that cannot be loaded', 'no-such-import', '0 passed, 1 failed, 0 skipped'],
  ['an error outside of every test', 'unhandled', '1 passed, 1 failed, 0 skipped'],
  ['nothing that ran', 'no-such-test', '0 passed, 0 failed, 0 skipped'],
])('ends with the counts and fails for %s', (_, file, lastLine) => {
  expect(run(`counts/${file}`)).toEqual({ code: 1, lastLine });
});

test('ends with the counts and succeeds when everything passed', () => {
  expect(run('counts/passing')).toEqual({ code: 0, lastLine: '1 passed, 0 failed, 0 skipped' });
});
