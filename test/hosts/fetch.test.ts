import { once } from 'node:events';
import { connect, createServer } from 'node:http2';
import { text } from 'node:stream/consumers';
import { getRequestListener } from '@hono/node-server';
import { type Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from '@modelcontextprotocol/client';
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { describe, expect, test } from 'vitest';
import {
  createGateway,
  createNodeSessions,
  type FetchOptions,
  type Gateway,
  type Interceptor,
} from '../../src/index.js';
import type { Transport } from '../../src/sdk.js';
import { EraPeer } from '../endpoint/era-peer.js';
import { envelope } from '../endpoint/modern-caller.js';
import { statelessServer } from '../endpoint/modern-servers.js';
import { hold, type Json, RpcError, type Script, ScriptedServer } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import { createLegacyServer } from '../fixtures/eras/legacy-server.js';
import { listen } from '../fixtures/http/listen.js';
import { settle } from '../support/fake-clock.js';
import { settledHeap } from '../support/heap.js';
import { createFetchHost } from './fetch-host.js';
import { initialize } from './raw-client.js';

const prefix = 'io.modelcontextprotocol/';

function createLegacyGateway() {
  return createGateway({
    servers: [{ id: 'one', runtime: { type: 'in-process', server: () => createLegacyServer() } }],
  });
}

function scripted(script: Script) {
  const server = new ScriptedServer(script);
  const gateway = createGateway({ servers: [{ id: 'one', runtime: server.runtime }] });
  return Object.assign(gateway, { server });
}

function post(method: string, params: Json = {}, headers: Record<string, string> = {}, more: Json = {}): Request {
  const name = params.name ?? params.uri;
  return new Request('http://localhost/mcp', {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': method,
      ...(typeof name === 'string' && { 'mcp-name': name }),
      ...headers,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: { _meta: envelope(), ...params }, ...more }),
  });
}

const encoded = (text: string) => `=?base64?${Buffer.from(text).toString('base64')}?=`;

const me: FetchOptions = { caller: { id: 'me' } };

function legacyTasks(task: Json): Script {
  return {
    tools: [{ name: 'go', execution: { taskSupport: 'required' } }],
    capabilities: { tools: {}, tasks: { requests: { tools: { call: {} } } } },
    on: { 'tools/call': () => ({ task }), 'tasks/get': () => task },
  };
}

function statelessTasks(task: Json): Script {
  return statelessServer({
    'tools/call': () => ({ resultType: 'task', ...task }),
    'tasks/get': () => ({ resultType: 'complete', ...task }),
  });
}

