import { describe, expect, test } from 'vitest';
import { interpolate } from '../../src/catalog/interpolate.js';

const env = { NAME: 'value', EMPTY: '', NESTED: '${NAME}', _x1: 'under' };

describe('interpolate', () => {
  test.each([
    ['${', 'without a "}"'],
    ['a ${NAME', 'without a "}"'],
    ['${}', 'without a name'],
    ['${:-x}', 'without a name'],
    ['${1A}', 'not made of letters'],
    ['${A B}', 'not made of letters'],
    ['${A-x}', 'not made of letters'],
    ['${A:x}', 'not made of letters'],
    ['${NAME:-${OTHER}}', 'inside another one'],
    ['${${NAME}}', 'inside another one'],
    ['${ümlaut}', 'not made of letters'],
    [`\${${'A'.repeat(256)}}`, 'not made of letters'],
  ])('refuses %s', (text, problem) => {
    expect(interpolate(text, env).problems).toEqual([expect.stringContaining(problem)]);
    expect(interpolate(text, undefined).problems, 'also when nothing is replaced').toHaveLength(1);
  });

  test('names every variable that is not set, once', () => {
    const { problems } = interpolate('${A} ${B} ${A}', env);
    expect(problems).toHaveLength(2);
    expect(problems[0]).toContain('variable A');
    expect(problems[1]).toContain('variable B');
  });

  test.each(['constructor', '__proto__', 'toString'])('does not find %s in the prototype', (name) => {
    expect(interpolate(`\${${name}}`, {}).problems).toHaveLength(1);
  });

  test.each([
    ['plain', 'plain'],
    ['$NAME $$ $ {NAME} }', '$NAME $$ $ {NAME} }'],
    ['${NAME}', 'value'],
    ['<${NAME}${NAME}>', '<valuevalue>'],
    ['${_x1}', 'under'],
    ['${EMPTY}', ''],
    ['${EMPTY:-d}', 'd'],
    ['${UNSET:-}', ''],
    ['${UNSET:-a:-b $ {}', 'a:-b $ {'],
    ['$${NAME}', '${NAME}'],
    ['$${', '${'],
    ['$${$${${NAME}', '${${value'],
    ['${NAME}}', 'value}'],
  ])('%s becomes %s', (text, value) => {
    expect(interpolate(text, env)).toMatchObject({ value, problems: [] });
  });

  test('does not look again at what it put in', () => {
    expect(interpolate('${NESTED}', env).value).toBe('${NAME}');
    expect(interpolate('$${NESTED}', env).value).toBe('${NESTED}');
  });

  test('tells which values came from the environment and which are defaults', () => {
    expect(interpolate('${NAME}${UNSET:-d}', env).used).toEqual([
      { name: 'NAME', value: 'value', isDefault: false },
      { name: 'UNSET', value: 'd', isDefault: true },
    ]);
  });

  test('looks at each character a bounded number of times', () => {
    const size = 200_000;
    for (const text of [
      '${'.repeat(size),
      '$${'.repeat(size),
      '${A}'.repeat(size),
      '$'.repeat(size),
      '}${'.repeat(size),
    ]) {
      let searched = 0;
      const counted = Object.assign(Object.create(null), { A: 'a' });
      const original = String.prototype.indexOf;
      String.prototype.indexOf = function (this: string, search: string, from = 0) {
        const found = original.call(this, search, from);
        searched += (found === -1 ? this.length : found) - from;
        return found;
      };
      try {
        interpolate(text, counted);
      } finally {
        String.prototype.indexOf = original;
      }
      expect(searched).toBeLessThan(4 * text.length);
    }
  });
});
