import { Client, InMemoryResponseCacheStore } from '@modelcontextprotocol/client';
import { describe, expect, test } from 'vitest';
import { GatewayError, type ServerConnectOptions } from '../../src/index.js';
import { envelope, ModernTestCaller } from '../endpoint/modern-caller.js';
import { discovery, statelessServer } from '../endpoint/modern-servers.js';
import { hold, type Json, type Script, type ScriptedInstance } from '../endpoint/scripted-server.js';
import { type Setup, setUp } from '../endpoint/setup.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { settle } from '../support/fake-clock.js';

const tool = (name: string) => ({ name, inputSchema: { type: 'object' } });
const sessions: Script = { tools: [tool('go')], instructions: 'Be kind.' };
const scripts = { 'with sessions': () => sessions, stateless: () => ({ ...statelessServer(), tools: [tool('go')] }) };
const kinds = ['with sessions', 'stateless'] as const;
const serverInfo = 'io.modelcontextprotocol/serverInfo';

const legacy = (setup: Setup, capabilities: Json = {}, options: ServerConnectOptions = {}) =>
  TestCaller.open(setup.gateway.connect('one', { ...options, era: 'legacy' }), capabilities);
const modern = (setup: Setup, capabilities: Json = {}, options: ServerConnectOptions = {}) =>
  ModernTestCaller.open(setup.gateway.connect('one', { ...options, era: 'modern' }), capabilities);

/** What a transport tells of its end. */
function watch(caller: TestCaller): string[] {
  const told: string[] = [];
  const { onclose } = caller.transport;
  caller.transport.onerror = (error) => told.push((error as { code?: string }).code ?? error.message);
  caller.transport.onclose = () => {
    told.push('closed');
    onclose?.();
  };
  return told;
}

test('what connect(id, { era }) refuses names the server', async () => {
  await using setup = setUp({ one: sessions });
  const transport = setup.gateway.connect('one', { era: 'legacy' });
  const ask = () => transport.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
  await expect(ask()).rejects.toMatchObject({ code: 'TRANSPORT_NOT_STARTED', server: 'one', delivered: false });
  await transport.start();
  await expect(transport.start()).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED', server: 'one' });
  const noMessage = transport.send({ jsonrpc: '2.0' } as never);
  await expect(noMessage).rejects.toMatchObject({ code: 'MESSAGE_INVALID', server: 'one', delivered: false });
  await transport.close();
  await expect(ask()).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED', server: 'one', delivered: false });
});

