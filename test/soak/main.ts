// npm run soak -- [--minutes 60] [--library <file>]
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Library, loadLibrary } from '../bench/library.ts';
import { quantile } from '../bench/measure.ts';
import { Census, type Sample } from './census.ts';
import { Load, type LoadCounts } from './load.ts';
import { counted, judge, judgeEnd, lowest, toMebibytes, type Window } from './verdict.ts';

const warmUps = 2;
const windows = 6;

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '0.5' }, library: { type: 'string' } },
});
const minutes = Number(values.minutes);
if (!(minutes > 0)) {
  throw new Error(`--minutes must be a number above 0, not ${values.minutes}`);
}
const library = await loadLibrary(values.library);
const census = new Census();

console.log(toLine(['window', 'calls', 'to sick ones', 'restarts', 'p99', 'heap', 'RSS', ...counted]));
const before = await census.sample();
console.log(toLine(['before', '', '', '', '', ...toCells([before])]));
const problems = await soak(library, (minutes * 60_000) / (warmUps + windows));
// Nothing refers to the gateway any more: what is there now was left behind.
const after = await census.sample();
console.log(toLine(['after', '', '', '', '', ...toCells([after])]));
problems.push(...judgeEnd(before, after));
console.log(problems.length === 0 ? '\nnothing grew' : `\n${problems.slice(0, 20).join('\n')}`);
process.exitCode = problems.length === 0 ? 0 : 1;

/** @returns what went wrong */
async function soak(library: Library, windowMs: number): Promise<string[]> {
  const load = new Load(library, census.clock);
  // Often enough that a long window holds a quiet moment too.
  const samplesPerWindow = Math.min(20, Math.max(2, Math.round(windowMs / 30_000)));
  const seen: Window[] = [];
  await load.start();
  for (let number = 0; number < warmUps + windows; number += 1) {
    const samples: Sample[] = [];
    while (samples.length < samplesPerWindow) {
      await sleep(windowMs / samplesPerWindow);
      await load.pause();
      samples.push(await census.sample());
      load.resume();
    }
    seen.push({ warmUp: number < warmUps, samples });
    const name = number < warmUps ? 'warm-up' : String(number - warmUps + 1);
    console.log(toLine([name, ...toLoadCells(load.takeCounts()), ...toCells(samples)]));
  }
  await load.close();
  return [...new Set(load.problems), ...judge(seen)];
}

function toLoadCells({ calls, sickCalls, restarts, latencies }: LoadCounts): string[] {
  const p99 = latencies.length === 0 ? '' : `${quantile(latencies, 0.99).toFixed(1)} ms`;
  return [String(calls), String(sickCalls), String(restarts), p99];
}

function toCells(samples: readonly Sample[]): string[] {
  return [
    toMebibytes(lowest(samples, ({ heapBytes }) => heapBytes)),
    toMebibytes(lowest(samples, ({ rssBytes }) => rssBytes)),
    ...counted.map((what) => String(lowest(samples, (sample) => sample[what]))),
  ];
}

function toLine(cells: readonly string[]): string {
  return cells.map((cell) => cell.padStart(13)).join('');
}
