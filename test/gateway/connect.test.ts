import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { expect, test } from 'vitest';
import { createGateway, type Gateway, GatewayError, type GatewayEvent, parseCatalog } from '../../src/index.js';
import type { Transport } from '../../src/sdk.js';
import { referenceServerPath } from '../../src/testing/index.js';
import { settledHeap } from '../support/heap.js';

const reference = (mode = 'echo') => ({
  type: 'local-process' as const,
  command: process.execPath,
  args: [referenceServerPath(), mode],
});

test('an SDK client calls a server that the gateway starts', async () => {
  const events: GatewayEvent[] = [];
  const gateway = createGateway(
    { servers: [{ id: 'ref', runtime: reference() }] },
    { onEvent: (event) => events.push(event) },
  );
  expect(gateway.status('ref').phase).toBe('idle');
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(gateway.connect('ref'));
  expect(gateway.status('ref')).toMatchObject({ phase: 'ready', inFlight: 0 });
  expect((await client.listTools()).tools.length).toBeGreaterThan(0);
  await client.close();
  expect(gateway.status('ref')).toMatchObject({ phase: 'idle', instances: [] });
  await gateway.close();
  expect(events.filter((event) => event.type === 'phase').map((event) => event.to)).toEqual([
    'starting',
    'ready',
    'stopping',
    'idle',
  ]);
});

test('an in-process server works the same way', async () => {
  await using gateway = createGateway({
    servers: [
      {
        id: 'mine',
        runtime: {
          type: 'in-process',
          server: () => {
            const server = new McpServer({ name: 'mine', version: '1' });
            server.registerTool('hi', {}, () => ({ content: [{ type: 'text', text: 'hello' }] }));
            return server;
          },
        },
      },
    ],
  });
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(gateway.connect('mine'));
  expect(await client.callTool({ name: 'hi' })).toMatchObject({ content: [{ text: 'hello' }] });
});

test.each<[string, (gateway: Gateway) => Transport]>([
  ['merged', (gateway) => gateway.connect()],
  ['raw', (gateway) => gateway.connect('ref')],
  ['raw, of one era', (gateway) => gateway.connect('ref', { era: 'legacy' })],
  ['raw, of the other era', (gateway) => gateway.connect('ref', { era: 'modern' })],
])(
  'a transport that nobody starts is not kept, and cannot be started once the gateway is closed: %s',
  async (_, connect) => {
    const gateway = createGateway({ servers: [{ id: 'ref', runtime: reference() }] });
    const dropped = Array.from({ length: 10 }, () => new WeakRef(connect(gateway)));
    const kept = connect(gateway);
    let closed = 0;
    kept.onclose = () => {
      closed += 1;
    };
    await settledHeap();
    expect(dropped.filter((transport) => transport.deref() !== undefined)).toEqual([]);
    await gateway.close();
    await expect(kept.start()).rejects.toMatchObject({ code: 'GATEWAY_CLOSED' });
    expect(closed).toBe(1);
  },
);

test('an unknown server is refused in connect', () => {
  const gateway = createGateway({ servers: [] });
  expect(() => gateway.connect('nobody')).toThrow(GatewayError);
});

test('a command that does not exist fails the start, after onclose, and names the command', async () => {
  await using gateway = createGateway(
    await parseCatalog(`servers:
  - id: broken
    runtime: { type: local-process, command: no-such-program }`),
  );
  const transport = gateway.connect('broken');
  const calls: string[] = [];
  transport.onclose = () => calls.push('close');
  await expect(transport.start()).rejects.toThrow(/"broken": command "no-such-program" was not found/);
  expect(calls).toEqual(['close']);
  expect(gateway.status('broken')).toMatchObject({ phase: 'failed', lastError: { code: 'START_FAILED' } });
});
