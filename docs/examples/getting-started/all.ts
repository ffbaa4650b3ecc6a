// #region file
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway, loadCatalog } from 'open-mcp-gateway';
import { createClock } from './clock.ts';

// #region gateway
const fromFile = await loadCatalog('servers.yaml');

await using gateway = createGateway({
  servers: [...fromFile.servers, { id: 'clock', runtime: { type: 'in-process', server: createClock } }],
});

for (const { server, ok, problems } of await gateway.check()) {
  console.log(server, ok ? 'can be started' : problems);
}

const client = new Client({ name: 'my-host', version: '1.0.0' });
await client.connect(gateway.connect()); // all servers as one

for (const name of ['local__echo', 'remote__echo']) {
  console.log(name, await client.callTool({ name, arguments: { message: 'hello' } }));
}
console.log('clock__year', await client.callTool({ name: 'clock__year', arguments: { date: '2026-07-28' } }));
// #endregion gateway
// #endregion file
