import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('convert', import.meta.url)));

// #region convert
import { readFile } from 'node:fs/promises';
import { createGateway, toCatalog } from 'open-mcp-gateway';

const config = JSON.parse(await readFile('.mcp.json', 'utf8'));
await using gateway = createGateway(
  toCatalog(config, { onIgnored: (path, reason) => console.warn(`${path}: ${reason}`) }),
);
// #endregion convert

await gateway.start('My-Tools');
console.log(gateway.status('My-Tools').phase);
