import { describe, expect, test } from 'vitest';
import type { Interceptor, ServerInput } from '../../src/index.js';
import { envelope, ModernTestCaller } from '../endpoint/modern-caller.js';
import type { Json } from '../endpoint/scripted-server.js';
import { type SetupOptions, setUp } from '../endpoint/setup.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { settle } from '../support/fake-clock.js';

type Entry = ServerInput<{ type: 'scripted'; script: string }>;

/** A gateway with one server, whose next start the test lets go. */
function start(entry: Json, options: SetupOptions = {}) {
  let held: PromiseWithResolvers<void> | undefined;
  const t = setUp({ a: { tools: [{ name: 'x' }], open: () => held?.promise } }, { entry, ...options });
  return {
    ...t,
    hold() {
      held = Promise.withResolvers();
    },
    /** Takes over another catalog, and lets the start go. */
    async reload(servers: Json[]) {
      await settle();
      const reloading = t.gateway.reload({
        servers: servers.map((more) => ({ id: 'a', runtime: { type: 'scripted', script: 'a' }, ...more }) as Entry),
      });
      await settle();
      held?.resolve();
      await reloading;
    },
    calls: () => t.server('a').instances.flatMap((instance) => instance.requests('tools/call')),
    [Symbol.asyncDispose]: () => t[Symbol.asyncDispose](),
  };
}

const deny = { tools: { deny: ['x'] } };
const isolations = ['caller', 'shared', 'request'].map((isolation) => ({ isolation }));

describe('a call that a reload denies while it waits for the start of its server', () => {
  test.each(isolations)('is refused as an unknown tool with $isolation', async (entry) => {
    await using t = start(entry);
    await using caller = await t.caller();
    t.hold();
    const refused = caller.error('tools/call', { name: 'a__x' });
    await t.reload([{ ...entry, ...deny }]);
    expect(await refused).toEqual({ code: -32602, message: 'unknown tool: a__x' });
    expect(t.calls()).toEqual([]);
  });

  test.each(isolations)('is refused where its server is started as another one, with $isolation', async (entry) => {
    await using t = start(entry);
    await using caller = await t.caller();
    t.hold();
    const refused = caller.error('tools/call', { name: 'a__x' });
    await t.reload([{ ...entry, ...deny, env: { V: '2' } }]);
    expect(await refused).toEqual({ code: -32602, message: 'unknown tool: a__x' });
    expect(t.calls()).toEqual([]);
  });

  test.each(isolations)(
    'is refused where its caller may not see the server any more, with $isolation',
    async (entry) => {
      await using t = start({ ...entry, tags: ['mine'] });
      await using caller = await t.caller({}, { tags: ['mine'] });
      t.hold();
      const refused = caller.error('tools/call', { name: 'a__x' });
      const other = caller.error('prompts/get', { name: 'a__p' });
      await t.reload([entry]);
      expect(await refused).toEqual({ code: -32602, message: 'unknown tool: a__x' });
      expect(await other).toMatchObject({ data: { code: 'SERVER_UNKNOWN', server: 'a', delivered: false } });
      expect(t.calls()).toEqual([]);
    },
  );

  test.each(isolations)('is told of no other server where its own is removed, with $isolation', async (entry) => {
    await using t = start({ ...entry, tags: ['mine'] });
    await using caller = await t.caller({}, { tags: ['mine'] });
    t.hold();
    const refused = [caller.error('tools/call', { name: 'a__x' }), caller.error('prompts/get', { name: 'a__p' })];
    await t.reload([{ ...entry, id: 'hidden' }]);
    for (const error of await Promise.all(refused)) {
      expect(JSON.stringify(error)).not.toContain('hidden');
    }
    expect(t.calls()).toEqual([]);
  });

  test.each([{}, { env: { V: '2' } }])(
    'is refused where its shared server had idled and starts again',
    async (more) => {
      const entry = { isolation: 'shared', idle_timeout: '1m' };
      await using t = start(entry);
      await using caller = await t.caller();
      await using other = await t.caller();
      await caller.result('tools/call', { name: 'a__x' });
      await t.clock.advance(60_000);
      expect(t.server('a').live).toEqual([]);
      t.hold();
      const refused = caller.error('tools/call', { name: 'a__x' });
      await t.reload([{ ...entry, ...deny, ...more }]);
      expect(await refused).toEqual({ code: -32602, message: 'unknown tool: a__x' });
      expect(await other.toolNames()).toEqual([]);
      expect(t.calls()).toHaveLength(1);
    },
  );

  test('is refused where each request has an instance of its own, and another one had been served', async () => {
    const entry = { isolation: 'request' };
    await using t = start(entry);
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    t.hold();
    const refused = caller.error('tools/call', { name: 'a__x' });
    await t.reload([{ ...entry, ...deny }]);
    expect(await refused).toEqual({ code: -32602, message: 'unknown tool: a__x' });
    expect(t.calls()).toHaveLength(1);
  });

  test.each([undefined, 'a'])('is refused where an interceptor has held it (connect(%s))', async (id) => {
    const asked = Promise.withResolvers<void>();
    const intercept: Interceptor = async ({ method }, next) => {
      method === 'tools/call' && (await asked.promise);
      return next();
    };
    await using t = start({}, { intercept });
    await using caller = await TestCaller.open(id === undefined ? t.gateway.connect() : t.gateway.connect(id));
    const [name] = await caller.toolNames();
    const refused = caller.error('tools/call', { name });
    await t.reload([deny]);
    asked.resolve();
    expect(await refused).toEqual({ code: -32602, message: `unknown tool: ${name}` });
    expect(t.calls()).toEqual([]);
  });

  test('is refused where it has come over HTTP', async () => {
    await using t = start({});
    t.hold();
    const headers = {
      'content-type': 'application/json',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': 'a__x',
    };
    const params = { name: 'a__x', _meta: envelope() };
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params });
    const request = new Request('http://localhost/mcp', { method: 'POST', headers, body });
    const response = t.gateway.fetch(request, { caller: { id: 'me' } });
    await t.reload([deny]);
    const error = { code: -32602, message: 'unknown tool: a__x' };
    expect(await (await response).json()).toMatchObject({ error });
    expect(t.calls()).toEqual([]);
  });

  test.each([undefined, 'legacy'] as const)(
    'is refused on a connection to a shared server alone (era: %s)',
    async (era) => {
      const entry = { isolation: 'shared' };
      await using t = start(entry);
      await using caller = new TestCaller(t.gateway.connect('a', { era }));
      await caller.transport.start();
      t.hold();
      const initialized = caller.initialize();
      const refused = caller.error('tools/call', { name: 'x' });
      await t.reload([{ ...entry, ...deny }]);
      await initialized;
      expect(await refused).toEqual({ code: -32602, message: 'unknown tool: x' });
      expect(t.calls()).toEqual([]);
    },
  );
});

