import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addPackage, install, pack, root } from './install.js';

const run = promisify(execFile);
const examples = join(root, 'docs/examples/frameworks');
const names = readdirSync(examples, { withFileTypes: true }).flatMap((entry) =>
  entry.isDirectory() ? entry.name : [],
);
let packed: Awaited<ReturnType<typeof pack>>;

beforeAll(async () => {
  packed = await pack();
});

afterAll(() => rm(packed.folder, { recursive: true, force: true }));

describe.each(names)('docs/examples/frameworks/%s', (name) => {
  const folder = join(examples, name);

  test('installs what its lock file says, and the library beside it', async () => {
    await install(folder);
    await addPackage(folder, packed.tarball);
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    const manifest = readFileSync(join(folder, 'node_modules/open-mcp-gateway/package.json'), 'utf8');
    expect(JSON.parse(manifest)).toMatchObject({ version });
  });

  test('lists and calls tools of two servers, one slow and one that crashes', async () => {
    const { stdout } = await run(process.execPath, ['--test', '--test-reporter=tap'], {
      cwd: folder,
      // Without this Node's own test runner would report to a parent that is none.
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    }).catch((error: { stdout: string }) => error);
    expect(stdout).toMatch(/^# pass 1\n# fail 0$/m);
  });

  test('has no address of a registry or a machine in its lock file', () => {
    const lock = readFileSync(join(folder, 'package-lock.json'), 'utf8');
    expect(lock).not.toMatch(/"resolved"|file:|localhost/);
  });
});

test('the examples fit the types of the frameworks', async () => {
  const tsc = join(root, 'node_modules/.bin/tsc');
  const { stdout } = await run(tsc, ['-p', examples], { cwd: root }).catch((error: { stdout: string }) => error);
  expect(stdout).toBe('');
});
