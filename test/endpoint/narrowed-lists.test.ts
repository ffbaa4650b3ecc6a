import { expect, test } from 'vitest';
import { settle } from '../support/fake-clock.js';
import { hold } from './scripted-server.js';
import { setUp } from './setup.js';

const runtimeOf = (id: string) => ({ id, runtime: { type: 'scripted' as const, script: id } });

test.each([
  ['denies a tool', [{ ...runtimeOf('a'), tags: ['t'], tools: { deny: ['secret'] } }]],
  ['hides its server from the caller', [runtimeOf('a')]],
  ['takes its server away', []],
])('a list that is on its way when a reload %s shows none of that', async (_, entries) => {
  const b = { ...runtimeOf('b'), tags: ['t'] };
  await using t = setUp(
    { a: { tools: [{ name: 'secret' }] }, b: { tools: [{ name: 'x' }], on: { 'tools/list': () => hold } } },
    { entry: { tags: ['t'] } },
  );
  await using caller = await t.caller({}, { tags: ['t'] });
  const listing = caller.toolNames();
  const { instance, request } = await t.server('b').request('tools/list');
  await settle();
  await t.gateway.reload({ servers: [...entries, b] });
  instance.answer(request, { tools: [{ name: 'x' }] });
  expect(await listing).toEqual(['b__x']);
});
