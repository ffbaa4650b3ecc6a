import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPackedProject, dependenciesOf, type PackedProject, root } from './packed-project.js';

const [kilobyte, megabyte] = [1e3, 1e6];

let project: PackedProject;
let installed: string;

beforeAll(() => {
  project = createPackedProject();
  installed = join(project.folder, 'node_modules/open-mcp-gateway');
});

afterAll(() => project?.[Symbol.dispose]());

/** The bytes of the files of a package, without packages that lie in it. */
function sizeOf(folder: string): number {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => !name.split('/').includes('node_modules'))
    .map((name) => statSync(join(folder, name)))
    .reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
}

// The README states these bounds: who raises one changes it too.
test('the code of the package, bundled for a host, minified and compressed, is at most 175 kB', async () => {
  const { outputFiles } = await build({
    entryPoints: [join(installed, 'dist/index.js')],
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    minify: true,
    write: false,
    logLevel: 'silent',
  });
  const bytes = gzipSync(outputFiles[0]?.contents ?? '').length;
  expect(bytes).toBeLessThanOrEqual(175 * kilobyte);
  // A bound that is far off says nothing: a build without its code would be within it too.
  expect(bytes).toBeGreaterThan(100 * kilobyte);
});

test('the package unpacked is at most 2.75 MB', () => {
  expect(sizeOf(installed)).toBeLessThanOrEqual(2.75 * megabyte);
  expect(sizeOf(installed)).toBeGreaterThan(1.5 * megabyte);
});

test('what comes with it, besides the SDK that it stands beside, is at most 7 MB', () => {
  const sdk = join(root, 'node_modules/@modelcontextprotocol/sdk');
  const there = dependenciesOf(sdk);
  const added = [...dependenciesOf(installed)].filter((folder) => !there.has(folder));
  const names = added.map((folder) => folder.slice(join(root, 'node_modules/').length));
  expect(names).toEqual(expect.arrayContaining(['undici', 'valibot', 'yaml']));
  const bytes = added.reduce((sum, folder) => sum + sizeOf(folder), 0);
  expect(bytes).toBeLessThanOrEqual(7 * megabyte);
  expect(bytes).toBeGreaterThan(4 * megabyte);
});
