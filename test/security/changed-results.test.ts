import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { createGateway, type Gateway } from '../../src/index.js';
import type { JSONRPCMessage } from '../../src/sdk.js';

type Params = Record<string, unknown>;
type Way = 'merged' | 'legacy' | 'modern' | 'raw';

const hello = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'c', version: '1' } };
const prefix = 'io.modelcontextprotocol';
const _meta = {
  [`${prefix}/protocolVersion`]: '2026-07-28',
  [`${prefix}/clientInfo`]: hello.clientInfo,
  [`${prefix}/clientCapabilities`]: {},
};

/** What a caller reads first: the object itself, as any caller in this process gets it. */
async function read(gateway: Gateway, way: Way, id: string): Promise<Params[]> {
  const caller = { id };
  const transport =
    way === 'merged'
      ? gateway.connect({ caller })
      : gateway.connect('s', { caller, ...(way !== 'raw' && { era: way }) });
  const waiting = new Map<unknown, (result: Params) => void>();
  transport.onmessage = (message) => 'result' in message && waiting.get(message.id)?.(message.result);
  await transport.start();
  const results: Params[] = [];
  const ask = async (method: string, params: Params) => {
    const { promise, resolve } = Promise.withResolvers<Params>();
    waiting.set(results.length, resolve);
    await transport.send({ jsonrpc: '2.0', id: results.length, method, params } as JSONRPCMessage);
    results.push(await promise);
  };
  await (way === 'modern' ? ask('server/discover', { _meta }) : ask('initialize', hello));
  for (const kind of ['tools', 'prompts', 'resources']) {
    await ask(`${kind}/list`, way === 'modern' ? { _meta } : {});
  }
  return results;
}

/** As a host does that makes schemas stricter in place, or adds to what it shows. */
function change(value: unknown): void {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(change);
    if (!Array.isArray(value)) (value as Params).changed = true;
  }
}

const changed = '"changed"';

/** The first caller, who gets nothing that somebody has changed before. */
async function readAndChange(gateway: Gateway, way: Way): Promise<Params[]> {
  const results = await read(gateway, way, 'first');
  expect(JSON.stringify(results)).not.toContain(changed);
  results.forEach(change);
  expect(JSON.stringify(results)).toContain(changed);
  return results;
}

function server(): McpServer {
  const server = new McpServer({ name: 's', version: '1' });
  server.registerTool('a', { inputSchema: { of: z.string() } }, () => ({ content: [] }));
  server.registerPrompt('a', { argsSchema: { of: z.string() } }, () => ({ messages: [] }));
  server.registerResource('a', 'a:a', { _meta: { of: { text: 't' } } }, () => ({ contents: [] }));
  return server;
}

test.each(
  (['merged', 'legacy', 'modern', 'raw'] as const).flatMap((way) =>
    (['shared', 'caller'] as const).map((isolation) => [way, isolation] as const),
  ),
)('what a caller changes in what it has read, no other gets to see: %s, isolation %s', async (way, isolation) => {
  await using gateway = createGateway({ servers: [{ id: 's', isolation, runtime: { type: 'in-process', server } }] });
  const first = await readAndChange(gateway, way);

  const second = await read(gateway, way, 'second');

  expect(second).toHaveLength(first.length);
  expect(JSON.stringify(second)).not.toContain(changed);
});

test('nor do callers of another gateway', async () => {
  const catalog = { servers: [{ id: 's', runtime: { type: 'in-process', server } }] } as const;
  await using one = createGateway(catalog);
  await using other = createGateway(catalog);
  await readAndChange(one, 'merged');

  expect(JSON.stringify(await read(other, 'merged', 'second'))).not.toContain(changed);
});
