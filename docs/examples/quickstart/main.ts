/**
 * Starts or reaches the servers of `catalog.yaml` and one in this process, asks each for its tools, calls one tool on each,
 * and ends everything.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway, type GatewayCatalog, loadCatalog } from 'open-mcp-gateway';
import { createClock } from '../getting-started/clock.ts';
import { createProcessCount } from './process-count.ts';
import { startRemoteServers } from './remote-servers.ts';
import { formatTable } from './table.ts';

const calls = [
  { server: 'everything', tool: 'echo', arguments: { message: 'hello' } },
  { server: 'files', tool: 'read_text_file', arguments: { path: 'hello.txt' } },
  {
    server: 'memory',
    tool: 'create_entities',
    arguments: { entities: [{ name: 'gateway', entityType: 'library', observations: ['runs MCP servers'] }] },
  },
  { server: 'units', tool: 'fahrenheit', arguments: { celsius: 40 } },
  { server: 'words', tool: 'count', arguments: { text: 'runs and reaches MCP servers' } },
  { server: 'clock', tool: 'year', arguments: { date: '2026-07-28' } },
];

const began = performance.now();
const processes = createProcessCount();
const folder = await mkdtemp(join(tmpdir(), 'quickstart-'));
const token = randomUUID();
const remote = await startRemoteServers(token);
const fromFile = await loadCatalog(new URL('./catalog.yaml', import.meta.url));
const catalog = {
  servers: [
    ...fromFile.servers,
    { id: 'clock', display_name: 'In this process', runtime: { type: 'in-process', server: createClock } },
  ],
} satisfies GatewayCatalog;

const gateway = createGateway(catalog, {
  env: {
    MEMORY_FILE: join(folder, 'memory.jsonl'),
    UNITS_URL: remote.streamableUrl,
    UNITS_TOKEN: token,
    WORDS_URL: remote.sseUrl,
  },
});
try {
  const clients = await Promise.all(
    calls.map(async ({ server }) => {
      const client = new Client({ name: 'quickstart', version: '1.0.0' });
      const start = performance.now();
      await client.connect(gateway.connect(server));
      return { server, client, startMs: performance.now() - start };
    }),
  );

  const rows = await Promise.all(
    clients.map(async ({ server, client, startMs }) => {
      const { tools } = await client.listTools();
      const { displayName, phase } = gateway.status(server);
      return [server, displayName, phase, `${Math.round(startMs)} ms`, String(tools.length)];
    }),
  );
  console.log(formatTable(['server', 'name', 'phase', 'started in', 'tools'], rows));

  for (const [index, { server, tool, arguments: args }] of calls.entries()) {
    const result = await clients[index]?.client.callTool({ name: tool, arguments: args });
    console.log(`\n${server} ${tool} answers:\n  ${textOf(result).replaceAll('\n', '\n  ')}`);
  }
  console.log(`\n${processes.count()} processes run now, ${remote.sessions()} sessions over HTTP are open`);
} finally {
  await gateway.close();
  await remote.close();
  console.log(`\n${remote.sessions()} sessions over HTTP left`);
  await rm(folder, { recursive: true });
}
console.log(`${processes.count()} processes left after ${((performance.now() - began) / 1000).toFixed(1)} s`);

function textOf(result: unknown): string {
  const { content, isError } = result as { content: { type: string; text?: string }[]; isError?: boolean };
  const text = content.map((item) => item.text ?? `(${item.type})`).join('\n');
  if (isError) throw new Error(text);
  return text.trim();
}
