import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

/** A host program of `test/fixtures/hosts` in a process of its own. */
export interface Host {
  readonly child: ChildProcess;
  /** The lines it writes to stdout. */
  readonly lines: AsyncIterator<string>;
  /** All it wrote to stderr so far. */
  stderr(): string;
  /** Resolves when it has ended, to its exit code or signal; kills it, and rejects, when that takes too long. */
  ended(guardMs: number): Promise<number | string>;
}

/** Options of a host that measures its memory. What grows then is what is held, and not what was not collected yet on a busy machine. */
export const measuresMemory = ['--expose-gc', '--max-semi-space-size=4'];

/** @param within - a command that runs the one which follows it */
export function startHost(
  name: string,
  args: readonly string[] = [],
  nodeOptions: readonly string[] = [],
  within: readonly string[] = [],
): Host {
  const hook = path('./resolve-sources.mjs');
  const [command = process.execPath, ...before] = [...within, process.execPath];
  const child = spawn(
    command,
    [
      ...before,
      '--no-warnings',
      '--experimental-transform-types',
      ...nodeOptions,
      '--import',
      hook,
      path(`../fixtures/hosts/${name}.ts`),
      ...args,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const exit = once(child, 'exit') as Promise<[number | null, string | null]>;
  return {
    child,
    lines: createInterface({ input: child.stdout })[Symbol.asyncIterator](),
    stderr: () => errors,
    async ended(guardMs) {
      let late = false;
      const guard = setTimeout(() => {
        late = true;
        child.kill('SIGKILL');
      }, guardMs);
      const [code, signal] = await exit;
      clearTimeout(guard);
      if (late) {
        throw new Error(`the host ${name} did not end within ${guardMs} ms: ${errors}`);
      }
      return code ?? signal ?? 'unknown';
    },
  };
}
