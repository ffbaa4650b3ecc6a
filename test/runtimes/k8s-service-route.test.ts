import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/options.js';
import { ServiceSession } from '../../src/runtimes/k8s-service/session.js';
import { dialAddress, Target } from '../../src/runtimes/k8s-service/target.js';
import { Connections } from '../../src/transport/http/connections.js';
import { loadUndici } from '../../src/transport/http/load.js';

test('a session that is closed while its pod goes does not go on to another one', async () => {
  // A server without sessions, which never answers.
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const undici = await loadUndici();
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
  const asked = once(server, 'request');
  const sent = session.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
  await asked;
  going.leave();
  await Promise.all([session.close(), sent.catch(() => {})]);
  expect([going.guests, staying.guests]).toEqual([0, 0]);
  await Promise.all([going.close(), staying.close()]);
  server.closeAllConnections();
  server.close();
});
