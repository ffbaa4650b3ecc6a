import { Client } from '@modelcontextprotocol/client';
import { describe, expect, test } from 'vitest';
import { createGateway, RemoteSseRuntime } from '../../src/index.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { ModernTestCaller } from '../endpoint/modern-caller.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { event, listen, readJson, sendJson, startEvents, textResult } from '../fixtures/http/listen.js';
import { listenModern, oddName } from '../fixtures/http/modern-host.js';
import { listenScripted } from '../fixtures/http/scripted-host.js';
import { Session } from '../fixtures/http/session.js';

const version = '2026-07-28';
const meta = {
  'io.modelcontextprotocol/protocolVersion': version,
  'io.modelcontextprotocol/clientCapabilities': {},
  'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
};

/** A client of SDK v2 at a server of the stateless era, through a gateway. */
async function connect(url: string, mode: 'auto' | { pin: string }) {
  const gateway = createGateway({ servers: [{ id: 'vendor', runtime: { type: 'remote-sse', url } }] });
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
  await client.connect(gateway.connect('vendor'));
  return {
    client,
    gateway,
    async [Symbol.asyncDispose]() {
      await client.close();
      await gateway.close();
    },
  };
}

const textOf = ({ content }: { content?: unknown }) => (content as { text: string }[])[0]?.text;

