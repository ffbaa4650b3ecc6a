import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'tsup';

/** A program of the tests with all that it imports, but what is `outside`, as one file that a container can be given. */
export async function bundle(file: string, outside: readonly string[] = []): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'bundle-'));
  try {
    await build({
      entry: { server: file },
      format: 'esm',
      outDir: dir,
      outExtension: () => ({ js: '.mjs' }),
      platform: 'node',
      target: 'node22',
      noExternal: [outside.length === 0 ? /.*/ : new RegExp(`^(?!(?:${outside.join('|')})$)`)],
      external: [...outside],
      splitting: false,
      minify: true,
      config: false,
      silent: true,
    });
    return await readFile(join(dir, 'server.mjs'), 'utf8');
  } finally {
    await rm(dir, { recursive: true });
  }
}
