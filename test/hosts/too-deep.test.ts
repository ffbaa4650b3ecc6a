import { describe, expect, test } from 'vitest';
import { createGateway } from '../../src/index.js';
import { envelope } from '../endpoint/modern-caller.js';
import { type Json, RpcError, type Script, ScriptedServer } from '../endpoint/scripted-server.js';
import { createFetchHost } from './fetch-host.js';
import { createHttpHost, type TransportKind, transportKinds } from './http-host.js';
import { initialize } from './raw-client.js';

const deep = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000));
/** Deep enough to be looked at, and not too deep. */
const allowed = JSON.parse('['.repeat(1_000) + ']'.repeat(1_000));

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
          case 'allowed':
            return { content: [], structuredContent: { allowed } };
          default:
            return { content: deep };
        }
      },
    },
  ],
};

function createHost(kind: TransportKind | 'fetch') {
  const server = new ScriptedServer(script);
  const gateway = createGateway({ servers: [{ id: 'one', runtime: server.runtime }] });
  const serve = (transport: Parameters<typeof gateway.serve>[0]) => gateway.serve(transport, { caller: { id: 'me' } });
  return { gateway, host: kind === 'fetch' ? createFetchHost(gateway) : createHttpHost(serve, { kind }) };
}

async function post(url: string, body: Json, headers: Record<string, string> = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
    body: JSON.stringify({ jsonrpc: '2.0', ...body }),
    signal: AbortSignal.timeout(5_000),
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
