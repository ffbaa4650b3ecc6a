// npm run soak -- [--minutes 60] [--library <file>]
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Lag, type Lags } from '../bench/lag.ts';
import { type Library, loadLibrary } from '../bench/library.ts';
import { quantile } from '../bench/measure.ts';
import { Census, type Sample } from './census.ts';
import { Load, type LoadCounts } from './load.ts';
import { counted, judge, judgeEnd, judgeLong, lowest, rssRise, toMebibytes, type Window } from './verdict.ts';

const warmUps = 2;
const windowMinutes = 5;

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '0.5' }, library: { type: 'string' } },
});
const minutes = Number(values.minutes);
if (!(minutes > 0)) {
  throw new Error(`--minutes must be a number above 0, not ${values.minutes}`);
}
// An hour has windows of five minutes, of which two are the warm-up: what is judged begins with its tenth minute.
const windows = Math.max(6, Math.round(minutes / windowMinutes) - warmUps);
const windowMs = (minutes * 60_000) / (warmUps + windows);
const library = await loadLibrary(values.library);
const census = new Census();
const lag = new Lag();

console.log(
  toLine(['window', 'calls', 'to sick ones', 'restarts', 'p99', 'lag p99', 'lag max', 'heap', 'RSS', ...counted]),
);
const before = await census.sample();
console.log(toLine(['before', '', '', '', '', '', '', ...toCells([before])]));
const problems = await soak(library);
// Nothing refers to the gateway any more: what is there now was left behind.
let after = await census.sample();
// On a busy machine the last events of what was closed come late. What is left behind stays.
for (let tries = 0; judgeEnd(before, after).length > 0 && tries < 50; tries += 1) {
  await sleep(100);
  after = await census.sample();
}
console.log(toLine(['after', '', '', '', '', '', '', ...toCells([after])]));
problems.push(...judgeEnd(before, after));
console.log(problems.length === 0 ? '\nnothing grew' : `\n${problems.slice(0, 20).join('\n')}`);
process.exitCode = problems.length === 0 ? 0 : 1;

/** @returns what went wrong */
async function soak(library: Library): Promise<string[]> {
  const load = new Load(library, census.clock);
  // Often enough that a long window holds a quiet moment too.
  const samplesPerWindow = Math.min(20, Math.max(2, Math.round(windowMs / 30_000)));
  const seen: Window[] = [];
  await load.start();
  lag.resume();
  for (let number = 0; number < warmUps + windows; number += 1) {
    const samples: Sample[] = [];
    while (samples.length < samplesPerWindow) {
      await sleep(windowMs / samplesPerWindow);
      await load.pause();
      lag.pause();
      samples.push(await census.sample());
      lag.resume();
      load.resume();
    }
    seen.push({ warmUp: number < warmUps, samples });
    const name = number < warmUps ? 'warm-up' : String(number - warmUps + 1);
    console.log(toLine([name, ...toLoadCells(load.takeCounts()), ...toLagCells(lag.takePart()), ...toCells(samples)]));
  }
  await load.close();
  lag.pause();
  console.log(`\nfrom minute ${(warmUps * windowMs) / 60_000} on: ${describeRss(seen)}`);
  console.log(`event-loop lag of the whole run: p99 ${toMs(lag.whole().p99)}, max ${toMs(lag.whole().max)}\n`);
  const isLong = windowMs >= windowMinutes * 60_000;
  return [...new Set(load.problems), ...judge(seen), ...(isLong ? judgeLong(seen) : [])];
}

function describeRss(seen: readonly Window[]): string {
  const all = seen.flatMap(({ warmUp, samples }) => (warmUp ? [] : samples.map(({ rssBytes }) => rssBytes)));
  const range = `${toMebibytes(Math.min(...all))} to ${toMebibytes(Math.max(...all))}`;
  return `RSS of single samples ${range}; medians of windows rise by ${(rssRise(seen) * 100).toFixed(1)} % at most`;
}

function toLagCells({ p99, max }: Lags): string[] {
  return [toMs(p99), toMs(max)];
}

function toLoadCells({ calls, sickCalls, restarts, latencies }: LoadCounts): string[] {
  const p99 = latencies.length === 0 ? '' : toMs(quantile(latencies, 0.99));
  return [String(calls), String(sickCalls), String(restarts), p99];
}

function toCells(samples: readonly Sample[]): string[] {
  return [
    toMebibytes(lowest(samples, ({ heapBytes }) => heapBytes)),
    toMebibytes(lowest(samples, ({ rssBytes }) => rssBytes)),
    ...counted.map((what) => String(lowest(samples, (sample) => sample[what]))),
  ];
}

function toMs(ms: number): string {
  return `${ms.toFixed(1)} ms`;
}

function toLine(cells: readonly string[]): string {
  return cells.map((cell) => cell.padStart(13)).join('');
}
