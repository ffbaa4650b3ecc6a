import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway, loadCatalog } from 'open-mcp-gateway';

const gateway = createGateway(await loadCatalog('catalog.yaml'));
try {
  const client = new Client({ name: 'my-host', version: '1.0.0' });
  await client.connect(gateway.connect('everything')); // starts the server
  const { content } = await client.callTool({ name: 'echo', arguments: { message: 'hello' } });
  console.log(content);
} finally {
  await gateway.close();
}
