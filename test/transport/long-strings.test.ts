import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonPart } from '../../src/transport/json-part.js';
import { longestText, putLongStrings, takeLongStrings } from '../../src/transport/long-strings.js';
import { parseJson, parseLine } from '../../src/transport/message-json.js';
import { PiecedBytes } from '../../src/transport/pieced-bytes.js';
import { count } from '../support/counts.js';

const shortest = 8 * 1024;
const long = 'x'.repeat(shortest);
const result = (json: string) => `{"jsonrpc":"2.0","id":1,"result":${json}}`;
const content = (text: string) => result(`{"content":[{"type":"text","text":"${text}"}],"isError":false}`);

function outcomeOf(read: () => unknown): unknown {
  try {
    return JSON.parse(JSON.stringify(read()));
  } catch (error) {
    return (error as Error).name;
  }
}

/** Reads bytes at some place of a buffer that is then used again, and compares with `JSON.parse`. */
function compare(bytes: Buffer, at = 0) {
  const place = shifted(bytes, at);
  const text = bytes.toString();
  const { value, part } = parseLine(text, new PiecedBytes([place], true));
  place.fill('!');
  const isMembers = text.startsWith('{') || text.startsWith('[');
  const expected = isMembers ? outcomeOf(() => JSON.parse(text)) : undefined;
  expect(value === undefined ? undefined : outcomeOf(() => value)).toEqual(
    expected === 'SyntaxError' ? undefined : expected,
  );
  if (part !== undefined) {
    expect(JSON.parse(textOf(part) ?? '')).toEqual(part.value);
  }
  return part;
}

const textOf = (part: JsonPart | undefined) => part && [part.json].flat().join('');
const isTakenOut = (json: string) => takeLongStrings(json, Buffer.from(json)) !== undefined;

describe('is a slice of the text', () => {
  test.each([
    ['a long string', content(long)],
    ['two of them', content(`${long}","n":[1,{"a":"\\n"}],"more":"${long}`)],
    ['the string after one that ends in a backslash', result(`{"a":"\\\\","b":"\\"","text":"${long}"}`)],
    [
      'one in a list of arguments',
      `{"id":1,"jsonrpc":"2.0","method":"m","params":{"name":"t","arguments":{"a":["${long}"]}}}`,
    ],
    ['one under the name __proto__', result(`{"__proto__":"${long}"}`)],
  ])('%s', (_, json) => {
    expect(isTakenOut(json)).toBe(true);
    const part = compare(Buffer.from(json));
    expect(part).toBeDefined();
    expect(json).toContain(textOf(part) ?? 'a part');
    const { value } = parseJson(json, new PiecedBytes([Buffer.from(json)]));
    expect(JSON.stringify(value)).toBe(json);
  });
});

describe('is read with all the rest', () => {
  test.each([
    ['what is short', content('x'.repeat(shortest - 1))],
    ['what has escapes', content(`${long}\\n`)],
    ['what is escaped at its end', content(`${long}\\"`)],
    ['a name', result(`{"${long}":1,"text":"${long}"}`)],
    ['what stands twice under one name', result(`{"text":"${long}","text":"short"}`)],
    ['what is not in the part', `{"jsonrpc":"2.0","id":1,"x":"${long}","result":{"text":"${long}"}}`],
    ['what is not the only large thing', result(`{"text":"${long}","list":[${'1,'.repeat(4_000)}1]}`)],
    ['what comes after many other strings', result(`{"list":[${'"a",'.repeat(100)}"a"],"text":"${long}"}`)],
    ['what is not ASCII', content(`${long}é`)],
  ])('%s', (_, json) => {
    compare(Buffer.from(json));
  });

  test('what is not UTF-8', () => {
    const bytes = Buffer.from(content(`${long}?`));
    bytes[bytes.indexOf('?')] = 0xff;
    expect(compare(bytes)).toBeUndefined();
  });
});

