import { EventEmitter } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { runBuilt } from '../support/run-built.js';
import { Census, type Sample } from './census.js';
import { judge, judgeEnd, judgeLong, type Window } from './verdict.js';

const mebibyte = 1024 ** 2;
const flat: Sample = { heapBytes: 20 * mebibyte, rssBytes: 90 * mebibyte, descriptors: 60, listeners: 300, timers: 40 };

/** A warm-up and six windows, each of which differs from a flat one in what `grow` says of it. */
function run(grow: (window: number) => Partial<Sample>): Window[] {
  return [0, 1, 2, 3, 4, 5, 6].map((number) => ({ warmUp: number === 0, samples: [{ ...flat, ...grow(number) }] }));
}

describe('the verdict', () => {
  test.each<[string, (window: number) => Partial<Sample>]>([
    ['the heap grows', (window) => ({ heapBytes: flat.heapBytes + window * 0.2 * mebibyte })],
    ['RSS went from', (window) => ({ rssBytes: flat.rssBytes + window * 8 * mebibyte })],
    ['more descriptors', (window) => ({ descriptors: flat.descriptors + 3 * window })],
    ['more listeners', (window) => ({ listeners: flat.listeners + 20 * window })],
    ['more timers', (window) => ({ timers: flat.timers + 3 * window })],
  ])('finds that %s', (text, grow) => {
    expect(judge(run(grow))).toEqual([expect.stringContaining(text)]);
  });

  test('finds nothing where nothing grows, or goes up and down', () => {
    expect(judge(run(() => ({})))).toEqual([]);
    const wave = (window: number) => ((window * 7) % 3) - 1;
    const waves = run((window) => ({
      heapBytes: flat.heapBytes + wave(window) * mebibyte,
      rssBytes: flat.rssBytes + wave(window) * 15 * mebibyte,
      descriptors: flat.descriptors + 8 * wave(window),
    }));
    expect(judge(waves)).toEqual([]);
  });

  test('of a long run: RSS may rise by a twentieth after the warm-up, and fall', () => {
    const rss = (...mebibytes: number[]) => run((window) => ({ rssBytes: (mebibytes[window] ?? 100) * mebibyte }));
    expect(judgeLong(rss(50, 100, 104, 102, 104.9))).toEqual([]);
    expect(judgeLong(rss(50, 120, 100, 100))).toEqual([]);
    expect(judgeLong(rss(50, 110, 100, 106))).toEqual(['RSS rises by 6.0 % after the warm-up']);
  });

  test('takes the lowest of a window, so that a busy moment is no growth', () => {
    const busy = { ...flat, descriptors: 200, heapBytes: 200 * mebibyte };
    expect(judge(run(() => ({})).map((window) => ({ ...window, samples: [busy, ...window.samples] })))).toEqual([]);
  });

  test('says what is left after the end', () => {
    expect(judgeEnd(flat, flat)).toEqual([]);
    expect(judgeEnd(flat, { ...flat, descriptors: 65, listeners: 305, timers: 45 })).toEqual([
      'descriptors are left after close(): 60 before, 65 after',
      'listeners are left after close(): 300 before, 305 after',
      'timers are left after close(): 40 before, 45 after',
    ]);
  });
});

test('the census counts listeners, timers and descriptors, and sees them go', async () => {
  const census = new Census();
  const before = await census.sample();
  // More than the runner of this test may have at the same time.
  const many = Array.from({ length: 50 }, () => {
    const emitter = new EventEmitter();
    const abort = new AbortController();
    const listener = () => {};
    emitter.on('event', listener);
    abort.signal.addEventListener('abort', listener);
    const timer = census.clock.setTimeout(listener, 3_600_000);
    const descriptor = openSync('/dev/null', 'r');
    return () => {
      emitter.off('event', listener);
      abort.signal.removeEventListener('abort', listener);
      census.clock.clearTimeout(timer);
      closeSync(descriptor);
    };
  });
  const during = await census.sample();
  for (const undo of many) {
    undo();
  }
  const after = await census.sample();
  for (const [what, count] of [
    ['listeners', 100],
    ['timers', 50],
    ['descriptors', 50],
  ] as const) {
    expect(Math.abs(during[what] - before[what] - count), what).toBeLessThan(20);
    expect(Math.abs(after[what] - before[what]), what).toBeLessThan(20);
  }
});

/** Runs the soak as `npm run soak` does. */
const soak = (...args: string[]) => runBuilt('--expose-gc', '--max-semi-space-size=16', 'test/soak/main.ts', ...args);

describe('npm run soak', { timeout: 300_000 }, () => {
  test('finds nothing that grows', async () => {
    const { code, output } = await soak('--minutes', '0.4');
    expect(code, output).toBe(0);
    expect(output).toMatch(/\nevent-loop lag of the whole run: p99 [\d.]+ ms, max [\d.]+ ms\n/);
    expect(output).toMatch(/\nnothing grew\n$/);
  });

  test('finds what a leaking library keeps', async () => {
    const { code, output } = await soak('--minutes', '0.1', '--library', 'test/soak/leaky-library.mjs');
    expect(code, output).toBe(1);
    for (const text of ['the heap grows', 'more descriptors', 'more listeners', 'more timers', 'timers are left']) {
      expect(output).toContain(text);
    }
  });
});