describe('gateway.fetch', () => {
  test.each([
    ['v2 modern', (url: URL) => new HttpV2(url)],
    ['v2 legacy', (url: URL) => new HttpV2(url)],
    ['v1', (url: URL) => new HttpV1(url)],
  ] as const)('serves a client of %s', async (kind, connect) => {
    await using gateway = createLegacyGateway();
    await using host = await createFetchHost(gateway);
    await using peer = await EraPeer.open(kind, connect(new URL(host.url)) as Transport);
    expect((await peer.client.listTools()).tools).toHaveLength(13);
    expect(await peer.text('one__echo', { text: 'hello' })).toBe('hello');
    expect(await peer.text('one__interview')).toBe('Ada is 36');
    expect(await peer.text('one__roots')).toBe('file:///home file:///work');
    expect(await peer.steps('one__steps')).toEqual([1, 2, 3]);
    const calls = Array.from({ length: 5 }, () => peer.text('one__interview'));
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['Ada is 36']));

    const abort = new AbortController();
    const before = Number(await peer.text('one__cancelled'));
    const waiting = peer.text('one__wait', {}, { signal: abort.signal });
    for (let count = '0'; count === '0'; ) count = await peer.text('one__waiting');
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    for (let count = before; count === before; ) count = Number(await peer.text('one__cancelled'));
  });

  test('keeps a stream of notifications open until its client leaves', async () => {
    await using gateway = createLegacyGateway();
    await using host = await createFetchHost(gateway);
    await using peer = await EraPeer.open('v2 modern', new HttpV2(new URL(host.url)) as Transport);
    const client = peer.client as ClientV2;
    const listening = await client.listen({ toolsListChanged: true, resourceSubscriptions: ['fixture://watched'] });
    await peer.text('one__grow');
    await peer.notification('notifications/tools/list_changed');
    await peer.text('one__touch');
    await peer.notification('notifications/resources/updated');
    await listening.close();
  });

  test('tells callers apart, and a state of one is nothing to another', async () => {
    await using gateway = createLegacyGateway();
    const capabilities = { elicitation: {} };
    const params = { name: 'one__ask', _meta: envelope(capabilities) };
    const asked = (await (await gateway.fetch(post('tools/call', params), me)).json()) as { result: Json };
    const { requestState, inputRequests } = asked.result;
    const key = String(Object.keys(inputRequests as Json)[0]);
    const inputResponses = { [key]: { action: 'accept', content: { name: 'Ada' } } };
    const again = (caller: string) =>
      gateway.fetch(post('tools/call', { ...params, requestState, inputResponses }), { caller: { id: caller } });
    expect(await (await again('you')).json()).toMatchObject({ error: { code: -32602 } });
    expect(await (await again('me')).json()).toMatchObject({ result: { content: [{ text: 'Hello Ada' }] } });
    expect(await (await again('me')).json()).toMatchObject({ error: { code: -32602 } });
  });

  test('answers at once as JSON, and with events when something comes before the answer', async () => {
    await using gateway = scripted({
      tools: [{ name: 'go' }],
      on: {
        'tools/call': (request, instance) => {
          const { progressToken } = (request.params?._meta ?? {}) as Json;
          progressToken !== undefined && instance.notify('notifications/progress', { progressToken, progress: 1 });
          return { content: [] };
        },
      },
    });
    const plain = await gateway.fetch(post('tools/call', { name: 'one__go' }), me);
    expect(plain.headers.get('content-type')).toBe('application/json');
    const _meta = envelope({}, { progressToken: 'p' });
    const events = await gateway.fetch(post('tools/call', { name: 'one__go', _meta }), me);
    expect(events.headers.get('content-type')).toBe('text/event-stream');
    const lines = (await events.text()).split('\n').filter((line) => line.startsWith('data: '));
    expect(lines.map((line) => JSON.parse(line.slice(6)))).toMatchObject([
      { method: 'notifications/progress', params: { progressToken: 'p', progress: 1 } },
      { id: 1, result: { resultType: 'complete' } },
    ]);
  });

  test('goes on with a stream that was begun before its patience has ended', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }], on: { 'tools/call': () => hold } } });
    const _meta = envelope({}, { progressToken: 'p' });
    const answered = setup.gateway.fetch(post('tools/call', { name: 'one__go', _meta }), me);
    const { instance, request } = await setup.server('one').request('tools/call');
    instance.notify('notifications/progress', { progressToken: 'p', progress: 1 });
    const text = (await answered).text();
    await setup.clock.advance(5_000);
    instance.answer(request, { content: [] });
    expect(await text).toContain('complete');
  });

  test('takes a client that leaves for one that has cancelled', async () => {
    await using gateway = scripted({ tools: [{ name: 'go' }], on: { 'tools/call': () => hold } });
    const abort = new AbortController();
    const request = new Request(post('tools/call', { name: 'one__go' }), { signal: abort.signal });
    const answered = gateway.fetch(request, me);
    await gateway.server.request('tools/call');
    abort.abort();
    await answered;
    while (gateway.server.only.notifications('notifications/cancelled').length === 0) await gateway.server.change();
  });

  test('takes a client that leaves in the middle of a stream for one that has cancelled, and not after the answer', async () => {
    await using gateway = scripted({ tools: [{ name: 'go' }], on: { 'tools/call': () => hold } });
    const begin = async (index: number) => {
      const answered = gateway.fetch(post('tools/call', { name: 'one__go' }), me);
      const { instance, request } = await gateway.server.request('tools/call', index);
      instance.notify('notifications/vendor/thing');
      return { body: (await answered).body, instance, request };
    };
    const whole = await begin(0);
    whole.instance.answer(whole.request, { content: [] });
    const { body, instance, request } = await begin(1);
    await whole.body?.cancel();
    await body?.cancel();
    while (instance.notifications('notifications/cancelled').length === 0) await gateway.server.change();
    expect(instance.notifications('notifications/cancelled')).toMatchObject([{ params: { requestId: request.id } }]);
  });

  test('asks nobody for a client that has left before', async () => {
    await using gateway = scripted({ tools: [{ name: 'go' }] });
    const request = new Request(post('tools/call', { name: 'one__go' }), { signal: AbortSignal.abort() });
    expect((await gateway.fetch(request, me)).status).toBe(499);
    const answered = await gateway.fetch(post('tools/call', { name: 'one__go' }), me);
    expect(answered.status).toBe(200);
    expect(gateway.server.only.requests('tools/call')).toHaveLength(1);
  });

  test('gives up a client that leaves 16 MiB unread', async () => {
    await using gateway = scripted({ tools: [{ name: 'go' }], on: { 'tools/call': () => hold } });
    const answered = gateway.fetch(post('tools/call', { name: 'one__go' }), me);
    const { instance } = await gateway.server.request('tools/call');
    const data = 'x'.repeat(1024 * 1024);
    for (let count = 0; count < 18; count += 1) instance.notify('notifications/vendor/thing', { data });
    const { body } = await answered;
    while (instance.notifications('notifications/cancelled').length === 0) await gateway.server.change();
    await expect(body?.getReader().read()).rejects.toThrow('unread');
  });

  test('keeps nothing of a client that it gives up as it keeps the stream alive', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }], on: { 'tools/call': () => hold } } });
    const answered = setup.gateway.fetch(post('tools/call', { name: 'one__go' }), me);
    const { instance } = await setup.server('one').request('tools/call');
    const data = 'x'.repeat(1024 * 1024);
    for (let count = 0; count < 17; count += 1) instance.notify('notifications/vendor/thing', { data });
    const { body } = await answered;
    await settle();
    expect(instance.notifications('notifications/cancelled')).toEqual([]);
    await setup.clock.advance(15_000);
    while (instance.notifications('notifications/cancelled').length === 0) await setup.server('one').change();
    await expect(body?.getReader().read()).rejects.toThrow('unread');
    await setup.gateway.close();
    expect(setup.clock.waiting).toBe(0);
  });

  test('answers with more than 16 MiB behind events that the client is about to read', async () => {
    await using setup = setUp(
      { one: { tools: [{ name: 'go' }], on: { 'tools/call': () => hold } } },
      { entry: { max_message: '64MiB' } },
    );
    const answered = setup.gateway.fetch(post('tools/call', { name: 'one__go' }), me);
    const { instance, request } = await setup.server('one').request('tools/call');
    instance.notify('notifications/vendor/thing');
    const text = (await answered).text();
    instance.notify('notifications/vendor/thing');
    instance.answer(request, { content: [{ type: 'text', text: 'x'.repeat(20 * 1024 * 1024) }] });
    expect((await text).length).toBeGreaterThan(20 * 1024 * 1024);
  });

  test.each([
    ['no version header', post('tools/list', {}, { 'mcp-protocol-version': '' }), 400, -32020],
    ['another version', post('tools/list', {}, { 'mcp-protocol-version': '2026-07-29' }), 400, -32020],
    ['another method', post('tools/list', {}, { 'mcp-method': 'prompts/list' }), 400, -32020],
    ['an encoded version', post('tools/list', {}, { 'mcp-protocol-version': encoded('2026-07-28') }), 400, -32020],
    ['an encoded method', post('tools/list', {}, { 'mcp-method': encoded('tools/list') }), 400, -32020],
    ['another name', post('tools/call', { name: 'a' }, { 'mcp-name': 'b' }), 400, -32020],
    ['a broken name', post('tools/call', { name: 'a' }, { 'mcp-name': '=?base64?a?=' }), 400, -32020],
    ['no envelope', post('tools/list', { _meta: {} }), 400, -32602],
    ['half an envelope', post('tools/list', { _meta: { [`${prefix}protocolVersion`]: '2026-07-28' } }), 400, -32602],
    [
      'a version that is not spoken',
      post(
        'tools/list',
        { _meta: envelope({}, { [`${prefix}protocolVersion`]: '2030-01-01' }) },
        { 'mcp-protocol-version': '2030-01-01' },
      ),
      400,
      -32022,
    ],
    ['an unknown method', post('no/such'), 404, -32601],
    ['a method of sessions', post('ping'), 404, -32601],
    ['an unknown tool', post('tools/call', { name: 'nobody__x' }), 200, -32602],
  ])('refuses %s', async (_, request, status, code) => {
    await using gateway = scripted({});
    const response = await gateway.fetch(request, me);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ id: 1, error: { code } });
  });

  test('reads a name that is encoded', async () => {
    await using gateway = scripted({
      resources: [{ uri: 'x://ü' }],
      on: { 'resources/read': () => ({ contents: [] }) },
    });
    const headers = { 'mcp-name': encoded('x://ü') };
    const response = await gateway.fetch(post('resources/read', { uri: 'x://ü' }, headers), me);
    expect(await response.json()).toMatchObject({ result: { contents: [], ttlMs: 0, cacheScope: 'private' } });
  });

  test('refuses bodies that are no single message, other hosts and other sites', async () => {
    await using gateway = scripted({});
    const raw = (body: string, headers: Record<string, string> = {}) =>
      gateway.fetch(
        new Request('http://localhost/mcp', {
          method: 'POST',
          body,
          headers: { 'content-type': 'application/json', 'mcp-protocol-version': '2026-07-28', ...headers },
        }),
        me,
      );
    expect((await raw('[]')).status).toBe(400);
    expect((await raw('{')).status).toBe(400);
    expect((await raw('{"jsonrpc":"2.0","id":1,"result":{}}')).status).toBe(400);
    expect((await raw('{"jsonrpc":"2.0","method":"notifications/x"}')).status).toBe(202);
    expect((await raw('{}', { 'content-type': 'text/plain' })).status).toBe(415);
    expect((await raw('{}', { origin: 'https://evil.example' })).status).toBe(403);
    const elsewhere = new Request('http://evil.example/mcp', { method: 'POST', body: '{}' });
    expect((await gateway.fetch(elsewhere, me)).status).toBe(403);
    await expect(gateway.fetch(post('tools/list'), { caller: {} })).rejects.toMatchObject({ code: 'OPTION_INVALID' });
  });

  test('takes an empty header for one that is not there, and a body with a mark of the order of its bytes', async () => {
    await using gateway = createLegacyGateway();
    const body = `\ufeff${JSON.stringify(initialize)}`;
    const headers = { origin: '', 'mcp-session-id': '', 'mcp-protocol-version': '' };
    const response = await gateway.fetch(new Request(post('initialize', {}, headers), { body }), me);
    expect(await response.text()).toContain('"result"');
    expect(response.headers.has('mcp-session-id')).toBe(true);
  });

  const deep = '['.repeat(100_000) + ']'.repeat(100_000);

  test('refuses a body for a session that is nested too deeply', async () => {
    await using gateway = createLegacyGateway();
    const request = new Request(post('tools/list', {}, { 'mcp-protocol-version': '2025-11-25' }), { body: deep });
    const response = await gateway.fetch(request, me);
    const nested = { error: { code: -32600, message: 'the body is nested too deeply' } };
    expect([response.status, await response.json()]).toMatchObject([400, nested]);
  });

  test('answers for a server whose answer is nested too deeply', async () => {
    await using gateway = scripted({
      tools: [{ name: 'go' }],
      on: { 'tools/call': () => ({ content: JSON.parse(deep) }) },
    });
    const response = await gateway.fetch(post('tools/call', { name: 'one__go' }), me);
    expect(await response.json()).toMatchObject({ id: 1, error: { data: { code: 'MESSAGE_INVALID' } } });
  });

  test('takes nothing more when the gateway is closed, and ends what is open', async () => {
    await using gateway = scripted({ tools: [{ name: 'go' }], on: { 'tools/call': () => hold } });
    const answered = gateway.fetch(post('tools/call', { name: 'one__go' }), me);
    await gateway.server.request('tools/call');
    await gateway.close({ graceMs: 0 });
    expect(await (await answered).json()).toMatchObject({ error: { data: { code: 'SERVER_STOPPED' } } });
    expect((await gateway.fetch(post('tools/list'), me)).status).toBe(503);
  });

  test.each([
    ['a stateless request', () => post('tools/list')],
    [
      'the beginning of a session',
      () => post('initialize', { ...initialize.params, _meta: undefined }, { 'mcp-protocol-version': '' }),
    ],
  ])('rejects where it is for a server that the catalog does not have: %s', async (_what, create) => {
    await using gateway = createLegacyGateway();
    const fetched = gateway.fetch(create(), { ...me, servers: ['gone'] });
    await expect(fetched).rejects.toMatchObject({ code: 'SERVER_UNKNOWN' });
  });

  test.each([
    ['a call', () => post('tools/call', { name: 'one__go' })],
    [
      'the beginning of a session',
      () => post('initialize', { ...initialize.params, _meta: undefined }, { 'mcp-protocol-version': '' }),
    ],
  ])('takes nothing more whose body is whole when the gateway is closed already: %s', async (_what, create) => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }] } });
    const whole = Promise.withResolvers<void>();
    const { url, method, headers } = create();
    const text = await create().text();
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await whole.promise;
        controller.enqueue(new TextEncoder().encode(text));
        controller.close();
      },
    });
    const answered = setup.gateway.fetch(
      new Request(url, { method, headers, body, duplex: 'half' } as RequestInit),
      me,
    );
    await setup.gateway.close({ graceMs: 0 });
    whole.resolve();
    expect((await answered).status).toBe(503);
    expect(setup.server('one').opens).toBe(0);
  });

  test('remembers a caller for five minutes, and for as long as something goes on', async () => {
    const entry = { idle_timeout: 0, health: { interval: 0 } };
    await using setup = setUp({ one: { tools: [{ name: 'go' }] } }, { entry });
    const { gateway, clock } = setup;
    expect((await gateway.fetch(post('tools/call', { name: 'one__go' }), me)).status).toBe(200);
    await clock.advance(4 * 60_000);
    expect(setup.server('one').live).toHaveLength(1);
    const listening = await gateway.fetch(
      post('subscriptions/listen', { _meta: envelope(), notifications: { toolsListChanged: true } }),
      me,
    );
    await clock.advance(11 * 60_000);
    expect(setup.server('one').live).toHaveLength(1);
    await listening.body?.cancel();
    await clock.advance(6 * 60_000);
    expect(setup.server('one').live).toEqual([]);
  });

  test('answers a request for a task, however long its server takes', async () => {
    const task = { taskId: 't', createdAt: '', lastUpdatedAt: '', ttl: 1_000 };
    const script: Script = {
      tools: [{ name: 'go', execution: { taskSupport: 'required' } }],
      capabilities: { tools: {}, tasks: { requests: { tools: { call: {} } } } },
      on: {
        'tools/call': () => ({ task: { ...task, status: 'working' } }),
        'tasks/get': () => ({ ...task, status: 'completed' }),
        'tasks/result': () => hold,
      },
    };
    await using setup = setUp({ one: script });
    const _meta = envelope({ extensions: { 'io.modelcontextprotocol/tasks': {} } });
    const ask = async (method: string, params: Json = {}) => {
      const name = params.taskId as string | undefined;
      const response = await setup.gateway.fetch(
        post(method, { _meta, ...params }, name === undefined ? {} : { 'mcp-name': name }),
        me,
      );
      return response.text();
    };
    await ask('tools/list');
    await ask('tools/call', { name: 'one__go' });
    const asking = ask('tasks/get', { taskId: 't' });
    const { instance, request } = await setup.server('one').request('tasks/result');
    // Longer than a caller is remembered.
    await setup.clock.advance(8 * 60_000);
    instance.answer(request, { content: [] });
    expect(await asking).toContain('"status":"completed"');
  });

  test.each([
    ['a server with sessions', { ttl: 60 * 60_000 }, legacyTasks],
    ['a stateless server', { ttlMs: 60 * 60_000 }, statelessTasks],
  ])('remembers a caller while a task of %s runs', async (_, ttl, scriptOf) => {
    const task = { taskId: 't', status: 'working', createdAt: '', lastUpdatedAt: '', ...ttl };
    let busy: Error | undefined;
    const intercept: Interceptor = ({ method }, next) =>
      busy !== undefined && method === 'tasks/get' ? Promise.reject(busy) : next();
    await using setup = setUp({ one: scriptOf(task) }, { entry: { health: { interval: 0 } }, intercept });
    const _meta = envelope({ extensions: { 'io.modelcontextprotocol/tasks': {} } });
    const ask = async (method: string, params: Json, name?: string) => {
      const headers = name === undefined ? {} : { 'mcp-name': name };
      const response = await setup.gateway.fetch(post(method, { _meta, ...params }, headers), me);
      return response.text();
    };
    await ask('tools/list', {});
    expect(await ask('tools/call', { name: 'one__go' })).toContain('"resultType":"task"');
    // That it cannot be asked for just now says nothing of the task.
    const [none, limit] = [new Error('too often'), Object.assign(new Error('too often'), { code: -32001 })];
    for (busy of [none, limit]) {
      expect(await ask('tasks/get', { taskId: 't' }, 't')).toContain('too often');
      await setup.clock.advance(15 * 60_000);
    }
    busy = undefined;
    expect(await ask('tasks/get', { taskId: 't' }, 't')).toContain('"status":"working"');
    setup.server('one').script.on = {
      ...setup.server('one').script.on,
      'tasks/get': () => {
        throw new RpcError(-32602, 'no such task');
      },
    };
    expect(await ask('tasks/get', { taskId: 't' }, 't')).toContain('no such task');
    await setup.clock.advance(11 * 60_000);
    expect(setup.server('one').live).toEqual([]);
  });

  test('knows ten thousand callers at once, and refuses more until some are forgotten', async () => {
    await using setup = setUp({});
    const ask = async (id: number) => (await setup.gateway.fetch(post('ping'), { caller: { id: `${id}` } })).status;
    for (let id = 0; id < 10_000; id += 1) await ask(id);
    expect(await ask(10_000)).toBe(503);
    expect(await ask(7)).toBe(404);
    await setup.clock.advance(5 * 60_000);
    expect(await ask(10_000)).toBe(404);
  });
});

