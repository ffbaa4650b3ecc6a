// #region merged
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway, loadCatalog } from 'open-mcp-gateway';

await using gateway = createGateway(await loadCatalog(new URL('merged.yaml', import.meta.url)));
const client = new Client({ name: 'my-agent', version: '1.0.0' });
await client.connect(gateway.connect());

const { tools } = await client.listTools();
const echo = tools.find(({ name }) => name === 'everything__echo');
const answer = await client.callTool({ name: 'everything__echo', arguments: { message: 'hello' } });
// #endregion merged

const servers = new Set(tools.map(({ name }) => gateway.names.toolOrigin(name)?.server));
console.log([...servers], echo?.name, answer.content);
await client.close();
