import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs a program of the tests that uses the built package, as its npm script does; `output` is of both streams. */
export async function runBuilt(...args: string[]): Promise<{ code: number | null; output: string }> {
  if (!existsSync(`${root}/dist/index.js`)) {
    throw new Error('this runs the built package: run `npm run build` first');
  }
  const child = spawn(process.execPath, args, { cwd: root });
  let output = '';
  const keep = (chunk: Buffer) => {
    output += chunk.toString();
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, output };
}