/** A client that has made its handshake and called a tool, and has no stream. */
async function begin(gateway: Gateway) {
  let session: string | null = null;
  const send = async (method: string, message?: Json | readonly Json[], signal: AbortSignal | null = null) => {
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...(session !== null && { 'mcp-session-id': session }),
    };
    const whole = Array.isArray(message) ? message : { jsonrpc: '2.0', ...message };
    const body = message === undefined ? null : JSON.stringify(whole);
    const response = await gateway.fetch(new Request('http://localhost/mcp', { method, headers, body, signal }), me);
    session ??= response.headers.get('mcp-session-id');
    return response;
  };
  const clientInfo = { name: 'test', version: '1' };
  const params = { protocolVersion: '2025-11-25', capabilities: { roots: {} }, clientInfo };
  await (await send('POST', { id: 1, method: 'initialize', params })).text();
  await (await send('POST', { id: 2, method: 'tools/call', params: { name: 'one__go' } })).text();
  return send;
}

function readText({ body }: Response) {
  return (body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream() as never).getReader();
}

test('gateway.fetch answers over HTTP/2, by an adapter that takes it, and sessions for node refuse it', async () => {
  await using gateway = createLegacyGateway();
  await using sessions = createNodeSessions(() => expect.unreachable());
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  const status = async (handle: (request: never, response: never) => unknown) => {
    const server = createServer(handle as never);
    await using listening = await listen(Object.assign(server, { closeAllConnections: () => {} }) as never);
    const connection = connect(listening.origin);
    const stream = connection.request({ ':method': 'POST', ':path': '/mcp', ...headers });
    const response = once(stream, 'response');
    stream.end(JSON.stringify(initialize));
    const [answer] = await response;
    await text(stream);
    connection.close();
    return answer[':status'];
  };
  const listener = getRequestListener((request) => gateway.fetch(request, me), { overrideGlobalObjects: false });
  expect(await status(listener)).toBe(200);
  expect(await status(sessions.handle)).toBe(403);
});

