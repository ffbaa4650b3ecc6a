import { expect } from 'vitest';
import { runBuilt } from '../support/run-built.js';

/** Runs the chaos as `npm run chaos` does. */
export const chaos = (...args: string[]) => runBuilt('test/chaos/main.ts', ...args);

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
