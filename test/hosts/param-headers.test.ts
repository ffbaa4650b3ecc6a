import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, Server } from '@modelcontextprotocol/server';
import { describe, expect, test } from 'vitest';
import { createGateway, type FetchOptions } from '../../src/index.js';
import { envelope } from '../endpoint/modern-caller.js';
import { statelessServer } from '../endpoint/modern-servers.js';
import { hold, type Json, RpcError, type Script, ScriptedServer } from '../endpoint/scripted-server.js';
import { listen } from '../fixtures/http/listen.js';
import { FakeClock } from '../support/fake-clock.js';
import { createFetchHost } from './fetch-host.js';

const inputSchema = {
  type: 'object' as const,
  properties: {
    region: { type: 'string', 'x-mcp-header': 'Region' },
    count: { type: 'integer', 'x-mcp-header': 'Count' },
    dry: { type: 'boolean', 'x-mcp-header': 'Dry' },
    deep: { type: 'object', properties: { er: { type: 'string', 'x-mcp-header': 'Deeper' } } },
    list: { type: 'array', items: { type: 'string', 'x-mcp-header': 'Item' } },
    ratio: { type: 'number', 'x-mcp-header': 'Ratio' },
    wrong: { type: 'string', 'x-mcp-header': 'not a token' },
    plain: { type: 'string' },
  },
};
const tools = [{ name: 'go', inputSchema }, { name: 'plain' }];

function scripted(script: Script) {
  const server = new ScriptedServer(script);
  return Object.assign(createGateway({ servers: [{ id: 'one', runtime: server.runtime }] }), { server });
}

const me: FetchOptions = { caller: { id: 'me' } };

function call(args: Json, headers: Record<string, string>, name = 'one__go'): Request {
  const params = { name, arguments: args, _meta: envelope() };
  return new Request('http://localhost/mcp', {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': name,
      ...headers,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }),
  });
}

const eras = [
  ['with sessions', () => ({ tools })],
  ['stateless', () => ({ ...statelessServer(), tools })],
] as const;

describe.each(eras)('headers that mirror arguments, before a server that is %s', (_, script: () => Script) => {
  test.each<[string, Json, Record<string, string>]>([
    ['what the body says', { region: 'eu', count: 3, dry: false }, { region: 'eu', count: '3', dry: 'false' }],
    ['a number written in another way', { count: 3 }, { count: '3.0' }],
    [
      'what is not plain ASCII',
      { region: 'Zürich' },
      { region: `=?base64?${Buffer.from('Zürich').toString('base64')}?=` },
    ],
    ['an argument of an argument', { deep: { er: 'x' } }, { deeper: 'x' }],
    ['a header for what is not there', { plain: 'x' }, { region: 'eu' }],
    ['null, which needs none', { region: null }, {}],
    ['places where none may be asked for', { list: ['a'], ratio: 1.5, wrong: 'x' }, {}],
    ['headers that no tool asks for', { plain: 'x' }, { other: 'y' }],
  ])('pass with %s', async (_what, args, headers) => {
    await using gateway = scripted(script());
    const given = Object.fromEntries(Object.entries(headers).map(([name, value]) => [`Mcp-Param-${name}`, value]));
    const response = await gateway.fetch(call(args, given), me);
    expect(await response.json()).toMatchObject({ result: { resultType: 'complete' } });
    expect(response.status).toBe(200);
  });

  test.each<[string, Json, Record<string, string>, string]>([
    ['one that is missing', { region: 'eu' }, {}, 'Region'],
    ['another value', { region: 'eu' }, { region: 'us' }, 'Region'],
    ['another case', { region: 'eu' }, { region: 'EU' }, 'Region'],
    ['another number', { count: 3 }, { count: '4' }, 'Count'],
    ['no number', { count: 3 }, { count: 'three' }, 'Count'],
    ['another truth', { dry: true }, { dry: 'True' }, 'Dry'],
    ['what is badly encoded', { region: 'eu' }, { region: '=?base64?ZXU?=' }, 'Region'],
    ['what no header may hold', { region: 'Zürich' }, { region: 'Zürich' }, 'Region'],
    ['two values', { region: 'eu' }, { region: 'eu, us' }, 'Region'],
    ['one of several', { region: 'eu', deep: { er: 'x' } }, { region: 'eu', deeper: 'y' }, 'Deeper'],
  ])('are refused with %s, and the server is not called', async (_what, args, headers, name) => {
    await using gateway = scripted(script());
    const given = Object.fromEntries(Object.entries(headers).map(([key, value]) => [`Mcp-Param-${key}`, value]));
    const response = await gateway.fetch(call(args, given), me);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      id: 1,
      error: {
        code: -32020,
        message: expect.stringContaining(`Mcp-Param-${name}`),
        data: { header: `Mcp-Param-${name}` },
      },
    });
    expect(gateway.server.instances.flatMap((instance) => instance.requests('tools/call'))).toEqual([]);
  });
});

test('a tool is looked up once, and again when its server has others', async () => {
  const script: Script = { tools };
  await using gateway = scripted(script);
  const status = async (headers: Record<string, string>) =>
    (await gateway.fetch(call({ plain: 'x' }, headers), me)).status;
  expect(await status({})).toBe(200);
  const { only } = gateway.server;
  const before = only.requests('tools/list').length;
  expect(await status({})).toBe(200);
  expect(only.requests('tools/list')).toHaveLength(before);
  script.tools = [{ name: 'go', inputSchema: { properties: { plain: { type: 'string', 'x-mcp-header': 'Plain' } } } }];
  only.notify('notifications/tools/list_changed');
  while ((await status({})) !== 400);
  expect(await status({ 'Mcp-Param-Plain': 'x' })).toBe(200);
  expect(only.requests('tools/list')).toHaveLength(before + 1);
});

