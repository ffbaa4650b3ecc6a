// A server of fastmcp over Streamable HTTP, whose tool answers in this process. Tells its URL through IPC.
import { FastMCP } from 'fastmcp';
import { z } from 'zod';

const port = Number(process.argv[2]);
const server = new FastMCP({ name: 'fastmcp', version: '1.0.0' });
server.addTool({
  name: 'echo',
  description: 'echo',
  parameters: z.object({ text: z.string() }),
  execute: async ({ text }) => text,
});
await server.start({ transportType: 'httpStream', httpStream: { port, host: '127.0.0.1', endpoint: '/mcp' } });
process.send(`http://127.0.0.1:${port}/mcp`);
process.once('disconnect', () => process.exit(0));
