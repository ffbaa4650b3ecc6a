import { describe, expect, test } from 'vitest';
import type { FakeClock } from '../../src/testing/fake-clock.js';
import { envelope, ModernTestCaller } from './modern-caller.js';
import { statelessServer } from './modern-servers.js';
import { hold, type Json, type Script } from './scripted-server.js';
import { setUp } from './setup.js';

const minute = 60_000;
const open = (setup: ReturnType<typeof setUp>) => ModernTestCaller.open(setup.gateway.connect());

describe.each([
  ['forward', 5 * 60 * minute],
  ['back', -5 * 60 * minute],
])('the clock of the machine is set %s by hours', (_, ms) => {
  const set = (clock: FakeClock) => {
    clock.date = () => clock.now() + ms;
  };

  test('a list is good for as long as it was', async () => {
    const tools = Array.from({ length: 1_500 }, (_, index) => ({ name: `t${index}` }));
    const script = statelessServer({ 'tools/list': () => ({ tools, ttlMs: 5_000, cacheScope: 'public' }) });
    await using setup = setUp({ a: script });
    await using caller = await open(setup);
    const { nextCursor } = await caller.result('tools/list');
    set(setup.clock);
    await setup.clock.advance(2_000);
    expect(await caller.result('tools/list', { cursor: nextCursor })).toMatchObject({ ttlMs: 3_000 });
  });

  test('a list that a server gives in pages meanwhile is good for as long as it was', async () => {
    const result = { resultType: 'complete', tools: [], ttlMs: 5_000, cacheScope: 'public' };
    const script = statelessServer({
      'tools/list': ({ params }) => (params?.cursor === undefined ? { ...result, nextCursor: 'next' } : hold),
    });
    await using setup = setUp({ a: script });
    await using caller = await open(setup);
    const listing = caller.result('tools/list');
    const { instance, request } = await setup.server('a').request('tools/list', 1);
    set(setup.clock);
    await setup.clock.advance(1_500);
    instance.answer(request, result);
    expect(await listing).toMatchObject({ ttlMs: 3_500 });
  });

  test('the state of a request is good for ten minutes', async () => {
    const script = statelessServer({
      'tools/call': ({ params }) =>
        params?.requestState === undefined
          ? { resultType: 'input_required', requestState: 'the server’s own' }
          : { resultType: 'complete', content: [] },
    });
    await using setup = setUp({ one: script });
    await using caller = await open(setup);
    const { requestState } = await caller.call('one__go');
    set(setup.clock);
    await setup.clock.advance(9 * minute);
    expect(await caller.call('one__go', { requestState })).toMatchObject({ resultType: 'complete' });
    await setup.clock.advance(1 * minute);
    expect(await caller.error('tools/call', { name: 'one__go', requestState })).toMatchObject({ code: -32602 });
  });

  test('a caller is remembered while a task runs, and no longer than its time', async () => {
    const task = { taskId: 't', status: 'working', createdAt: '', lastUpdatedAt: '', ttlMs: 20 * minute };
    const script: Script = statelessServer({ 'tools/call': () => ({ resultType: 'task', ...task }) });
    await using setup = setUp({ one: script }, { entry: { health: { interval: 0 } } });
    const _meta = envelope({ extensions: { 'io.modelcontextprotocol/tasks': {} } });
    const ask = async (method: string, params: Json) => {
      const headers = {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        'mcp-protocol-version': '2026-07-28',
        'mcp-method': method,
        ...(typeof params.name === 'string' && { 'mcp-name': params.name }),
      };
      const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: { _meta, ...params } });
      const request = new Request('http://localhost/mcp', { method: 'POST', headers, body });
      return (await setup.gateway.fetch(request, { caller: { id: 'me' } })).text();
    };
    await ask('tools/list', {});
    expect(await ask('tools/call', { name: 'one__go' })).toContain('"resultType":"task"');
    set(setup.clock);
    await setup.clock.advance(19 * minute);
    expect(setup.server('one').live).toHaveLength(1);
    await setup.clock.advance(20 * minute);
    expect(setup.server('one').live).toEqual([]);
  });
});
