import { once } from 'node:events';
import { Agent as HttpAgent, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { expect, test, vi } from 'vitest';
import { createGateway } from '../../src/index.js';
import { createConformanceServer } from '../fixtures/conformance/server.js';
import { count } from '../support/counts.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { collectGarbage } from '../support/heap.js';
import { createHttpHost, transportKinds } from './http-host.js';
import { initialize } from './raw-client.js';

const initialized = { jsonrpc: '2.0', method: 'notifications/initialized' };
const call = { jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'fixture__test_simple_text' } };
const mebibyte = 1024 * 1024;

test.each(transportKinds)(
  '1,000 sessions that nobody ends leave nothing behind, with the transport %s',
  async (kind) => {
    const waves = count(5, 10);
    const perWave = 1_000 / waves;
    const clock = new FakeClock();
    let servers = 0;
    const server = () => {
      servers += 1;
      return createConformanceServer();
    };
    const gateway = createGateway({ servers: [{ id: 'fixture', runtime: { type: 'in-process', server } }] });
    await using host = await createHttpHost((transport, caller) => gateway.serve(transport, { caller }), {
      kind,
      clock,
    });
    using client = createClient(host.url);
    const instances = () => gateway.status('fixture').instances.length;

    const used: number[] = [];
    for (let wave = 1; wave <= waves; wave++) {
      await Promise.all(Array.from({ length: perWave }, () => client.useOnce()));
      expect(host.sessionCount).toBe(perWave);
      expect(instances()).toBe(perWave);
      await vi.waitFor(() => expect(host.openRequests).toBe(0), { timeout: 60_000 });
      await settle();
      await clock.advance(300_000);
      expect(host.sessionCount).toBe(0);
      expect(clock.waiting).toBe(0);
      await vi.waitFor(() => expect(instances()).toBe(0), { timeout: 60_000 });
      collectGarbage();
      used.push(process.memoryUsage().heapUsed);
    }
    expect(servers).toBe(waves * perWave);
    // What the first waves compile and load stays; a session takes some tens of KiB while it is there.
    const grown = Math.min(...used.slice(-2)) - Math.min(...used.slice(1, -2));
    expect(grown, used.map((bytes) => (bytes / mebibyte).toFixed(1)).join(' ')).toBeLessThan(mebibyte);
    await gateway.close();
  },
);

/** Clients on few connections, none of which says goodbye. */
function createClient(url: string) {
  const agent = new HttpAgent({ keepAlive: true, maxSockets: 4 });
  const post = async (message: object, headers: Record<string, string> = {}) => {
    const outgoing = request(url, {
      agent,
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
    });
    outgoing.end(JSON.stringify(message));
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    return { headers: incoming.headers, body: await text(incoming) };
  };
  return {
    async useOnce() {
      const { headers } = await post(initialize);
      const session = { 'mcp-session-id': String(headers['mcp-session-id']) };
      await post(initialized, session);
      const { body } = await post(call, session);
      expect(body).toContain('This is a simple text response for testing.');
    },
    [Symbol.dispose]: () => agent.destroy(),
  };
}
