import { describe, expect, test } from 'vitest';
import { settle } from '../support/fake-clock.js';
import { ModernTestCaller } from './modern-caller.js';
import { discovery, statelessServer } from './modern-servers.js';
import { hold, type Json, RpcError, type Script } from './scripted-server.js';
import { type Setup, setUp } from './setup.js';
import { TestCaller } from './test-caller.js';

/** Deeper than `JSON.stringify` goes. */
const deep = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000));

// What stands in the tables of the page on the protocol, and in no other test.

const methods = (instance: { received: readonly object[] }) =>
  instance.received.flatMap((message) => ('method' in message ? [String(message.method)] : []));

describe('a caller with a session, before a stateless server', () => {
  test('pings the gateway, or by server/discover the server that it has alone', async () => {
    await using setup = setUp({ one: statelessServer() });
    await using merged = await setup.caller();
    expect(await merged.result('ping')).toEqual({});
    expect(setup.server('one').opens).toBe(0);
    await using alone = await TestCaller.open(setup.gateway.connect('one', { era: 'legacy' }));
    const before = methods(setup.server('one').only).filter((method) => method === 'server/discover').length;
    expect(await alone.result('ping')).toEqual({});
    const after = methods(setup.server('one').only).filter((method) => method === 'server/discover').length;
    expect(after).toBe(before + 1);
    expect(methods(setup.server('one').only)).not.toContain('ping');
  });

  test('gets all four lists', async () => {
    const capabilities = { tools: {}, prompts: {}, resources: {} };
    const script: Script = {
      ...statelessServer({ 'server/discover': () => discovery({ capabilities }) }),
      prompts: [{ name: 'p' }],
      resources: [{ uri: 'x://1' }],
      resourceTemplates: [{ uriTemplate: 'x://{id}' }],
    };
    await using setup = setUp({ one: script });
    await using caller = await TestCaller.open(setup.gateway.connect('one', { era: 'legacy' }));
    for (const kind of ['tools', 'prompts', 'resources', 'resourceTemplates'] as const) {
      expect(await caller.list(kind), kind).toHaveLength(1);
    }
  });

  test('is refused a subscription that the server does not acknowledge', async () => {
    const script: Script = {
      ...statelessServer({
        'subscriptions/listen': (request, instance) => {
          const _meta = { 'io.modelcontextprotocol/subscriptionId': request.id };
          instance.notify('notifications/subscriptions/acknowledged', { notifications: {}, _meta });
          return hold;
        },
      }),
      resources: [{ uri: 'x://1' }],
    };
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    expect(await caller.error('resources/subscribe', { uri: 'x://1' })).toMatchObject({ code: -32602 });
    expect(caller.notifications('notifications/subscriptions/acknowledged')).toEqual([]);
  });

  test('unsubscribes by the end of a stream', async () => {
    await using setup = setUp({ one: { ...statelessServer(), resources: [{ uri: 'x://1' }] } });
    await using caller = await setup.caller();
    await caller.result('resources/subscribe', { uri: 'x://1' });
    const streams = setup.server('one').only.requests('subscriptions/listen');
    const { id } = streams.find(({ params }) => JSON.stringify(params).includes('x://1')) ?? {};
    await caller.result('resources/unsubscribe', { uri: 'x://1' });
    await settle();
    expect(setup.server('one').only.notifications('notifications/cancelled')).toMatchObject([
      { params: { requestId: id } },
    ]);
    expect(methods(setup.server('one').only)).not.toContain('resources/unsubscribe');
  });

  test('says nothing that the server has no word for', async () => {
    await using setup = setUp({ one: statelessServer() });
    await using caller = await setup.caller({ roots: { listChanged: true } });
    await caller.result('tools/call', { name: 'one__go' });
    for (const method of ['notifications/roots/list_changed', 'notifications/progress', 'notifications/tasks/status']) {
      await caller.send({ method, params: { progressToken: 1, progress: 1, taskId: 't', status: 'working' } });
    }
    await caller.result('tools/call', { name: 'one__go' });
    expect(methods(setup.server('one').only).filter((method) => method.startsWith('notifications/'))).toEqual([]);
  });

  test('hears nothing that it has no word for', async () => {
    const script = statelessServer({
      'tools/call': (_, instance) => {
        instance.notify('notifications/tasks', { taskId: 't', status: 'working' });
        return { resultType: 'complete', content: [] };
      },
    });
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    await caller.result('tools/call', { name: 'one__go' });
    await settle();
    expect(methods(caller as never)).toEqual([]);
  });

  test('is refused a level that there is not, and its later calls go on', async () => {
    await using setup = setUp({ one: statelessServer() });
    for (const transport of [setup.gateway.connect(), setup.gateway.connect('one', { era: 'legacy' })]) {
      await using caller = await TestCaller.open(transport);
      expect(await caller.error('logging/setLevel', { level: 'loud' })).toMatchObject({ code: -32602 });
      await caller.result('tools/list');
    }
    const said = setup.server('one').instances.flatMap(({ received }) => received);
    expect(said.length).toBeGreaterThan(2);
    expect(JSON.stringify(said)).not.toContain('loud');
  });

  describe.each([
    ['among all', 'caller', (gateway: Setup['gateway']) => gateway.connect(), 'one__'],
    ['alone', 'caller', (gateway: Setup['gateway']) => gateway.connect('one', { era: 'legacy' }), ''],
    ['shared', 'shared', (gateway: Setup['gateway']) => gateway.connect('one'), ''],
  ] as const)('that has it %s', (_, isolation, connect, prefix) => {
    const name = `${prefix}go`;

    test('is shown no schema of results that are no objects, since clients refuse the whole list for it', async () => {
      const object = { type: 'object', properties: { n: { type: 'number' } } };
      const tools = [
        { name: 'go', outputSchema: { type: 'array', items: { type: 'string' } } },
        { name: 'any', outputSchema: { anyOf: [object, { type: 'null' }] } },
        { name: 'object', outputSchema: object },
        { name: 'none' },
      ];
      await using setup = setUp({ one: { ...statelessServer(), tools } }, { entry: { isolation } });
      await using caller = await TestCaller.open(connect(setup.gateway));
      expect(await caller.list('tools')).toEqual(
        ['go', 'any', 'object', 'none'].map((own) =>
          expect.objectContaining({ name: `${prefix}${own}`, ...(own === 'object' && { outputSchema: object }) }),
        ),
      );
      expect((await caller.list('tools')).filter((tool) => 'outputSchema' in tool)).toHaveLength(1);
    });

    test('gets structured content that is no object in one, and as text', async () => {
      const text = (value: string) => ({ type: 'text', text: value });
      const results: [Json, Json[]][] = [
        [{ structuredContent: ['a', 1] }, [text('["a",1]')]],
        [{ structuredContent: null, content: [{ type: 'image' }] }, [{ type: 'image' }, text('null')]],
        [{ structuredContent: 'b', content: [text('own')] }, [text('own')]],
      ];
      let result: Json = {};
      const script = statelessServer({ 'tools/call': () => ({ resultType: 'complete', ...result }) });
      await using setup = setUp({ one: script }, { entry: { isolation } });
      await using caller = await TestCaller.open(connect(setup.gateway));
      for (const [given, content] of results) {
        result = given;
        const structuredContent = { result: given.structuredContent };
        expect(await caller.result('tools/call', { name })).toEqual({ structuredContent, content });
      }
    });

    test.each<[string, Json]>([
      ['structured content', { structuredContent: deep }],
      ['a type', { resultType: deep }],
    ])('is answered where the result has %s that is nested too deeply', async (_what, more) => {
      const script = statelessServer({ 'tools/call': () => ({ resultType: 'complete', content: [], ...more }) });
      await using setup = setUp({ one: script }, { entry: { isolation } });
      await using caller = await TestCaller.open(connect(setup.gateway));
      const answer = await caller.request('tools/call', { name });
      expect('result' in answer ? answer.result : answer).toMatchObject(
        'structuredContent' in more
          ? { content: [], structuredContent: { result: expect.any(Array) } }
          : { error: { code: -32603, message: expect.stringContaining('"[object Array]"') } },
      );
    });
  });

  test('gets structured content that is an object as it is', async () => {
    const result = { structuredContent: { result: ['a'] }, content: [] };
    await using setup = setUp({
      one: statelessServer({ 'tools/call': () => ({ resultType: 'complete', ...result }) }),
    });
    await using caller = await setup.caller();
    expect(await caller.result('tools/call', { name: 'one__go' })).toEqual(result);
  });

  test.each([-32020, -32022])('is told of %i as of a fault between gateway and server', async (code) => {
    const script = statelessServer({
      'tools/call': () => {
        throw new RpcError(code, 'do not match');
      },
    });
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    expect(await caller.error('tools/call', { name: 'one__go' })).toMatchObject({
      code: -32603,
      message: expect.stringContaining('do not understand each other'),
    });
  });
});

