/**
 * A host that speaks MCP on stdin and stdout: every server of a catalog as one.
 *
 *     node stdio.ts catalog.yaml
 *
 * Stdout belongs to the protocol, so whatever there is to say goes to stderr.
 */
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { createGateway, loadCatalog } from 'open-mcp-gateway';

const path = process.argv[2];
if (path === undefined) {
  console.error('usage: node stdio.ts <catalog>');
  process.exit(2);
}

const gateway = createGateway(await loadCatalog(path));

let closing = false;

/** Ends the session and every server that the gateway started; then nothing is left to wait for, and Node exits. */
async function close(): Promise<void> {
  if (closing) return;
  closing = true;
  try {
    await gateway.close();
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
  process.stdin.destroy();
}

// The client is done when it closes our stdin; when it has died, writing to stdout fails.
process.stdin.once('end', close);
process.stdout.on('error', close);
// Heard once: a second signal ends the process at once.
process.once('SIGTERM', close);
process.once('SIGINT', close);

await gateway.serve(new StdioServerTransport());