describe('a session of gateway.fetch', () => {
  const script: Script = {
    tools: [{ name: 'go' }, { name: 'wait' }],
    on: { 'tools/call': ({ params }) => (params?.name === 'wait' ? hold : { content: [] }) },
  };
  const call = (id: number, tool: string): Json => ({ id, method: 'tools/call', params: { name: `one__${tool}` } });

  test('refuses a request id that is in use, also when its client has left, and answers the first request', async () => {
    await using setup = setUp({ one: script });
    const send = await begin(setup.gateway);
    const first = await send('POST', call(3, 'wait'));
    const left = await send('POST', call(4, 'wait'));
    const { instance, request } = await setup.server('one').request('tools/call', 1);
    const { request: another } = await setup.server('one').request('tools/call', 2);
    await left.body?.cancel();
    for (const id of [3, 4]) {
      const second = await send('POST', call(id, 'go'));
      expect(second.status).toBe(400);
      expect(await second.json()).toMatchObject({ id: null, error: { data: { reason: 'message' } } });
    }
    instance.answer(request, { content: [{ type: 'text', text: 'first' }] });
    const batch = Array.from({ length: 100_000 }, (_, id) => ({ jsonrpc: '2.0', id, method: 'ping' }));
    expect((await send('POST', [...batch.slice(5, 9), { jsonrpc: '2.0', ...call(5, 'go') }])).status).toBe(400);
    // Judged in no time, and then too long for the SDK.
    expect((await send('POST', batch.slice(10))).status).toBe(400);
    instance.answer(another, { content: [] });
    expect(await first.text()).toContain('"text":"first"');
    expect(await (await send('POST', call(3, 'go'))).text()).toContain('"result"');
  });

  test('tells the server of a request that is cancelled as soon as it is sent', async () => {
    await using setup = setUp({ one: script });
    const send = await begin(setup.gateway);
    const cancel = { method: 'notifications/cancelled', params: { requestId: 3 } };
    const [response] = await Promise.all([send('POST', call(3, 'wait')), send('POST', cancel)]);
    expect(await response.text()).toBe('');
    await settle();
    const { only } = setup.server('one');
    const ids = only
      .requests('tools/call')
      .slice(1)
      .map(({ id }) => id);
    expect(only.notifications('notifications/cancelled').map(({ params }) => params?.requestId)).toEqual(ids);
    expect(setup.gateway.status('one').inFlight).toBe(0);
  });

  test('ends the response to a request that is cancelled, and forgets it when its client has left', async () => {
    await using setup = setUp({ one: script });
    const send = await begin(setup.gateway);
    const cancel = (requestId: number) => send('POST', { method: 'notifications/cancelled', params: { requestId } });
    const response = await send('POST', call(3, 'wait'));
    await setup.server('one').request('tools/call', 1);
    await cancel(3);
    expect(await response.text()).toBe('');
    const left = await send('POST', call(3, 'wait'));
    await setup.server('one').request('tools/call', 2);
    await left.body?.cancel();
    await cancel(3);
    expect(await (await send('POST', call(3, 'go'))).text()).toContain('"result"');
  });

  test('answers what is open with an error when the client ends the session', async () => {
    await using setup = setUp({ one: script });
    const send = await begin(setup.gateway);
    const batch = [3, 4].map((id) => ({ jsonrpc: '2.0', ...call(id, 'wait') }));
    const responses = [await send('POST', call(2, 'wait')), await send('POST', batch)];
    for (const index of [1, 2, 3]) await setup.server('one').request('tools/call', index);
    await send('POST', { method: 'notifications/cancelled', params: { requestId: 3 } });
    expect((await send('DELETE')).status).toBe(200);
    const texts = await Promise.all(responses.map((response) => response.text()));
    const events = texts.flatMap((text) => text.split('\n').filter((line) => line.startsWith('data: ')));
    expect(events.map((line) => JSON.parse(line.slice(6)))).toMatchObject(
      [2, 4].map((id) => ({ id, error: { data: { code: 'TRANSPORT_CLOSED', delivered: 'unknown' } } })),
    );
  });

  test('refuses or answers what is sent in whatever moment of the end of its session', async () => {
    for (let turns = 0; turns < 40; turns += 1) {
      await using setup = setUp({ one: script });
      const send = await begin(setup.gateway);
      const sent = send('POST', call(2, 'wait'));
      for (let turn = 0; turn < turns; turn += 1) {
        await Promise.resolve();
      }
      const [response] = await Promise.all([sent, send('DELETE')]);
      const answer = response.status === 200 ? '"id":2' : '"Session not found"';
      expect(await response.text(), `after ${turns} turns`).toContain(answer);
    }
  });

  test('gives up a client that leaves 16 MiB of a stream unread, which may open another', async () => {
    await using setup = setUp({ one: { ...script, capabilities: { logging: {} } } });
    const send = await begin(setup.gateway);
    const { only } = setup.server('one');
    const { body } = await send('GET');
    expect((await send('GET')).status).toBe(409);
    for (let count = 0; count < 20; count += 1) {
      only.notify('notifications/message', { level: 'error', data: 'x'.repeat(1024 * 1024) });
    }
    await settle();
    const again = await send('GET');
    expect(again.status).toBe(200);
    const reader = body?.getReader();
    const readAll = async () => {
      while ((await reader?.read())?.done === false) {
        // What a client would get that reads after all.
      }
    };
    await expect(readAll()).rejects.toThrow('unread');
    const asked = only.ask('q', 'roots/list');
    const text = String((await readText(again).read()).value);
    await send('POST', { id: Number(/"id":(\d+)/.exec(text)?.[1]), result: { roots: [] } });
    expect(await asked).toMatchObject({ result: { roots: [] } });
  });

  test('answers a request of a batch that is cancelled before it comes, and not one cancelled behind it', async () => {
    await using setup = setUp({ one: script });
    const send = await begin(setup.gateway);
    const cancel = (requestId: number) => ({
      jsonrpc: '2.0',
      method: 'notifications/cancelled',
      params: { requestId },
    });
    const request = (id: number, name: string) => ({ jsonrpc: '2.0', ...call(id, name) });
    const response = await send('POST', [cancel(3), request(3, 'go'), request(4, 'wait'), cancel(4)]);
    const events = (await response.text()).split('\n').filter((line) => line.startsWith('data: '));
    expect(events.map((line) => JSON.parse(line.slice(6)))).toMatchObject([{ id: 3, result: {} }]);
  });

  test.each([3, 4])('answers the rest of a batch of which request %i is cancelled', async (cancelled) => {
    await using setup = setUp({ one: script });
    const send = await begin(setup.gateway);
    const batch = [3, 4].map((id) => ({ jsonrpc: '2.0', ...call(id, 'wait') }));
    const response = await send('POST', batch);
    const calls = [
      await setup.server('one').request('tools/call', 1),
      await setup.server('one').request('tools/call', 2),
    ] as const;
    const [{ instance }] = calls;
    const answer = async () => {
      instance.answer(calls[cancelled === 3 ? 1 : 0].request, { content: [] });
      await settle();
    };
    const cancel = () => send('POST', { method: 'notifications/cancelled', params: { requestId: cancelled } });
    // Once in each order.
    for (const step of cancelled === 3 ? [cancel, answer] : [answer, cancel]) await step();
    const events = (await response.text()).split('\n').filter((line) => line.startsWith('data: '));
    expect(events.map((line) => JSON.parse(line.slice(6)))).toMatchObject([
      { id: cancelled === 3 ? 4 : 3, result: {} },
    ]);
  });
});

