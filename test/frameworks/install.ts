import { execFile } from 'node:child_process';
import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
const quiet = ['--no-audit', '--no-fund', '--ignore-scripts'];

/** Installs what the lock file of a folder says. */
export async function install(folder: string): Promise<void> {
  await run('npm', ['ci', ...quiet], { cwd: folder });
}

/** Installs the library into a folder beside what is there, from its tarball as a user would from the registry. */
export async function addPackage(folder: string, tarball: string): Promise<void> {
  await run('npm', ['install', '--no-save', '--no-package-lock', ...quiet, tarball], { cwd: folder });
}

/** Packs the build of this repository into a folder of its own. */
export async function pack(): Promise<{ readonly folder: string; readonly tarball: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'open-mcp-gateway-pack-'));
  await run('npm', ['pack', '--silent', '--offline', '--pack-destination', folder], { cwd: root });
  const [name] = await readdir(folder);
  if (name === undefined) throw new Error('npm pack wrote no tarball');
  return { folder, tarball: join(folder, name) };
}
