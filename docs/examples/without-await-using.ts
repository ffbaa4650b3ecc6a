import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway, loadCatalog } from 'open-mcp-gateway';

// #region gateway
const catalog = await loadCatalog(new URL('./two-runtimes.yaml', import.meta.url));
const gateway = createGateway(catalog, { env: { GREETING: 'hello' } });
try {
  const client = new Client({ name: 'my-host', version: '1.0.0' });
  await client.connect(gateway.connect('everything'));
  console.log(gateway.status('everything').phase);
} finally {
  await gateway.close();
}
// #endregion gateway