describe('a client that leaves, told by the signal of a request that nobody holds any more,', () => {
  const script: Script = {
    tools: [{ name: 'go' }, { name: 'wait' }],
    on: { 'tools/call': ({ params }) => (params?.name === 'wait' ? hold : { content: [] }) },
  };

  test('has left its stream and its call', async () => {
    await using setup = setUp({ one: script });
    const send = await begin(setup.gateway);
    const client = new AbortController();
    const responses = [
      await send('GET', undefined, client.signal),
      await send('POST', { id: 3, method: 'tools/call', params: { name: 'one__wait' } }, client.signal),
    ];
    const { instance, request } = await setup.server('one').request('tools/call', 1);
    await settledHeap();
    client.abort();
    for (const response of responses) expect(await response.text()).toBe('');
    const stream = readText(await send('GET'));
    const asked = instance.ask('q', 'roots/list');
    const text = String((await stream.read()).value);
    await send('POST', { id: Number(/"id":(\d+)/.exec(text)?.[1]), result: { roots: [] } });
    expect(await asked).toMatchObject({ result: { roots: [] } });
    instance.answer(request, { content: [] });
    await stream.cancel();
  });

  test('has cancelled what it asked for without a session', async () => {
    await using setup = setUp({ one: script });
    const server = setup.server('one');
    const client = new AbortController();
    const begin = async () => {
      const request = new Request(post('tools/call', { name: 'one__wait' }), { signal: client.signal });
      const answered = setup.gateway.fetch(request, me);
      await server.request('tools/call');
      await setup.clock.advance(5_000);
      return answered;
    };
    const response = await begin();
    await settledHeap();
    client.abort();
    expect(await response.text()).toBe('');
    while (server.only.notifications('notifications/cancelled').length === 0) await server.change();
  });
});