describe.each(['auto', 'pinned'] as const)("SDK v2's own server and client, %s", (how) => {
  const mode = how === 'auto' ? ('auto' as const) : { pin: version };

  test('agree on the stateless era, and everything goes as it should', async () => {
    await using host = await listenModern();
    await using peer = await connect(host.url, mode);
    const { client } = peer;
    expect(client.getNegotiatedProtocolVersion()).toBe(version);
    expect((await client.listTools()).tools.map(({ name }) => name).sort()).toEqual(['echo', 'place', 'steps', 'wait']);
    expect(textOf(await client.callTool({ name: 'echo', arguments: { message: 'hi' } }))).toBe('hi');
    expect(await client.getPrompt({ name: oddName })).toMatchObject({ messages: [{ content: { text: 'Hallo' } }] });
    // The server compares what is mirrored with the body, and refuses what differs.
    const place = { region: 'Zürich', at: { floor: 4 } };
    expect(textOf(await client.callTool({ name: 'place', arguments: place }))).toBe('Zürich 4');
    expect(textOf(await client.callTool({ name: 'place', arguments: { region: ' spaced ' } }))).toBe(
      ' spaced  nowhere',
    );
    const progress: unknown[] = [];
    const steps = await client.callTool(
      { name: 'steps', arguments: {} },
      { onprogress: (step) => progress.push(step.progress) === 2 && host.release() },
    );
    expect(textOf(steps)).toBe('released');
    expect(progress).toEqual([1, 2]);
    expect(host.seen.every(({ method, headers }) => method === 'POST' && !('mcp-session-id' in headers))).toBe(true);
  });

  test('a request that is cancelled ends at the server, by the end of its stream', async () => {
    await using host = await listenModern();
    await using peer = await connect(host.url, mode);
    const { client } = peer;
    const stop = new AbortController();
    const failure = client.callTool({ name: 'wait', arguments: {} }, { signal: stop.signal }).then(
      () => 'answered',
      (error: unknown) => String(error),
    );
    while (host.waits.length === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    const asked = host.seen.length;
    stop.abort(new Error('enough'));
    expect(await host.waits[0]).toBe('aborted');
    expect(await failure).toContain('enough');
    expect(textOf(await client.callTool({ name: 'echo', arguments: { message: 'on' } }))).toBe('on');
    // Nothing was posted for the end of the first.
    expect(host.seen).toHaveLength(asked + 1);
  });

  test('close() ends what is open', async () => {
    await using host = await listenModern();
    await using peer = await connect(host.url, mode);
    const failure = peer.client.callTool({ name: 'wait', arguments: {} }).catch((error: unknown) => error);
    while (host.waits.length === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    await peer.client.close();
    expect(await host.waits[0]).toBe('aborted');
    expect(await failure).toBeInstanceOf(Error);
  });

  test('a subscription brings what changes', async () => {
    await using host = await listenModern();
    await using peer = await connect(host.url, mode);
    const { client } = peer;
    const changed = new Promise<void>((resolve) => {
      client.setNotificationHandler('notifications/tools/list_changed', () => resolve());
    });
    const subscription = await client.listen({ toolsListChanged: true });
    host.handler.notify.toolsChanged();
    await changed;
    await subscription.close();
    expect(textOf(await client.callTool({ name: 'echo', arguments: { message: 'on' } }))).toBe('on');
  });
});

test.each(['before', 'with'])(
  'a subscription that its server ends in good order is told as that, acknowledged %s the end',
  async (when) => {
    await using host = await listenScripted(({ message, response }) => {
      if (message?.method === 'server/discover') {
        const capabilities = { tools: { listChanged: true } };
        const serverInfo = { name: 'vendor', version: '1' };
        const result = { supportedVersions: [version], capabilities, serverInfo, ttlMs: 1000, cacheScope: 'public' };
        return sendJson(response, { jsonrpc: '2.0', id: message.id, result: { resultType: 'complete', ...result } });
      }
      if (message?.method !== 'subscriptions/listen') return false;
      const _meta = { 'io.modelcontextprotocol/subscriptionId': message.id };
      const params = { _meta, notifications: { toolsListChanged: true } };
      startEvents(response);
      const acknowledged = event({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params });
      const ended = event({ jsonrpc: '2.0', id: message.id, result: { resultType: 'complete', _meta } });
      if (when === 'with') return response.end(acknowledged + ended);
      response.write(acknowledged);
      return setTimeout(() => response.end(ended), 50);
    });
    await using peer = await connect(host.url, { pin: version });
    const subscription = await peer.client.listen({ toolsListChanged: true });
    expect(await subscription.closed).toBe('graceful');
  },
);

test('a server of both eras is spoken to in the era of the client', async () => {
  await using host = await listenModern('stateless');
  await using modern = await connect(host.url, 'auto');
  expect(modern.client.getProtocolEra()).toBe('modern');
  await using session = new Session({ url: host.url });
  expect(await session.begin()).toMatchObject({ result: { serverInfo: { name: 'modern' } } });
  expect((await session.call('echo', { message: 'hi' })).result).toMatchObject({ content: [{ text: 'hi' }] });
});

test('a server of the stateless era alone says so to a client of the other', async () => {
  await using host = await listenModern();
  await using session = new Session({ url: host.url });
  const { error } = await session.begin();
  // Its own error, as it came with status 400.
  expect(error).toMatchObject({ code: -32022, data: { supported: [version] } });
  expect(session.closes).toBe(0);
});

describe('headers of revision 2026-07-28', () => {
  const call = (params: Record<string, unknown>) => ({ ...params, _meta: meta });

  async function seen(ask: (session: Session) => Promise<unknown>, tools: unknown[] = []) {
    await using host = await listenScripted(({ message, response }) => {
      if (message?.method !== 'tools/list') return false;
      sendJson(response, { jsonrpc: '2.0', id: message.id, result: { tools } });
      return true;
    });
    await using session = new Session({ url: host.url, headers: { 'X-Tenant': 'a' } });
    await session.transport.start();
    if (tools.length > 0) await session.request('tools/list', call({}));
    await ask(session);
    const last = host.seen.at(-1);
    return Object.fromEntries(Object.entries(last?.headers ?? {}).filter(([name]) => /^(?:mcp-|x-|last-)/.test(name)));
  }

  test.each([
    ['server/discover', {}, undefined],
    ['tools/list', {}, undefined],
    ['tools/call', { name: 'search' }, 'search'],
    ['prompts/get', { name: 'greet' }, 'greet'],
    ['resources/read', { uri: 'file:///a' }, 'file:///a'],
    ['tasks/get', { taskId: 't1' }, 't1'],
    ['tasks/update', { taskId: 't1', inputResponses: {} }, 't1'],
    ['tasks/cancel', { taskId: 't1' }, 't1'],
    // These have no name in their header.
    ['completion/complete', { name: 'no' }, undefined],
    ['logging/setLevel', { name: 'no' }, undefined],
  ])('%s', async (method, params, name) => {
    expect(await seen((session) => session.request(method, call(params)))).toEqual({
      'mcp-protocol-version': version,
      'mcp-method': method,
      'x-tenant': 'a',
      ...(name !== undefined && { 'mcp-name': name }),
    });
  });

  test.each([
    ['Größe', '=?base64?R3LDtsOfZQ==?='],
    ['日本', '=?base64?5pel5pys?='],
    [' spaced', '=?base64?IHNwYWNlZA==?='],
    ['a\r\nX-Evil: 1', '=?base64?YQ0KWC1FdmlsOiAx?='],
    ['', '=?base64??='],
    ['=?base64?eA==?=', '=?base64?PT9iYXNlNjQ/ZUE9PT89?='],
    ['plain name, 1', 'plain name, 1'],
  ])('a name as no header holds it goes as base64: %j', async (name, header) => {
    const headers = await seen((session) => session.request('tools/call', call({ name })));
    expect(headers['mcp-name']).toBe(header);
    expect(headers).not.toHaveProperty('x-evil');
  });

  const tool = {
    name: 'place',
    inputSchema: {
      type: 'object',
      properties: {
        region: { type: 'string', 'x-mcp-header': 'Region' },
        count: { type: 'integer', 'x-mcp-header': 'Count' },
        dry: { type: 'boolean', 'x-mcp-header': 'Dry' },
        at: { type: 'object', properties: { floor: { type: 'integer', 'x-mcp-header': 'Floor' } } },
        odd: { type: 'string', 'x-mcp-header': 'not a token' },
        ratio: { type: 'number', 'x-mcp-header': 'Ratio' },
        plain: { type: 'string' },
      },
    },
  };

  test('arguments are mirrored as the list of tools asks for', async () => {
    const args = { region: 'eu', count: 3, dry: false, at: { floor: -1 }, odd: 'x', ratio: 0.5, plain: 'y' };
    expect(
      await seen((session) => session.request('tools/call', call({ name: 'place', arguments: args })), [tool]),
    ).toEqual({
      'mcp-protocol-version': version,
      'mcp-method': 'tools/call',
      'mcp-name': 'place',
      'mcp-param-region': 'eu',
      'mcp-param-count': '3',
      'mcp-param-dry': 'false',
      'mcp-param-floor': '-1',
      'x-tenant': 'a',
    });
  });

  test('a tool that asks for some that nobody may write is left out of the list, and told of', async () => {
    await using host = await listen(async (request, response) => {
      const { id } = await readJson(request);
      sendJson(response, { jsonrpc: '2.0', id, result: { resultType: 'complete', tools: [tool, { name: 'plain' }] } });
    });
    const runtime = { type: 'remote-sse', url: host.origin } as const;
    await using gateway = createGateway({ servers: [{ id: 'vendor', runtime }] });
    const transport = gateway.connect('vendor');
    const errors: Error[] = [];
    transport.onerror = (error) => errors.push(error);
    await using caller = await ModernTestCaller.open(transport);
    expect(await caller.toolNames()).toEqual(['plain']);
    expect(errors).toMatchObject([
      { code: 'MESSAGE_INVALID', message: expect.stringContaining('"place" is left out') },
    ]);
  });

  test('what is not given, or null, is not mirrored; what no header holds goes as base64', async () => {
    const args = { region: 'Zürich', count: null, at: 'nowhere' };
    expect(
      await seen((session) => session.request('tools/call', call({ name: 'place', arguments: args })), [tool]),
    ).toMatchObject({ 'mcp-param-region': '=?base64?WsO8cmljaA==?=' });
  });

  test('a tool of the same name that asks for nothing any more', async () => {
    const plain = { name: 'place', inputSchema: { type: 'object' } };
    const headers = await seen(
      (session) => session.request('tools/call', call({ name: 'place', arguments: { region: 'eu' } })),
      [tool, plain],
    );
    expect(headers).not.toHaveProperty('mcp-param-region');
  });

  test('a caller may give mirrored headers, and no others', async () => {
    const headers = { 'Mcp-Param-Region': 'eu', 'Mcp-Method': 'other', Authorization: 'stolen', 'X-Tenant': 'b' };
    expect(await seen((session) => session.call('search', {}, { headers } as object))).toEqual({
      'mcp-param-region': 'eu',
      'x-tenant': 'a',
    });
  });

  test('a notification goes in the era of what was asked before', async () => {
    const headers = await seen(async (session) => {
      await session.request('tools/list', call({}));
      await session.notify('notifications/progress', { progressToken: 1, progress: 1 });
    });
    expect(headers).toMatchObject({ 'mcp-protocol-version': version, 'mcp-method': 'notifications/progress' });
  });
});

describe('answers of the stateless era', () => {
  test.each([400, 404, 405, 415, 500])('an error in the body of status %i is handed on as it is', async (status) => {
    const error = { code: -32021, message: 'missing capability', data: { required: ['sampling'] } };
    await using host = await listenScripted(({ message, response }) =>
      sendJson(response, { jsonrpc: '2.0', id: message?.id, error }, status),
    );
    await using session = new Session({ url: host.url });
    await session.transport.start();
    expect((await session.request('tools/list', { _meta: meta })).error).toEqual(error);
    expect(session.closes).toBe(0);
    // And nobody asked whether it speaks HTTP+SSE.
    expect(host.steps).toEqual(['tools/list']);
  });

  test.each([0, 1, 40])(
    'of an error in the body of status 404 come %i bytes: nobody knows what became of it',
    async (bytes) => {
      await using host = await listenScripted(({ message, response }) => {
        const body = JSON.stringify({
          jsonrpc: '2.0',
          id: message?.id,
          error: { code: -32_000, message: 'it went wrong' },
        });
        response.writeHead(404, { 'content-type': 'application/json', 'content-length': body.length }).flushHeaders();
        response.write(body.slice(0, bytes), () => response.socket?.end());
      });
      await using session = new Session({ url: host.url });
      await session.transport.start();
      const { error } = await session.request('tools/call', { name: 'search', _meta: meta });
      expect(error).toMatchObject({ data: { code: 'HTTP_STATUS', delivered: 'unknown' } });
      // Nor is it sent again, over HTTP+SSE.
      expect(host.steps).toEqual(['tools/call']);
    },
  );

  test('an error without the id of the request is its answer too', async () => {
    const error = { code: -32020, message: 'headers and body disagree' };
    await using host = await listenScripted(({ response }) =>
      sendJson(response, { jsonrpc: '2.0', id: null, error }, 400),
    );
    await using session = new Session({ url: host.url });
    await session.transport.start();
    expect((await session.request('tools/list', { _meta: meta })).error).toEqual(error);
  });

  test('a stream that ends early is not taken up again: the era has no resumption', async () => {
    await using host = await listenScripted(({ message, response }) => {
      startEvents(response);
      response.end(event({ jsonrpc: '2.0', method: 'notifications/message', params: {} }, { id: String(message?.id) }));
    });
    await using session = new Session({ url: host.url });
    await session.transport.start();
    const { error } = await session.request('tools/call', { name: 'search', _meta: meta });
    expect(error).toMatchObject({ data: { code: 'ANSWER_INVALID', delivered: 'unknown' } });
    expect(host.steps).toEqual(['tools/call']);
  });

  test('a cancelled request ends its own stream alone, and no cancellation is posted', async () => {
    const closed: unknown[] = [];
    await using host = await listenScripted((asked) => {
      startEvents(asked.response);
      void asked.closed.then(() => closed.push(asked.message?.params?.name));
      if (asked.message?.params?.name === 'second') {
        void Promise.resolve().then(async () => {
          while (!closed.includes('first')) await new Promise<void>((resolve) => setImmediate(resolve));
          asked.response.end(event(textResult(asked.message?.id, 'answered')));
        });
      }
      return true;
    });
    await using opened = await open(host.url);
    const { transport, answers } = opened;
    const ask = (id: number, name: string) =>
      transport.send({ jsonrpc: '2.0', id, method: 'tools/call', params: { name, _meta: meta } });
    const [first, second] = [ask(1, 'first'), ask(2, 'second')];
    while (host.seen.length < 2) await new Promise<void>((resolve) => setImmediate(resolve));
    const params = { requestId: 1, _meta: meta };
    await transport.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params });
    await Promise.all([first, second]);
    expect(answers).toMatchObject([{ id: 2, result: { content: [{ text: 'answered' }] } }]);
    expect(host.steps).toEqual(['tools/call', 'tools/call']);
  });
});

