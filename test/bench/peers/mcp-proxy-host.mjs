// mcp-proxy in front of a server over stdio: its command comes as the arguments. Tells its URL through IPC.
import { fileURLToPath } from 'node:url';

const [, , port, ...command] = process.argv;
const file = fileURLToPath(new URL('node_modules/mcp-proxy/dist/bin/mcp-proxy.mjs', import.meta.url));
// Its command line is what users run.
process.argv = [process.argv[0], file, '--server', 'stream', '--host', '127.0.0.1', '--port', port, '--', ...command];
await import(file);
const url = `http://127.0.0.1:${port}/mcp`;
for (;;) {
  try {
    await fetch(url, { method: 'OPTIONS' });
    break;
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
process.send(url);
process.once('disconnect', () => process.exit(0));
