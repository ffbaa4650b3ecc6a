import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'tsup';
import { expect, test } from 'vitest';

const run = promisify(execFile);

test('the contract suite runs under node:test', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'contract-'));
  try {
    await build({
      config: false,
      entry: { suite: 'test/fixtures/node-test-suite.ts' },
      outDir: folder,
      format: ['cjs'],
      noExternal: [/.*/],
      // `node:test` has no other name.
      removeNodeProtocol: false,
      silent: true,
    });
    const { stdout } = await run(process.execPath, ['--test-reporter=tap', join(folder, 'suite.cjs')]);
    expect(stdout).toMatch(/^# fail 0$/m);
    expect(Number(/^# pass (\d+)$/m.exec(stdout)?.[1])).toBeGreaterThan(50);
  } finally {
    await rm(folder, { recursive: true });
  }
});
