import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a file of `docs/examples` as a user would: with Node alone, against the built package. */
export async function runExample(file: string, ...flags: string[]): Promise<Outcome> {
  if (!existsSync(`${root}/dist/index.js`)) {
    throw new Error('examples import the built package: run `npm run build` first');
  }
  const child = spawn(process.execPath, [...flags, `docs/examples/${file}`], {
    cwd: root,
    // Without this Node's own test runner would report to a parent that is none.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, stdout, stderr };
}