describe('what a server asks in a session of gateway.fetch', () => {
  const noStream = { error: { code: -32603, message: expect.stringContaining('no stream open') } };

  test('waits for the stream of the client, but for what is asked no more', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }] } });
    const send = await begin(setup.gateway);
    const { only } = setup.server('one');
    only.say({ id: 'withdrawn', method: 'roots/list' });
    const early = only.ask('early', 'roots/list');
    only.notify('notifications/cancelled', { requestId: 'withdrawn' });
    await settle();
    const stream = readText(await send('GET'));
    const late = only.ask('late', 'roots/list');
    let text = '';
    while (text.split('roots/list').length < 3) text += String((await stream.read()).value);
    for (const [, id] of text.matchAll(/"id":(\d+)/g)) await send('POST', { id: Number(id), result: { roots: [] } });
    expect([await early, await late]).toMatchObject([{ result: { roots: [] } }, { result: { roots: [] } }]);
    expect(text.split('roots/list')).toHaveLength(3);
    await stream.cancel();
    const after = only.ask('after', 'roots/list');
    await settle();
    await setup.clock.advance(5_000);
    expect(await after).toMatchObject(noStream);
  });

  test('is answered with an error when no stream opens, and keeps no server from its rest', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }] } }, { entry: { idle_timeout: '10s' } });
    await begin(setup.gateway);
    const { only } = setup.server('one');
    const asked = only.ask('q', 'roots/list');
    await setup.clock.advance(4_999);
    expect(only.answers('q')).toEqual([]);
    await setup.clock.advance(1);
    expect(await asked).toMatchObject(noStream);
    await setup.clock.advance(10_000);
    expect(setup.server('one').live).toEqual([]);
  });

  describe('in a call that the client has broken off', () => {
    const script: Script = {
      tools: [{ name: 'go' }, { name: 'wait' }],
      on: { 'tools/call': ({ params }) => (params?.name === 'wait' ? hold : { content: [] }) },
    };

    async function call(send: Awaited<ReturnType<typeof begin>>, server: ScriptedServer, index = 1) {
      const response = await send('POST', { id: 3, method: 'tools/call', params: { name: 'one__wait' } });
      const { instance, request } = await server.request('tools/call', index);
      return { response, instance, end: () => instance.answer(request, { content: [] }) };
    }

    test('comes on the stream of the session', async () => {
      await using setup = setUp({ one: script });
      const send = await begin(setup.gateway);
      const stream = readText(await send('GET'));
      const { response, instance, end } = await call(send, setup.server('one'));
      await response.body?.cancel();
      const asked = instance.ask('q', 'roots/list');
      const text = String((await stream.read()).value);
      expect(text).toContain('roots/list');
      await send('POST', { id: Number(/"id":(\d+)/.exec(text)?.[1]), result: { roots: [] } });
      expect(await asked).toMatchObject({ result: { roots: [] } });
      end();
      await stream.cancel();
    });

    test('waits for a stream, and is answered with an error when none opens', async () => {
      await using setup = setUp({ one: script });
      const { response, instance, end } = await call(await begin(setup.gateway), setup.server('one'));
      await response.body?.cancel();
      const asked = instance.ask('q', 'roots/list');
      await settle();
      await setup.clock.advance(5_000);
      expect(await asked).toMatchObject(noStream);
      end();
    });

    test('comes with the call that uses its id now', async () => {
      await using setup = setUp({ one: script });
      const send = await begin(setup.gateway);
      const first = await call(send, setup.server('one'));
      await send('POST', { method: 'notifications/cancelled', params: { requestId: 3 } });
      const second = await call(send, setup.server('one'), 2);
      await first.response.body?.cancel();
      second.instance.say({ id: 'q', method: 'roots/list' });
      const stream = readText(second.response);
      expect((await stream.read()).value).toContain('roots/list');
      second.end();
      await stream.cancel();
    });
  });
});

