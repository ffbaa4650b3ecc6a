import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonPart } from '../../src/transport/json-part.js';
import { takeLongStrings } from '../../src/transport/long-strings.js';
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

test('what stands in its place cannot be guessed', () => {
  const { strings = [] } = takeLongStrings(content(long), Buffer.from(content(long))) ?? {};
  expect(strings.map(({ token }) => token)).toEqual([expect.stringMatching(/^[-0-9a-f]{36}:0$/)]);
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
    { numRuns: count(3_000, 100_000) },
  );
  expect(taken).toBeGreaterThan(100);
});

/** The same bytes at another place of their memory. */
function shifted(bytes: Buffer, at: number): Buffer {
  const buffer = Buffer.allocUnsafeSlow(at + bytes.length);
  bytes.copy(buffer, at);
  return buffer.subarray(at);
}
