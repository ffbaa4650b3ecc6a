import { describe, expect, test } from 'vitest';
import type { Interceptor } from '../../src/index.js';
import { settle } from '../support/fake-clock.js';
import { hold, type Script, ScriptedServer } from './scripted-server.js';
import { setUp } from './setup.js';
import type { TestCaller } from './test-caller.js';

const good: Script = { tools: [{ name: 'x' }], prompts: [{ name: 'p' }] };
const entry = { restart: { max: 100, backoff: '1ms', max_backoff: '1ms' }, list_timeout: '2s' };
const listChanged = (caller: TestCaller) => caller.notifications('notifications/tools/list_changed').length;

describe('a server that says in the middle of a list that another one has changed', () => {
  test.each([
    ['in time', 0],
    ['late', 2_000],
  ])('has not outdated it, when it comes %s', async (_, takesMs) => {
    await using t = setUp({ a: { ...good, on: { 'tools/list': () => hold } } }, { entry });
    await using caller = await t.caller();
    const listing = caller.toolNames();
    const { instance, request } = await t.server('a').request('tools/list');
    instance.notify('notifications/prompts/list_changed');
    await t.clock.advance(takesMs);
    instance.answer(request, { tools: [{ name: 'x' }] });
    await t.clock.advance(1_000);
    const isLate = takesMs > 0;
    expect(await listing).toEqual(isLate ? [] : ['a__x']);
    expect(listChanged(caller)).toBe(isLate ? 1 : 0);
    if (isLate) {
      // The server answers no more.
      const again = caller.toolNames();
      await t.clock.advance(2_000);
      expect(await again).toEqual(['a__x']);
    }
    expect(caller.notifications('notifications/prompts/list_changed')).toHaveLength(1);
  });
});

describe('a list that an interceptor still thinks about', () => {
  /** Holds the list that comes next until `go` is called. */
  function thinking() {
    const held = Promise.withResolvers<void>();
    const has = Promise.withResolvers<void>();
    const intercept: Interceptor = async ({ method }, next) => {
      const result = await next();
      if (method === 'tools/list') {
        has.resolve();
        await held.promise;
      }
      return result;
    };
    return { intercept, go: held.resolve, has: has.promise };
  }

  test.each([
    ['for a moment', 0],
    ['for longer than list_timeout', 2_000],
  ])('%s is good although its server has ended: who asked again each time would do so for ever', async (_, takesMs) => {
    const { intercept, go, has } = thinking();
    await using t = setUp({ a: { ...good } }, { entry, intercept });
    await using caller = await t.caller();
    const listing = caller.toolNames();
    await has;
    await t.clock.advance(takesMs);
    t.server('a').only.die();
    await settle();
    go();
    await t.clock.advance(1_000);
    const isLate = takesMs > 0;
    expect(await listing).toEqual(isLate ? [] : ['a__x']);
    expect(listChanged(caller)).toBe(isLate ? 1 : 0);
    const again = caller.toolNames();
    await t.clock.advance(1_000);
    expect(await again).toEqual(['a__x']);
    expect(t.server('a').opens).toBe(isLate ? 1 : 2);
    await t.clock.advance(1_000);
    expect(listChanged(caller)).toBe(isLate ? 1 : 0);
  });

  test.each([
    ['for a moment', 0],
    ['for longer than list_timeout', 2_000],
  ])('%s is announced when its server has started anew meanwhile, with another list', async (_, takesMs) => {
    const { intercept, go, has } = thinking();
    const server = new ScriptedServer({ ...good });
    await using before = setUp({ a: server }, { entry: { ...entry, isolation: 'shared' } });
    await using first = await before.caller();
    await first.toolNames();
    const snapshot = before.gateway.snapshot();
    await using t = setUp({ a: { ...good } }, { entry: { ...entry, isolation: 'shared' }, intercept, snapshot });
    await using caller = await t.caller();
    const listing = caller.toolNames();
    await has;
    await t.clock.advance(takesMs);
    t.server('a').script.tools = [{ name: 'new' }];
    const calling = caller.result('tools/call', { name: 'a__x' });
    await t.clock.advance(1_000);
    await calling;
    const told = listChanged(caller);
    go();
    await t.clock.advance(1_000);
    expect(await listing).toEqual(takesMs > 0 ? [] : ['a__x']);
    expect(listChanged(caller)).toBe(told + 1);
    expect(await caller.toolNames()).toEqual(['a__new']);
  });
});

