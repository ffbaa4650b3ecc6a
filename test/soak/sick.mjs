// An MCP server that does not live long.
//
//   sick.mjs early    exits before it answers initialize
//   sick.mjs late     exits after it has answered initialize
//   sick.mjs called   exits when a tool is called
//   sick.mjs killed   kills itself when a tool is called
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

const mode = process.argv[2];
if (mode === 'early') {
  process.stderr.write('cannot go on\n');
  process.exit(3);
}
for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (method === 'initialize') {
    const { protocolVersion } = params;
    const serverInfo = { name: 'sick', version: '1' };
    const result = { protocolVersion, capabilities: { tools: {} }, serverInfo };
    // Synchronous, so that it is written before the end.
    writeSync(1, `${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`);
    if (mode === 'late') {
      process.exit(4);
    }
  } else if (method === 'tools/call') {
    if (mode === 'killed') {
      process.kill(process.pid, 'SIGKILL');
    }
    process.exit(5);
  }
}