describe('is taken out', () => {
  const outlineOf = (json: string) => takeLongStrings(json, Buffer.from(json));
  const show = (json: string) => {
    const outline = outlineOf(json);
    return (
      outline && {
        text: outline.text.replace(/[-0-9a-f]{36}/g, ''),
        strings: outline.strings.map(({ value }) => value),
      }
    );
  };
  const other = 'y'.repeat(shortest + 3);

  test.each([
    ['alone', `"${long}"`, { text: '":0"', strings: [long] }],
    ['with what is around it', content(long), { text: content(':0'), strings: [long] }],
    ['one after the other', `["${long}","${other}",1]`, { text: '[":0",":1",1]', strings: [long, other] }],
    ['behind an escaped quote', `["\\"","${long}"]`, { text: '["\\"",":0"]', strings: [long] }],
    ['behind an escaped backslash', `["\\\\","${long}"]`, { text: '["\\\\",":0"]', strings: [long] }],
    ['behind both', `["\\\\\\"","${long}"]`, { text: '["\\\\\\"",":0"]', strings: [long] }],
    ['before a short one with escapes', `["${long}","\\n"]`, { text: '[":0","\\n"]', strings: [long] }],
    ['with spaces at its ends', `[" ${long} "]`, { text: '[":0"]', strings: [` ${long} `] }],
  ])('%s', (_, json, expected) => expect(show(json)).toEqual(expected));

  test.each([
    ['a string of the least length, and no shorter one', (by: number) => `"${'x'.repeat(shortest + by)}"`, 0, -1],
    ['of the longest text, and of no longer one', (by: number) => `"${'x'.repeat(longestText - 2 + by)}"`, 0, 1],
    ['where 4 KiB are left, and no more', (by: number) => `"${long}"${' '.repeat(4 * 1024 - 2 + by)}`, 0, 1],
    ['behind 99 others, and no more', (by: number) => `[${'"",'.repeat(99 + by)}"${long}"]`, 0, 1],
  ])('%s', (_, make, taken, left) => {
    expect(outlineOf(make(taken))).toBeDefined();
    expect(outlineOf(make(left))).toBeUndefined();
  });

  test.each([
    ['is not ASCII', `["é","${long}"]`],
    ['has an escape at its beginning', `"\\n${long}"`],
    ['has an escape at its end', `"${long}\\n"`],
    ['has an escaped quote at its end', `"${long}\\""`],
    ['has no end', `["${long}`],
    ['has no beginning', long],
  ])('unless it %s', (_, json) => expect(outlineOf(json)).toBeUndefined());

  test('wherever it stands in the memory, unless it holds a control character', () => {
    for (let at = 0; at < 4; at += 1) {
      for (const length of [0, 1, 2, 3]) {
        const text = Buffer.from(`"${long}${'x'.repeat(length)}"`);
        for (const place of [
          1,
          2,
          3,
          4,
          5,
          text.length - 6,
          text.length - 5,
          text.length - 4,
          text.length - 3,
          text.length - 2,
        ]) {
          for (const byte of [0, 0x1f, 0x20, 0x21, 0x7f]) {
            text[place] = byte;
            const isTaken = takeLongStrings(text.toString(), shifted(text, at)) !== undefined;
            if (isTaken !== byte >= 0x20) expect({ at, length, place, byte, isTaken }).toBeUndefined();
          }
          text[place] = 0x78;
        }
      }
    }
  });

  test('and put back, each of them once', () => {
    const strings = [
      { token: 'a', value: 'first' },
      { token: 'b', value: 'second' },
    ];
    const put = (value: object) => [putLongStrings(value, strings), JSON.stringify(value)];
    expect(put({ x: [null, 1, ['b']], y: { z: 'a', n: 'c' } })).toEqual([
      true,
      '{"x":[null,1,["second"]],"y":{"z":"first","n":"c"}}',
    ]);
    expect(put(['a'])[0]).toBe(false);
    // The second of one name is no string of ours.
    expect(put(['a', 'b', 'a'])).toEqual([true, '["first","second","a"]']);
    const proto = JSON.parse('{"__proto__":"a","b":"b"}');
    expect(put(proto)).toEqual([true, '{"__proto__":"first","b":"second"}']);
    expect(Object.getPrototypeOf(proto)).toBe(Object.prototype);
    const plain = { a: 'a', b: 'b' };
    putLongStrings(plain, strings);
    expect(Object.getOwnPropertyDescriptor(plain, 'a')).toEqual({
      configurable: true,
      enumerable: true,
      writable: true,
      value: 'first',
    });
  });
});

