import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { toChart } from '../bench/chart.ts';
import { split } from '../bench/page.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
const page = read('docs/benchmarks.md');
const usage = read('test/bench/main.ts')
  .split('\n')
  .filter((line) => line.startsWith('//'))
  .slice(0, 2)
  .join(' ');
const groups = [...usage.matchAll(/\[([a-z0-9-]+)\]/g)]
  .map(([, name = '']) => name)
  .filter((name) => !name.startsWith('--'));

test('the page has a place for the figures of each group, and for no other', () => {
  expect(groups.length).toBeGreaterThan(10);
  for (const group of groups) {
    expect(() => split(page, group)).not.toThrow();
  }
  expect([...page.matchAll(/<!-- bench: (\S+) -->/g)].map(([, name]) => name).sort()).toEqual(groups.toSorted());
});

test('figures replace those of their group alone', () => {
  const [before, after] = split(
    'a\n<!-- bench: x -->\nold\n<!-- /bench -->\n<!-- bench: y -->\nold\n<!-- /bench -->\n',
    'x',
  );
  expect(before).toBe('a\n<!-- bench: x -->');
  expect(after).toBe('<!-- /bench -->\n<!-- bench: y -->\nold\n<!-- /bench -->\n');
});

test('a chart shows what is compared, and nothing that a name could break', () => {
  const row = { what: 'a <b> & "c"', ours: '1 ms ours', other: '2 ms theirs', result: '0.50', goal: '≤ 1', met: true };
  const chart = toChart('t', [{ ...row, share: 0.5 }, { ...row, share: 7, met: false }, row]);
  expect(chart.match(/<rect/g)).toHaveLength(2);
  expect(chart).toContain('a &#60;b&#62; &#38; &#34;c&#34;: theirs');
  // One that is too long ends where the chart does, and says how long it is.
  expect(chart).toContain('>7.00<');
  expect(Number(/width="([\d.]+)" height="11" fill="#c2703d"/.exec(chart)?.[1])).toBeLessThan(430);
});
