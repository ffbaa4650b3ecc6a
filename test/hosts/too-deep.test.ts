import { describe, expect, test } from 'vitest';
import { createGateway, type Interceptor } from '../../src/index.js';
import { envelope } from '../endpoint/modern-caller.js';
import { type Json, RpcError, type Script, ScriptedServer } from '../endpoint/scripted-server.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { createFetchHost } from './fetch-host.js';
import { createHttpHost, type TransportKind, transportKinds } from './http-host.js';
import { initialize } from './raw-client.js';

const deep = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000));
/** Deep enough to be looked at, and not too deep. */
const allowed = JSON.parse('['.repeat(1_000) + ']'.repeat(1_000));
/** A task in a list of a task in a list, and so on. */
const tasks = JSON.parse(`${'[{"taskId":"t","tasks":'.repeat(20_000)}[]${'}]'.repeat(20_000)}`);

const script: Script = {
  tools: [
    {
      name: 'go',
      call: async ({ give }, instance) => {
        switch (give) {
          case 'error':
            throw new RpcError(-32000, 'no', deep);
          case 'question': {
            const question = { message: 'x', requestedSchema: { deep } };
            return { content: [], structuredContent: await instance.ask('q', 'elicitation/create', question) };
          }
          case 'tasks':
            return { content: [], tasks };
          case 'allowed':
            return { content: [], structuredContent: { allowed } };
          default:
            return { content: deep };
        }
      },
    },
  ],
};

function createHost(kind: TransportKind | 'fetch', intercept?: Interceptor) {
  const server = new ScriptedServer(script);
  const gateway = createGateway({ servers: [{ id: 'one', runtime: server.runtime }] }, { intercept });
  const serve = (transport: Parameters<typeof gateway.serve>[0]) => gateway.serve(transport, { caller: { id: 'me' } });
  return { gateway, host: kind === 'fetch' ? createFetchHost(gateway) : createHttpHost(serve, { kind }) };
}

/** @param change - makes of the JSON what no `JSON.stringify` would */
async function post(url: string, body: Json, headers: Record<string, string> = {}, change = (text: string) => text) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
    body: change(JSON.stringify({ jsonrpc: '2.0', ...body })),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  const [, data = text] = /^data: (\{.*)$/m.exec(text) ?? [];
  return { headers: response.headers, message: data === '' ? undefined : (JSON.parse(data) as Json) };
}

const invalid = { error: { data: { code: 'MESSAGE_INVALID' } } };

describe.each([...transportKinds, 'fetch'] as const)(
  'what a server sends to a session, with the transport %s',
  (kind) => {
    test.each([
      ['a result', 'result', invalid],
      ['an error', 'error', invalid],
      ['a list of tasks', 'tasks', invalid],
      ['a question', 'question', { result: { structuredContent: { error: { code: -32603 } } } }],
      ['nothing', 'allowed', { result: { structuredContent: { allowed } } }],
    ])('is answered where %s is nested too deeply', async (_, give, answer) => {
      const { gateway, host: opening } = createHost(kind);
      await using host = await opening;
      await using _closing = gateway;
      const capabilities = { elicitation: {} };
      const begun = await post(host.url, { ...initialize, params: { ...initialize.params, capabilities } });
      const session = { 'mcp-session-id': String(begun.headers.get('mcp-session-id')) };
      const call = { id: 2, method: 'tools/call', params: { name: 'one__go', arguments: { give } } };
      expect((await post(host.url, call, session)).message).toMatchObject({ id: 2, ...answer });
    });
  },
);

test.each(['result', 'error'])('a stateless caller is answered where its %s is nested too deeply', async (give) => {
  const { gateway, host: opening } = createHost('fetch');
  await using host = await opening;
  await using _closing = gateway;
  const params = { name: 'one__go', arguments: { give }, _meta: envelope() };
  const headers = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'one__go' };
  const { message } = await post(host.url, { id: 2, method: 'tools/call', params }, headers);
  expect(message).toMatchObject({ id: 2, ...invalid });
});

test('a server that asks a stateless caller what is nested too deeply is told so, and goes on with the call', async () => {
  const { gateway, host: opening } = createHost('fetch');
  await using host = await opening;
  await using _closing = gateway;
  const params = { name: 'one__go', arguments: { give: 'question' }, _meta: envelope({ elicitation: {} }) };
  const headers = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'one__go' };
  const { message } = await post(host.url, { id: 2, method: 'tools/call', params }, headers);
  expect(message).toMatchObject({ id: 2, result: { structuredContent: { error: { code: -32603 } } } });
});

test('a caller is answered where a list of tasks is nested too deeply, with an interceptor', async () => {
  const { gateway, host: opening } = createHost('ours for node', (_request, next) => next());
  await using host = await opening;
  await using _closing = gateway;
  const begun = await post(host.url, initialize);
  const call = { id: 2, method: 'tools/call', params: { name: 'one__go', arguments: { give: 'tasks' } } };
  const { message } = await post(host.url, call, { 'mcp-session-id': String(begun.headers.get('mcp-session-id')) });
  expect(message).toMatchObject({ id: 2, ...invalid });
});

test('a stateless caller whose capabilities are nested too deeply is refused, and gets that for an answer', async () => {
  const { gateway, host: opening } = createHost('ours for node');
  await using host = await opening;
  await using _closing = gateway;
  const begun = await post(host.url, initialize);
  const text = '['.repeat(100_000) + ']'.repeat(100_000);
  const list = { id: 2, method: 'tools/list', params: { _meta: envelope({ experimental: { deep: 'DEEP' } }) } };
  const session = { 'mcp-session-id': String(begun.headers.get('mcp-session-id')) };
  const { message } = await post(host.url, list, session, (body) => body.replace('"DEEP"', text));
  expect(message).toMatchObject({ id: 2, error: { code: -32602, message: expect.stringContaining('too deeply') } });
});

