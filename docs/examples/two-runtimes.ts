import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway, loadCatalog } from 'open-mcp-gateway';
import { createClock } from './quickstart/clock.ts';

// #region gateway
const fromFile = await loadCatalog(new URL('./two-runtimes.yaml', import.meta.url));

await using gateway = createGateway({
  servers: [...fromFile.servers, { id: 'clock', runtime: { type: 'in-process', server: createClock } }],
});

for (const { server, ok, problems } of await gateway.check()) {
  console.log(server, ok ? 'can be started' : problems);
}
// #endregion gateway

// #region connect
const client = new Client({ name: 'my-host', version: '1.0.0' });
await client.connect(gateway.connect('clock'));
console.log(await client.callTool({ name: 'year', arguments: { date: '2026-07-28' } }));
// #endregion connect
