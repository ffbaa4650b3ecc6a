import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { longFiles } from './long-first.js';

test('the files that a run begins with are there, each once', () => {
  expect(longFiles.filter((name) => !existsSync(new URL(name, import.meta.url)))).toEqual([]);
  expect(new Set(longFiles).size).toBe(longFiles.length);
});
