import { expect, test } from 'vitest';
import type { GatewayOptions } from '../../src/index.js';
import { settle } from '../support/fake-clock.js';
import { hold } from './scripted-server.js';
import { setUp } from './setup.js';

const runtimeOf = (id: string) => ({ id, runtime: { type: 'scripted' as const, script: id } });

const narrowings = test.each([
  ['denies a tool', [{ ...runtimeOf('a'), tags: ['t'], tools: { deny: ['secret'] } }]],
  ['hides its server from the caller', [runtimeOf('a')]],
  ['takes its server away', []],
]);

narrowings('a list that is on its way when a reload %s shows none of that', async (_, entries) => {
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

narrowings('the later pages of a list show nothing of that, after a reload that %s', async (_, entries) => {
  const many = Array.from({ length: 1_000 }, (_each, index) => ({ name: `x${index}` }));
  const a = { tools: [{ name: 'secret' }], resources: [{ uri: 'secret:1' }] };
  const b = { tools: many, resources: many.map(({ name }) => ({ uri: `b:${name}` })) };
  await using t = setUp({ b, a }, { entry: { tags: ['t'] } });
  await using caller = await t.caller({}, { tags: ['t'] });
  const { nextCursor: tools } = await caller.result('tools/list');
  const { nextCursor: resources } = await caller.result('resources/list');
  expect(await caller.result('tools/list', { cursor: tools })).toEqual({
    tools: [expect.objectContaining({ name: 'a__secret' })],
  });
  await t.gateway.reload({ servers: [...entries, { ...runtimeOf('b'), tags: ['t'] }] });
  expect(await caller.result('tools/list', { cursor: tools })).toEqual({ tools: [] });
  const hasServer = entries.some((entry) => 'tags' in entry);
  expect(await caller.result('resources/list', { cursor: resources })).toEqual({
    resources: hasServer ? [{ uri: 'secret:1', name: 'secret:1' }] : [],
  });
});

test('the later pages of a list show nothing under a name that leads to another server by then', async () => {
  const names: GatewayOptions['names'] = ({ name }) => name.split('_')[0] ?? '';
  const many = Array.from({ length: 1_000 }, (_, index) => ({ name: `x${index}` }));
  await using t = setUp(
    { b: { tools: many }, a: { tools: [{ name: 'do_harm' }] }, c: { tools: [{ name: 'do_good' }] } },
    { names },
  );
  await using caller = await t.caller();
  const { nextCursor: cursor } = await caller.result('tools/list');
  const before = await caller.result('tools/list', { cursor });
  expect(before.tools).toMatchObject([{ name: 'do' }, { name: 'c__do_good' }]);
  const a = { ...runtimeOf('a'), tools: { deny: ['do_harm'] } };
  await t.gateway.reload({ servers: [{ ...runtimeOf('c'), tags: ['t'] }, runtimeOf('b'), a] });
  // Until it lists anew, a name leads where it did.
  await caller.result('tools/list');
  expect((await caller.result('tools/list', { cursor })).tools).toEqual([]);
});
