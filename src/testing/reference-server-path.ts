import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The absolute path of the reference server as a program: `node <path> <args…>`. The file needs nothing but Node, so it
 * can be copied to where a runtime starts its servers.
 */
export function referenceServerPath(): string {
  // `__dirname` in the CommonJS build, `import.meta` in the other and in the sources.
  const here = typeof __dirname === 'string' ? __dirname : dirname(fileURLToPath(import.meta.url));
  const source = join(here, 'reference-server.ts');
  return existsSync(source) ? source : join(here, 'reference-server.js');
}
