import { describe, expect, test } from 'vitest';
import { parseCatalog } from '../../src/catalog/parse-catalog.js';
import { invalid } from './runtimes.js';

const mebi = 1024 * 1024;

/** `part` as often as it fits, between `start` and `end`. */
function fill(part: string, start = '', end = '', size = mebi): string {
  return start + part.repeat(Math.floor((size - start.length - end.length) / part.length)) + end;
}

const count = Math.floor(mebi / 16);
const keys = Array.from({ length: count }, (_, index) => `k${index}`);
const indented = Array.from({ length: 1000 }, (_, depth) => `${' '.repeat(depth)}a:\n`).join('');

const hostile: Record<string, string> = {
  'open lists': fill('['),
  'open maps': fill('{a: '),
  'closed lists': '['.repeat(mebi / 2) + ']'.repeat(mebi / 2),
  'lists in quotes in lists': fill('["]", '),
  'block lists on one line': fill('- '),
  'explicit keys on one line': fill('? '),
  'explicit keys on lines': fill('?\n'),
  'keys on one line': fill('a: '),
  'ever deeper maps': indented,
  'ever deeper block lists in a map': fill('- a:\n  - b:\n', 'servers:\n'),
  'markers of lists in a list': fill('- ', '['),
  'explicit keys in a list': fill('? ', '['),
  anchors: fill('& '),
  'anchors of a value': fill('&a ', 'a: '),
  tags: fill('! '),
  aliases: fill('*a '),
  'a thousand million laughs': `a: &a [x, x]\n${Array.from({ length: 30 }, (_, i) => `b${i}: &b${i} [*a, *a]\n`).join('')}`,
  'blank lines, then comments': fill('  #\n', `a: 1\n${'\n'.repeat(mebi / 2)}`),
  'blank lines and comments by turns': fill(`${'\n'.repeat(2000)}${'  #\n'.repeat(1000)}`, 'servers:\n'),
  'many keys': `servers:\n${keys.map((key) => `  ${key}: 1`).join('\n')}`,
  'many keys in a flow map': `{${keys.map((key) => `${key}: 1`).join(',')}}`,
  'many keys in JSON': `{${keys.map((key) => `"${key}":1`).join(',')}}`,
  'deep JSON': fill('{"a":['),
  'a key given many times': fill('a: 1\n'),
  'a long key': fill('a', '', ': 1'),
  'many entries that are none': fill('- 1\n', 'servers:\n'),
  'many empty entries': fill('{},', 'servers: [', ']'),
  'many bad ids': fill('- {id: _, x: 1}\n', 'servers:\n'),
  'many numbers in JSON': fill('1,', '{"servers":[', '1]}'),
  commas: fill(',', '['),
  quotes: fill("'"),
  backslashes: fill('\\"', '["'),
  'empty lines in quotes': fill(' \n', 'a: "', '"'),
  'empty lines in a block': fill(' \n', 'a: |\n'),
  'blanks in a line': fill(`${' '.repeat(1000)}b`, 'a: b'),
  'lines of one string': fill('a\n'),
  documents: fill('---\n'),
  'ends of documents': fill('...\n'),
  directives: fill('%a\n'),
  'closing braces': fill('}'),
  tabs: fill('\t', 'a:'),
  'open variables': fill('${', 'servers: [{ id: a, tags: ["', '"], runtime: { type: x } }]'),
  'bad variables': fill('${}', 'servers: [{ id: a, tags: ["', '"], runtime: { type: x } }]'),
  'a string of variables as id': fill('${A}', 'servers: [{ id: "', '", runtime: { type: x } }]'),
};

describe('a hostile catalog is refused in bounded time and space:', () => {
  test.each(Object.entries(hostile))('%s', async (_, text) => {
    const error = await invalid(() => parseCatalog(text));
    expect(error.issues?.length).toBeLessThanOrEqual(1001);
    expect(error.message.length).toBeLessThan(1_000_000);
  });
});

test('aliases of aliases are refused as such, and none is followed', async () => {
  const error = await invalid(() => parseCatalog(hostile['a thousand million laughs'] ?? ''));
  const messages = error.issues?.map(({ message }) => message) ?? [];
  // The anchor of each line, and nothing of what it stands for: 2 to the power of 30 strings.
  expect(messages.filter((message) => message.startsWith('anchors and aliases are not supported'))).toHaveLength(31);
});

// The parser aborts the process when it runs out of stack a few times; this test would not come to its end.
test('the deepest catalogs, a hundred times in one process, neither crash nor leak nor block', async () => {
  const deep = [
    'open lists',
    'open maps',
    'block lists on one line',
    'explicit keys on one line',
    'ever deeper maps',
    'deep JSON',
  ];
  let turns = 0;
  const timer = setInterval(() => turns++, 0);
  const round = async () => {
    for (const name of deep) {
      await expect(parseCatalog(hostile[name] ?? '')).rejects.toThrow('is nested more than 64 levels deep');
      await new Promise(setImmediate);
    }
  };
  for (let i = 0; i < 10; i++) {
    await round();
  }
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 90; i++) {
    await round();
  }
  clearInterval(timer);
  expect(turns, 'other work went on').toBeGreaterThan(10);
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * mebi);
});

describe('what looks hostile and is not:', () => {
  const entry = (tags: string) => `servers:\n  - id: a\n    runtime: { type: x }\n    tags: ${tags}\n`;

  test.each([
    ['brackets in a string', entry(`["${'['.repeat(5000)}", '${'{'.repeat(5000)}']`)],
    ['brackets in a block', `${entry('[]')}    description: |\n      ${'['.repeat(5000)}\n`],
    ['brackets in a comment', `${entry('[]')}# ${'[{'.repeat(5000)}`],
    ['many lists beside each other', entry(`[${'x, '.repeat(5000)}]`)],
    ['a long comment', `${'# words\n'.repeat(1500)}${entry('[]')}`],
    ['64 levels', `servers: [{ id: a, runtime: { type: x, deep: ${'['.repeat(60)}${']'.repeat(60)} } }]`],
    [
      '1,000 keys',
      `servers: [{ id: a, runtime: { type: x }, env: { ${Array.from({ length: 1000 }, (_, i) => `K${i}: v`).join(', ')} } }]`,
    ],
  ])('%s', async (_, text) => {
    expect((await parseCatalog(text)).servers).toHaveLength(1);
  });

  test('a catalog of 1 MiB with every kind of line', async () => {
    const part = (index: number) =>
      `  # number ${index}\n  - id: server-${index}\n    tags: [a, "b"]\n    env:\n      TOKEN: "\${TOKEN}"\n    runtime:\n      type: local-process\n      command: node\n      args:\n        - "--port=${index}"\n        - -v\n\n`;
    const size = part(1000).length;
    const text = `servers:\n${Array.from({ length: Math.floor((mebi - 1000) / size) - 200 }, (_, index) => part(index)).join('')}`;
    expect(text.length).toBeGreaterThan(0.9 * mebi);
    expect((await parseCatalog(text)).servers.length).toBeGreaterThan(4000);
  });
});
