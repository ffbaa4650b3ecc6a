import { describe, expect, test } from 'vitest';
import { errorNumbers } from '../../src/errors.js';
import { settle } from '../support/fake-clock.js';
import { hold, type Json, RpcError, type Script } from './scripted-server.js';
import { setUp } from './setup.js';
import { slowToBegin } from './slow-to-begin.js';
import { TestCaller } from './test-caller.js';

const tool = (name: string, more: Json = {}) => ({ name, inputSchema: { type: 'object' }, ...more });
// `String()` throws for it.
const textless = { toString: 1 };

describe('what cannot be routed', () => {
  test('an unknown method is answered with -32601, and starts nobody', async () => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    await using caller = await t.caller();
    expect(await caller.error('no/such/method', { some: 'thing' })).toMatchObject({ code: -32601 });
    expect(await caller.error('no/such/method')).toMatchObject({
      code: -32601,
      message: 'method not found: no/such/method',
    });
    await settle();
    expect(t.server('a').opens).toBe(0);
  });

  test('a name of no server is refused at once, and starts nobody', async () => {
    await using t = setUp({ a: { tools: [tool('x')] }, b: { tools: [tool('y')] } });
    await using caller = await t.caller();
    for (const name of ['x', 'c__x', '', '__x', 7, undefined, null]) {
      expect(await caller.error('tools/call', { name }), String(name)).toMatchObject({ code: -32602 });
      expect(await caller.error('prompts/get', { name }), String(name)).toMatchObject({ code: -32602 });
    }
    await settle();
    expect(t.server('a').opens + t.server('b').opens).toBe(0);
  });

  test.each([
    ['tools/call', { name: textless }, -32602],
    ['prompts/get', { name: textless }, -32602],
    ['completion/complete', { ref: { type: 'ref/prompt', name: textless } }, -32602],
    ['completion/complete', { ref: { type: 'ref/resource', uri: textless } }, -32002],
    ['resources/read', { uri: textless }, -32002],
    ['tasks/get', { taskId: textless }, -32602],
    ['no/such/method', { name: textless, uri: textless, taskId: textless }, -32601],
  ])('what has no text is refused as any other name, URI or task (%s %o)', async (method, params, code) => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    await using caller = await t.caller();
    expect(await caller.error(method, params)).toMatchObject({ code });
  });

  test('a resource of nobody is answered with -32002, and says which', async () => {
    await using t = setUp({ a: { resources: [] } });
    await using caller = await t.caller();
    const error = await caller.error('resources/read', { uri: 'x://nobody' });
    expect(error).toMatchObject({ code: -32002, data: { uri: 'x://nobody' } });
    for (const uri of [7, null, undefined, {}]) {
      expect(await caller.error('resources/read', { uri }), String(uri)).toMatchObject({ code: -32002 });
      expect(await caller.error('no/such/method', { uri }), String(uri)).toMatchObject({ code: -32601 });
    }
  });

  test.each([
    ['tools/call', { name: 'y' }, -32602, 'unknown tool: y; no list came from "b"'],
    ['prompts/get', { name: 'y' }, -32602, 'unknown prompt: y; no list came from "b"'],
    ['resources/read', { uri: 'x://y' }, -32002, 'no server offers the resource x://y; no list came from "b"'],
  ])(
    'what a server might have that gave no list is refused, and the server is named (%s)',
    async (method, params, code, message) => {
      const open = () => {
        throw new Error('no luck');
      };
      const scripts = { a: { tools: [tool('x')], resources: [], prompts: [] }, b: { open } };
      await using t = setUp(scripts, { names: ({ name }) => name });
      await using caller = await t.caller();
      expect(await caller.error(method, params)).toMatchObject({ code, message });
    },
  );

  test('a second initialize is refused', async () => {
    await using t = setUp({});
    await using caller = await t.caller();
    expect(await caller.error('initialize', {})).toMatchObject({ code: -32600 });
  });

  test('a log level that does not exist is refused', async () => {
    await using t = setUp({ a: {} });
    await using caller = await t.caller();
    expect(await caller.error('logging/setLevel', { level: 'loud' })).toMatchObject({ code: -32602 });
  });

  test('a completion of nothing, and a task of nobody', async () => {
    await using t = setUp({ a: {} });
    await using caller = await t.caller();
    expect(await caller.error('completion/complete', { ref: { type: 'ref/other' } })).toMatchObject({ code: -32602 });
    expect(await caller.error('completion/complete', {})).toMatchObject({ code: -32602 });
    expect(await caller.error('tasks/get', { taskId: 'nobody' })).toMatchObject({ code: -32602 });
    expect(t.server('a').opens).toBe(0);
  });

  test('a send with an id that is in use is rejected, and the first request still gets its answer', async () => {
    await using t = setUp({ a: { tools: [tool('x')], on: { 'tools/call': () => hold } } });
    await using caller = await t.caller();
    const first = caller.request('tools/call', { name: 'a__x' }, 7);
    const { instance, request } = await t.server('a').request('tools/call');
    await expect(caller.send({ id: 7, method: 'ping' })).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
    instance.answer(request, { content: [] });
    expect(await first).toMatchObject({ id: 7, result: { content: [] } });
  });

  test('what is no message is refused, such as several in one', async () => {
    await using t = setUp({ a: {} });
    const ping = { jsonrpc: '2.0', id: 1, method: 'ping' } as const;
    for (const transport of [t.gateway.connect(), t.gateway.connect('a', { era: 'legacy' })]) {
      const answers: unknown[] = [];
      transport.onmessage = (message) => answers.push(message);
      await transport.start();
      for (const bad of [[ping], {}, { ...ping, id: null }, { id: 1, method: 'ping' }, null, 'ping', undefined]) {
        await expect(transport.send(bad as never)).rejects.toMatchObject({ code: 'MESSAGE_INVALID', delivered: false });
      }
      await transport.send(ping);
      await settle();
      expect(answers).toMatchObject([{ id: 1 }]);
      await transport.close();
    }
  });
});