test('a session of gateway.fetch is nothing to another caller, whatever object a host makes of one', async () => {
  class User {
    readonly #id: string;
    constructor(id: string) {
      this.#id = id;
    }
    get id() {
      return this.#id;
    }
  }
  const seen: unknown[] = [];
  const intercept: Interceptor = ({ caller }, next) => {
    seen.push(caller);
    return next();
  };
  await using setup = setUp({ one: { tools: [{ name: 'go' }] } }, { intercept });
  const message = (method: string, params: Json, headers = {}) =>
    new Request('http://localhost/mcp', {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
  const clientInfo = { name: 'test', version: '1' };
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo };
  const [ada, bob] = [new User('ada'), new User('bob')];
  const begun = await setup.gateway.fetch(message('initialize', params), { caller: ada });
  await begun.text();
  const session = { 'mcp-session-id': String(begun.headers.get('mcp-session-id')) };
  const call = (caller: User) => setup.gateway.fetch(message('tools/call', { name: 'one__go' }, session), { caller });
  expect((await call(bob)).status).toBe(404);
  await (await call(ada)).text();
  expect(seen.every((caller) => caller === ada)).toBe(true);
  expect(setup.server('one').only.context.caller?.id).toBe('ada');
});

describe('what a host lets a caller have of the catalog', () => {
  const message = (method: string, params: Json = {}, headers = {}) =>
    new Request('http://localhost/mcp', {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    });
  const begin = async (gateway: Pick<Gateway, 'fetch'>, options: FetchOptions) => {
    const begun = await gateway.fetch(message('initialize', initialize.params), options);
    await begun.text();
    return { 'mcp-session-id': String(begun.headers.get('mcp-session-id')) };
  };

  test('may stand in another order at each request', async () => {
    const ask: Script = {
      tools: [
        { name: 'ask', call: async (_, instance) => ({ content: [], answer: await instance.ask(1, 'roots/list') }) },
      ],
    };
    await using setup = setUp({ one: ask, two: {} });
    const { gateway } = setup;
    const [there, back] = [
      ['one', 'two'],
      ['two', 'one', 'one'],
    ].map((servers) => ({ ...me, servers }));
    const session = await begin(gateway, there as FetchOptions);
    expect((await gateway.fetch(message('tools/list', {}, session), back as FetchOptions)).status).toBe(200);

    const params = { name: 'one__ask', _meta: envelope({ roots: {} }) };
    const asked = (await (await gateway.fetch(post('tools/call', params), there as FetchOptions)).json()) as Json;
    const { requestState, inputRequests } = asked.result as Json;
    const inputResponses = { [String(Object.keys(inputRequests as Json)[0])]: { roots: [] } };
    const again = post('tools/call', { ...params, requestState, inputResponses });
    expect(await (await gateway.fetch(again, back as FetchOptions)).json()).toHaveProperty('result.answer');
  });

  test('is forgotten with the last session for it', async () => {
    await using setup = setUp({ one: {} });
    const { gateway } = setup;
    const visit = async (tag: string) => {
      const options = { caller: { id: tag }, tags: [tag] };
      const request = new Request('http://localhost/mcp', { method: 'DELETE', headers: await begin(gateway, options) });
      await (await gateway.fetch(request, options)).text();
    };
    for (let user = 0; user < 200; user += 1) await visit(`early ${user}`);
    const before = await settledHeap();
    for (let user = 0; user < 1_000; user += 1) await visit(`user ${user}`);
    expect((await settledHeap()) - before).toBeLessThan(1_000_000);
  });

  test('is kept for those who have a session', async () => {
    await using setup = setUp({ one: {} });
    const { gateway } = setup;
    const mine = { ...me, tags: ['mine'] };
    const session = await begin(gateway, mine);
    for (const tag of ['a', 'b', 'c']) await begin(gateway, { caller: { id: tag }, tags: [tag] });
    expect((await gateway.fetch(message('ping', {}, session), mine)).status).toBe(200);
  });
});
