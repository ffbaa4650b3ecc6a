import { expect, test } from 'vitest';
import { createGateway } from '../../src/index.js';
import { envelope } from '../endpoint/modern-caller.js';
import { sendJson } from '../fixtures/http/listen.js';
import { listenScripted } from '../fixtures/http/scripted-host.js';
import { createHttpHost, transportKinds } from '../hosts/http-host.js';
import { initialize } from '../hosts/raw-client.js';

const canary = 'canary-4711';
const caller = { id: 'ada', principal: 'ada', authInfo: { token: canary, clientId: canary }, data: { token: canary } };
const headers = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
  authorization: `Bearer ${canary}`,
  cookie: `session=${canary}`,
  'x-api-key': canary,
  'mcp-param-token': canary,
};
const call = { name: 'one__search', arguments: {} };

async function setUp() {
  const server = await listenScripted(({ message, response }) => {
    if (message?.method !== 'tools/list') return false;
    const result = { tools: [{ name: 'search', inputSchema: { type: 'object' } }] };
    return sendJson(response, { jsonrpc: '2.0', id: message.id, result });
  });
  const servers = (['caller', 'shared', 'request'] as const).map((isolation) => ({
    id: isolation === 'caller' ? 'one' : isolation,
    isolation,
    runtime: { type: 'remote-sse' as const, url: server.url },
  }));
  return { server, gateway: createGateway({ servers }) };
}

test.each(transportKinds)('of a session of %s reach no server', async (kind) => {
  const { server, gateway } = await setUp();
  await using _server = server;
  await using _gateway = gateway;
  await using host = await createHttpHost((transport, who) => gateway.serve(transport, { caller: who }), {
    kind,
    authenticate: (authorization) => (authorization === `Bearer ${canary}` ? caller : undefined),
  });
  const post = (body: object, more: Record<string, string> = {}) =>
    fetch(host.url, { method: 'POST', headers: { ...headers, ...more }, body: JSON.stringify(body) });
  const begun = await post(initialize);
  const session = { 'mcp-session-id': begun.headers.get('mcp-session-id') ?? '' };
  await begun.text();
  await post({ jsonrpc: '2.0', method: 'notifications/initialized' }, session);
  for (const [id, server] of ['one', 'shared', 'request'].entries()) {
    const params = { ...call, name: `${server}__search` };
    const answer = await post({ jsonrpc: '2.0', id: id + 2, method: 'tools/call', params }, session);
    expect(await answer.text()).toContain('"search"');
  }
  expect(server.count('tools/call')).toBe(3);
  expect(JSON.stringify(server.seen)).not.toContain(canary);
});

test('of a stateless request reach no server', async () => {
  const { server, gateway } = await setUp();
  await using _server = server;
  await using _gateway = gateway;
  const request = new Request('http://localhost/mcp', {
    method: 'POST',
    headers: { ...headers, 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': call.name },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { ...call, _meta: envelope() } }),
  });
  expect(await (await gateway.fetch(request, { caller })).text()).toContain('"search"');
  expect(server.count('tools/call')).toBe(1);
  expect(JSON.stringify(server.seen)).not.toContain(canary);
});

test('of a connection to one server do not reach it', async () => {
  const { server, gateway } = await setUp();
  await using _server = server;
  await using _gateway = gateway;
  const transport = gateway.connect('one', { caller });
  const answers = [1, 2].map(() => Promise.withResolvers<unknown>());
  transport.onmessage = (message) => answers[Number('id' in message ? message.id : 0) - 1]?.resolve(message);
  await transport.start();
  await transport.send(initialize as never);
  await answers[0]?.promise;
  const authInfo = { token: canary, clientId: canary, scopes: [] };
  const message = { jsonrpc: '2.0', id: 2, method: 'tools/call', params: { ...call, name: 'search' } } as const;
  await transport.send(message, { authInfo } as never);
  expect(JSON.stringify(await answers[1]?.promise)).toContain('"search"');
  expect(JSON.stringify(server.seen)).not.toContain(canary);
  await transport.close();
});
