/**
 * Builds the image of `Dockerfile`, runs the server of `catalog.yaml` in a container, calls its tool, and ends everything.
 * `BASE` names another image with Node to build on.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway, loadCatalog } from 'open-mcp-gateway';

const folder = fileURLToPath(new URL('.', import.meta.url));
const base = process.env.BASE === undefined ? [] : ['--build-arg', `BASE=${process.env.BASE}`];
execFileSync('docker', ['build', '--quiet', '--tag', 'open-mcp-gateway/words:example', ...base, folder], {
  stdio: ['ignore', 'ignore', 'inherit'],
});

const containers = () => {
  const filter = 'ancestor=open-mcp-gateway/words:example';
  return execFileSync('docker', ['ps', '--all', '--quiet', '--filter', filter], { encoding: 'utf8' }).trim();
};

const gateway = createGateway(await loadCatalog(new URL('./catalog.yaml', import.meta.url)));
try {
  const [check] = await gateway.check();
  console.log(check?.ok ? 'the engine can start it' : check?.problems.join('\n'));

  const client = new Client({ name: 'example', version: '1.0.0' });
  const start = performance.now();
  await client.connect(gateway.connect('words'));
  console.log(`ready after ${Math.round(performance.now() - start)} ms, in container ${containers()}`);

  const result = await client.callTool({ name: 'count_words', arguments: {} });
  console.log((result.content as { text: string }[])[0]?.text);
} finally {
  await gateway.close();
}
console.log(containers() === '' ? 'no container is left' : `left: ${containers()}`);
