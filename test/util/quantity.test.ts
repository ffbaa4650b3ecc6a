import { expect, test } from 'vitest';
import { formatDuration } from '../../src/util/quantity.js';

test.each([
  [0, '0ms'],
  [499.6, '500ms'],
  [1_500, '1.5s'],
  [60_000, '60s'],
  [119_960, '2m'],
  [290_000, '4m 50s'],
  [300_000, '5m'],
  [3_600_000, '60m'],
  [7_500_000, '2h 5m'],
  [172_800_000, '2d'],
])('%d milliseconds are %s for people', (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});
