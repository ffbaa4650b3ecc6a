// The SDK's own server over Streamable HTTP, whose tools answer in this process. Tells its URL through IPC.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';

const transports = new Map();

async function begin() {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: () => randomUUID(),
    onsessioninitialized: (id) => void transports.set(id, transport),
  });
  const mcp = new McpServer({ name: 'sdk', version: '1' });
  mcp.registerTool('echo', { inputSchema: { text: z.string() } }, ({ text }) => ({
    content: [{ type: 'text', text }],
  }));
  await mcp.connect(transport);
  return transport;
}

// Connections rest while the other host is measured; one that is closed just then would fail a call.
const server = createServer({ keepAliveTimeout: 600_000 }, async (request, response) => {
  const transport = transports.get(request.headers['mcp-session-id']) ?? (await begin());
  await transport.handleRequest(request, response);
});
server.listen(0, '127.0.0.1', () => process.send(`http://127.0.0.1:${server.address().port}/`));

process.once('disconnect', () => {
  server.close();
  server.closeAllConnections();
});
