// npm run mutation -- [--only <part of a file's name>] [--sample <share, as 0.2>] [--at-once 2]
// Changes the routing of the endpoint and the framing of the transports in small ways, one at a time, and tells which of
// these changes no test notices. What is known to survive, and why, stands in survivors.md.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createRandom } from '../../src/testing/random.ts';
import { findMutants, type Mutant } from './mutants.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const goal = 0.8;
const longestMs = 90_000;

const routing = ['test/endpoint/routing.test.ts', 'test/endpoint/tasks.test.ts'];
const framing = ['line-buffer', 'line-writer', 'stream-transport', 'http/event-parser'].map(
  (name) => `test/transport/${name}.test.ts`,
);
/** By part, the files and the tests that concern them: quick ones first, as the first that fails ends the run. */
const parts: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  'routing of src/endpoint': {
    'src/endpoint/router.ts': [...routing, 'test/hosts/param-headers.test.ts', 'test/endpoint/names.test.ts'],
    'src/endpoint/names.ts': ['test/endpoint/names.test.ts', ...routing],
    'src/endpoint/resource-owners.ts': ['test/endpoint/resource-owners.test.ts', ...routing],
  },
  'framing of src/transport': {
    'src/transport/line-buffer.ts': framing.slice(0, 1),
    'src/transport/pieces.ts': ['test/transport/pieces.test.ts', ...framing.slice(0, 1), ...framing.slice(3)],
    'src/transport/long-strings.ts': ['test/transport/long-strings.test.ts', 'test/transport/message-json.test.ts'],
    'src/transport/pieced-bytes.ts': ['test/transport/pieced-bytes.test.ts', ...framing.slice(0, 1)],
    'src/transport/http/event-parser.ts': framing.slice(3),
  },
};

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    sample: { type: 'string', default: '1' },
    'at-once': { type: 'string', default: '2' },
  },
});
const random = createRandom(1);

interface Work {
  readonly part: string;
  readonly file: string;
  readonly tests: readonly string[];
  readonly mutant: Mutant;
}

const work: Work[] = Object.entries(parts).flatMap(([part, files]) =>
  Object.entries(files)
    .filter(([file]) => file.includes(values.only))
    .flatMap(([file, tests]) =>
      findMutants(readFileSync(join(root, file), 'utf8'), file)
        .filter(() => random() < Number(values.sample))
        .map((mutant) => ({ part, file, tests, mutant })),
    ),
);
for (const tests of new Set(work.map((one) => one.tests.join(' ')))) {
  if ((await runTests(tests.split(' '), undefined)) !== 'survived')
    throw new Error(`without a mutant these fail: ${tests}`);
}
const scores = new Map<string, { all: number; noticed: number }>();
const survivors: string[] = [];
let next = 0;
await Promise.all(
  Array.from({ length: Number(values['at-once']) }, async () => {
    for (let one = work[next++]; one !== undefined; one = work[next++]) {
      const { part, file, tests, mutant } = one;
      const outcome = await runTests(tests, { ...mutant, file: join(root, file) });
      const score = scores.get(file) ?? { all: 0, noticed: 0 };
      scores.set(file, { all: score.all + 1, noticed: score.noticed + Number(outcome !== 'survived') });
      if (outcome === 'survived') {
        survivors.push(`${file}:${mutant.line} ${mutant.what}`);
        console.error(`${next}/${work.length} ${part}: ${survivors.at(-1)}`);
      }
    }
  }),
);
console.log('| File | Mutants | Noticed | Share |\n| --- | --- | --- | --- |');
for (const [file, { all, noticed }] of scores)
  console.log(`| ${file} | ${all} | ${noticed} | ${percent(noticed, all)} |`);
for (const [part, files] of Object.entries(parts)) {
  const all = Object.keys(files).flatMap((file) => scores.get(file) ?? []);
  const [total, noticed] = [sum(all.map((one) => one.all)), sum(all.map((one) => one.noticed))];
  if (total === 0) continue;
  console.log(`| **${part}** | ${total} | ${noticed} | ${percent(noticed, total)} |`);
  if (noticed / total < goal) process.exitCode = 1;
}
console.log(`\nNoticed by no test:\n${survivors.sort().join('\n')}`);

async function runTests(tests: readonly string[], mutant: object | undefined): Promise<'survived' | 'noticed'> {
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/mutation/vitest.config.ts', ...tests];
  const env = { ...process.env, ...(mutant !== undefined && { MUTANT: JSON.stringify(mutant) }) };
  // In a group of its own, so that the workers of a run that hangs end with it.
  const child = spawn(process.execPath, args, { cwd: root, env, stdio: 'ignore', detached: true });
  const timer = setTimeout(() => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL'), longestMs);
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  clearTimeout(timer);
  return code === 0 ? 'survived' : 'noticed';
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

function percent(part: number, whole: number): string {
  return `${((part / whole) * 100).toFixed(1)} %`;
}
