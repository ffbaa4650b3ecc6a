import { describe, expect, test } from 'vitest';
import { findBlocks, findLinks, headingIds, readRegion } from './markdown.js';

describe('findBlocks', () => {
  test('finds the language, the text, the line and the mark', () => {
    const page = 'Text\n\n<!-- example: a.ts#b -->\n```ts\nlet a;\n\nlet b;\n```\n';
    expect(findBlocks(page)).toEqual([{ language: 'ts', text: 'let a;\n\nlet b;', line: 4, example: 'a.ts#b' }]);
  });

  test('takes no mark from further up', () => {
    const page = '<!-- example: a.ts#b -->\nText\n\n```ts\n```';
    expect(findBlocks(page).map(({ example }) => example)).toEqual([undefined]);
  });

  test('takes the indent of a list off', () => {
    expect(findBlocks('- x\n\n  ```yaml\n  a:\n    b\n  ```')[0]?.text).toBe('a:\n  b');
  });

  test('refuses a block without end', () => {
    expect(() => findBlocks('```ts\nlet a;')).toThrow('line 1');
  });
});

describe('readRegion', () => {
  test('takes the common indent and the marks of other regions off', () => {
    const file =
      'x\n  // #region a\n  if (b) {\n    // #region c\n    d();\n    // #endregion c\n  }\n  // #endregion a\ny';
    expect(readRegion(file, 'a')).toBe('if (b) {\n  d();\n}');
    expect(readRegion(file, 'c')).toBe('d();');
  });

  test('knows the comments of YAML', () => {
    expect(readRegion('# #region a\nb: c\n# #endregion a', 'a')).toBe('b: c');
  });

  test.each([
    ['no start', '// #endregion a'],
    ['no end', '// #region a'],
    ['the end first', '// #endregion a\n// #region a'],
    ['two of a name', '// #region a\n// #endregion a\n// #region a\n// #endregion a'],
    ['another name', '// #region ab\n// #endregion ab'],
  ])('refuses a file with %s', (_, file) => {
    expect(() => readRegion(file, 'a')).toThrow('one region "a"');
  });

  test('is the whole file without a name', () => {
    expect(readRegion('a\nb\n', undefined)).toBe('a\nb');
  });
});

test('findLinks leaves code out', () => {
  expect(findLinks('[a](b.md#c) `[d](e)`\n```\n[f](g)\n```\n[h](i)')).toEqual(['b.md#c', 'i']);
});

test('headingIds are those of code hosts', () => {
  expect(headingIds('# A gateway, two runtimes\n## START_FAILED\n')).toEqual([
    'a-gateway-two-runtimes',
    'start_failed',
  ]);
});