test('a stateless caller gets schemas and structured content of any kind', async () => {
  const outputSchema = { type: 'array' };
  const script: Script = {
    ...statelessServer({ 'tools/call': () => ({ resultType: 'complete', content: [], structuredContent: [1] }) }),
    tools: [{ name: 'go', outputSchema }],
  };
  await using setup = setUp({ one: script });
  for (const [transport, name] of [
    [setup.gateway.connect(), 'one__go'],
    [setup.gateway.connect('one', { era: 'modern' }), 'go'],
  ] as const) {
    await using caller = await ModernTestCaller.open(transport);
    expect(await caller.list('tools')).toMatchObject([{ name, outputSchema }]);
    expect(await caller.call(name)).toMatchObject({ structuredContent: [1], content: [] });
  }
});

describe('a stateless caller, before a server with sessions', () => {
  test.each([
    [-32002, -32602],
    [-32042, -32603],
  ])('gets error %i, which its era has given up, as %i wherever a server says it', async (code, shown) => {
    const refuse = () => {
      throw new RpcError(code, 'no', { elicitations: [{ mode: 'url', url: 'https://a.example', elicitationId: 'e' }] });
    };
    const task = { taskId: 't', status: 'completed', ttl: null, createdAt: '', lastUpdatedAt: '' };
    const script: Script = {
      capabilities: { tools: {}, prompts: {}, completions: {}, tasks: { requests: { tools: { call: {} } } } },
      tools: [{ name: 'go', execution: { taskSupport: 'required' } }],
      prompts: [{ name: 'p' }],
      on: {
        'completion/complete': refuse,
        'tools/call': () => ({ task }),
        'tasks/get': () => task,
        'tasks/result': refuse,
      },
    };
    await using setup = setUp({ one: script });
    const capabilities = { elicitation: { url: {} }, extensions: { 'io.modelcontextprotocol/tasks': {} } };
    await using caller = await ModernTestCaller.open(setup.gateway.connect(), capabilities);
    const reference = { type: 'ref/prompt', name: 'one__p' };
    expect(await caller.error('completion/complete', { ref: reference })).toMatchObject({ code: shown, message: 'no' });
    await caller.result('tools/list');
    const { taskId } = await caller.call('one__go');
    expect(await caller.result('tasks/get', { taskId })).toMatchObject({ status: 'failed', error: { code: shown } });
  });

  test('gets all four lists', async () => {
    const script: Script = {
      tools: [{ name: 'go' }],
      prompts: [{ name: 'p' }],
      resources: [{ uri: 'x://1' }],
      resourceTemplates: [{ uriTemplate: 'x://{id}' }],
    };
    await using setup = setUp({ one: script });
    await using caller = await ModernTestCaller.open(setup.gateway.connect());
    for (const kind of ['tools', 'prompts', 'resources', 'resourceTemplates'] as const) {
      expect(await caller.list(kind), kind).toHaveLength(1);
    }
  });

  test('reaches methods of extensions by the name, URI or task in their params', async () => {
    const script: Script = {
      tools: [{ name: 'go' }],
      resources: [{ uri: 'x://1' }],
      on: {
        'tools/inspect': ({ params }) => ({ of: params?.name }),
        'resources/inspect': ({ params }) => ({ of: params?.uri }),
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await ModernTestCaller.open(setup.gateway.connect());
    await caller.result('tools/list');
    await caller.result('resources/list');
    expect(await caller.result('tools/inspect', { name: 'one__go' })).toMatchObject({ of: 'go' });
    expect(await caller.result('resources/inspect', { uri: 'x://1' })).toMatchObject({ of: 'x://1' });
    expect((await caller.error('things/inspect', { thing: 'go' })).code).toBe(-32601);
    // A server alone is asked whatever it is.
    await using alone = await ModernTestCaller.open(setup.gateway.connect('one', { era: 'modern' }));
    expect(await alone.result('tools/inspect', { name: 'any' })).toMatchObject({ of: 'any' });
  });

  test('hears nothing that it has no word for', async () => {
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': (_, instance) => {
          instance.notify('notifications/elicitation/complete', { elicitationId: 'e' });
          instance.notify('notifications/tasks/status', { taskId: 't', status: 'working' });
          return { content: [] };
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await ModernTestCaller.open(setup.gateway.connect());
    await caller.call('one__go');
    await settle();
    expect(methods(caller as never)).toEqual([]);
  });

  test.each([-32020, -32022])('is told of %i as of a fault between gateway and server', async (code) => {
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': () => {
          throw new RpcError(code, 'do not match');
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await ModernTestCaller.open(setup.gateway.connect());
    expect(await caller.error('tools/call', { name: 'one__go' })).toMatchObject({
      code: -32603,
      message: expect.stringContaining('do not understand each other'),
    });
  });

  test('is shown pages and lists that are none as far as they are', async () => {
    let tools: unknown = 'rubbish';
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/list': () => ({ tools }),
        'tools/call': () => {
          throw new RpcError(-32042, 'see them', { elicitations: [7, { url: 'https://x.test', elicitationId: 'e' }] });
        },
      },
    };
    await using setup = setUp({ one: script });
    const transport = setup.gateway.connect('one', { era: 'modern' });
    await using caller = await ModernTestCaller.open(transport, { elicitation: { url: {} } });
    expect((await caller.result('tools/list')).tools).toBe('rubbish');
    tools = [7, { name: 1, execution: {} }, { name: 'go', execution: { taskSupport: 'optional' } }];
    expect((await caller.result('tools/list')).tools).toEqual([7, { name: 1 }, { name: 'go' }]);
    expect((await caller.call('go')).inputRequests).toEqual({
      page0: { method: 'elicitation/create', params: { mode: 'url' } },
      page1: { method: 'elicitation/create', params: { mode: 'url', url: 'https://x.test' } },
    });
  });

  test('is not asked what only a session could answer', async () => {
    const asked = ['ping', 'tasks/get', 'tasks/result', 'tasks/list', 'tasks/cancel'];
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': async (request, instance) => {
          const heard: Json[] = [];
          for (const method of asked) {
            const { result, error } = await instance.ask(`${request.id} ${method}`, method, { taskId: 't' });
            heard.push((result ?? { code: (error as Json).code }) as Json);
          }
          return { content: [], structuredContent: { heard } };
        },
      },
    };
    await using setup = setUp({ one: script });
    const refused = { code: -32601 };
    for (const [name, transport] of [
      ['one__go', setup.gateway.connect()],
      ['go', setup.gateway.connect('one', { era: 'modern' })],
    ] as const) {
      await using caller = await ModernTestCaller.open(transport, { elicitation: {} });
      const { structuredContent } = await caller.call(name);
      expect(structuredContent).toEqual({ heard: [{}, refused, refused, refused, refused] });
    }
  });
});
