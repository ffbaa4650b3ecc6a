import { once } from 'node:events';
import { request } from 'node:http';
import { json } from 'node:stream/consumers';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { LATEST_PROTOCOL_VERSION } from '@modelcontextprotocol/sdk/types.js';
import { expect, test, vi } from 'vitest';
import { createConformanceServer } from '../fixtures/conformance/server.js';
import { createHttpHost, type Serve } from './http-host.js';

const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: LATEST_PROTOCOL_VERSION, capabilities: {}, clientInfo: { name: 'test', version: '1' } },
};
const accept = 'application/json, text/event-stream';

/** Posts JSON; `node:http` and not `fetch`, which allows no Host header. */
async function post(url: string, body: unknown, headers: Record<string, string> = {}) {
  const outgoing = request(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept, ...headers },
  });
  outgoing.end(JSON.stringify(body));
  const [incoming] = await once(outgoing, 'response');
  return {
    status: incoming.statusCode as number,
    body: incoming.statusCode === 200 ? incoming.resume() : await json(incoming),
  };
}

const serveFixture: Serve = (transport) => createConformanceServer().connect(transport);

test('a server that cannot start is a 500 with its reason, and no session is left', async () => {
  await using host = await createHttpHost(() => Promise.reject(new Error('no such server')));
  const { status, body } = await post(host.url, initialize);
  expect(status).toBe(500);
  expect(body).toMatchObject({ error: { message: expect.stringContaining('no such server') } });
  expect(host.sessionCount).toBe(0);
});

test.each([
  ['another host', { host: 'evil.example.com' }],
  ['another origin', { origin: 'http://evil.example.com' }],
  ['the right name with another port', { host: '127.0.0.1:1' }],
])('refuses %s', async (_, headers) => {
  const serve = vi.fn(serveFixture);
  await using host = await createHttpHost(serve);
  expect((await post(host.url, initialize, headers)).status).toBe(403);
  expect(serve).not.toHaveBeenCalled();
});

test.each([
  ['a first request that is not initialize', { jsonrpc: '2.0', id: 1, method: 'ping' }, {}, 400],
  ['a session that it does not know', initialize, { 'mcp-session-id': 'unknown' }, 404],
  ['an initialize request that accepts no stream', initialize, { accept: 'text/plain' }, 406],
])('refuses %s and keeps no session', async (_, body, headers, status) => {
  await using host = await createHttpHost(serveFixture);
  expect((await post(host.url, body, headers)).status).toBe(status);
  expect(host.sessionCount).toBe(0);
});

test('gives each initialize request a session of its own; DELETE ends it and closes its transport', async () => {
  const closed: number[] = [];
  let served = 0;
  await using host = await createHttpHost(async (transport) => {
    const number = ++served;
    const server = createConformanceServer();
    server.onclose = () => closed.push(number);
    await server.connect(transport);
  });

  const transports = [1, 2].map(() => new StreamableHTTPClientTransport(new URL(host.url)));
  for (const transport of transports) await new Client({ name: 'test', version: '1' }).connect(transport);
  expect(host.sessionCount).toBe(2);

  await transports[0]?.terminateSession();
  expect(closed).toEqual([1]);
  expect(host.sessionCount).toBe(1);
  await Promise.all(transports.map((transport) => transport.close()));
});

test('closing the transport ends its session', async () => {
  const servers: Array<ReturnType<typeof createConformanceServer>> = [];
  await using host = await createHttpHost(async (transport) => {
    const server = createConformanceServer();
    servers.push(server);
    await server.connect(transport);
  });
  expect((await post(host.url, initialize)).status).toBe(200);
  expect(host.sessionCount).toBe(1);
  await servers[0]?.close();
  expect(host.sessionCount).toBe(0);
});

test('close ends sessions whose streams are open, and may be called twice', async () => {
  const ended = vi.fn();
  await using host = await createHttpHost(async (transport) => {
    const server = createConformanceServer();
    server.onclose = ended;
    await server.connect(transport);
  });
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(new StreamableHTTPClientTransport(new URL(host.url)));
  await client.listTools();

  await Promise.all([host.close(), host.close()]);
  expect(ended).toHaveBeenCalledOnce();
  expect(host.sessionCount).toBe(0);
  await expect(fetch(host.url)).rejects.toThrow();
  await client.close();
});