test('a tool is looked up again when its server comes back from its rest', async () => {
  const clock = new FakeClock();
  const server = new ScriptedServer({ tools });
  const entry = { id: 'one', runtime: server.runtime, idle_timeout: '1m' };
  await using gateway = createGateway({ servers: [entry] }, { clock });
  const status = async (headers: Record<string, string>) =>
    (await gateway.fetch(call({ plain: 'x' }, headers), me)).status;
  expect(await status({})).toBe(200);
  await clock.advance(120_000);
  expect(server.live).toEqual([]);
  server.script.tools = [
    { name: 'go', inputSchema: { properties: { plain: { type: 'string', 'x-mcp-header': 'Plain' } } } },
  ];
  expect(await status({})).toBe(400);
  expect(await status({ 'Mcp-Param-Plain': 'x' })).toBe(200);
});

test('a prompt needs none, although a tool of its name does', async () => {
  const gets = { 'prompts/get': () => ({ messages: [] }) };
  await using gateway = scripted({ tools, prompts: [{ name: 'go' }], on: gets });
  const { headers } = call({ region: 'eu' }, { 'mcp-method': 'prompts/get' });
  const params = { name: 'one__go', arguments: { region: 'eu' }, _meta: envelope() };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'prompts/get', params });
  const response = await gateway.fetch(new Request('http://localhost/mcp', { method: 'POST', headers, body }), me);
  expect(await response.json()).toMatchObject({ result: { messages: [] } });
});

test('a call whose tools cannot be looked up is not let through unchecked', async () => {
  const script: Script = { tools };
  await using gateway = scripted(script);
  const answer = async () => (await (await gateway.fetch(call({ plain: 'x' }, {}), me)).json()) as Json;
  expect(await answer()).toHaveProperty('result');
  script.on = {
    'tools/list': () => {
      throw new RpcError(-32603, 'not now');
    },
  };
  const { only } = gateway.server;
  only.notify('notifications/tools/list_changed');
  for (let last = await answer(); last.error === undefined; ) last = await answer();
  expect(await answer()).toMatchObject({ error: { code: -32603, message: expect.stringContaining('not now') } });
  script.on = {};
  expect(await answer()).toHaveProperty('result');
});

test('a call whose server ends while its tools are looked up was not delivered', async () => {
  await using gateway = scripted({ tools, on: { 'tools/list': () => hold } });
  const given = gateway.fetch(call({ plain: 'x' }, {}), me);
  (await gateway.server.request('tools/list')).instance.die();
  expect(await (await given).json()).toMatchObject({
    error: { data: { code: 'SERVER_EXITED', server: 'one', delivered: false } },
  });
});

test('a call that its client gives up while its tool is looked up is not made', async () => {
  const gate = Promise.withResolvers<Json>();
  await using gateway = scripted({ tools, on: { 'tools/list': () => gate.promise } });
  const abort = new AbortController();
  const given = gateway.fetch(new Request(call({ plain: 'x' }, {}), { signal: abort.signal }), me);
  const { instance } = await gateway.server.request('tools/list');
  abort.abort();
  expect((await given).status).toBe(499);
  gate.resolve({ tools });
  expect((await gateway.fetch(call({ plain: 'y' }, {}), me)).status).toBe(200);
  expect(instance.requests('tools/call').map(({ params }) => params?.arguments)).toEqual([{ plain: 'y' }]);
});

test('a client and a server of SDK v2 agree on them with the gateway between', async () => {
  const seen: string[] = [];
  // Clients leave out tools that ask for headers where they may not.
  const { region, count } = inputSchema.properties;
  const valid = { type: 'object' as const, properties: { region, count } };
  const createServer = () => {
    const server = new Server({ name: 'mirror', version: '1' }, { capabilities: { tools: {} } });
    server.setRequestHandler('tools/list', () => ({ tools: [{ name: 'go', inputSchema: valid }] }));
    server.setRequestHandler('tools/call', ({ params }) => ({
      content: [{ type: 'text', text: JSON.stringify(params.arguments) }],
    }));
    return server;
  };
  const node = toNodeHandler(createMcpHandler(createServer, { legacy: 'reject' }));
  const listening = await listen((request, response) => {
    request.headers['mcp-method'] === 'tools/call' && seen.push(String(request.headers['mcp-param-region']));
    return node(request as never, response);
  });
  await using gateway = createGateway({
    servers: [{ id: 'one', runtime: { type: 'remote-sse', url: `${listening.origin}/mcp` } }],
  });
  await using host = await createFetchHost(gateway);
  const versionNegotiation = { mode: { pin: '2026-07-28' } };
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation });
  await client.connect(new StreamableHTTPClientTransport(new URL(host.url)));
  // From the list the client learns which headers to send.
  expect((await client.listTools()).tools).toHaveLength(1);
  const args = { region: 'Zürich', count: 3 };
  const { content } = await client.callTool({ name: 'one__go', arguments: args });
  expect(content).toEqual([{ type: 'text', text: JSON.stringify(args) }]);
  expect(seen).toEqual([`=?base64?${Buffer.from('Zürich').toString('base64')}?=`]);
  await client.close();
  await listening.close();
});