describe('a caller that says little of itself', () => {
  test('may call before it has said anything: its servers get what is usual', async () => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    await using caller = new TestCaller(t.gateway.connect());
    await caller.transport.start();
    await caller.result('tools/call', { name: 'a__x' });
    expect(t.server('a').only.requests('initialize')[0]?.params).toEqual({
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'open-mcp-gateway', version: expect.any(String) },
    });
    // Nothing is told to one that has not begun its session.
    t.server('a').only.notify('notifications/tools/list_changed');
    await t.clock.advance(1_000);
    expect(caller.notifications('notifications/tools/list_changed')).toEqual([]);
  });

  test.each([['1999-01-01'], [7], [undefined]])(
    'gets the newest revision when it asks for %j',
    async (protocolVersion) => {
      await using t = setUp({ a: { tools: [tool('x')] } });
      await using caller = new TestCaller(t.gateway.connect());
      await caller.transport.start();
      const rubbish = { capabilities: 'none', clientInfo: undefined };
      expect(await caller.initialize({}, { protocolVersion, ...rubbish })).toMatchObject({
        protocolVersion: '2025-11-25',
      });
      await caller.result('tools/call', { name: 'a__x' });
      expect(t.server('a').only.requests('initialize')[0]?.params).toMatchObject({
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: { name: 'open-mcp-gateway' },
      });
    },
  );

  test('may say null for what it does not have: its servers get nothing of that', async () => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    await using caller = new TestCaller(t.gateway.connect());
    await caller.transport.start();
    const modes = { form: null, url: {} };
    const capabilities = {
      sampling: null,
      roots: { listChanged: null },
      elicitation: modes,
      experimental: { x: null },
    };
    await caller.initialize(capabilities, { _meta: null, clientInfo: { name: 'test', version: '1', title: null } });
    await caller.result('tools/call', { name: 'a__x', arguments: { y: null }, _meta: null });
    await caller.result('tools/call', { name: 'a__x', _meta: { 'x/y': null, progressToken: null } });
    const { only } = t.server('a');
    expect(only.requests('initialize')[0]?.params).toEqual({
      protocolVersion: '2025-11-25',
      capabilities: { roots: {}, elicitation: { url: {} }, experimental: { x: null } },
      clientInfo: { name: 'test', version: '1' },
    });
    const [first, second] = only.requests('tools/call');
    expect(first?.params).toEqual({ name: 'x', arguments: { y: null }, _meta: {} });
    expect(second?.params?._meta).toEqual({ 'x/y': null });
    await only.ask('q', 'sampling/createMessage', {});
    expect(only.answers('q')).toMatchObject([{ error: { code: -32601 } }]);
    expect(caller.notifications('notifications/progress')).toEqual([]);
  });

  test.each([null, ''])('gets the first page of a list for the cursor %j', async (cursor) => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    await using caller = await t.caller();
    expect((await caller.result('tools/list', { cursor })).tools).toMatchObject([{ name: 'a__x' }]);
  });

  test.each<[Json, Json]>([
    [{ result: { role: 'user', odd: null, _meta: null } }, { result: { role: 'user', odd: null } }],
    [{ error: {} }, { error: { code: -32603, message: 'the client does not say what failed' } }],
    [{ error: { code: null, message: 'm', data: 1 } }, { error: { code: -32603, message: 'm', data: 1 } }],
    [{ error: { code: 7, message: null } }, { error: { code: 7, message: 'the client does not say what failed' } }],
  ])('answers a server with %j: it gets a whole answer, as those of the SDK would drop another', async (said, got) => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    await using caller = await t.caller({ sampling: {} });
    await caller.result('tools/call', { name: 'a__x' });
    const asked = t.server('a').only.ask('q', 'sampling/createMessage', {});
    const { id } = await caller.until(() => caller.requests('sampling/createMessage')[0]);
    await caller.send({ id, ...said });
    expect(await asked).toEqual({ jsonrpc: '2.0', id: 'q', ...got });
  });

  test('may send answers that answer nothing', async () => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    await using caller = await t.caller({ sampling: {} });
    await caller.result('tools/call', { name: 'a__x' });
    const instance = t.server('a').only;
    const asked = instance.ask('q', 'sampling/createMessage', {});
    const { id } = await caller.until(() => caller.requests('sampling/createMessage')[0]);
    await caller.send({ error: { code: -32700, message: 'parse' } });
    await caller.send({ id: 99, result: {} });
    await caller.send({ id, result: { role: 'user' } });
    await caller.send({ id, result: { role: 'again' } });
    expect(await asked).toMatchObject({ result: { role: 'user' } });
    await settle();
    expect(instance.answers('q')).toHaveLength(1);
  });
});

describe('what passes unchanged', () => {
  test('unknown fields, _meta and the whole result, both ways', async () => {
    const result = {
      content: [{ type: 'text', text: 'ü', annotations: { x: 1 }, odd: null }],
      structuredContent: { deep: [{ a: [] }] },
      isError: true,
      _meta: { 'example.com/a': { b: [1, 2, null] } },
      surprise: { __proto__x: 1 },
    };
    await using t = setUp({ a: { tools: [tool('x')], on: { 'tools/call': () => result } } });
    await using caller = await t.caller();
    const params = {
      name: 'a__x',
      arguments: { name: 'inner', uri: 'x://y', _meta: { z: 1 } },
      _meta: { 'example.com/trace': 'abc', progressToken: 'mine' },
      future: { field: [null, true] },
    };
    await caller.send({ id: 'q', method: 'tools/call', params, extension: { top: 1 } });
    const answer = await caller.until(() => caller.answers('q')[0]);
    expect(answer).toEqual({ jsonrpc: '2.0', id: 'q', result });
    const [got] = t.server('a').only.requests('tools/call');
    const { _meta, ...rest } = (got?.params ?? {}) as Json;
    expect(rest).toEqual({ name: 'x', arguments: params.arguments, future: params.future });
    expect(_meta).toEqual({ 'example.com/trace': 'abc', progressToken: got?.id });
    expect((got as unknown as Json).extension).toEqual({ top: 1 });
  });

  test('unknown fields beside the result or the error of an answer', async () => {
    await using t = setUp({ a: { tools: [tool('x')], on: { 'tools/call': () => hold } } });
    await using caller = await t.caller();
    const waiting = caller.request('tools/call', { name: 'a__x' }, 1);
    const { instance, request } = await t.server('a').request('tools/call');
    instance.say({ id: request.id, result: { content: [] }, extension: 5 });
    expect(await waiting).toEqual({ jsonrpc: '2.0', id: 1, result: { content: [] }, extension: 5 });
  });

  test.each([
    { code: -32602, message: 'bad "a__x"', data: { nested: [1, { x: null }] } },
    { code: -32042, message: 'URL elicitation required', data: { elicitations: [{ mode: 'url', url: 'https://x' }] } },
    { code: 0, message: '' },
    { code: 99_999, message: 'their own', data: 'text' },
    { code: -32700, message: 'parse', data: null },
  ])('an error as the server sent it: $code', async (error) => {
    await using t = setUp({
      a: {
        tools: [tool('x')],
        on: {
          'tools/call': () => {
            throw Object.assign(new RpcError(0, ''), { error });
          },
        },
      },
    });
    await using caller = await t.caller();
    expect((await caller.request('tools/call', { name: 'a__x' })).error).toEqual(error);
  });

  test('items of lists, apart from their names', async () => {
    const item = tool('x', { title: 'X', icons: [{ src: 'y' }], execution: { taskSupport: 'optional' }, odd: [null] });
    const capabilities = { tools: {}, prompts: {}, tasks: { requests: { tools: { call: {} } } } };
    const prompts = [{ name: 'p', arguments: [{ name: 'q' }], odd: 1 }];
    await using t = setUp({ a: { tools: [item], prompts, capabilities } });
    await using caller = await t.caller();
    expect(await caller.list('tools')).toEqual([{ ...item, name: 'a__x' }]);
    expect(await caller.list('prompts')).toEqual([{ name: 'a__p', arguments: [{ name: 'q' }], odd: 1 }]);
  });

  test('what the caller answers to a server: results, errors and fields of its own', async () => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    await using caller = await t.caller({ sampling: {} });
    await caller.result('tools/call', { name: 'a__x' });
    const instance = t.server('a').only;
    const first = instance.ask('s1', 'sampling/createMessage', { messages: [], odd: { a: null }, _meta: { k: 1 } });
    const request = await caller.until(() => caller.requests('sampling/createMessage')[0]);
    expect(request.params).toEqual({ messages: [], odd: { a: null }, _meta: { k: 1 } });
    await caller.send({ id: request.id, result: { role: 'assistant', odd: [null], _meta: { z: 2 } } });
    expect(await first).toEqual({
      jsonrpc: '2.0',
      id: 's1',
      result: { role: 'assistant', odd: [null], _meta: { z: 2 } },
    });
    const second = instance.ask(0, 'sampling/createMessage', {});
    const again = await caller.until(() => caller.requests('sampling/createMessage')[1]);
    const error = { code: -1, message: 'User rejected sampling request', data: { x: [1] } };
    await caller.send({ id: again.id, error });
    expect(await second).toEqual({ jsonrpc: '2.0', id: 0, error });
  });

  test.each([
    ['merged', undefined, {}],
    ['of one server', 'a', { era: 'legacy' }],
    ['with what others of the principal share', 'a', {}],
  ] as const)('a caller that writes numbers as texts answers a server all the same: %s', async (_, id, options) => {
    await using t = setUp({ a: { tools: [tool('x')] } }, { entry: { isolation: 'principal' } });
    const transport = id === undefined ? t.gateway.connect() : t.gateway.connect(id, options);
    await using caller = await TestCaller.open(transport, { sampling: {} });
    await caller.result('tools/call', { name: id === undefined ? 'a__x' : 'x' });
    const instance = t.server('a').only;
    const asked = instance.ask(7, 'sampling/createMessage', { _meta: { progressToken: 0 } });
    const request = await caller.until(() => caller.requests('sampling/createMessage')[0]);
    const { progressToken } = (request.params as Json)._meta as Json;
    await caller.send({ id: '', result: { text: 'nobody' } });
    await caller.send({
      method: 'notifications/progress',
      params: { progressToken: String(progressToken), progress: 1 },
    });
    await caller.send({ id: String(request.id), result: { text: 'yes' } });
    expect(await asked).toEqual({ jsonrpc: '2.0', id: 7, result: { text: 'yes' } });
    const progress = instance.notifications('notifications/progress').map(({ params }) => params);
    // On a connection that shares one server the token is the server's own.
    expect(progress).toEqual([{ progressToken: progressToken === 0 ? '0' : 0, progress: 1 }]);
  });

  test('experimental capabilities and client info reach each server', async () => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    const capabilities = { experimental: { 'x/y': { z: 1 } }, sampling: { tools: {} }, elicitation: { form: {} } };
    const caller = await t.caller(capabilities);
    await caller.result('tools/call', { name: 'a__x' });
    expect(t.server('a').only.requests('initialize')[0]?.params).toEqual({
      protocolVersion: '2025-11-25',
      capabilities,
      clientInfo: { name: 'test', version: '1' },
    });
    expect(t.server('a').only.notifications('notifications/initialized')).toHaveLength(1);
  });

  test.each(['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25'])('revision %s is agreed on', async (revision) => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    await using second = new TestCaller(t.gateway.connect());
    await second.transport.start();
    expect(await second.initialize({}, { protocolVersion: revision })).toMatchObject({ protocolVersion: revision });
    await second.result('tools/call', { name: 'a__x' });
    expect(t.server('a').only.requests('initialize')[0]?.params).toMatchObject({ protocolVersion: revision });
  });
});

