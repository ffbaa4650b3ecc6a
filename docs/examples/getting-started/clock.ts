import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { z } from 'zod';

/** A server that lives in the host. */
export function createClock(): McpServer {
  const server = new McpServer({ name: 'clock', version: '1.0.0' });
  server.registerTool('year', { description: 'The year of a date', inputSchema: { date: z.string() } }, ({ date }) => ({
    content: [{ type: 'text', text: String(new Date(date).getUTCFullYear()) }],
  }));
  return server;
}