describe.each(kinds)('connect(id, { era }) to a server that is %s', (kind) => {
  const script = () => scripts[kind]();

  test('shows a caller with a session the server as it is', async () => {
    await using setup = setUp({ one: script() });
    await using caller = await legacy(setup);
    const answer = caller.received.find((message) => 'result' in message) as unknown as { result: Json };
    expect(answer.result).toMatchObject({ protocolVersion: '2025-11-25', instructions: 'Be kind.' });
    expect(answer.result.capabilities).toEqual(
      kind === 'stateless' ? discovery().capabilities : setup.server('one').capabilities,
    );
    expect(await caller.toolNames()).toEqual(['go']);
    await caller.result('tools/call', { name: 'go' });
    expect(setup.gateway.status('one').instances).toHaveLength(1);
  });

  test('shows a stateless caller the server as it is', async () => {
    await using setup = setUp({ one: script() });
    await using caller = await modern(setup);
    expect(await caller.result('server/discover')).toMatchObject({
      resultType: 'complete',
      supportedVersions: ['2026-07-28'],
      instructions: 'Be kind.',
      capabilities: kind === 'stateless' ? discovery().capabilities : setup.server('one').capabilities,
      _meta: {
        [serverInfo]: kind === 'stateless' ? { name: 'modern', version: '7' } : { name: 'scripted', version: '1' },
      },
    });
    expect(await caller.result('tools/list')).toMatchObject({ resultType: 'complete', tools: [{ name: 'go' }] });
    expect(await caller.call('go')).toMatchObject({ resultType: 'complete' });
    expect(setup.gateway.status('one').instances).toHaveLength(1);
  });

  test('shows clients that keep what servers answer in one store two servers as two', async () => {
    const named = (name: string): Script => {
      const info = { name, version: '1' };
      const answers: NonNullable<Script['on']> = {
        'server/discover': () => discovery({ _meta: { [serverInfo]: info } }),
        'tools/list': () => ({ resultType: 'complete', tools: [tool(name)], ttlMs: 60_000, cacheScope: 'private' }),
      };
      const capabilities = { tools: { listChanged: true } };
      const initialize = () => ({ protocolVersion: '2025-11-25', capabilities, serverInfo: info });
      return kind === 'stateless' ? statelessServer(answers) : { tools: [tool(name)], on: { initialize } };
    };
    await using setup = setUp({ one: named('a'), two: named('b') });
    const responseCacheStore = new InMemoryResponseCacheStore();
    const tools: string[][] = [];
    for (const id of ['one', 'two']) {
      const client = new Client(
        { name: 'test', version: '1' },
        { versionNegotiation: { mode: { pin: '2026-07-28' } }, responseCacheStore },
      );
      await client.connect(setup.gateway.connect(id, { era: 'modern' }));
      tools.push((await client.listTools()).tools.map(({ name }) => name));
      await client.close();
    }
    expect(tools).toEqual([['a'], ['b']]);
  });

  test('refuses the other era, in words by which clients know which one it is', async () => {
    await using setup = setUp({ one: script() });
    await using old = await legacy(setup);
    const { error } = await old.request('server/discover', { _meta: envelope() });
    expect(error).toMatchObject({
      code: -32022,
      data: { supported: expect.arrayContaining(['2025-11-25']), requested: '2026-07-28' },
    });
    const transport = setup.gateway.connect('one', { era: 'modern' });
    await using fresh = new TestCaller(transport);
    await transport.start();
    expect(await fresh.error('initialize', { protocolVersion: '2025-11-25', capabilities: {} })).toMatchObject({
      code: -32022,
      data: { supported: ['2026-07-28'], requested: '2025-11-25' },
    });
    // What is no request says nothing that could be refused.
    await fresh.send({ method: 'notifications/initialized' });
    expect(await fresh.error('tools/list')).toMatchObject({ code: -32602 });
  });

  test.each([
    ['legacy', '2025-11-25'],
    ['modern', '2026-07-28'],
  ] as const)('leads a client that finds the era out to %s', async (era, version) => {
    await using setup = setUp({ one: script() });
    const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: 'auto' } });
    await client.connect(setup.gateway.connect('one', { era }));
    expect(client.getNegotiatedProtocolVersion()).toBe(version);
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['go']);
    await client.close();
  });

  test.each(['legacy', 'modern'] as const)('ends with the server: a caller of %s is told why', async (era) => {
    const dying = script();
    await using setup = setUp({ one: { ...dying, on: { ...dying.on, 'tools/call': () => hold } } });
    await using caller = era === 'legacy' ? await legacy(setup) : await modern(setup);
    const told = watch(caller);
    const called = caller.error('tools/call', { name: 'go' });
    await setup.server('one').request('tools/call');
    setup.server('one').only.die(3);
    const { data } = await called;
    expect(data?.code).toBe('SERVER_EXITED');
    expect(data?.delivered).not.toBe(false);
    await caller.until(() => (caller.closed > 0 ? true : undefined));
    expect(told).toEqual(['SERVER_EXITED', 'closed']);
    await expect(caller.send({ id: 'late', method: 'tools/list' })).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
    // The host connects again.
    await setup.clock.advance(60_000);
    await using again = era === 'legacy' ? await legacy(setup) : await modern(setup);
    expect((await again.result('tools/list')).tools).toHaveLength(1);
  });

  test.each(['legacy', 'modern'] as const)('starts the server with start(), for a caller of %s', async (era) => {
    await using setup = setUp({ one: script() });
    const transport = setup.gateway.connect('one', { era });
    expect(setup.server('one').opens).toBe(0);
    await transport.start();
    expect(setup.server('one').opens).toBe(1);
    let ended = 0;
    transport.onclose = () => {
      ended += 1;
    };
    setup.server('one').only.die();
    await settle();
    expect(ended).toBe(1);
  });

  test('keeps callers apart where they share the server', async () => {
    await using setup = setUp({ one: script() }, { entry: { isolation: 'shared' } });
    await using old = await legacy(setup);
    await using fresh = await modern(setup);
    const calls = await Promise.all(
      Array.from({ length: 10 }, (_, index) => [
        old.request('tools/call', { name: 'go', arguments: { who: `old ${index}` } }, index),
        fresh.request('tools/call', { name: 'go', arguments: { who: `fresh ${index}` } }, index),
      ]).flat(),
    );
    const who = calls.map(({ result }) => JSON.stringify(result).match(/(old|fresh) \d/)?.[0]);
    expect(who).toEqual(Array.from({ length: 10 }, (_, index) => [`old ${index}`, `fresh ${index}`]).flat());
    expect(setup.server('one').live).toHaveLength(1);
  });

  test.each(['legacy', 'modern'])(
    'tells a caller of %s that what it watches may have changed since the server was replaced',
    async (era) => {
      const entry = { isolation: 'shared', max_lifetime: '10s', health: { interval: 0 } };
      await using setup = setUp({ one: { ...script(), resources: [{ uri: 'x://1', name: '1' }] } }, { entry });
      await using caller = era === 'legacy' ? await legacy(setup) : await modern(setup);
      const listen = { notifications: { resourceSubscriptions: ['x://1'] }, _meta: envelope() };
      await (era === 'legacy'
        ? caller.result('resources/subscribe', { uri: 'x://1' })
        : caller.send({ id: 'mine', method: 'subscriptions/listen', params: listen }));
      await settle();
      await setup.clock.advance(10_000);
      await settle();
      expect(setup.server('one').opens).toBe(2);
      const told = caller.notifications('notifications/resources/updated');
      expect(told.map(({ uri }) => uri)).toEqual(['x://1']);
    },
  );

  test('follows the filter and the interceptor of the gateway', async () => {
    const two = script();
    const seen: string[] = [];
    await using setup = setUp(
      { one: { ...two, tools: [{ name: 'go' }, { name: 'stay' }] } },
      {
        entry: { tools: { deny: ['stay'] } },
        intercept: (request, next) => {
          seen.push(request.method);
          return next();
        },
      },
    );
    await using caller = await modern(setup);
    expect((await caller.result('tools/list')).tools).toMatchObject([{ name: 'go' }]);
    expect((await caller.error('tools/call', { name: 'stay' })).code).toBe(-32602);
    await caller.call('go');
    expect(seen).toContain('tools/call');
  });
});

