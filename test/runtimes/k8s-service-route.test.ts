import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/options.js';
import { ApiLink } from '../../src/runtimes/k8s-service/api-link.js';
import { ServiceSession } from '../../src/runtimes/k8s-service/session.js';
import { dialAddress, Target } from '../../src/runtimes/k8s-service/target.js';
import { Clusters } from '../../src/runtimes/shared/kubernetes/clusters.js';
import { Connections } from '../../src/transport/http/connections.js';
import { loadUndici } from '../../src/transport/http/load.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { FakeApiServer, sendJson } from '../support/kubernetes/fake-api-server.js';

async function listen(answer: RequestListener = () => {}) {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const undici = await loadUndici();
  /** Named for its pod. */
  const made = (key: string) => {
    const endpoint = { key, pod: key, address: '127.0.0.1', port, ready: true, leaving: false };
    const settings = { tls: undefined, connectTimeoutMs: 5_000, proxy: false, maxConnections: undefined } as const;
    return new Target(endpoint, dialAddress, (dial) =>
      Connections.with(undici, { ...settings, clock: systemClock, dial }),
    );
  };
  const [going, staying] = [made('going'), made('staying')];
  const link = { port, take: async () => staying, choose: () => staying, close: async () => {} };
  const session = new ServiceSession(
    {
      server: 'orders',
      service: 'service "orders" in namespace "home"',
      url: new URL(`http://orders.home.svc:${port}/mcp`),
      mode: 'streamable-http',
      headers: () => ({}),
      authorizer: undefined,
      maxMessageBytes: 1024,
      clock: systemClock,
      random: Math.random,
      headersTimeoutMs: 5_000,
      onClosed: () => {},
    },
    link,
    going,
  );
  await session.start();
  const close = async () => {
    await Promise.all([going.close(), staying.close()]);
    server.closeAllConnections();
    server.close();
  };
  return { server, session, going, staying, [Symbol.asyncDispose]: close };
}

test('a session that is closed while its pod goes does not go on to another one', async () => {
  // A server without sessions, which never answers.
  await using scene = await listen();
  const { server, session, going, staying } = scene;
  const asked = once(server, 'request');
  const sent = session.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
  await asked;
  going.leave();
  await Promise.all([session.close(), sent.catch(() => {})]);
  expect([going.guests, staying.guests]).toEqual([0, 0]);
});

test('a session whose pod serves the port no more is told that the port may be why', async () => {
  const result = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 's', version: '1' } };
  await using scene = await listen(({ method }, response) => {
    if (method === 'POST') sendJson(response, 200, { jsonrpc: '2.0', id: 1, result }, { 'mcp-session-id': 'one' });
    else response.writeHead(405).end();
  });
  const { session, going } = scene;
  const lost = new Promise<Error>((resolve) => {
    session.onerror = resolve;
  });
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'c', version: '1' } };
  await session.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params });
  going.leave();
  expect(await lost).toMatchObject({
    code: 'SESSION_LOST',
    message: expect.stringMatching(
      /pod "going" .* shut down, or serves the port of the service no more; connect again/,
    ),
  });
});

test('the pods of a port that was renamed are found, though a proxy answers the first question for them', async () => {
  await using api = await FakeApiServer.listen();
  let name = 'old';
  let isProxied = true;
  const proxied = Promise.withResolvers<void>();
  const endpoints = [{ addresses: ['10.0.0.1'], targetRef: { kind: 'Pod', name: 'pod' } }];
  const slice = { metadata: { name: 'slice' }, addressType: 'IPv4', ports: [{ name: 'new', port: 8080 }], endpoints };
  api.answer = ({ url = '' }, response) => {
    if (url.includes('/services/')) sendJson(response, 200, { metadata: {}, spec: { ports: [{ name, port: 80 }] } });
    else if (url.includes('watch=')) response.writeHead(200).flushHeaders();
    else if (name === 'old' || !isProxied) sendJson(response, 200, { metadata: {}, items: [slice] });
    else response.end('<html>', () => proxied.resolve());
  };
  const clusters = new Clusters({ kubeconfig: api.kubeconfig });
  const clock = new FakeClock();
  const options = {
    cluster: await clusters.open(),
    spec: { namespace: 'home', service_name: 'a', port: 80 },
    server: 'orders',
    forward: true,
    readyTimeoutMs: 60_000,
    clock,
    random: Math.random,
    toConnections: () => ({ close: async () => {} }) as unknown as Connections,
  };
  const { signal } = new AbortController();
  const link = await ApiLink.open(options, signal);
  name = 'new';
  const taken = link.take(new Set(), { leave() {} }, signal);
  await proxied.promise;
  isProxied = false;
  // For whoever waits, and for the next one.
  while (clock.waiting < 2) await settle();
  await clock.advance(10_000);
  expect((await taken)?.name).toBe('pod "pod"');
  await link.close();
  await clusters.close();
});
