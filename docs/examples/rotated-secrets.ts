import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { createGateway, type GatewayCatalog, type RuntimeContext } from 'open-mcp-gateway';

function server({ env }: RuntimeContext): McpServer {
  const search = new McpServer({ name: 'search', version: '1.0.0' });
  search.registerTool('key', {}, () => ({ content: [{ type: 'text', text: `the key is ${env.API_KEY}` }] }));
  return search;
}
const catalog: GatewayCatalog = {
  servers: [{ id: 'search', env: { API_KEY: '${SEARCH_KEY}' }, runtime: { type: 'in-process', server } }],
};
const folder = await mkdtemp(join(tmpdir(), 'rotated-secrets-'));
const keyFile = join(folder, 'search-key');

// #region env
await using gateway = createGateway(catalog, {
  env: async () => ({ ...process.env, SEARCH_KEY: (await readFile(keyFile, 'utf8')).trim() }),
});
// #endregion env

try {
  for (const key of ['old', 'new']) {
    await writeFile(keyFile, `${key}\n`);
    const client = new Client({ name: 'example', version: '1.0.0' });
    await client.connect(gateway.connect('search'));
    console.log(JSON.stringify((await client.callTool({ name: 'key' })).content));
    await client.close();
  }
} finally {
  await rm(folder, { recursive: true });
}