test('a list that comes without a server which a reload has replaced meanwhile is announced, though the reload was before', async () => {
  await using t = setUp({ a: { ...good, on: { 'tools/list': () => hold } }, b: { ...good } }, { entry });
  await using caller = await t.caller();
  const listing = caller.toolNames();
  await t.server('a').request('tools/list');
  const reloading = t.gateway.reload({
    servers: ['a', 'b'].map((id) => ({ id, ...entry, runtime: { type: 'scripted' as const, script: 'b' } })),
  });
  await t.clock.advance(1_000);
  const told = listChanged(caller);
  expect(told).toBe(1);
  await t.clock.advance(1_000);
  expect(await listing).toEqual(['b__x']);
  await t.clock.advance(1_000);
  expect(listChanged(caller)).toBe(told + 1);
  expect(await caller.toolNames()).toEqual(['a__x', 'b__x']);
  await t.clock.advance(60_000);
  await reloading;
});

test.each(['says that it has changed', 'is replaced by a reload'])(
  'a list is announced when one of its servers %s while it waits for another one: it shows what was before',
  async (how) => {
    const b: Script = { ...good, on: { 'tools/list': () => hold } };
    await using t = setUp({ a: { ...good }, other: { tools: [{ name: 'y' }] }, b });
    await using caller = await t.caller({}, { servers: ['a', 'b'] });
    const listing = caller.toolNames();
    const { instance, request } = await t.server('b').request('tools/list');
    await settle();
    const a = t.server('a').only;
    if (how.startsWith('says')) {
      a.notify('notifications/tools/list_changed');
    } else {
      const servers = Object.entries({ a: 'other', b: 'b' });
      await t.gateway.reload({
        servers: servers.map(([id, script]) => ({ id, runtime: { type: 'scripted' as const, script } })),
      });
    }
    await t.clock.advance(1_000);
    expect(listChanged(caller)).toBe(1);
    instance.answer(request, { tools: [{ name: 'x' }] });
    expect(await listing).toEqual(['a__x', 'b__x']);
    await t.clock.advance(1_000);
    expect(listChanged(caller)).toBe(2);
  },
);

test('a list is announced when a reload adds a server while it waits for another one', async () => {
  const held: Script = { ...good, on: { 'tools/list': () => hold } };
  await using t = setUp({ a: held, b: { ...good } });
  const servers = ['a', 'b'].map((id) => ({ id, runtime: { type: 'scripted' as const, script: id } }));
  await t.gateway.reload({ servers: servers.slice(0, 1) });
  await using caller = await t.caller();
  const listing = caller.toolNames();
  const { instance, request } = await t.server('a').request('tools/list');
  await t.gateway.reload({ servers });
  await t.clock.advance(1_000);
  expect(listChanged(caller)).toBe(1);
  instance.answer(request, { tools: [{ name: 'x' }] });
  expect(await listing).toEqual(['a__x']);
  await t.clock.advance(1_000);
  expect(listChanged(caller)).toBe(2);
});

test('a list is announced when a server that it lacks, as that was being stopped, is gone while it waits for another one', async () => {
  const held = (method: string): Script => ({ ...good, on: { [method]: () => hold } });
  await using t = setUp({ a: held('tools/call'), b: held('tools/list') });
  await using caller = await t.caller();
  const call = caller.request('tools/call', { name: 'a__x' });
  const calling = await t.server('a').request('tools/call');
  const stopped = t.gateway.stop('a', { graceMs: 60_000 });
  await settle();
  const listing = caller.toolNames();
  const { instance, request } = await t.server('b').request('tools/list');
  await settle();
  calling.instance.answer(calling.request, {});
  await call;
  await stopped;
  await t.clock.advance(1_000);
  const told = listChanged(caller);
  instance.answer(request, { tools: [{ name: 'x' }] });
  expect(await listing).toEqual(['b__x']);
  await t.clock.advance(1_000);
  expect(listChanged(caller)).toBe(told + 1);
});
