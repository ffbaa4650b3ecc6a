import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadCatalog } from '../../src/catalog/load-catalog.js';
import { parseCatalog } from '../../src/catalog/parse-catalog.js';
import { invalid, one, problemsOf, resolve } from './runtimes.js';

const text = 'servers: [{ id: a, tags: [t], runtime: { type: local-process, command: ./x, args: [y] } }]';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'omg-catalog-'));
  await writeFile(join(folder, 'catalog.yaml'), text);
});

afterAll(() => rm(folder, { recursive: true }));

describe('loadCatalog refuses', () => {
  test.each([
    ['a file that is not there', 'none.yaml', /^cannot be read: there is no such file$/],
    ['a folder', '.', /^cannot be read: it is (not a file|a folder)$/],
    ['a path through a file', 'catalog.yaml/x', /^cannot be read: a part of its path is not a folder$/],
  ])('%s', async (_, name, problem) => {
    const path = join(folder, name);
    const error = await invalid(() => loadCatalog(path));
    expect(error.message.split('\n')).toEqual([`${path} is not valid, 1 problem:`, expect.stringMatching(problem)]);
  });

  test('a URL that it does not fetch, and shows nothing of it', async () => {
    for (const url of ['https://me:canary@a.example/c.yaml', new URL('http://a.example/?canary'), 'ftp://canary']) {
      const error = await invalid(() => loadCatalog(url));
      expect(error.message).toMatch(/a password in it|use https|catalogs are not loaded over ftp: fetch it/);
      expect(error.message).not.toContain('canary');
    }
    expect(await problemsOf(() => loadCatalog('http://:'))).toEqual(['the URL of a catalog is not valid']);
    for (const [path, kind] of [
      [undefined, 'undefined'],
      [5, 'a number'],
      [{}, 'an object'],
    ]) {
      expect(await problemsOf(() => loadCatalog(path as never))).toEqual([
        `the path of a catalog is ${kind}, not a string or a URL`,
      ]);
    }
    expect(await problemsOf(() => loadCatalog('a\0b'))).toEqual(['the path of a catalog holds a NUL character']);
  });

  test('a file without end, and a larger one than is allowed', async () => {
    const large = join(folder, 'large.yaml');
    await writeFile(large, ' '.repeat(2 * 1024 * 1024));
    expect(await problemsOf(() => loadCatalog(large))).toEqual(['is larger than 1 MiB: split it']);
    expect(await problemsOf(() => loadCatalog('/dev/zero'))).toEqual(['cannot be read: it is not a file']);
  });

  test('a named pipe that nobody writes to', async () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    expect(await problemsOf(() => loadCatalog(pipe))).toEqual(['cannot be read: it is not a file']);
  });

  test('a bad file, by its name and with places', async () => {
    const bad = join(folder, 'bad.json');
    await writeFile(bad, '{\n  "servers": [{ "id": 5 }]\n}');
    const error = await invalid(() => loadCatalog(bad));
    expect(error.message.split('\n')).toEqual([
      `${bad} is not valid, 2 problems:`,
      'servers[0].id (2:23): must be a string: quote it, as in "5"',
      'servers[0].runtime (2:15): is required: add it',
    ]);
  });

  test('YAML in a .json file', async () => {
    const file = join(folder, 'yaml.json');
    await writeFile(file, text);
    expect(await problemsOf(() => loadCatalog(file))).toEqual([expect.stringContaining('is not JSON')]);
  });

  test('variables that are not set, when it is given env', async () => {
    const file = join(folder, 'env.yaml');
    await writeFile(file, 'servers: [{ id: a, tags: ["${NOPE}"], runtime: { type: x } }]');
    expect(await problemsOf(() => loadCatalog(file, { env: {} }))).toEqual([expect.stringContaining('variable NOPE')]);
  });
});

describe('the folder for relative paths', () => {
  const baseDir = (entry: unknown) => resolve({ servers: [entry] })[0]?.baseDir;

  test('is that of the file, however it was named', async () => {
    const file = join(folder, 'catalog.yaml');
    for (const path of [file, pathToFileURL(file), String(pathToFileURL(file)), relative(process.cwd(), file)]) {
      expect(resolve(await loadCatalog(path))[0]?.baseDir).toBe(folder);
    }
  });

  test('stays with an entry in another catalog', async () => {
    const other = join(folder, 'other');
    await mkdir(other);
    await writeFile(join(other, 'c.json'), JSON.stringify({ servers: one({ id: 'b' }).servers }));
    const a = await loadCatalog(join(folder, 'catalog.yaml'));
    const b = await loadCatalog(join(other, 'c.json'));
    const definitions = resolve({ servers: [...a.servers, ...b.servers, ...one({ id: 'c' }).servers] });
    expect(definitions.map((definition) => definition.baseDir)).toEqual([folder, other, '/host']);
    const [entry] = a.servers;
    expect(baseDir({ ...entry, tags: [] })).toBe(folder);
    expect(baseDir({ ...entry, tags: [], runtime: { ...entry?.runtime, command: './z' } })).toBe(folder);
  });

  test('is the working directory of the host for a text', async () => {
    expect(resolve(await parseCatalog(text))[0]?.baseDir).toBe('/host');
  });
});