test('a connection to one server alone follows the tools of a reload, made before it started or not', async () => {
  await using t = start({});
  t.hold();
  const transport = t.gateway.connect('a');
  const starting = transport.start();
  await t.reload([deny]);
  await starting;
  await using caller = new TestCaller(transport);
  await caller.initialize();
  expect(await caller.toolNames()).toEqual([]);
  expect(await caller.error('tools/call', { name: 'x' })).toEqual({ code: -32602, message: 'unknown tool: x' });
  await t.reload([{}]);
  expect(await caller.toolNames()).toEqual(['x']);
  expect(await caller.result('tools/call', { name: 'x' })).toBeDefined();
  expect(t.calls()).toHaveLength(1);
});

test.each([undefined, 'legacy', 'modern'] as const)(
  'what an interceptor makes of a call that waits for a shared server is its own affair (era: %s)',
  async (era) => {
    const intercept: Interceptor = ({ method, params }, next) =>
      next(method === 'tools/call' ? { ...params, name: `${params.name}_of_ada` } : params);
    const entry = { isolation: 'shared', tools: { deny: ['*_of_ada'] } };
    await using t = start(entry, { intercept });
    await using caller = new (era === 'modern' ? ModernTestCaller : TestCaller)(t.gateway.connect('a', { era }));
    await caller.transport.start();
    t.hold();
    const initialized = era === 'modern' ? undefined : caller.initialize();
    // Under ids that its session may well have for the other one.
    const answers = [caller.request('tools/call', { name: 'x' }, 2), caller.request('tools/call', { name: 'y' }, 1)];
    await t.reload([{ ...entry, tools: { deny: ['y', '*_of_ada'] } }]);
    await initialized;
    expect(await Promise.all(answers)).toMatchObject([{ result: {} }, { error: { message: 'unknown tool: y' } }]);
    expect(t.calls()).toMatchObject([{ params: { name: 'x_of_ada' } }]);
  },
);
