import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** A project that has installed the packed tarball, with the dependencies and peers it names and nothing else. */
export interface PackedProject extends Disposable {
  readonly folder: string;
  /** Puts a package of this repository's installation beside it. */
  link(name: string): void;
  /** Runs a program in the project and returns what it wrote, on stderr too. */
  run(extension: 'mjs' | 'cjs', program: string, ...flags: string[]): string;
}

/** The folders of the packages that a package brings along, itself left out: what `npm install` puts beside it. */
export function dependenciesOf(folder: string, found = new Set<string>()): Set<string> {
  const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    dependencies?: Record<string, string>;
  };
  for (const name of Object.keys(dependencies)) {
    const nested = join(folder, 'node_modules', name);
    const place = existsSync(nested) ? nested : join(root, 'node_modules', name);
    if (!found.has(place)) dependenciesOf(place, found.add(place));
  }
  return found;
}

export function createPackedProject(): PackedProject {
  if (!existsSync(join(root, 'dist/index.js'))) {
    throw new Error('these tests read the built package: run `npm run build` first');
  }
  const folder = mkdtempSync(join(tmpdir(), 'open-mcp-gateway-package-'));
  const installed = join(folder, 'node_modules/open-mcp-gateway');
  mkdirSync(installed, { recursive: true });
  execFileSync('npm', ['pack', '--silent', '--offline', '--pack-destination', folder], { cwd: root });
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'));
  if (tarball === undefined) throw new Error('npm pack wrote no tarball');
  execFileSync('tar', ['-xzf', join(folder, tarball), '-C', installed, '--strip-components=1']);

  const link = (name: string) => {
    const path = join(folder, 'node_modules', name);
    mkdirSync(join(path, '..'), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), path, 'dir');
  };
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Record<string, object>;
  Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }).forEach(link);

  return {
    folder,
    link,
    run(extension, program, ...flags) {
      const file = join(folder, `program.${extension}`);
      writeFileSync(file, program);
      // stderr is sent to stdout, so that a warning shows in the comparison.
      return execFileSync('sh', ['-c', 'exec "$@" 2>&1', 'sh', process.execPath, ...flags, file], {
        cwd: folder,
        encoding: 'utf8',
      }).trim();
    },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}
