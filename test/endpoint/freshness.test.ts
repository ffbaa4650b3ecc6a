import { describe, expect, test } from 'vitest';
import type { MergedOptions } from '../../src/index.js';
import { ModernTestCaller } from './modern-caller.js';
import { statelessServer } from './modern-servers.js';
import { hold, type Json, RpcError, type Script } from './scripted-server.js';
import { type SetupOptions, setUp } from './setup.js';

const open = (setup: ReturnType<typeof setUp>, options: MergedOptions = {}) =>
  ModernTestCaller.open(setup.gateway.connect(options));

/** A stateless server whose tools are good for so long, for these. */
const fresh = (ttlMs: unknown, cacheScope: unknown): Script =>
  statelessServer({ 'tools/list': () => ({ resultType: 'complete', tools: [{ name: 'go' }], ttlMs, cacheScope }) });
const telling: Script = { tools: [{ name: 'go' }] };
const silent: Script = { tools: [{ name: 'go' }], capabilities: { tools: {} } };

async function listed(scripts: Record<string, Script>, settings: SetupOptions = {}, options: MergedOptions = {}) {
  await using setup = setUp(scripts, settings);
  await using caller = await open(setup, options);
  const { ttlMs, cacheScope } = await caller.result('tools/list');
  return [ttlMs, cacheScope];
}

describe('how long a merged list is good for a stateless caller, and for whom', () => {
  test.each<[string, Record<string, Script>, [number, string]]>([
    ['a stateless server says so', { a: fresh(5_000, 'public') }, [5_000, 'public']],
    ['of several the least counts', { a: fresh(5_000, 'public'), b: fresh(300, 'public') }, [300, 'public']],
    ['one that is private makes all private', { a: fresh(5_000, 'public'), b: fresh(9, 'private') }, [9, 'private']],
    ['what makes no sense is nothing', { a: fresh('long', 'all') }, [0, 'private']],
    ['neither is less than nothing', { a: fresh(-1, 'public') }, [0, 'public']],
    ['a server with sessions that tells of changes', { a: telling }, [60_000, 'private']],
    ['one that tells of none', { a: silent }, [0, 'private']],
    ['both together', { a: telling, b: fresh(100, 'public') }, [100, 'private']],
    ['a server without such a list', { a: fresh(5_000, 'public'), b: { prompts: [] } }, [5_000, 'public']],
    [
      'a server that is down',
      { a: fresh(5_000, 'public'), b: { open: () => Promise.reject(new Error('no')) } },
      [0, 'private'],
    ],
  ])('%s', async (_, scripts, expected) => {
    expect(await listed(scripts)).toEqual(expected);
  });

  test('is nobody else’s where callers see different servers, or an interceptor decides what they see', async () => {
    const scripts = () => ({ a: fresh(5_000, 'public') });
    expect(await listed(scripts(), {}, { servers: ['a'] })).toEqual([5_000, 'private']);
    expect(await listed(scripts(), { intercept: (_, next) => next() })).toEqual([5_000, 'private']);
  });

  test('is nothing with isolation: request, where nobody could tell of a change', async () => {
    const entry = { isolation: 'request' };
    expect(await listed({ a: telling }, { entry })).toEqual([0, 'private']);
    expect(await listed({ a: fresh(5_000, 'public') }, { entry })).toEqual([5_000, 'public']);
  });

  test('is nothing for a server that is slow, or is known by a snapshot alone', async () => {
    const script: Script = { ...fresh(5_000, 'public') };
    await using setup = setUp({ a: script }, { entry: { isolation: 'shared' } });
    await using caller = await open(setup);
    expect(await caller.result('tools/list')).toMatchObject({ ttlMs: 5_000 });
    const snapshot = setup.gateway.snapshot();
    expect(await listed({ a: script }, { snapshot, entry: { isolation: 'shared' } })).toEqual([0, 'private']);

    await using slow = setUp({ a: statelessServer({ 'tools/list': () => hold }) });
    await using waiting = await open(slow);
    const answer = waiting.result('tools/list');
    await slow.server('a').request('tools/list');
    await slow.clock.advance(10_000);
    expect(await answer).toMatchObject({ tools: [], ttlMs: 0, cacheScope: 'private' });
  });

  test('is counted from when the first of its server’s pages came', async () => {
    const result = { resultType: 'complete', tools: [], ttlMs: 5_000, cacheScope: 'public' };
    const pages: Script = statelessServer({
      'tools/list': ({ params }) => (params?.cursor === undefined ? { ...result, nextCursor: 'next' } : hold),
    });
    await using t = setUp({ a: pages });
    await using caller = await open(t);
    const listing = caller.result('tools/list');
    const { instance, request } = await t.server('a').request('tools/list', 1);
    await t.clock.advance(1_500);
    instance.answer(request, result);
    expect(await listing).toMatchObject({ ttlMs: 3_500, cacheScope: 'public' });
  });

  test('is what the pages say, where "" for a cursor is refused by the server that has written it', async () => {
    const script = statelessServer({
      'tools/list': ({ params }) => {
        if (params?.cursor === '') {
          throw new RpcError(-32602, 'no such cursor');
        }
        return { resultType: 'complete', tools: [{ name: 'go' }], ttlMs: 5_000, cacheScope: 'public', nextCursor: '' };
      },
    });
    expect(await listed({ a: script })).toEqual([5_000, 'public']);
  });

  test('shrinks from page to page', async () => {
    const tools = Array.from({ length: 1_500 }, (_, index) => ({ name: `t${index}` }));
    const script = statelessServer({ 'tools/list': () => ({ tools, ttlMs: 5_000, cacheScope: 'public' }) });
    await using setup = setUp({ a: script });
    await using caller = await open(setup);
    const { nextCursor } = await caller.result('tools/list');
    await setup.clock.advance(2_000);
    const last = await caller.result('tools/list', { cursor: nextCursor });
    expect(last).toMatchObject({ ttlMs: 3_000, cacheScope: 'public' });
    expect(last.tools).toHaveLength(500);
  });

  test('is not told to callers with sessions', async () => {
    await using setup = setUp({ a: fresh(5_000, 'public') });
    await using caller = await setup.caller();
    expect(Object.keys(await caller.result('tools/list'))).toEqual(['tools']);
  });
});

