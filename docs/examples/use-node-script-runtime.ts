import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway } from 'open-mcp-gateway';
import { NodeScriptRuntime } from './node-script-runtime.ts';

const script = 'node_modules/@modelcontextprotocol/server-everything/dist/index.js';

// #region gateway
await using gateway = createGateway(
  { servers: [{ id: 'everything', runtime: { type: 'node-script', script } }] },
  { runtimes: [new NodeScriptRuntime()] },
);
// #endregion gateway

const client = new Client({ name: 'my-host', version: '1.0.0' });
await client.connect(gateway.connect('everything'));
console.log((await client.listTools()).tools.length > 0);
