import { expect, test } from 'vitest';
import { nearest } from '../../src/util/suggest.js';

const known = ['id', 'display_name', 'env', 'runtime', 'idle_timeout', 'tools', 'protocol', 'working_dir', 'args'];

test.each([
  ['display-name', 'display_name'],
  ['displayName', 'display_name'],
  ['DISPLAY_NAME', 'display_name'],
  ['runtme', 'runtime'],
  ['rutnime', 'runtime'],
  ['idletimeout', 'idle_timeout'],
  ['evn', 'env'],
  ['tool', 'tools'],
  ['arg', 'args'],
  ['ID', 'id'],
  ['workdir', 'working_dir'],
  ['x', undefined],
  ['command', undefined],
  ['', undefined],
  ['a'.repeat(65), undefined],
])('%s is meant as %s', (word, expected) => {
  expect(nearest(word, known)).toBe(expected);
});
