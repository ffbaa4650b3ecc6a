import { expect, test, vi } from 'vitest';
import { createCallerNames, createNames } from '../../src/endpoint/names.js';
import { ShownLists } from '../../src/endpoint/shown-lists.js';
import { setUp } from './setup.js';

test('of a server that is forgotten nothing is kept of what the caller was shown', () => {
  const shown = new ShownLists();
  for (const server of ['a', 'b', 'c']) {
    shown.set(server, 'tools', [{ name: server }]);
    shown.set(server, 'prompts', undefined);
  }
  const known = () => ['a', 'b', 'c'].filter((server) => shown.has(server));
  expect(known()).toEqual(['a', 'b', 'c']);
  shown.forget('a');
  shown.forget('c');
  expect(known()).toEqual(['b']);
});

test('of a server that a reload has taken away nothing is kept: when it is back, it is asked for no list', async () => {
  await using t = setUp({ a: { tools: [{ name: 'x' }] }, b: { tools: [{ name: 'x' }] } });
  const entries = ['a', 'b'].map((id) => ({ id, runtime: { type: 'scripted' as const, script: id } }));
  await using caller = await t.caller();
  expect(await caller.toolNames()).toEqual(['a__x', 'b__x']);
  await t.gateway.reload({ servers: entries.slice(1) });
  await t.gateway.reload({ servers: entries });
  await caller.result('tools/call', { name: 'a__x' });
  await t.clock.advance(1_000);
  expect(t.server('a').instances.map((instance) => instance.requests('tools/list').length)).toEqual([1, 0]);
});

test('a list that is kept for all callers is written once to be compared, whoever is shown it', () => {
  const toJSON = vi.fn(() => ({ name: 'x' }));
  const items = [{ name: 'x', toJSON }];
  for (const shown of [new ShownLists(), new ShownLists()]) {
    shown.set('a', 'tools', items);
    expect(shown.isOther('a', 'tools', [{ name: 'x' }])).toBe(false);
    expect(shown.isOther('a', 'tools', [{ name: 'y' }])).toBe(true);
  }
  expect(toJSON).toHaveBeenCalledTimes(1);
});

test('names that callers were shown are kept once for all of them, and stay theirs when their server is forgotten', () => {
  const names = createNames(
    () => true,
    ({ name }) => name,
  );
  const callers = [createCallerNames(names), createCallerNames(names)];
  names.qualify('tool', 'a', 'x');
  const known = names.known('tool');
  for (const caller of callers) {
    caller.show('tool');
  }
  names.qualify('tool', 'b', 'y');
  expect(names.known('tool')).toBe(known);
  names.forget(new Set(['a']));
  names.qualify('tool', 'b', 'x');
  const of = (each: Pick<typeof names, 'resolve'>) => ['x', 'y'].map((name) => each.resolve('tool', name)?.server);
  expect(of(names)).toEqual(['b', 'b']);
  expect(callers.map(of)).toEqual([
    ['a', 'b'],
    ['a', 'b'],
  ]);
  callers[0]?.show('tool');
  expect(callers.map((caller) => of(caller)[0])).toEqual(['b', 'a']);
});