describe('connect(id, { era })', () => {
  test.each(['caller', 'shared'])(
    'ends a subscription whose stream a stateless caller cancels while its server takes it, with isolation: %s',
    async (isolation) => {
      const script: Script = { resources: [{ uri: 'x://1', name: '1' }], on: { 'resources/subscribe': () => hold } };
      await using setup = setUp({ one: script }, { entry: { isolation } });
      await using caller = await modern(setup);
      const notifications = { resourceSubscriptions: ['x://1'] };
      await caller.send({ id: 'left', method: 'subscriptions/listen', params: { notifications, _meta: envelope() } });
      const { instance, request } = await setup.server('one').request('resources/subscribe');
      await caller.send({ method: 'notifications/cancelled', params: { requestId: 'left' } });
      instance.answer(request, {});
      await caller.result('resources/list');
      expect(instance.requests('resources/unsubscribe')[0]?.params).toEqual({ uri: 'x://1' });
    },
  );

  test('asks a stateless caller in its call, and one with a session by a request', async () => {
    const asking: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': async (request, instance) => {
          const { result, error } = await instance.ask(`${request.id}`, 'elicitation/create', { message: '?' });
          return { content: [], structuredContent: { heard: result ?? error } };
        },
      },
    };
    await using setup = setUp({ one: asking });
    await using fresh = await modern(setup, { elicitation: {} });
    const { inputRequests, requestState } = await fresh.call('go');
    const [key = ''] = Object.keys(inputRequests as Json);
    const answer = { [key]: { action: 'decline' } };
    // A state of one server is nobody else's, and good once.
    await using merged = await ModernTestCaller.open(setup.gateway.connect(), { elicitation: {} });
    expect((await merged.error('tools/call', { name: 'one__go', requestState })).code).toBe(-32602);
    await using other = await modern(setup, { elicitation: {} });
    expect((await other.error('tools/call', { name: 'go', requestState })).code).toBe(-32602);
    expect(await fresh.call('go', { requestState, inputResponses: answer })).toMatchObject({
      structuredContent: { heard: { action: 'decline' } },
    });
    expect((await fresh.error('tools/call', { name: 'go', requestState })).code).toBe(-32602);

    await using old = await legacy(setup, { elicitation: {} });
    old.onRequest = () => ({ action: 'cancel' });
    expect(await old.result('tools/call', { name: 'go' })).toMatchObject({
      structuredContent: { heard: { action: 'cancel' } },
    });
  });

  test('starts a server with sessions once for each set of capabilities of a stateless caller', async () => {
    await using setup = setUp({ one: sessions });
    await using caller = await modern(setup);
    await caller.call('go');
    caller.capabilities = { roots: {} };
    await caller.call('go');
    expect(setup.server('one').live).toHaveLength(2);
    await caller.close();
    expect(setup.server('one').live).toHaveLength(0);
  });

  test('cancels, and leads progress to its request', async () => {
    await using setup = setUp({ one: { ...sessions, on: { 'tools/call': () => hold } } });
    for (const open of [legacy, modern]) {
      await using caller = await open(setup);
      void caller.send({
        id: 'x',
        method: 'tools/call',
        params: { name: 'go', _meta: envelope({}, { progressToken: 'p' }) },
      });
      if (open === legacy) {
        // It has the envelope of the other era.
        expect(await caller.until(() => caller.answers('x')[0])).toMatchObject({ error: { code: -32022 } });
        void caller.send({ id: 'x', method: 'tools/call', params: { name: 'go', _meta: { progressToken: 'p' } } });
      }
      const count = setup.server('one').instances.length - 1;
      const { instance, request } = await setup.server('one').request('tools/call', count);
      const progressToken = request.params?._meta?.progressToken;
      instance.notify('notifications/progress', { progressToken, progress: 1 });
      expect(await caller.notification('notifications/progress')).toEqual({ progressToken: 'p', progress: 1 });
      await caller.send({ method: 'notifications/cancelled', params: { requestId: 'x', reason: 'enough' } });
      await settle();
      expect(instance.notifications('notifications/cancelled')).toMatchObject([
        { params: { requestId: request.id, reason: 'enough' } },
      ]);
    }
  });

  test('tells a start that fails by its rejection, and then closes once', async () => {
    await using setup = setUp({
      one: {
        open: () => {
          throw new Error('no such thing');
        },
      },
    });
    for (const era of ['legacy', 'modern'] as const) {
      const transport = setup.gateway.connect('one', { era });
      let ended = 0;
      transport.onclose = () => {
        ended += 1;
      };
      await expect(transport.start()).rejects.toMatchObject({ code: 'START_FAILED' });
      expect(ended).toBe(1);
      await setup.clock.advance(60_000);
    }
  });

  test('a server that makes no handshake in time fails what waits for it, and is ended', async () => {
    await using setup = setUp({ one: { on: { initialize: () => hold } } }, { entry: { protocol: 'legacy' } });
    await using caller = await modern(setup);
    const told = watch(caller);
    const discovered = caller.error('server/discover');
    const _meta = { 'io.modelcontextprotocol/logLevel': 'info' };
    const called = caller.error('tools/call', { name: 'go', _meta });
    await setup.server('one').request('initialize');
    await setup.clock.advance(30_000);
    expect(await discovered).toMatchObject({ data: { code: 'START_TIMEOUT', delivered: false } });
    expect(await called).toMatchObject({ data: { code: 'START_TIMEOUT', delivered: false } });
    await caller.until(() => (caller.closed > 0 ? true : undefined));
    expect(told).toEqual(['START_TIMEOUT', 'closed']);
    expect(setup.server('one').live).toEqual([]);
  });

  test('a caller that leaves while the server makes its handshake hears nothing of what it had asked', async () => {
    await using setup = setUp(
      { one: { ...sessions, on: { initialize: () => hold } } },
      { entry: { protocol: 'legacy' } },
    );
    await using caller = await modern(setup);
    void caller.request('server/discover', {}, 'left');
    const stayed = caller.result('server/discover');
    const { instance, request } = await setup.server('one').request('initialize');
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'left' } });
    const { capabilities } = setup.server('one');
    instance.answer(request, { protocolVersion: '2025-11-25', capabilities, serverInfo: { name: 's', version: '1' } });
    expect(await stayed).toMatchObject({ resultType: 'complete' });
    expect(caller.answers('left')).toEqual([]);
  });

  test('a start that fails for another set of capabilities ends the connection, with the reason', async () => {
    const open = (_: unknown, opens: number) => {
      if (opens > 1) throw new Error('only one at a time');
    };
    await using setup = setUp({ one: { ...sessions, open } });
    await using caller = await modern(setup);
    await caller.call('go');
    const told = watch(caller);
    caller.capabilities = { roots: {} };
    expect(await caller.error('tools/call', { name: 'go' })).toMatchObject({
      data: { code: 'START_FAILED', delivered: false },
    });
    await caller.until(() => (caller.closed > 0 ? true : undefined));
    expect(told).toEqual(['START_FAILED', 'closed']);
  });

  test('leads what belongs to no request both ways, after the handshake', async () => {
    const script: Script = {
      ...sessions,
      on: {
        initialize: ({ params }, instance) => {
          instance.notify('notifications/vendor/early', { n: 1 });
          instance.say({
            id: 'q',
            method: 'sampling/createMessage',
            params: { _meta: { progressToken: 't' }, task: {} },
          });
          const { capabilities } = instance.server;
          return { protocolVersion: params?.protocolVersion, capabilities, serverInfo: { name: 's', version: '1' } };
        },
      },
    };
    await using setup = setUp({ one: script }, { entry: { protocol: 'legacy' } });
    await using caller = await legacy(setup, { sampling: {}, roots: { listChanged: true }, tasks: {} });
    const request = await caller.until(() => caller.requests('sampling/createMessage')[0]);
    expect(caller.received.findIndex((message) => 'result' in message)).toBe(0);
    expect(caller.notifications('notifications/vendor/early')).toEqual([{ n: 1 }]);
    const { progressToken } = (request.params as { _meta: Json })._meta;
    await caller.send({ method: 'notifications/progress', params: { progressToken, progress: 1 } });
    await caller.send({ id: request.id, result: { task: { taskId: 'mine', status: 'working' } } });
    await caller.send({ method: 'notifications/tasks/status', params: { taskId: 'mine', status: 'completed' } });
    await caller.send({ method: 'notifications/roots/list_changed' });
    // Of a request that there is not: nothing to tell.
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'none' } });
    await settle();
    const { only } = setup.server('one');
    const said = only.received.flatMap((message) => ('method' in message && !('id' in message) ? [message] : []));
    expect(said).toMatchObject([
      { method: 'notifications/initialized' },
      { method: 'notifications/progress', params: { progressToken: 't', progress: 1 } },
      { method: 'notifications/tasks/status', params: { taskId: 'mine', status: 'completed' } },
      { method: 'notifications/roots/list_changed' },
    ]);
    expect(only.answers('q')).toMatchObject([{ result: { task: { taskId: 'mine' } } }]);
  });

  test('leads on what the server says before there is a session, as much as may wait', async () => {
    await using setup = setUp({ one: sessions });
    const caller = new TestCaller(setup.gateway.connect('one', { era: 'legacy' }));
    await caller.transport.start();
    const { only } = setup.server('one');
    const pinged = only.ask('p', 'ping');
    for (let n = 0; n < 2_000; n += 1) {
      only.notify('notifications/message', { level: 'info', data: n });
    }
    await settle();
    await caller.initialize();
    expect(await pinged).toMatchObject({ result: {} });
    const heard = caller.notifications('notifications/message').map(({ data }) => data);
    expect(heard).toEqual(Array.from({ length: 999 }, (_, n) => n));
    only.notify('notifications/message', { level: 'info', data: 'later' });
    await settle();
    expect(caller.notifications('notifications/message').at(-1)).toMatchObject({ data: 'later' });
    await caller.close();
  });

  test('answers ping before initialize and while that is under way, and nothing else', async () => {
    await using setup = setUp({ one: { ...sessions, on: { initialize: () => hold } } });
    await using caller = new TestCaller(setup.gateway.connect('one', { era: 'legacy' }));
    await caller.transport.start();
    expect(await caller.result('ping')).toEqual({});
    expect(await caller.error('tools/list')).toMatchObject({ code: -32600 });
    const initialized = caller.initialize();
    const { instance, request } = await setup.server('one').request('initialize');
    expect(await caller.result('ping')).toEqual({});
    instance.answer(request, {
      protocolVersion: '2025-11-25',
      capabilities: {},
      serverInfo: { name: 'one', version: '1' },
    });
    await initialized;
    expect(await caller.result('ping')).toEqual({});
    expect(instance.requests('ping')).toHaveLength(1);
  });

  test('refuses an id that is in use, and what comes to a server that has ended before it was asked', async () => {
    await using setup = setUp({ one: { ...sessions, on: { 'tools/call': () => hold } } });
    await using caller = await legacy(setup);
    const called = caller.request('tools/call', { name: 'go' }, 'x');
    const { instance, request } = await setup.server('one').request('tools/call');
    await expect(caller.send({ id: 'x', method: 'ping' })).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
    instance.answer(request, { content: [] });
    expect(await called).toMatchObject({ id: 'x', result: { content: [] } });

    await using idle = new TestCaller(setup.gateway.connect('one', { era: 'legacy' }));
    const told = watch(idle);
    await idle.transport.start();
    const second = setup.server('one').live[1];
    // A line that was skipped is no reason.
    second?.onerror?.(new GatewayError('MESSAGE_INVALID', 'no JSON'));
    await second?.close();
    await idle.until(() => (idle.closed > 0 ? true : undefined));
    expect(told).toEqual(['SERVER_EXITED', 'closed']);
  });

  test('tells a stateless caller of the extensions that it and the server both have', async () => {
    const capabilities = { tools: {}, extensions: { 'x/both': { a: 1 }, 'x/server': {} } };
    await using setup = setUp({ one: statelessServer({ 'server/discover': () => discovery({ capabilities }) }) });
    await using caller = await modern(setup, { extensions: { 'x/both': {}, 'x/caller': {} } });
    expect(await caller.result('server/discover')).toMatchObject({
      capabilities: { tools: {}, extensions: { 'x/both': { a: 1 } } },
    });
    await using plain = await modern(setup);
    expect((await plain.result('server/discover')).capabilities).toEqual({ tools: {} });
  });

  test('ends with the gateway, which answers what is open', async () => {
    await using setup = setUp({ one: { ...sessions, on: { 'tools/call': () => hold } } });
    const callers = [await legacy(setup), await modern(setup)];
    const called = callers.map((caller) => caller.error('tools/call', { name: 'go' }));
    await setup.server('one').request('tools/call', 1);
    const closed = setup.gateway.close({ graceMs: 0 });
    await setup.clock.advance(0);
    await closed;
    for (const answer of await Promise.all(called)) {
      expect(answer.data?.code).toMatch(/SERVER_STOPPED|GATEWAY_CLOSED/);
    }
    expect(callers.map(({ closed }) => closed)).toEqual([1, 1]);
    expect(() => setup.gateway.connect('none', { era: 'modern' })).toThrow('none');
  });

  test('knows two eras, and needs an isolation that one connection can have', async () => {
    await using setup = setUp({ one: sessions, two: sessions }, { entries: { two: { isolation: 'request' } } });
    expect(() => setup.gateway.connect('one', { era: 'old' as never })).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID' }),
    );
    expect(() => setup.gateway.connect('two', { era: 'modern' })).toThrow(
      expect.objectContaining({ code: 'ISOLATION_UNSUPPORTED' }),
    );
  });

  test('asks for initialize first, once', async () => {
    await using setup = setUp({ one: sessions });
    const transport = setup.gateway.connect('one', { era: 'legacy' });
    await using caller = new TestCaller(transport);
    await transport.start();
    expect((await caller.error('tools/list')).code).toBe(-32600);
    await caller.initialize();
    expect((await caller.error('initialize')).code).toBe(-32600);
  });
});

