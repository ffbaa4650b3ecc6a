import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const src = fileURLToPath(new URL('../../src', import.meta.url));

/** What each folder may import besides itself, from the lowest on. Files beside the folders are the gateway's own. */
const below: Readonly<Record<string, readonly string[]>> = {
  util: [],
  checks: ['util'],
  transport: ['util'],
  runtimes: ['transport', 'checks', 'util'],
  instance: ['transport', 'util'],
  endpoint: ['instance', 'transport', 'util'],
  catalog: ['checks', 'util'],
  hosts: ['endpoint', 'instance', 'transport', 'checks', 'util'],
};
const openToAll = ['runtime.ts', 'errors.ts', 'options.ts', 'sdk.ts', 'events.ts', 'version.ts'];

const imports = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .flatMap((path) => {
    const text = readFileSync(join(src, path), 'utf8');
    return [...text.matchAll(/(?:\bfrom|\bimport\(|^import)\s*'([^']+)'/gm)].map(([, name = '']) => {
      const isOwn = name.startsWith('.');
      return { path, name: isOwn ? normalize(join(dirname(path), name)).replace(/\.js$/, '.ts') : name, isOwn };
    });
  });
const own = imports.filter(({ isOwn }) => isOwn);

function folderOf(path: string): string {
  return path.split('/')[0] ?? '';
}

/** The type that a file below `runtimes` belongs to; `shared` for what several use. */
function typeOf(path: string): string {
  return (path.split('/')[1] ?? '').replace(/\.ts$/, '');
}

test.each(Object.entries(below))('imports of %s point down', (folder, allowed) => {
  const mine = own.filter(({ path }) => folderOf(path) === folder);
  const up = mine.filter(({ name }) => ![folder, ...allowed, ...openToAll].includes(folderOf(name)));
  expect(mine.length).toBeGreaterThan(0);
  expect(up).toEqual([]);
});

test('a runtime imports no other one', () => {
  const ofRuntimes = own.filter(({ path, name }) => folderOf(path) === 'runtimes' && folderOf(name) === 'runtimes');
  const others = ofRuntimes.filter(({ path, name }) => ![typeOf(path), 'shared'].includes(typeOf(name)));
  expect(ofRuntimes.length).toBeGreaterThan(0);
  expect(others).toEqual([]);
});

test('one file alone imports the SDK', () => {
  const files = imports.filter(({ name }) => name.startsWith('@modelcontextprotocol/')).map(({ path }) => path);
  expect([...new Set(files)]).toEqual(['sdk.ts']);
});
