import { median } from '../bench/measure.ts';
import type { Sample } from './census.ts';

/** The samples of one stretch of time; in the warm-up caches fill and code is compiled. */
export interface Window {
  readonly warmUp: boolean;
  readonly samples: readonly Sample[];
}

/** What has to be flat. */
export const counted = ['descriptors', 'listeners', 'timers'] as const;

const mebibyte = 1024 ** 2;
// Growth of the heap over the last three windows that is no trend yet: code is compiled late where little is called.
const heapSlack = 0.3 * mebibyte;
const rssFactor = 1.2;
// It goes on growing for minutes after the start, and then stays: a short run ends before.
const rssSlack = 32 * mebibyte;
// Of a run whose warm-up took ten minutes: what is still to come has come by then.
const longRise = 0.05;
const countFactor = 1.1;
// As many as two servers more: one may run that rests at other times.
const countSlack = { descriptors: 8, listeners: 48, timers: 8 };
const endSlack = 4;

/** Which promises were broken while it ran; empty when none was. Needs a warm-up and at least three windows after it. */
export function judge(windows: readonly Window[]): string[] {
  const last = windows.filter(({ warmUp }) => !warmUp).slice(-3);
  const warmUps = windows.filter(({ warmUp }) => warmUp);
  const before = warmUps.at(-1);
  if (before === undefined || last.length < 3) {
    throw new Error('a verdict needs a warm-up and three windows');
  }
  const problems: string[] = [];
  const heap = last.map(({ samples }) => lowest(samples, ({ heapBytes }) => heapBytes));
  const [first, second, third] = heap as [number, number, number];
  if (first < second && second < third && third - first > heapSlack) {
    problems.push(`the heap grows from window to window: ${heap.map(toMebibytes).join(', ')}`);
  }
  const rss = median(last.map(medianRss));
  const rssBefore = medianRss(before);
  if (rss > Math.max(rssBefore * rssFactor, rssBefore + rssSlack)) {
    problems.push(`RSS went from ${toMebibytes(rssBefore)} after the warm-up to ${toMebibytes(rss)}`);
  }
  for (const what of counted) {
    const pick = (sample: Sample) => sample[what];
    const now = Math.min(...last.map(({ samples }) => lowest(samples, pick)));
    const then = Math.max(...warmUps.map(({ samples }) => lowest(samples, pick)));
    if (now > Math.max(then * countFactor, then + countSlack[what])) {
      problems.push(`there are more ${what}: ${then} after the warm-up, ${now} at the end`);
    }
  }
  return problems;
}

/** Which promises were broken that hold once everything has settled: for a warm-up of ten minutes. */
export function judgeLong(windows: readonly Window[]): string[] {
  const rise = rssRise(windows);
  return rise > longRise ? [`RSS rises by ${(rise * 100).toFixed(1)} % after the warm-up`] : [];
}

/** By which share the median RSS of a window is above that of an earlier one, after the warm-up: the largest there is. */
export function rssRise(windows: readonly Window[]): number {
  let lowestYet = Number.POSITIVE_INFINITY;
  let rise = 0;
  for (const window of windows.filter(({ warmUp }) => !warmUp)) {
    const rss = medianRss(window);
    lowestYet = Math.min(lowestYet, rss);
    rise = Math.max(rise, rss / lowestYet - 1);
  }
  return rise;
}

/** What is left once everything is closed and nothing refers to it. */
export function judgeEnd(before: Sample, after: Sample): string[] {
  return counted
    .filter((what) => after[what] > before[what] + endSlack)
    .map((what) => `${what} are left after close(): ${before[what]} before, ${after[what]} after`);
}

/** What is always there; a single sample may find more, such as a server that is about to rest. */
export function lowest(samples: readonly Sample[], pick: (sample: Sample) => number): number {
  return Math.min(...samples.map(pick));
}

export function toMebibytes(bytes: number): string {
  return `${(bytes / mebibyte).toFixed(2)} MiB`;
}

function medianRss({ samples }: Window): number {
  return median(samples.map(({ rssBytes }) => rssBytes));
}