describe('calls, prompts and unknown methods', () => {
  test('two servers with the same tool name are both there, and each call reaches its own', async () => {
    await using t = setUp({ a: { tools: [tool('same')] }, b: { tools: [tool('same')] } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__same', 'b__same']);
    for (const server of ['b', 'a']) {
      const { structuredContent } = await caller.result('tools/call', { name: `${server}__same` });
      expect(structuredContent).toMatchObject({ server, params: { name: 'same' } });
    }
  });

  test('a prompt is fetched under its own name', async () => {
    await using t = setUp({
      a: {},
      b: {
        prompts: [{ name: 'p' }],
        on: { 'prompts/get': ({ params }) => ({ messages: [], description: String(params?.name) }) },
      },
    });
    await using caller = await t.caller();
    expect(await caller.result('prompts/get', { name: 'b__p', arguments: { q: '1' } })).toMatchObject({
      description: 'p',
    });
    expect(t.server('a').opens).toBe(0);
  });

  test('an unknown method that names a tool, a prompt, a resource or a task is routed', async () => {
    const answer = ({ params }: { params?: unknown }) => ({ got: params }) as Json;
    const on = { 'vendor/tool': answer, 'vendor/resource': answer, 'vendor/task': answer };
    await using t = setUp({
      a: { tools: [tool('x')], on },
      b: {
        tools: [tool('y')],
        resources: [{ uri: 'x://b', name: 'b' }],
        on: { ...on, 'tools/call': () => ({ task: { taskId: 't1', status: 'working' } }) },
      },
    });
    await using caller = await t.caller();
    await caller.list('resources');
    expect(await caller.result('vendor/tool', { name: 'b__y', more: 1 })).toEqual({ got: { name: 'y', more: 1 } });
    expect(await caller.result('vendor/resource', { uri: 'x://b' })).toEqual({ got: { uri: 'x://b' } });
    await caller.result('tools/call', { name: 'b__y', task: {} });
    expect(await caller.result('vendor/task', { taskId: 't1', z: 1 })).toEqual({ got: { taskId: 't1', z: 1 } });
    expect(t.server('a').only.requests('vendor/tool')).toEqual([]);
  });

  test('ping is answered both ways, and never passed on', async () => {
    await using t = setUp({ a: { tools: [tool('x')] } });
    await using caller = await t.caller();
    expect(await caller.result('ping')).toEqual({});
    await caller.result('tools/call', { name: 'a__x' });
    expect(await t.server('a').only.ask('p', 'ping')).toEqual({ jsonrpc: '2.0', id: 'p', result: {} });
    expect(caller.requests('ping')).toEqual([]);
    expect(t.server('a').only.requests('ping')).toEqual([]);
  });
});

describe('a caller that sees some of the servers', () => {
  test('reaches no other by whatever name, also one that another caller has made known', async () => {
    const answer = () => ({ reached: true });
    const script: Script = {
      tools: [tool('x')],
      prompts: [{ name: 'p' }],
      resources: [{ uri: 'x://1' }],
      on: { 'vendor/x': answer, 'prompts/get': answer, 'completion/complete': answer, 'resources/read': answer },
    };
    await using t = setUp({ a: { tools: [tool('x')] }, b: script });
    await using all = await t.caller();
    await using some = await t.caller({}, { servers: ['a'] });
    const requests: [string, Json, number][] = [
      ['tools/call', { name: 'b__x' }, -32602],
      ['prompts/get', { name: 'b__p' }, -32602],
      ['completion/complete', { ref: { type: 'ref/prompt', name: 'b__p' } }, -32602],
      ['vendor/x', { name: 'b__x' }, -32601],
      ['resources/read', { uri: 'mcp-gateway://b/x%3A%2F%2F1' }, -32002],
      ['vendor/x', { uri: 'mcp-gateway://b/x%3A%2F%2F1' }, -32601],
    ];
    for (const [method, params] of requests) expect(await all.request(method, params), method).toHaveProperty('result');
    const before = t.server('b').only.received.length;
    for (const [method, params, code] of requests)
      expect(await some.error(method, params), method).toMatchObject({ code });
    expect(t.server('b').opens).toBe(1);
    expect(t.server('b').only.received).toHaveLength(before);
  });

  test('an unknown method goes where the name of a prompt leads, when it is no tool’s', async () => {
    const on = { 'vendor/x': ({ params }: { params?: Json | undefined }) => ({ got: params?.name }) };
    await using t = setUp(
      { a: { tools: [tool('x')], prompts: [{ name: 'p' }], on } },
      { names: ({ kind, name }) => `${kind}-${name}`, entry: { tools: { deny: ['p'] } } },
    );
    await using caller = await t.caller();
    expect(await caller.error('vendor/x', { name: 'prompt-p' })).toMatchObject({ code: -32601 });
    await caller.list('prompts');
    expect(await caller.result('vendor/x', { name: 'prompt-p' })).toEqual({ got: 'p' });
  });
});

describe('tool filters', () => {
  const entry = { tools: { allow: ['query*', 'drop_all'], deny: ['drop_*'] } };
  const script = {
    tools: [tool('query_one'), tool('drop_all'), tool('other'), tool('query')],
    on: { 'vendor/tool': () => ({ reached: true }) },
  };

  test('hold for lists and for calls, whatever the method', async () => {
    await using t = setUp({ a: script }, { entry });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__query_one', 'a__query']);
    for (const name of ['a__drop_all', 'a__other', 'a__never_listed']) {
      expect(await caller.error('tools/call', { name })).toMatchObject({
        code: -32602,
        message: `unknown tool: ${name}`,
      });
      expect(await caller.error('vendor/tool', { name })).toMatchObject({ code: -32602 });
    }
    const { structuredContent } = await caller.result('tools/call', { name: 'a__query' });
    expect(structuredContent).toMatchObject({ params: { name: 'query' } });
    expect(t.server('a').only.requests('vendor/tool')).toEqual([]);
  });

  test('a denied call starts nobody', async () => {
    await using t = setUp({ a: script }, { entry });
    await using caller = await t.caller();
    expect(await caller.error('tools/call', { name: 'a__drop_all' })).toMatchObject({ code: -32602 });
    expect(t.server('a').opens).toBe(0);
  });
});

describe('cancellation and progress', () => {
  const held: Script = { tools: [tool('x')], on: { 'tools/call': () => hold } };

  test('a cancellation reaches the one server with its own id, and a late answer goes nowhere', async () => {
    await using t = setUp({ a: held, b: held });
    await using caller = await t.caller();
    await caller.send({ id: 5, method: 'tools/call', params: { name: 'b__x' } });
    await caller.send({ id: 6, method: 'tools/call', params: { name: 'a__x' } });
    const { instance, request } = await t.server('b').request('tools/call');
    const other = await t.server('a').request('tools/call');
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 5, reason: 'why', odd: 1 } });
    await settle();
    expect(instance.notifications('notifications/cancelled').map(({ params }) => params)).toEqual([
      { requestId: request.id, reason: 'why', odd: 1 },
    ]);
    expect(other.instance.notifications('notifications/cancelled')).toEqual([]);
    instance.answer(request, { content: [] });
    other.instance.answer(other.request, { content: [] });
    await caller.until(() => caller.answers(6)[0]);
    expect(caller.answers(5)).toEqual([]);
  });

  test('a cancellation whose reason is null reaches its server without one, as those of the SDK would not hear it', async () => {
    await using t = setUp({ a: held });
    await using caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    const { instance, request } = await t.server('a').request('tools/call');
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 1, reason: null, _meta: null } });
    await settle();
    expect(instance.notifications('notifications/cancelled').map(({ params }) => params)).toEqual([
      { requestId: request.id },
    ]);
  });

  test('the cancellation of an unknown request reaches nobody', async () => {
    await using t = setUp({ a: held });
    await using caller = await t.caller();
    await caller.send({ id: 5, method: 'tools/call', params: { name: 'a__x' } });
    const { instance } = await t.server('a').request('tools/call');
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 1 } });
    await caller.send({ method: 'notifications/cancelled' });
    await settle();
    expect(instance.notifications('notifications/cancelled')).toEqual([]);
  });

  test('a call that is cancelled before its server runs never reaches it', async () => {
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    await using t = setUp({ a: { tools: [tool('x')], open: () => gate } });
    await using caller = await t.caller();
    await caller.send({ id: 5, method: 'tools/call', params: { name: 'a__x' } });
    await settle();
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 5 } });
    open();
    await caller.result('tools/call', { name: 'a__x' });
    expect(t.server('a').only.requests('tools/call')).toHaveLength(1);
    expect(caller.answers(5)).toEqual([]);
  });

  test('an id that was cancelled and used again gets the new answer alone, also when the name is looked up first', async () => {
    const name = 'x_0123456789'; // like a shortened one
    const lists: (() => void)[] = [];
    await using t = setUp({
      a: {
        tools: [tool(name)],
        on: { 'tools/list': () => new Promise((resolve) => lists.push(() => resolve({ tools: [tool(name)] }))) },
      },
    });
    await using caller = await t.caller();
    await caller.send({ id: 5, method: 'tools/call', params: { name: `a__${name}`, arguments: { n: 1 } } });
    await t.server('a').request('tools/list');
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 5 } });
    await caller.send({ id: 5, method: 'tools/call', params: { name: `a__${name}`, arguments: { n: 2 } } });
    await settle();
    for (const answer of lists) {
      answer();
    }
    await caller.until(() => caller.answers(5)[0]);
    await settle();
    expect(caller.answers(5)).toHaveLength(1);
    expect(caller.answers(5)[0]).toMatchObject({ result: { structuredContent: { params: { arguments: { n: 2 } } } } });
    expect(t.server('a').only.requests('tools/call')).toHaveLength(1);
  });

  test('a read that is cancelled while its owner is looked for reaches nobody', async () => {
    const gate = Promise.withResolvers<Json>();
    await using t = setUp({ a: { resources: [], on: { 'resources/list': () => gate.promise } } });
    await using caller = await t.caller();
    await caller.send({ id: 5, method: 'resources/read', params: { uri: 'x://a' } });
    const { instance } = await t.server('a').request('resources/list');
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 5 } });
    gate.resolve({ resources: [{ uri: 'x://a' }] });
    await caller.list('resources');
    await settle();
    expect(instance.requests('resources/read')).toEqual([]);
    expect(caller.answers(5)).toEqual([]);
  });

  test('progress comes under the token of the caller, to its request alone, and ends with the answer', async () => {
    await using t = setUp({ a: held, b: held });
    await using caller = await t.caller();
    await using other = await t.caller();
    for (const [who, name] of [
      [caller, 'a__x'],
      [other, 'b__x'],
    ] as const) {
      await who.send({ id: 1, method: 'tools/call', params: { name, _meta: { progressToken: 't' } } });
    }
    const { instance, request } = await t.server('a').request('tools/call');
    const progressToken = request.params?._meta?.progressToken;
    instance.notify('notifications/progress', { progressToken, progress: 1, total: 2, message: 'm', odd: 1 });
    const ofServer = () => caller.notifications('notifications/progress').filter(({ total }) => total !== undefined);
    await caller.until(() => ofServer()[0]);
    expect(ofServer()).toEqual([{ progressToken: 't', progress: 1, total: 2, message: 'm', odd: 1 }]);
    instance.answer(request, { content: [] });
    await caller.until(() => caller.answers(1)[0]);
    instance.notify('notifications/progress', { progressToken, progress: 2, total: 2 });
    await settle();
    expect(ofServer()).toHaveLength(1);
    expect(other.notifications('notifications/progress').filter(({ total }) => total !== undefined)).toEqual([]);
  });

  test('of a server that writes numbers as texts, answer and progress come all the same', async () => {
    await using t = setUp({ a: held });
    await using caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x', _meta: { progressToken: 0 } } });
    const { instance, request } = await t.server('a').request('tools/call');
    instance.notify('notifications/progress', { progressToken: String(request.id), progress: 1 });
    instance.answer({ id: String(request.id) }, { content: [] });
    expect(await caller.until(() => caller.answers(1)[0])).toMatchObject({ result: { content: [] } });
    expect(caller.notifications('notifications/progress').at(-1)).toEqual({ progressToken: 0, progress: 1 });
  });

  test('a request without a token gets no progress, whatever the server sends', async () => {
    await using t = setUp({ a: held });
    await using caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    const { instance, request } = await t.server('a').request('tools/call');
    instance.notify('notifications/progress', { progressToken: request.id, progress: 1 });
    instance.notify('notifications/progress', {});
    instance.notify('notifications/progress');
    await settle();
    expect(caller.notifications('notifications/progress')).toEqual([]);
  });
});