/** A transport past any gateway, which would answer what is cancelled. */
async function open(url: string) {
  const runtime = new RemoteSseRuntime();
  const transport = await runtime.open({ url }, createRuntimeContext());
  const answers: JSONRPCMessage[] = [];
  transport.onmessage = (message) => answers.push(message);
  await transport.start();
  return {
    transport,
    answers,
    async [Symbol.asyncDispose]() {
      await transport.close();
      await runtime.close();
    },
  };
}

test('health asks a server of the stateless era with server/discover', async () => {
  const asked: unknown[] = [];
  await using host = await listen(async (request, response) => {
    const message = await readJson(request);
    asked.push(message.method);
    sendJson(response, { jsonrpc: '2.0', id: message.id, result: {} });
  });
  await using opened = await open(`${host.origin}/mcp`);
  const { transport, answers } = opened;
  await transport.send({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta: meta } });
  await transport.health?.(new AbortController().signal);
  expect(asked).toEqual(['tools/list', 'server/discover']);
  // Its answer is nobody's business.
  expect(answers).toMatchObject([{ id: 1 }]);
});

describe('a call that is refused for its headers', () => {
  const refusal = { code: -32020, message: 'the headers and the body disagree' };
  const region = { type: 'object', properties: { region: { type: 'string', 'x-mcp-header': 'Region' } } };

  /** A server whose tool `place` stands on the second page of its list, which comes as events; `other` is never right. */
  async function listenStrict(heard: string[]) {
    return await listen(async (request, response) => {
      const { id, method, params } = await readJson(request);
      heard.push(`${method} ${params?.cursor ?? params?.name ?? ''}`.trim());
      const answer = (result: object) => ({ jsonrpc: '2.0', id, result: { resultType: 'complete', ...result } });
      switch (method) {
        case 'tools/list': {
          expect(params?._meta).toEqual(meta);
          if (params?.cursor === undefined) {
            return sendJson(response, answer({ tools: [], nextCursor: 'two' }));
          }
          startEvents(response);
          return response.end(event(answer({ tools: [{ name: 'place', inputSchema: region }] })));
        }
        default:
          return params?.name === 'place' && request.headers['mcp-param-region'] === 'eu'
            ? sendJson(response, answer({ content: [{ type: 'text', text: 'eu' }] }))
            : sendJson(response, { jsonrpc: '2.0', id, error: refusal }, 400);
      }
    });
  }

  async function ask(url: string, names: readonly string[]) {
    await using gateway = createGateway({ servers: [{ id: 'vendor', runtime: { type: 'remote-sse', url } }] });
    await using caller = await ModernTestCaller.open(gateway.connect('vendor'));
    const answers = [];
    for (const name of names) {
      const _meta = { 'io.modelcontextprotocol/logLevel': 'info', progressToken: 1 };
      answers.push(await caller.request('tools/call', { name, arguments: { region: 'eu' }, _meta }));
    }
    return answers;
  }

  test('goes again, once, with those that the list of tools asks for by now', async () => {
    const heard: string[] = [];
    await using host = await listenStrict(heard);
    expect(await ask(host.origin, ['place', 'place'])).toMatchObject([
      { result: { content: [{ text: 'eu' }] } },
      { result: { content: [{ text: 'eu' }] } },
    ]);
    const once = ['tools/call place', 'tools/list', 'tools/list two', 'tools/call place'];
    expect(heard).toEqual([...once, 'tools/call place']);
  });

  test('does not go again where the list gives it no others', async () => {
    const heard: string[] = [];
    await using host = await listenStrict(heard);
    expect(await ask(host.origin, ['other'])).toMatchObject([{ error: refusal }]);
    expect(heard).toEqual(['tools/call other', 'tools/list', 'tools/list two']);
  });

  test('finds its headers where each request has an instance of its own', async () => {
    await using host = await listenModern();
    const vendor = { id: 'vendor', isolation: 'request', runtime: { type: 'remote-sse', url: host.url } } as const;
    await using gateway = createGateway({ servers: [vendor] });
    await using caller = await TestCaller.open(gateway.connect());
    const answer = await caller.result('tools/call', { name: 'vendor__place', arguments: { region: 'eu' } });
    expect(textOf(answer)).toBe('eu nowhere');
  });
});
