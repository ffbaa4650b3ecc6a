// #region gateway
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway } from 'open-mcp-gateway';

await using gateway = createGateway({
  servers: [
    {
      id: 'everything',
      runtime: { type: 'local-process', command: 'npx', args: ['-y', '@modelcontextprotocol/server-everything'] },
    },
  ],
});

const client = new Client({ name: 'my-host', version: '1.0.0' });
await client.connect(gateway.connect('everything')); // starts the server
console.log(await client.callTool({ name: 'echo', arguments: { message: 'hello' } }));
// #endregion gateway