test('a list that the next server gives, as the one that was asked has ended, is good for as long as that one says', async () => {
  const script: Script = { ...telling, on: { 'tools/list': () => hold } };
  const restart = { max: 100, backoff: '1ms', max_backoff: '1ms' };
  await using setup = setUp({ a: script }, { entry: { restart } });
  await using caller = await open(setup);
  const listing = caller.result('tools/list');
  const { instance, request } = await setup.server('a').request('tools/list');
  Object.assign(script, silent, { on: {} });
  instance.answer(request, { tools: [], nextCursor: '1' });
  instance.die();
  await setup.clock.advance(1_000);
  expect(await listing).toMatchObject({ tools: [{ name: 'a__go' }], ttlMs: 0 });
});

test('resources are as fresh as their server says', async () => {
  const read = (more: Json): Script => ({
    ...statelessServer({ 'resources/read': () => ({ contents: [], ...more }) }),
    resources: [{ uri: 'x://1' }],
  });
  await using setup = setUp({ a: read({ ttlMs: 7, cacheScope: 'public' }) });
  await using caller = await open(setup);
  expect(await caller.result('resources/read', { uri: 'x://1' })).toMatchObject({ ttlMs: 7, cacheScope: 'public' });
  await using some = await open(setup, { servers: ['a'] });
  expect(await some.result('resources/read', { uri: 'x://1' })).toMatchObject({ ttlMs: 7, cacheScope: 'private' });
});

test('a connection to one server says what that server says', async () => {
  await using setup = setUp({ a: fresh(5_000, 'public'), b: telling, c: silent });
  const of = async (id: string) => {
    await using caller = await ModernTestCaller.open(setup.gateway.connect(id, { era: 'modern' }));
    const { ttlMs, cacheScope } = await caller.result('tools/list');
    return [ttlMs, cacheScope];
  };
  expect(await of('a')).toEqual([5_000, 'public']);
  expect(await of('b')).toEqual([60_000, 'private']);
  expect(await of('c')).toEqual([0, 'private']);
});

test('a list of a kind that its server has not declared is not good for any time', async () => {
  await using setup = setUp({ a: { capabilities: { tools: { listChanged: true } }, prompts: [{ name: 'p' }] } });
  await using caller = await ModernTestCaller.open(setup.gateway.connect('a', { era: 'modern' }));
  expect(await caller.result('prompts/list')).toMatchObject({ prompts: [{ name: 'p' }], ttlMs: 0 });
});