test('what stands in its place cannot be guessed', () => {
  const { strings = [] } = takeLongStrings(content(long), Buffer.from(content(long))) ?? {};
  expect(strings.map(({ token }) => token)).toEqual([expect.stringMatching(/^[-0-9a-f]{36}:0$/)]);
  expect(takeLongStrings(content(long), Buffer.from(content(long)))?.strings).toEqual(strings);
});

test('a control character anywhere in it makes it no JSON, and nothing else does', () => {
  for (let at = 0; at < 4; at += 1) {
    for (const length of [0, 1, 2, 3, 4, 5]) {
      const text = Buffer.from(content(long + 'x'.repeat(length)));
      const first = text.indexOf('xxx');
      const last = text.lastIndexOf('x');
      for (const place of [first, first + 1, first + 2, first + 3, first + 4_001, last - 3, last - 2, last - 1, last]) {
        for (const byte of [0, 1, 0x0a, 0x1f, 0x20, 0x21, 0x7f]) {
          const bytes = Buffer.from(text);
          bytes[place] = byte;
          const { value } = parseLine(bytes.toString(), new PiecedBytes([shifted(bytes, at)], true));
          if ((value === undefined) !== byte < 0x20) {
            expect({ at, length, place, byte }, 'told wrongly').toBeUndefined();
          }
        }
      }
    }
  }
});

test('texts with long strings are read as JSON.parse reads them, wherever they stand', () => {
  const piece = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 8_000, max: 9_000 }).map((length) => 'x'.repeat(length)) },
    { weight: 3, arbitrary: fc.constantFrom('é', '漢', '\\n', '\\"', '\\\\', '\\u00e4', ' ', '{', ':', ',', '') },
    { weight: 1, arbitrary: fc.constantFrom('"', '\\', '\t', '\n', '\u0000', '\\x') },
  );
  const string = fc.oneof(
    fc.array(piece, { maxLength: 3 }).map((pieces) => `"${pieces.join('')}"`),
    fc.constant(`"${long}"`),
  );
  const value = fc.letrec<{ any: string }>((tie) => ({
    any: fc.oneof(
      { maxDepth: 3 },
      string,
      fc.constantFrom('1', 'null', '[]', '{}', '"a"', ''),
      fc.array(tie('any'), { maxLength: 3 }).map((values) => `[${values.join(',')}]`),
      fc
        .array(fc.tuple(fc.oneof(fc.constantFrom('"a"', '"b"', '"__proto__"'), string), tie('any')), { maxLength: 3 })
        .map((members) => `{${members.map(([name, member]) => `${name}:${member}`).join(', ')}}`),
    ),
  })).any;
  const shape = fc.constantFrom<(json: string) => string>(
    result,
    (json) => `{"result":${json},"jsonrpc":"2.0","id":"é"}`,
    (json) => `{"method":"m","params":{"name":"n","arguments":${json},"_meta":{}},"jsonrpc":"2.0","id":5}`,
    (json) => `{"id":${json},"result":${json}}`,
    (json) => json,
    (json) => `${result(json)}}`,
  );
  let taken = 0;
  fc.assert(
    fc.property(shape, value, fc.nat(7), (form, json, at) => {
      compare(Buffer.from(form(json)), at);
      taken += isTakenOut(form(json)) ? 1 : 0;
    }),
    { numRuns: count(10_000, 100_000) },
  );
  expect(taken).toBeGreaterThan(100);
});

/** The same bytes at another place of their memory. */
function shifted(bytes: Buffer, at: number): Buffer {
  const buffer = Buffer.allocUnsafeSlow(at + bytes.length);
  bytes.copy(buffer, at);
  return buffer.subarray(at);
}
