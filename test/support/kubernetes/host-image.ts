import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'tsup';
import { bundle } from '../bundle.js';
import { baseImage } from '../real-parts.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../..', import.meta.url));

/** An image of the local engine that holds a host application: a program, and the library as it is published. */
export class HostImage implements AsyncDisposable {
  readonly tag: string;

  private constructor(tag: string) {
    this.tag = tag;
  }

  /**
   * Builds the library, and puts it with its dependencies and `program` (as `/app/host.mjs`) into an image.
   *
   * @param program - a file whose import of `open-mcp-gateway` stays an import
   */
  static async build(tag: string, program: string): Promise<HostImage> {
    const folder = await mkdtemp(join(tmpdir(), 'host-image-'));
    try {
      const modules = join(folder, 'node_modules');
      const library = join(modules, 'open-mcp-gateway');
      await build({
        entry: { index: join(root, 'src/index.ts') },
        format: 'esm',
        outDir: join(library, 'dist'),
        target: 'node22.19',
        treeshake: true,
        config: false,
        silent: true,
      });
      await cp(join(root, 'package.json'), join(library, 'package.json'));
      for (const name of Object.keys((await readManifest(root)).dependencies ?? {}))
        await copyPackage(name, root, modules);
      await copyPackage('@kubernetes/client-node', root, modules);
      await writeFile(join(folder, 'host.mjs'), await bundle(program, ['open-mcp-gateway']));
      await writeFile(join(folder, 'Dockerfile'), `FROM ${baseImage}\nCOPY . /app/\n`);
      await run('docker', ['build', '--quiet', '--tag', tag, folder]);
      return new HostImage(tag);
    } finally {
      await rm(folder, { recursive: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('docker', ['image', 'rm', '--force', this.tag]);
  }
}

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
}

async function readManifest(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Manifest;
}

/** Copies a package that `from` would load, and what it depends on, to where everybody finds it. */
async function copyPackage(name: string, from: string, modules: string): Promise<void> {
  const to = join(modules, name);
  if (await exists(to)) return;
  const folder = await findPackage(name, from);
  await mkdir(dirname(to), { recursive: true });
  await cp(folder, to, { recursive: true, filter: (path) => !/\.(?:d\.[cm]?ts|map)$/.test(path) });
  for (const next of Object.keys((await readManifest(folder)).dependencies ?? {}))
    await copyPackage(next, folder, modules);
}

async function findPackage(name: string, from: string): Promise<string> {
  for (let at = from; ; at = dirname(at)) {
    const folder = join(at, 'node_modules', name);
    if (await exists(folder)) return folder;
    if (at === dirname(at)) throw new Error(`${from} does not find ${name}`);
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