test('a subscription that is cancelled before a stateless server has acknowledged it ends there, unless another one waits', async () => {
  const isChange = ({ params }: Json) => 'resourceSubscriptions' in ((params as Json).notifications as Json);
  await using setup = setUp({ one: statelessServer({ 'subscriptions/listen': () => hold }) });
  await using caller = await legacy(setup);
  const { only } = setup.server('one');
  const listens = () => only.requests('subscriptions/listen').filter((request) => isChange(request as unknown as Json));
  const subscribe = (id: number) => caller.send({ id, method: 'resources/subscribe', params: { uri: 'x://1' } });
  const cancel = (requestId: number) => caller.send({ method: 'notifications/cancelled', params: { requestId } });
  const cancelled = () => only.notifications('notifications/cancelled').map(({ params }) => params?.requestId);
  await subscribe(1);
  await subscribe(2);
  await settle();
  await cancel(1);
  await settle();
  expect(cancelled()).toEqual([]);
  await cancel(2);
  await settle();
  expect(cancelled()).toEqual(listens().map(({ id }) => id));
  expect(cancelled()).toHaveLength(1);
  expect([...caller.answers(1), ...caller.answers(2)]).toEqual([]);
});

describe('who asks again while he is told of the end is refused', () => {
  const again = { jsonrpc: '2.0', id: 'again', method: 'ping' } as const;
  const refused = {
    status: 'rejected',
    reason: expect.objectContaining({ code: 'TRANSPORT_CLOSED', delivered: false }),
  };

  test.each(['caller', 'shared'])('of the server, with isolation: %s', async (isolation) => {
    await using setup = setUp({ one: sessions }, { entry: { isolation } });
    await using caller = await legacy(setup);
    const asked: Promise<unknown>[] = [];
    caller.transport.onerror = () => asked.push(caller.transport.send(again));
    setup.server('one').only.die();
    await caller.until(() => (caller.closed > 0 ? true : undefined));
    expect(await Promise.allSettled(asked)).toEqual([refused]);
  });

  test('of the gateway', async () => {
    const { promise: held, resolve: isHeld } = Promise.withResolvers<void>();
    const intercept = () => {
      isHeld();
      return new Promise<never>(() => {});
    };
    await using setup = setUp({ one: sessions }, { intercept });
    await using caller = await setup.caller();
    const asked: Promise<unknown>[] = [];
    const { transport } = caller;
    const { onmessage } = transport;
    transport.onmessage = (message, extra) => {
      onmessage?.(message, extra);
      asked.length === 0 && asked.push(transport.send(again));
    };
    const called = caller.error('tools/call', { name: 'one__go' });
    await held;
    await setup.gateway.close({ graceMs: 0 });
    expect((await called).data?.code).toBe('GATEWAY_CLOSED');
    expect(caller.closed).toBe(1);
    expect(await Promise.allSettled(asked)).toEqual([refused]);
  });
});