test('what one server lists or declares is left out where it is nested too deeply, and what all have is there', async () => {
  const odd = new ScriptedServer({
    capabilities: { tools: {}, experimental: { deep } },
    tools: [{ name: 'deep', inputSchema: { type: 'object', default: deep } }, { name: 'go' }],
  });
  const runtimes = { odd: odd.runtime, one: new ScriptedServer({ tools: [{ name: 'go' }] }).runtime };
  const servers = Object.entries(runtimes).map(([id, runtime]) => ({ id, runtime, isolation: 'shared' as const }));
  await using gateway = createGateway({ servers });
  await using host = await createHttpHost((transport) => gateway.serve(transport));
  // With the second session it is known of all servers what they have declared.
  for (const _ of ['first', 'second']) {
    const { headers, message } = await post(host.url, initialize);
    expect(message).toMatchObject({ result: { capabilities: { tools: {} } } });
    const session = { 'mcp-session-id': String(headers.get('mcp-session-id')) };
    const list = await post(host.url, { id: 2, method: 'tools/list' }, session);
    expect(list.message).toMatchObject({ result: { tools: [{ name: 'odd__go' }, { name: 'one__go' }] } });
  }
  expect(JSON.parse(JSON.stringify(gateway.snapshot()))).toHaveProperty('odd.lists.tools');
});

const circular: Json = {};
circular.self = circular;

describe.each([...transportKinds, 'fetch', 'stateless'] as const)('an interceptor, with the transport %s', (kind) => {
  test.each([
    ['a bigint', 1n, /^the answer cannot be written as JSON: .*BigInt/],
    ['what holds itself', circular, /^the answer cannot be written as JSON: .*circular/],
  ])('that puts %s into a result gets an error for its caller', async (_, odd, message) => {
    const intercept: Interceptor = async (_request, next) => ({ ...(await next()), _meta: { odd } });
    const { gateway, host: opening } = createHost(kind === 'stateless' ? 'fetch' : kind, intercept);
    await using host = await opening;
    await using _closing = gateway;
    const call = { id: 2, method: 'tools/call', params: { name: 'one__go', arguments: { give: 'allowed' } } };
    let answered: ReturnType<typeof post>;
    if (kind === 'stateless') {
      const headers = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'one__go' };
      answered = post(host.url, { ...call, params: { ...call.params, _meta: envelope() } }, headers);
    } else {
      const begun = await post(host.url, initialize);
      answered = post(host.url, call, { 'mcp-session-id': String(begun.headers.get('mcp-session-id')) });
    }
    expect((await answered).message).toMatchObject({
      id: 2,
      error: { message: expect.stringMatching(message), data: { code: 'MESSAGE_INVALID', delivered: true } },
    });
  });
});

/** Asks its client in a call, and answers that with what the client has answered. */
const asks = `
  const say = (message) => console.log(JSON.stringify({ jsonrpc: '2.0', ...message }));
  let call;
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const { id, method, params, ...answer } = JSON.parse(line);
    const serverInfo = { name: 's', version: '1' };
    switch (method) {
      case 'initialize':
        return say({ id, result: { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo } });
      case 'tools/list':
        return say({ id, result: { tools: [{ name: 'go', inputSchema: { type: 'object' } }] } });
      case 'tools/call':
        call = id;
        return say({ id: 'q', method: 'elicitation/create', params: { message: 'x', requestedSchema: {} } });
      case undefined:
        return say({ id: call, result: { content: [], structuredContent: answer } });
      default:
        id === undefined || say({ id, error: { code: -32601, message: 'unknown' } });
    }
  });
`;

describe('a question of a server', () => {
  const tooDeep = 'the answer cannot be written as JSON: it is nested too deeply';
  const large = 'x'.repeat(2_000);

  test.each([
    ['merged', 'nested too deeply', { deep }, 'MESSAGE_INVALID', tooDeep],
    ['merged', 'no JSON', { n: 1n }, 'MESSAGE_INVALID', expect.stringMatching(/^the answer cannot be .* BigInt$/)],
    ['merged', 'too large', { large }, 'MESSAGE_TOO_LARGE', expect.stringContaining('1024 bytes (max_message)')],
    ['shared by connections', 'nested too deeply', { deep }, 'MESSAGE_INVALID', tooDeep],
    ['shared by connections', 'too large', { large }, 'MESSAGE_TOO_LARGE', expect.stringContaining('max_message')],
    ['raw', 'too large', { large }, 'MESSAGE_TOO_LARGE', expect.stringContaining('max_message')],
    ['raw of an era', 'nested too deeply', { deep }, 'MESSAGE_INVALID', tooDeep],
  ])(
    "a client's answer that cannot be sent becomes an error for its server, %s: %s",
    async (kind, _, content, code, message) => {
      const runtime = { type: 'local-process' as const, command: process.execPath, args: ['-e', asks] };
      await using gateway = createGateway({ servers: [{ id: 'one', runtime, max_message: '1KiB' }] });
      const transport = {
        merged: () => gateway.connect(),
        'shared by connections': () => gateway.connect({ caller: { id: 'me' } }),
        raw: () => gateway.connect('one'),
        'raw of an era': () => gateway.connect('one', { era: 'legacy' }),
      }[kind] as () => ReturnType<typeof gateway.connect>;
      await using caller = await TestCaller.open(transport(), { elicitation: {} });
      caller.onRequest = () => ({ action: 'accept', content });
      const { structuredContent } = await caller.result('tools/call', {
        name: kind.startsWith('raw') ? 'go' : 'one__go',
      });
      expect(structuredContent).toMatchObject({ error: { message, data: { code, delivered: true } } });
    },
  );
});
