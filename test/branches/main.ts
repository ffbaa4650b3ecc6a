// npm run coverage -- [--missing] [--strict] [--keep <folder>] [tests…]
// Runs tests and tells which branches of the core they take.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { findBranches } from './branches.ts';
import { Counts } from './counts.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const parts = ['src/endpoint', 'src/instance', 'src/transport', 'src/catalog', 'src/checks'];
/** Those of the core, and of what stands on it. */
const usual = ['catalog', 'endpoint', 'gateway', 'hosts', 'instance', 'reload', 'security', 'testing', 'transport'];
const runtimes = ['in-process', 'local-process', 'remote-sse'];
const goal = 0.95;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    missing: { type: 'boolean', default: false },
    strict: { type: 'boolean', default: false },
    // A folder for what V8 counts; one that holds something is looked at, and nothing is run.
    keep: { type: 'string' },
  },
});
const tests =
  positionals.length > 0
    ? positionals
    : [...usual.map((name) => `test/${name}/`), ...runtimes.map((name) => `test/runtimes/${name}`)];
const folder = values.keep ?? mkdtempSync(join(tmpdir(), 'coverage-'));
try {
  if (values.keep === undefined || readdirSync(folder).length === 0) await run(folder);
  report(folder);
} finally {
  if (values.keep === undefined) rmSync(folder, { recursive: true, force: true });
}

async function run(into: string): Promise<void> {
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/branches/vitest.config.ts', ...tests];
  const env = { ...process.env, NODE_V8_COVERAGE: into };
  const child = spawn(process.execPath, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] });
  await new Promise((resolve) => child.once('exit', resolve));
}

function report(from: string): void {
  const counts = Counts.read(from, (url) => url.startsWith(pathToFileURL(join(root, 'src')).href));
  let met = true;
  console.log('\n| Part | Branches | Taken | Share |\n| --- | --- | --- | --- |');
  const missing: string[] = [];
  for (const part of parts) {
    let [all, taken] = [0, 0];
    for (const file of sources(part)) {
      const url = pathToFileURL(file).href;
      const branches = findBranches(readFileSync(file, 'utf8'), file, values.strict);
      const at = counts.at(
        url,
        branches.map((branch) => branch.at),
      );
      const instead = counts.at(
        url,
        branches.map((branch) => branch.insteadOf ?? 0),
      );
      for (const [index, { insteadOf, line, what }] of branches.entries()) {
        const reached = at[index] ?? 0;
        const isTaken = insteadOf === undefined ? reached > 0 : (instead[index] ?? 0) > reached;
        all += 1;
        if (isTaken) taken += 1;
        else missing.push(`${relative(root, file).split(sep).join('/')}:${line} ${what}`);
      }
    }
    met &&= taken / all >= goal;
    console.log(`| ${part} | ${all} | ${taken} | ${((taken / all) * 100).toFixed(1)} % |`);
  }
  if (values.missing) console.log(`\n${missing.join('\n')}`);
  process.exitCode = met ? 0 : 1;
}

function sources(part: string): string[] {
  return readdirSync(join(root, part), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(root, part, name))
    .sort();
}