test('a call that comes while the server is being stopped is answered with that', async () => {
  for (let turns = 0; turns < 10; turns += 1) {
    await using setup = setUp({ one: scripts.stateless() });
    await (await legacy(setup)).close();
    await using caller = await modern(setup);
    const [instance] = setup.server('one').live as [ScriptedInstance];
    const gone = Promise.withResolvers<void>();
    const { close } = instance;
    instance.close = () => gone.promise.then(() => close.call(instance));
    const stopped = setup.gateway.stop('one');
    await settle();
    gone.resolve();
    for (let turn = 0; turn < turns; turn += 1) await undefined;
    const answer = caller.request('tools/call', { name: 'go' });
    await stopped;
    expect((await answer).error).toMatchObject({ data: { code: 'SERVER_STOPPED', delivered: false } });
  }
});

test.each(['legacy', 'modern'] as const)(
  'what a %s caller asks first as the server ends is answered with that, and no timer is left',
  async (era) => {
    const clientInfo = { name: 'a', version: '1' };
    const first = {
      legacy: { method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo } },
      modern: { method: 'tools/call', params: { name: 'go', _meta: envelope() } },
    }[era];
    for (let turns = 0; turns < 16; turns += 1) {
      await using setup = setUp({ one: sessions });
      const { clock, gateway } = setup;
      const transport = gateway.connect('one', { era });
      const received: unknown[] = [];
      transport.onmessage = (message) => received.push(message);
      await transport.start();
      const stopped = gateway.stop('one', { graceMs: 0 });
      for (let turn = 0; turn < turns; turn += 1) await undefined;
      const refusal = await transport.send({ jsonrpc: '2.0', id: 1, ...first }).catch((error: GatewayError) => error);
      await stopped;
      await settle();
      // What came after the end was not accepted.
      if (refusal !== undefined) expect([refusal.code, received]).toEqual(['TRANSPORT_CLOSED', []]);
      else expect(received).toMatchObject([{ id: 1, error: { data: { code: 'SERVER_STOPPED' } } }]);
      expect(clock.waiting).toBe(0);
    }
  },
);
