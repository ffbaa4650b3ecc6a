import { describe, expect, test } from 'vitest';
import type { Interceptor } from '../../src/index.js';
import { settle } from '../support/fake-clock.js';
import { RpcError, type Script, ScriptedServer } from './scripted-server.js';
import { type Setup, setUp } from './setup.js';
import type { TestCaller } from './test-caller.js';

const before: Script = { tools: [{ name: 'x' }], prompts: [{ name: 'p' }] };
const entry = { restart: { max: 100, backoff: '1ms', max_backoff: '1ms' } };
const shared = { ...entry, isolation: 'shared' };
const changes = (caller: TestCaller) =>
  caller.received.flatMap((message) =>
    'method' in message && message.method.endsWith('list_changed') ? [message.method] : [],
  );

/** The server ends; then the caller needs the next one. */
async function useNext({ clock, server }: Setup, ...callers: TestCaller[]): Promise<void> {
  server('a').only.die();
  await settle();
  for (const caller of callers) {
    const calling = caller.result('tools/call', { name: 'a__x' });
    await clock.advance(1_000);
    await calling;
    await clock.advance(1_000);
  }
}

describe('a server that has ended, and comes back', () => {
  test.each([
    ['a caller that nobody can recognise', {}],
    ['a caller with an id', { caller: { id: 'anna' } }],
  ])('with another list is announced to %s, once', async (_, options) => {
    await using t = setUp({ a: { ...before } }, { entry });
    await using caller = await t.caller({}, options);
    await caller.toolNames();
    await caller.list('prompts');
    t.server('a').script.tools = [{ name: 'x' }, { name: 'new' }];
    await useNext(t, caller);
    expect(changes(caller)).toEqual(['notifications/tools/list_changed']);
    expect(await caller.toolNames()).toEqual(['a__x', 'a__new']);
    await useNext(t, caller);
    expect(changes(caller)).toHaveLength(1);
  });

  test('is announced to each caller that was shown another list, though the first to use it has shown it already', async () => {
    await using t = setUp({ a: { ...before } }, { entry: shared });
    await using first = await t.caller();
    await using second = await t.caller();
    await first.toolNames();
    await second.toolNames();
    t.server('a').script.tools = [{ name: 'new' }];
    await useNext(t, first, second);
    for (const caller of [first, second]) {
      expect(changes(caller)).toEqual(['notifications/tools/list_changed']);
    }
  });

  test.each([
    ['a caller that nobody can recognise', {}, {}],
    ['a caller with an id', {}, { caller: { id: 'anna' } }],
    ['a caller of a principal', { isolation: 'principal' }, { caller: { principal: 'acme' } }],
    ['who shares it with everybody', { isolation: 'shared' }, {}],
  ])('with other lists after its rest is announced to %s, once', async (_, own, options) => {
    await using t = setUp({ a: { tools: [{ name: 'x' }] } }, { entry: { idle_timeout: '1m', ...own } });
    await using caller = await t.caller({}, options);
    const { script } = t.server('a');
    const useAfterRest = async () => {
      await t.clock.advance(180_000);
      expect(t.server('a').live).toEqual([]);
      await caller.result('tools/call', { name: 'a__x' });
      await t.clock.advance(1_000);
    };
    await caller.toolNames();
    await caller.list('prompts');
    script.tools = [{ name: 'x' }, { name: 'new' }];
    script.prompts = [{ name: 'p' }];
    await useAfterRest();
    expect(changes(caller).sort()).toEqual(['notifications/prompts/list_changed', 'notifications/tools/list_changed']);
    expect(await caller.toolNames()).toEqual(['a__x', 'a__new']);
    expect(await caller.list('prompts')).toMatchObject([{ name: 'a__p' }]);
    await useAfterRest();
    expect(changes(caller)).toHaveLength(2);
  });

  test('with another list after its rest is announced to each who shares it, once it is used for that one', async () => {
    await using t = setUp({ a: { ...before } }, { entry: { ...shared, idle_timeout: '1m' } });
    await using first = await t.caller();
    await using second = await t.caller();
    await first.toolNames();
    await second.toolNames();
    await t.clock.advance(180_000);
    t.server('a').script.tools = [{ name: 'x' }, { name: 'new' }];
    for (const caller of [first, second]) {
      expect(changes(caller)).toEqual([]);
      await caller.result('tools/call', { name: 'a__x' });
      await t.clock.advance(1_000);
      expect(changes(caller)).toEqual(['notifications/tools/list_changed']);
    }
    expect(t.server('a').instances).toHaveLength(2);
  });

  test('is announced although another of its lists fails', async () => {
    await using t = setUp({ a: { ...before } }, { entry: shared });
    await using caller = await t.caller();
    await caller.toolNames();
    const { script } = t.server('a');
    script.tools = [{ name: 'new' }];
    script.on = {
      'prompts/list': () => {
        throw new RpcError(-32050, 'no');
      },
    };
    await useNext(t, caller);
    expect(changes(caller)).toEqual(['notifications/tools/list_changed']);
  });

  test('is asked for no list by a caller that was shown none', async () => {
    const server = new ScriptedServer({ ...before });
    await using t = setUp({ a: server }, { entry });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    await useNext(t, caller);
    expect(server.instances.flatMap((instance) => instance.requests('tools/list'))).toEqual([]);
    expect(changes(caller)).toEqual([]);
  });

  test('with what cannot be written as JSON shows it to who is in the same process, and ends nothing', async () => {
    await using t = setUp({ a: { ...before, tools: [{ name: 'x', big: 1n }] } }, { entry });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    await useNext(t, caller);
    expect(changes(caller)).toEqual([]);
  });
});

test.each<[string, Interceptor]>([
  ['answers itself', async () => ({ tools: [{ name: 'own' }] })],
  [
    'refuses before it asks the server',
    () => {
      throw Object.assign(new Error('not you'), { code: 4003 });
    },
  ],
  [
    'refuses when it has asked the server',
    async (_, next) => {
      await next();
      throw Object.assign(new Error('not you'), { code: 4003 });
    },
  ],
])('a list that an interceptor %s is announced at no start of a server that changes nothing', async (_, ofLists) => {
  const intercept: Interceptor = (request, next) => (request.method === 'tools/list' ? ofLists(request, next) : next());
  await using t = setUp({ a: { ...before } }, { entry, intercept });
  await using caller = await t.caller();
  await caller.result('tools/call', { name: 'a__x' });
  await caller.toolNames();
  await useNext(t, caller);
  await useNext(t, caller);
  expect(changes(caller)).toEqual([]);
});
