import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs the chaos as `npm run chaos` does. */
export async function chaos(...args: string[]): Promise<{ code: number | null; output: string }> {
  if (!existsSync(`${root}/dist/index.js`)) {
    throw new Error('the chaos runs the built package: run `npm run build` first');
  }
  const child = spawn(process.execPath, ['test/chaos/main.ts', ...args], { cwd: root });
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

/** How many calls of an entry were answered. */
function answered(output: string, entry: string): number {
  return Number(new RegExp(`\\| ${entry} +\\| \\d+ +\\| (\\d+)`).exec(output)?.[1] ?? 0);
}

/** Runs it on some runtimes: nothing may be lost or left, and calls of each of the entries answered. */
export async function expectClean(minutes: number, runtimes: string, ...entries: string[]): Promise<void> {
  const { code, output } = await chaos('--minutes', String(minutes), '--runtimes', runtimes);
  console.log(output.slice(0, output.indexOf('\n')));
  expect(code, output).toBe(0);
  expect(output).toMatch(/\nnothing is left, lost, doubled or misdelivered\n$/);
  for (const entry of entries) expect(answered(output, entry), output).toBeGreaterThan(0);
}
