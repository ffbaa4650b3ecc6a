import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createGateway, parseCatalog } from '../../src/index.js';
import { version as told } from '../../src/version.js';
import { findBlocks, findLinks, headingIds, readRegion } from './markdown.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const pages = [
  'README.md',
  'CHANGELOG.md',
  'SECURITY.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    // The reports are made by a tool from the declarations.
    .filter((name) => name.endsWith('.md') && !name.startsWith('api') && !name.includes('node_modules'))
    .map((name) => join('docs', name)),
].map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

const blocks = pages.flatMap(({ path, text }) =>
  findBlocks(text).map((block) => ({ ...block, at: `${path}:${block.line}` })),
);
const marked = blocks.flatMap(({ example, ...block }) => (example === undefined ? [] : [{ ...block, example }]));
const unmarked = blocks.filter(({ example }) => example === undefined);

describe('each block that names an example is a region of that file', () => {
  test.each(marked)('$at $example', ({ example, text }) => {
    const [path = '', region] = example.split('#');
    expect(text).toBe(readRegion(readFileSync(join(root, path), 'utf8'), region));
  });

  test('there are such blocks', () => {
    expect(marked.length).toBeGreaterThan(0);
  });
});

test('every block of code names the example it is taken from', () => {
  const code = ['ts', 'typescript', 'js', 'javascript', 'mjs', 'json'];
  expect(unmarked.filter(({ language }) => code.includes(language)).map(({ at }) => at)).toEqual([]);
});

test('every other block of YAML is a catalog, or some of its entries, that a gateway takes', async () => {
  for (const { at, text } of unmarked.filter(({ language }) => language === 'yaml')) {
    const catalog = await parseCatalog(text.startsWith('- ') ? `servers:\n${text}` : text);
    // Some of the variables are addresses.
    const env = Object.fromEntries([...text.matchAll(/\$\{(\w+)/g)].map(([, name]) => [name, 'https://example.com']));
    expect(() => createGateway(catalog, { env }), at).not.toThrow();
  }
});

describe('a test runs every example that a page shows', () => {
  const tests = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts') && !name.includes('node_modules'))
    .map((name) => readFileSync(join(root, 'test', name), 'utf8'));
  const files = new Set(marked.map(({ example }) => example.split('#')[0] ?? ''));

  // Those of agent frameworks are run folder by folder, by `npm run test:frameworks`.
  test.each([...files].filter((file) => file.endsWith('.ts') && !file.includes('/frameworks/')))('%s', (file) => {
    const name = basename(file, '.ts');
    // A page may be followed as a whole.
    const page = dirname(file) === 'docs/examples/getting-started' ? 'docs/getting-started.md' : undefined;
    const ways = [`${name}.ts`, `${name}.js`, `'${name}'`, `/${name}'`, ...(page === undefined ? [] : [page])];
    expect(tests.some((source) => ways.some((way) => source.includes(way)))).toBe(true);
  });
});

describe('links lead somewhere', () => {
  test.each(pages)('$path', ({ path, text }) => {
    const broken = findLinks(text)
      .filter((link) => !/^[a-z]+:/.test(link))
      .filter((link) => {
        const [file = '', id] = link.split('#');
        const target = file === '' ? path : normalize(join(dirname(path), file));
        if (!existsSync(join(root, target))) return true;
        return id !== undefined && !headingIds(readFileSync(join(root, target), 'utf8')).includes(id);
      });
    expect(broken).toEqual([]);
  });
});

test('the README has less than 200 lines', () => {
  expect(readFileSync(join(root, 'README.md'), 'utf8').trimEnd().split('\n').length).toBeLessThan(200);
});

test('every test that a page gives as a proof is there', () => {
  const named = pages.flatMap(({ path, text }) =>
    [...text.matchAll(/`(test\/[\w/.-]+\.ts)`/g)].map((match) => ({ path, file: match[1] ?? '' })),
  );
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter(({ file }) => !existsSync(join(root, file)))).toEqual([]);
});

test('every script that a page tells to run is there', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
  const told = pages.flatMap(({ text }) =>
    [...text.matchAll(/npm (?:run ([\w:-]+)|(test)\b)/g)].map((m) => m[1] ?? m[2]),
  );
  expect(told.length).toBeGreaterThan(0);
  expect(told.filter((name) => name !== undefined && !(name in scripts))).toEqual([]);
});

describe('the pages of runtimes share their headings', () => {
  test.each(pages.filter(({ path }) => path.startsWith('docs/runtimes/')))('$path', ({ text }) => {
    const shared = ['Spec', 'Example', 'Start and stop', 'Messages', 'Check and health', 'Not supported'];
    const headings = [...text.matchAll(/^## (.+)$/gm)].map(([, heading = '']) => heading);
    expect(headings.filter((heading) => shared.includes(heading))).toEqual(shared);
  });
});

test('the code and the CHANGELOG, below what comes next and with a date, have the version of the package', () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const changes = pages.find(({ path }) => path === 'CHANGELOG.md')?.text ?? '';
  const sections = [...changes.matchAll(/^## (.+)$/gm)].map(([, heading = '']) => heading);
  expect(sections[0]).toBe('Unreleased');
  const [named, date] = sections[1]?.split(' - ') ?? [];
  expect(named).toBe(version);
  expect(told).toBe(version);
  expect(date).toMatch(/^\d{4}-\d\d-\d\d$/);
});
