import type { StandardSchemaV1 } from '@standard-schema/spec';
import { expect, test } from 'vitest';
import type { ServerDefinition } from '../../src/catalog/catalog.js';
import { KnownEntries } from '../../src/catalog/known-entries.js';
import { resolveCatalog } from '../../src/catalog/resolve-catalog.js';
import { factory, problemsOf } from './runtimes.js';

/** Resolves one catalog after the other, and tells which specs were checked. */
function resolver() {
  const checked: unknown[] = [];
  const spec = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (value: unknown) => {
        checked.push((value as { name?: unknown }).name);
        return (value as { bad?: unknown }).bad === true ? { issues: [{ message: 'is bad' }] } : { value };
      },
    },
  } as StandardSchemaV1;
  const known = new KnownEntries();
  const factories = new Map([['mine', factory('mine', spec)]]);
  const resolve = (servers: unknown[], env: Record<string, string> = {}, cwd = '/folder') => {
    checked.length = 0;
    const definitions = resolveCatalog({ servers } as never, { factories, env, cwd, known });
    return { definitions, checked: [...checked] };
  };
  return { resolve };
}

const noop = () => {};

const entry = (id: string, more: object = {}, runtime: object = {}) => ({
  id,
  tags: ['one', 'two'],
  ...more,
  runtime: { type: 'mine', name: id, args: ['a', { b: 1 }], ...runtime },
});

test('only what has changed is checked again', () => {
  const { resolve } = resolver();
  const first = resolve([entry('a'), entry('b'), entry('c')]);
  expect(first.checked).toEqual(['a', 'b', 'c']);
  const second = resolve([entry('c'), entry('a', { tags: undefined }), entry('b'), entry('d')]);
  expect(second.checked).toEqual(['a', 'd']);
  expect(second.definitions.map(({ id, tags }) => [id, tags.length])).toEqual([
    ['c', 2],
    ['a', 0],
    ['b', 2],
    ['d', 2],
  ]);
  expect(second.definitions[0]).toBe(first.definitions[2]);
  expect(second.definitions[2]).toBe(first.definitions[1]);
});

test('an entry with null in its pod is not checked again', () => {
  const { resolve } = resolver();
  const withNull = () => entry('a', {}, { pod: { spec: { volumes: null } } });
  expect(resolve([withNull()]).checked).toEqual(['a']);
  expect(resolve([withNull()]).checked).toEqual([]);
  expect(resolve([entry('a', {}, { pod: { spec: { volumes: {} } } })]).checked).toEqual(['a']);
});

test.each<[string, (written: ReturnType<typeof entry>) => unknown]>([
  ['a value', (written) => entry(written.id, {}, { args: ['a', { b: 2 }] })],
  ['the sign of zero', (written) => entry(written.id, {}, { args: ['a', { b: -0 }] })],
  ['the type of a value', (written) => entry(written.id, {}, { args: ['a', { b: '1' }] })],
  ['a longer list', (written) => entry(written.id, {}, { args: ['a', { b: 1 }, 'c'] })],
  ['a shorter list', (written) => entry(written.id, {}, { args: ['a'] })],
  ['an object in place of a list', (written) => entry(written.id, {}, { args: { 0: 'a', 1: { b: 1 } } })],
  ['one more key', (written) => ({ ...written, description: 'new' })],
  ['one key less', ({ tags, ...rest }) => rest],
  ['another key', ({ tags, ...rest }) => ({ ...rest, env: { A: 'b' } })],
  ['a function', (written) => entry(written.id, {}, { args: noop })],
])('an entry with %s is read again', (_, change) => {
  const { resolve } = resolver();
  resolve([entry('a'), entry('b')]);
  const after = resolve([change(entry('a')), entry('b')]);
  expect(after.checked).toEqual(['a']);
  expect(after.definitions).toEqual(resolver().resolve([change(entry('a')), entry('b')]).definitions);
});

test('an object that was changed in place is read again', () => {
  const { resolve } = resolver();
  const written = entry('a');
  resolve([written]);
  written.runtime.args[0] = 'changed';
  const { definitions } = resolve([written]);
  expect((definitions[0] as ServerDefinition).runtime.spec).toMatchObject({ args: ['changed', { b: 1 }] });
});

test('an entry with a variable has the value of today, whatever it was', () => {
  const { resolve } = resolver();
  const written = entry('a', { env: { A: '${X}' } });
  const values = ['one', '${X}', 'two'].map((X) => resolve([written], { X }).definitions[0]?.env.A);
  expect(values).toEqual(['one', '${X}', 'two']);
});

test('functions and instances are checked each time: they may have changed inside', () => {
  const { resolve } = resolver();
  const written = entry('a', {}, { create: noop });
  resolve([written]);
  expect(resolve([written]).checked).toEqual(['a']);
});

test('a known entry moves to another folder', () => {
  const { resolve } = resolver();
  resolve([entry('a')], {}, '/one');
  const { definitions } = resolve([entry('a')], {}, '/two');
  expect(definitions.map(({ baseDir }) => baseDir)).toEqual(['/two']);
});

test('problems are found among known entries, and what was valid stays known', async () => {
  const { resolve } = resolver();
  resolve([entry('a'), entry('b')]);
  const hidden = JSON.parse('{ "id": "b", "__proto__": {}, "runtime": { "type": "mine", "name": "b" } }');
  expect(await problemsOf(() => resolve([entry('a'), entry('a'), entry('b', {}, { bad: true }), hidden]))).toEqual([
    'servers[1].id: is taken by servers[0]: choose another id; case makes no difference',
    expect.stringMatching(/^servers\[3\]\.__proto__: the key "__proto__" is not allowed/),
    expect.stringMatching(/^servers\[3\]\.id: is taken by servers\[2\]/),
    expect.stringMatching(/^servers\[2\]\.runtime: is bad/),
  ]);
  expect(resolve([entry('a'), entry('b')]).checked).toEqual([]);
});