describe('resources', () => {
  const read = {
    'resources/read': ({ params }: { params?: Json | undefined }) => ({
      contents: [{ uri: params?.uri, text: 'content' }],
    }),
  };
  const shared = { uri: 'file:///a b.txt', name: 'same' };
  const template = { uriTemplate: 'db://{table}/{id}', name: 'row' };

  test('each is read from its owner, also when nobody has listed yet', async () => {
    await using t = setUp({
      a: { resources: [{ uri: 'x://a', name: 'a' }], on: read },
      b: { resources: [{ uri: 'x://b', name: 'b' }], on: read },
    });
    await using caller = await t.caller();
    expect(await caller.result('resources/read', { uri: 'x://b' })).toEqual({
      contents: [{ uri: 'x://b', text: 'content' }],
    });
    expect(t.server('a').only.requests('resources/read')).toEqual([]);
    expect(t.server('b').only.requests('resources/read')).toHaveLength(1);
  });

  test('a URI of two servers stays with the first; the later shows, is read and tells of updates under an alias', async () => {
    await using t = setUp({ a: { resources: [shared], on: read }, b: { resources: [shared], on: read } });
    await using caller = await t.caller();
    const alias = 'mcp-gateway://b/file%3A%2F%2F%2Fa%20b.txt';
    expect((await caller.list('resources')).map(({ uri }) => uri)).toEqual([shared.uri, alias]);
    expect(t.events).toContainEqual(expect.objectContaining({ type: 'uri-conflict', server: 'b', uri: shared.uri }));

    const { contents } = (await caller.result('resources/read', { uri: alias })) as { contents: Json[] };
    expect(contents).toEqual([{ uri: alias, text: 'content' }]);
    expect(t.server('b').only.requests('resources/read')[0]?.params).toEqual({ uri: shared.uri });
    expect(t.server('a').only.requests('resources/read')).toEqual([]);

    await caller.result('resources/subscribe', { uri: alias });
    t.server('b').only.notify('notifications/resources/updated', { uri: shared.uri, odd: 1 });
    expect(await caller.notification('notifications/resources/updated')).toEqual({ uri: alias, odd: 1 });
    await caller.result('resources/unsubscribe', { uri: alias });
    expect(t.server('b').only.requests('resources/unsubscribe')[0]?.params).toEqual({ uri: shared.uri });
    expect(t.server('a').only.requests('resources/subscribe')).toEqual([]);
  });

  test.each(['x://\ud800 b%', '\ud800'])(
    'a URI of two servers that is no well-formed text is read from both: %j',
    async (uri) => {
      const resources = [{ uri, name: 'odd' }];
      await using t = setUp({ a: { resources, on: read }, b: { resources, on: read } });
      await using caller = await t.caller();
      const uris = (await caller.list('resources')).map((item) => item.uri);
      expect(uris).toEqual([uri, expect.stringMatching(/^mcp-gateway:\/\/b\//)]);
      await caller.result('resources/read', { uri: uris[1] });
      expect(t.server('b').only.requests('resources/read')[0]?.params).toEqual({ uri });
    },
  );

  test('a listed one whose server a reload takes away is of nobody', async () => {
    await using t = setUp({ a: { resources: [{ uri: 'x://a' }] }, b: { resources: [{ uri: 'x://b' }], on: read } });
    await using caller = await t.caller();
    await caller.list('resources');
    await caller.result('resources/read', { uri: 'x://b' });
    await t.gateway.reload({ servers: [{ id: 'a', runtime: { type: 'scripted', script: 'a' } }] });
    expect(await caller.error('resources/read', { uri: 'x://b' })).toMatchObject({ code: -32002 });
    expect(await caller.error('resources/unsubscribe', { uri: 'x://b' })).toMatchObject({ code: -32002 });
  });

  test('one that a caller was shown leads to no other server before the caller asks for a list again', async () => {
    await using t = setUp({ a: { resources: [shared], on: read }, b: { resources: [shared], on: read } });
    await using caller = await t.caller();
    await caller.list('resources');
    await t.gateway.reload({ servers: [{ id: 'b', runtime: { type: 'scripted', script: 'b' } }] });
    await t.clock.advance(100);
    expect(await caller.error('resources/read', { uri: shared.uri })).toMatchObject({ code: -32002 });
    expect(t.server('b').instances.flatMap((instance) => instance.requests('resources/read'))).toEqual([]);
    expect(caller.notifications('notifications/resources/list_changed')).toHaveLength(1);
    await caller.list('resources');
    await caller.result('resources/read', { uri: shared.uri });
    expect(t.server('b').only.requests('resources/read')).toHaveLength(1);
  });

  test('an update of the later server without a subscription does not pass for one of the first', async () => {
    await using t = setUp({ a: { resources: [shared], on: read }, b: { resources: [shared], on: read } });
    await using caller = await t.caller();
    const [, second] = await caller.list('resources');
    await caller.result('resources/subscribe', { uri: shared.uri });
    t.server('b').only.notify('notifications/resources/updated', { uri: shared.uri });
    t.server('a').only.notify('notifications/resources/updated', { uri: shared.uri });
    await caller.notification('notifications/resources/updated', 1);
    const uris = caller.notifications('notifications/resources/updated').map(({ uri }) => uri);
    expect(uris.sort()).toEqual([shared.uri, second?.uri].sort());
  });

  test('a template of two servers: the second shows under an alias that can be filled in', async () => {
    await using t = setUp({
      a: { resourceTemplates: [template], on: read },
      b: { resourceTemplates: [template], on: read },
    });
    await using caller = await t.caller();
    expect((await caller.list('resourceTemplates')).map(({ uriTemplate }) => uriTemplate)).toEqual([
      'db://{table}/{id}',
      'mcp-gateway://b/db://{table}/{id}',
    ]);
    await caller.result('resources/read', { uri: 'mcp-gateway://b/db://users/7%20x' });
    expect(t.server('b').only.requests('resources/read')[0]?.params).toEqual({ uri: 'db://users/7%20x' });
    await caller.result('resources/read', { uri: 'db://users/8' });
    expect(t.server('a').only.requests('resources/read')[0]?.params).toEqual({ uri: 'db://users/8' });
  });

  test('a URI seen in a result leads to its server, and never takes a listed one away', async () => {
    const link = (uri: string) => ({ type: 'resource_link', uri, name: 'l' });
    await using t = setUp({
      a: { resources: [{ uri: 'x://a', name: 'a' }], on: read },
      b: {
        tools: [tool('links')],
        resources: [],
        on: {
          ...read,
          'tools/call': () => ({
            content: [
              link('x://made'),
              link('x://a'),
              { type: 'resource', resource: { uri: 'x://embedded', text: '' } },
            ],
          }),
        },
      },
    });
    await using caller = await t.caller();
    await using other = await t.caller();
    await caller.list('resources');
    await caller.result('tools/call', { name: 'b__links' });
    for (const [uri, server] of [
      ['x://made', 'b'],
      ['x://embedded', 'b'],
      ['x://a', 'a'],
    ] as const) {
      await caller.result('resources/read', { uri });
      expect(
        t
          .server(server)
          .live.flatMap((each) => each.requests('resources/read'))
          .at(-1)?.params,
      ).toEqual({ uri });
    }
    // What one caller has seen is nothing to another.
    expect(await other.error('resources/read', { uri: 'x://made' })).toMatchObject({ code: -32002 });
  });

  test('a URI in the messages of a prompt leads to its server too', async () => {
    await using t = setUp({
      a: { resources: [] },
      b: {
        prompts: [{ name: 'p' }],
        resources: [],
        on: {
          ...read,
          'prompts/get': () => ({
            messages: [{ role: 'user', content: { type: 'resource_link', uri: 'x://from-prompt', name: 'l' } }],
          }),
        },
      },
    });
    await using caller = await t.caller();
    await caller.result('prompts/get', { name: 'b__p' });
    await caller.result('resources/read', { uri: 'x://from-prompt' });
    expect(t.server('b').only.requests('resources/read')).toHaveLength(1);
  });

  test('what a result holds besides the resource that was read under an alias stays as it is', async () => {
    const contents = [{ uri: shared.uri, text: 'it' }, { uri: 'x://part', text: 'part' }, null];
    const on = { 'resources/read': () => ({ contents }) };
    await using t = setUp({ a: { resources: [shared] }, b: { resources: [shared], on } });
    await using caller = await t.caller();
    const [, second] = await caller.list('resources');
    expect(await caller.result('resources/read', { uri: second?.uri })).toEqual({
      contents: [{ uri: second?.uri, text: 'it' }, ...contents.slice(1)],
    });
    t.server('b').script.on = { 'resources/read': () => ({ contents: 'rubbish', more: 1 }) };
    expect(await caller.result('resources/read', { uri: second?.uri })).toEqual({ contents: 'rubbish', more: 1 });
  });

  test('a subscription to what is no longer listed can be ended', async () => {
    await using t = setUp({ a: { resources: [shared] }, b: { resources: [] } });
    await using caller = await t.caller();
    await caller.list('resources');
    await caller.result('resources/subscribe', { uri: shared.uri });
    t.server('a').script.resources = [];
    t.server('a').only.notify('notifications/resources/list_changed');
    expect(await caller.list('resources')).toEqual([]);
    expect(await caller.result('resources/unsubscribe', { uri: shared.uri })).toEqual({});
    expect(t.server('a').only.requests('resources/unsubscribe')).toMatchObject([{ params: { uri: shared.uri } }]);
    expect(await caller.error('resources/unsubscribe', { uri: shared.uri })).toMatchObject({ code: -32002 });
  });

  test.each([
    ['once, at the server that had it then', 1],
    ['at both servers, each of which had it when it was asked for', 2],
  ])('a subscription to what another server offers by now is ended where it is: %s', async (_, times) => {
    await using t = setUp({ a: { resources: [shared] }, b: { resources: [shared] } });
    await using caller = await t.caller();
    await caller.list('resources');
    await caller.result('resources/subscribe', { uri: shared.uri });
    t.server('a').script.resources = [];
    t.server('a').only.notify('notifications/resources/list_changed');
    expect(await caller.list('resources')).toHaveLength(1);
    times === 2 && (await caller.result('resources/subscribe', { uri: shared.uri }));
    expect(await caller.result('resources/unsubscribe', { uri: shared.uri })).toEqual({});
    await settle();
    expect(t.server('a').only.requests('resources/unsubscribe')).toMatchObject([{ params: { uri: shared.uri } }]);
    expect(t.server('b').only.requests('resources/unsubscribe')).toHaveLength(times - 1);
  });

  test('a caller may subscribe to ten thousand, and to others instead', async () => {
    await using t = setUp({ a: { resourceTemplates: [{ uriTemplate: 'x://{n}', name: 'x' }] } });
    await using caller = await t.caller();
    await caller.list('resourceTemplates');
    await Promise.all(
      Array.from({ length: 9_999 }, (_, n) => caller.result('resources/subscribe', { uri: `x://${n}` })),
    );
    // What is not answered yet counts as well.
    const [last, tooMany] = ['x://last', 'x://more'].map((uri) => caller.request('resources/subscribe', { uri }));
    expect(await last).toMatchObject({ result: {} });
    expect(await tooMany).toMatchObject({ error: { data: { code: 'LIMIT_REACHED', server: 'a', delivered: false } } });
    expect(t.server('a').only.requests('resources/subscribe')).toHaveLength(10_000);
    await caller.result('resources/unsubscribe', { uri: 'x://1' });
    expect(await caller.request('resources/subscribe', { uri: 'x://more' })).toMatchObject({ result: {} });
  });

  test('an unsubscription in a form that nobody has asked for leaves the other one', async () => {
    await using t = setUp({ a: { resources: [shared], on: read } });
    await using caller = await t.caller();
    await caller.list('resources');
    const alias = 'mcp-gateway://a/file%3A%2F%2F%2Fa%20b.txt';
    await caller.result('resources/subscribe', { uri: alias });
    await caller.result('resources/unsubscribe', { uri: shared.uri });
    const instance = t.server('a').only;
    expect(instance.requests('resources/unsubscribe')).toEqual([]);
    instance.notify('notifications/resources/updated', { uri: shared.uri });
    expect(await caller.notification('notifications/resources/updated')).toEqual({ uri: alias });
  });

  test.each(['resources/subscribe', 'resources/unsubscribe'])(
    'a %s that is called off changes nothing, though the server has done it before it hears of that',
    async (method) => {
      const subscribed = new Set<unknown>();
      let holds = false;
      const on: Script['on'] = {
        'resources/subscribe': ({ params }) => {
          subscribed.add(params?.uri);
          return holds ? hold : {};
        },
        'resources/unsubscribe': ({ params }) => {
          subscribed.delete(params?.uri);
          return holds ? hold : {};
        },
      };
      await using t = setUp({ a: { resources: [shared], on } });
      await using caller = await t.caller();
      await caller.list('resources');
      const isEnd = method === 'resources/unsubscribe';
      isEnd && (await caller.result('resources/subscribe', { uri: shared.uri }));
      holds = true;
      await caller.send({ id: 'off', method, params: { uri: shared.uri } });
      await t.server('a').request(method);
      holds = false;
      await caller.send({ method: 'notifications/cancelled', params: { requestId: 'off' } });
      await settle();
      expect(subscribed.size).toBe(isEnd ? 1 : 0);
    },
  );

  test.each([true, false])(
    'one form is ended while the server has not answered that there is another one, which it grants: %s',
    async (grants) => {
      const uri = 'file:///a b.txt';
      const alias = 'mcp-gateway://a/file%3A%2F%2F%2Fa%20b.txt';
      const granted = Promise.withResolvers<void>();
      let count = 0;
      const on: Script['on'] = {
        'resources/subscribe': async () => {
          count += 1;
          if (count === 2) {
            await granted.promise;
            if (!grants) throw new RpcError(-1, 'no more');
          }
          return {};
        },
        'resources/unsubscribe': () => ({}),
      };
      await using t = setUp({ a: { resources: [{ uri, name: 'a' }], on } });
      await using caller = await t.caller();
      await caller.list('resources');
      await caller.result('resources/subscribe', { uri });
      const second = caller.request('resources/subscribe', { uri: alias });
      await t.server('a').request('resources/subscribe', 1);
      expect(await caller.result('resources/unsubscribe', { uri })).toEqual({});
      expect(t.server('a').only.requests('resources/unsubscribe')).toEqual([]);
      granted.resolve();
      expect('result' in (await second)).toBe(grants);
      await settle();
      expect(t.server('a').only.requests('resources/unsubscribe')).toHaveLength(grants ? 0 : 1);
    },
  );

  test('two forms of one URI: one subscription at the server until the last form is gone', async () => {
    await using t = setUp({ a: { resources: [shared], on: read } });
    await using caller = await t.caller();
    await caller.list('resources');
    const alias = 'mcp-gateway://a/file%3A%2F%2F%2Fa%20b.txt';
    await caller.result('resources/subscribe', { uri: shared.uri });
    await caller.result('resources/subscribe', { uri: alias });
    await caller.result('resources/unsubscribe', { uri: alias });
    expect(t.server('a').only.requests('resources/unsubscribe')).toEqual([]);
    await caller.result('resources/unsubscribe', { uri: shared.uri });
    expect(t.server('a').only.requests('resources/unsubscribe')).toHaveLength(1);
    // A later start is not asked for what was given up.
    t.server('a').only.die();
    await t.clock.advance(60_000);
    await caller.result('resources/read', { uri: shared.uri });
    await settle();
    expect(t.server('a').only.requests('resources/subscribe')).toEqual([]);
  });
});

describe('completions', () => {
  const on = {
    'completion/complete': ({ params }: { params?: Json | undefined }) =>
      ({ completion: { values: [] }, params }) as Json,
  };

  test('for a prompt and for a template reach their server with its own names', async () => {
    await using t = setUp({
      a: { prompts: [{ name: 'p' }], resourceTemplates: [{ uriTemplate: 'x://{id}', name: 't' }], on },
      b: { prompts: [{ name: 'p' }], resourceTemplates: [{ uriTemplate: 'x://{id}', name: 't' }], on },
    });
    await using caller = await t.caller();
    await caller.list('resourceTemplates');
    const argument = { name: 'id', value: '1' };
    const context = { arguments: { z: '1' } };
    const prompt = { ref: { type: 'ref/prompt', name: 'b__p', title: 'T' }, argument, context };
    expect(await caller.result('completion/complete', prompt)).toMatchObject({
      params: { ref: { type: 'ref/prompt', name: 'p', title: 'T' }, argument, context },
    });
    for (const [uri, server] of [
      ['x://{id}', 'a'],
      ['mcp-gateway://b/x://{id}', 'b'],
    ] as const) {
      const before = t.server(server).only.requests('completion/complete').length;
      const { params } = await caller.result('completion/complete', { ref: { type: 'ref/resource', uri }, argument });
      expect(params).toEqual({ ref: { type: 'ref/resource', uri: 'x://{id}' }, argument });
      expect(t.server(server).only.requests('completion/complete')).toHaveLength(before + 1);
    }
  });
});

describe('logging', () => {
  test('the level reaches the servers that log, those that start later too, and messages come to their caller alone', async () => {
    const script = { tools: [tool('x')] };
    await using t = setUp({ a: script, b: script, c: { ...script, capabilities: { tools: {} } } });
    await using caller = await t.caller();
    await using other = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    await other.result('tools/call', { name: 'a__x' });
    const [ofCaller, ofOther] = t.server('a').instances;
    expect(await caller.result('logging/setLevel', { level: 'warning' })).toEqual({});
    await caller.result('tools/call', { name: 'b__x' });
    await caller.result('tools/call', { name: 'c__x' });
    await settle();
    expect(ofCaller?.requests('logging/setLevel').map(({ params }) => params)).toEqual([{ level: 'warning' }]);
    expect(
      t
        .server('b')
        .only.requests('logging/setLevel')
        .map(({ params }) => params),
    ).toEqual([{ level: 'warning' }]);
    expect(t.server('c').only.requests('logging/setLevel')).toEqual([]);
    expect(ofOther?.requests('logging/setLevel')).toEqual([]);
    const params = { level: 'error', logger: 'l', data: { any: ['thing'] }, odd: 1 };
    ofCaller?.notify('notifications/message', params);
    expect(await caller.notification('notifications/message')).toEqual(params);
    await settle();
    expect(other.notifications('notifications/message')).toEqual([]);
  });
});

describe('what servers ask', () => {
  const script = { tools: [tool('x')] };

  test.each([
    ['sampling/createMessage', { roots: {}, elicitation: {} }],
    ['elicitation/create', { roots: {}, sampling: {} }],
    ['roots/list', { elicitation: {}, sampling: {} }],
    ['tasks/get', { elicitation: {}, sampling: {}, roots: {} }],
  ])('%s is refused for a caller that has not declared it', async (method, capabilities) => {
    await using t = setUp({ a: script });
    await using caller = await t.caller(capabilities);
    await caller.result('tools/call', { name: 'a__x' });
    const instance = t.server('a').only;
    expect(await instance.ask(1, method, {})).toMatchObject({ id: 1, error: { code: -32601 } });
    expect(caller.requests(method)).toEqual([]);
    expect(instance.requests('initialize')[0]?.params?.capabilities).toEqual(capabilities);
  });

  test('elicitation by URL is refused for a caller that has only declared forms', async () => {
    await using t = setUp({ a: script });
    await using caller = await t.caller({ elicitation: { form: {} } });
    await using plain = await t.caller({ elicitation: {} });
    await caller.result('tools/call', { name: 'a__x' });
    await plain.result('tools/call', { name: 'a__x' });
    for (const instance of t.server('a').live) {
      const url = { mode: 'url', url: 'https://example.com', elicitationId: 'e', message: 'm' };
      expect(await instance.ask('e', 'elicitation/create', url)).toMatchObject({ error: { code: -32602 } });
    }
    expect([...caller.requests('elicitation/create'), ...plain.requests('elicitation/create')]).toEqual([]);
  });

  test('sampling with tools is refused for a caller that has only declared sampling', async () => {
    await using t = setUp({ a: script });
    for (const [sampling, asked] of [
      [{}, 0],
      [{ context: {} }, 0],
      [{ tools: {} }, 2],
    ] as const) {
      await using caller = await t.caller({ sampling });
      caller.onRequest = () => ({ role: 'assistant', content: { type: 'text', text: 'x' }, model: 'm' });
      await caller.result('tools/call', { name: 'a__x' });
      const instance = t.server('a').live.at(-1);
      const whole = { messages: [], maxTokens: 1, tools: null };
      expect(await instance?.ask('plain', 'sampling/createMessage', whole)).toHaveProperty('result');
      for (const more of [{ tools: [] }, { toolChoice: {} }]) {
        const answer = await instance?.ask(JSON.stringify(more), 'sampling/createMessage', { ...whole, ...more });
        expect(answer).toMatchObject(asked === 0 ? { error: { code: -32602 } } : { result: { model: 'm' } });
      }
      expect(caller.requests('sampling/createMessage')).toHaveLength(1 + asked);
    }
  });

  test('equal ids and tokens of several servers are told apart, and each gets its own answer', async () => {
    await using t = setUp({ a: script, b: script });
    await using caller = await t.caller({ sampling: {}, elicitation: {}, roots: {} });
    const instances = [];
    for (const server of ['a', 'b']) {
      await caller.result('tools/call', { name: `${server}__x` });
      instances.push(t.server(server).only);
    }
    for (const method of ['sampling/createMessage', 'elicitation/create', 'roots/list']) {
      const asked = instances.map((instance) =>
        instance.ask(`${method} 0`, method, { from: instance.context.server, _meta: { progressToken: 't' } }),
      );
      await caller.until(() => caller.requests(method)[1]);
      const requests = caller.requests(method) as { id: number; params: Json }[];
      expect(new Set(requests.map(({ id }) => id)).size).toBe(2);
      expect(new Set(requests.map(({ params }) => (params._meta as Json).progressToken)).size).toBe(2);
      for (const { id, params } of [...requests].reverse()) {
        const { progressToken } = params._meta as Json;
        await caller.send({
          method: 'notifications/progress',
          params: { progressToken, progress: 1, to: params.from },
        });
        await caller.send({ id, result: { to: params.from } });
      }
      const answers = await Promise.all(asked);
      expect(answers.map(({ result }) => result)).toEqual([{ to: 'a' }, { to: 'b' }]);
    }
    for (const instance of instances) {
      const progress = instance.notifications('notifications/progress').map(({ params }) => params);
      expect(progress).toEqual(Array(3).fill({ progressToken: 't', progress: 1, to: instance.context.server }));
    }
  });

  test('the caller hears when a server withdraws its request, or ends', async () => {
    await using t = setUp({ a: script });
    await using caller = await t.caller({ elicitation: {} });
    await caller.result('tools/call', { name: 'a__x' });
    const instance = t.server('a').only;
    instance.say({ id: 'e1', method: 'elicitation/create', params: {} });
    instance.say({ id: 'e2', method: 'elicitation/create', params: {} });
    await caller.until(() => caller.requests('elicitation/create')[1]);
    const [first, second] = caller.requests('elicitation/create');
    instance.notify('notifications/cancelled', { requestId: 'e1', reason: 'no longer' });
    expect(await caller.notification('notifications/cancelled')).toEqual({ requestId: first?.id, reason: 'no longer' });
    instance.die();
    expect(await caller.notification('notifications/cancelled', 1)).toMatchObject({ requestId: second?.id });
    await caller.send({ id: second?.id, result: { action: 'accept' } });
    await caller.result('ping');
    expect(t.server('a').live).toEqual([]);
  });

  test('a server that asks without end is refused at some point, and the caller is not flooded', async () => {
    await using t = setUp({ a: script });
    await using caller = await t.caller({ sampling: {} });
    await caller.result('tools/call', { name: 'a__x' });
    const instance = t.server('a').only;
    for (let id = 0; id < 1_100; id += 1) {
      instance.say({ id, method: 'sampling/createMessage', params: {} });
    }
    await settle();
    expect(caller.requests('sampling/createMessage')).toHaveLength(1_000);
    expect(instance.answers(1_099)).toMatchObject([{ error: { code: errorNumbers.LIMIT_REACHED } }]);
  });

  test('roots/list_changed reaches every open server, and opens none', async () => {
    await using t = setUp({ a: script, b: script, c: script });
    await using caller = await t.caller({ roots: { listChanged: true } });
    await caller.result('tools/call', { name: 'a__x' });
    await caller.result('tools/call', { name: 'b__x' });
    await caller.send({ method: 'notifications/roots/list_changed', params: { _meta: { x: 1 } } });
    await settle();
    for (const server of ['a', 'b']) {
      expect(t.server(server).only.notifications('notifications/roots/list_changed')).toMatchObject([
        { params: { _meta: { x: 1 } } },
      ]);
    }
    expect(t.server('c').opens).toBe(0);
  });

  test('roots/list_changed reaches a server that has asked for them in its handshake, behind that', async () => {
    const taken = Promise.withResolvers<void>();
    const slow = slowToBegin(taken.promise);
    await using t = setUp({ a: slow });
    await using caller = await t.caller({ roots: { listChanged: true } });
    caller.onRequest = () => ({ roots: [] });
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await settle();
    const { only } = t.server('a');
    await only.ask(1, 'roots/list');
    await caller.send({ method: 'notifications/roots/list_changed' });
    taken.resolve();
    await caller.until(() => caller.answers(1)[0]);
    expect(only.notifications('notifications/roots/list_changed')).toHaveLength(1);
  });

  test('elicitation/complete comes to the caller of the server alone', async () => {
    await using t = setUp({ a: script });
    await using caller = await t.caller({ elicitation: { form: {}, url: {} } });
    await using other = await t.caller({ elicitation: { form: {}, url: {} } });
    await caller.result('tools/call', { name: 'a__x' });
    await other.result('tools/call', { name: 'a__x' });
    caller.onRequest = () => ({ action: 'accept' });
    const [instance] = t.server('a').instances;
    const url = { mode: 'url', url: 'https://example.com', elicitationId: 'e', message: 'm' };
    expect(await instance?.ask('e', 'elicitation/create', url)).toMatchObject({ result: { action: 'accept' } });
    instance?.notify('notifications/elicitation/complete', { elicitationId: 'e' });
    expect(await caller.notification('notifications/elicitation/complete')).toEqual({ elicitationId: 'e' });
    await settle();
    expect(other.notifications('notifications/elicitation/complete')).toEqual([]);
  });

  test('pages of two servers under one elicitationId are told apart, in questions, errors and when they are done', async () => {
    const page = { mode: 'url', url: 'https://example.com', elicitationId: '1', message: 'm' };
    const refuses: Script = {
      tools: [tool('x'), tool('y')],
      on: {
        'tools/call': ({ params }) => {
          if (params?.name === 'x') return { content: [] };
          throw new RpcError(-32042, 'see it', { elicitations: [page, 7], more: 1 });
        },
      },
    };
    await using t = setUp({ a: refuses, b: refuses });
    await using caller = await t.caller({ elicitation: { url: {} } });
    caller.onRequest = () => ({ action: 'accept' });
    for (const server of ['a', 'b']) {
      await caller.result('tools/call', { name: `${server}__x` });
      const instance = t.server(server).only;
      await instance.ask('q', 'elicitation/create', page);
      instance.notify('notifications/elicitation/complete', { elicitationId: '1', own: server });
    }
    const asked = caller.requests('elicitation/create').map(({ params }) => (params as Json).elicitationId);
    expect(asked[0]).toBe('1');
    expect(asked[1]).not.toBe('1');
    const done = () => caller.notifications('notifications/elicitation/complete');
    await caller.until(() => done()[1]);
    expect(done()).toEqual(asked.map((elicitationId, index) => ({ elicitationId, own: 'ab'[index] })));
    for (const [index, server] of ['a', 'b'].entries()) {
      expect(await caller.error('tools/call', { name: `${server}__y` })).toEqual({
        code: -32042,
        message: 'see it',
        data: { elicitations: [{ ...page, elicitationId: asked[index] }, 7], more: 1 },
      });
    }
  });

  test('unknown notifications of a server come to its caller', async () => {
    await using t = setUp({ a: script });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    t.server('a').only.notify('notifications/vendor/thing', { any: [1] });
    expect(await caller.notification('notifications/vendor/thing')).toEqual({ any: [1] });
  });
});

describe('list_changed', () => {
  test('comes once for many, to the caller of the server alone', async () => {
    await using t = setUp({ a: { tools: [tool('x')] }, b: { tools: [tool('x')], prompts: [] } });
    await using caller = await t.caller();
    await using other = await t.caller();
    await caller.list('tools');
    const [a] = t.server('a').instances;
    const [b] = t.server('b').instances;
    for (let times = 0; times < 10; times += 1) {
      a?.notify('notifications/tools/list_changed');
      b?.notify('notifications/tools/list_changed');
    }
    b?.notify('notifications/prompts/list_changed');
    await t.clock.advance(1_000);
    expect(caller.notifications('notifications/tools/list_changed')).toHaveLength(1);
    expect(caller.notifications('notifications/prompts/list_changed')).toHaveLength(1);
    expect(caller.notifications('notifications/resources/list_changed')).toEqual([]);
    expect(other.notifications('notifications/tools/list_changed')).toEqual([]);
    a?.notify('notifications/tools/list_changed');
    await t.clock.advance(1_000);
    expect(caller.notifications('notifications/tools/list_changed')).toHaveLength(2);
  });
});
