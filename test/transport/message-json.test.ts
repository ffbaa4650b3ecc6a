import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JSONRPCMessage } from '../../src/sdk.js';
import type { JsonPart } from '../../src/transport/json-part.js';
import { parseJson, parseLine, stringifyMessage } from '../../src/transport/message-json.js';
import { PiecedBytes } from '../../src/transport/pieced-bytes.js';
import { count } from '../support/counts.js';

const large = 'x'.repeat(5_000);
const call = (args: string, before = '', behind = '') =>
  `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{${before}"name":"a","arguments":${args}${behind}}}`;

/** What a message looks like after the gateway has given it other ids and names. */
function changed(message: JSONRPCMessage, id: string | number): JSONRPCMessage {
  // Of any text, params may be anything.
  const params = 'method' in message ? (message.params as unknown) : undefined;
  if (typeof params === 'object' && params !== null && 'method' in message && !Array.isArray(params)) {
    const meta = { ...message.params?._meta, progressToken: id };
    return { ...message, id, params: { ...message.params, name: 'b', _meta: meta } } as JSONRPCMessage;
  }
  return { ...message, id } as JSONRPCMessage;
}

const borrowed = (bytes: Buffer) => new PiecedBytes([bytes], true);
const parse = (json: string) => parseJson(json, borrowed(Buffer.from(json)));
const textOf = (part: JsonPart | undefined) => part && [part.json].flat().join('');
const write = (message: JSONRPCMessage, part: JsonPart | undefined) =>
  [stringifyMessage(message, part)].flat(2).join('');

/** Passes a text on under another id, and tells what came out, and whether the bytes of a part were kept. */
function pass(json: string, id: string | number = 'own "id"') {
  const { value, part } = parse(json);
  expect(value).toEqual(JSON.parse(json));
  const message = changed(value as JSONRPCMessage, id);
  const passed = write(message, part);
  expect(JSON.parse(passed)).toEqual(JSON.parse(JSON.stringify(message)));
  expect(passed).not.toMatch(/[\n\r]/);
  return { passed, kept: textOf(part) };
}

describe('keeps the text', () => {
  const args = `{"text":"${large}","id":1, "n":1.0,"name":"ä\\u00e4\\"\\\\","arguments":{"id":[{}]},"big":12345678901234567890}`;
  test.each([
    ['of the arguments at the end', call(args), args],
    ['of arguments before other members', call(args, '', ',"_meta":{"progressToken":{"a":["}"]}},"x":"]\\""'), args],
    ['of arguments behind other members', call(args, '"_meta":{"a":[1,"{\\"",null]},"é":-1e5,'), args],
    [
      'as the client of the SDK writes it',
      `{"method":"tools/call","params":{"name":"a","arguments":${args},"_meta":{"progressToken":5}},"jsonrpc":"2.0","id":5}`,
      args,
    ],
    ['of a result', `{"jsonrpc":"2.0","id":"1\\"","result":${args}}`, args],
    ['of a result that comes first', `{"result":${args},"jsonrpc":"2.0","id":7}`, args],
    ['between spaces and lines', `{\n"id" : 1 ,\t"jsonrpc": "2.0", "result"\r: ${args}\n}\n`, args],
    ['that ends in a long text', `{"jsonrpc":"2.0","id":1,"result":{"a":{"b":"${large}"}}}`, `{"a":{"b":"${large}"}}`],
    [
      'that ends in backslashes',
      `{"jsonrpc":"2.0","id":1,"result":{"a":"${large}\\\\\\\\","b":"\\\\\\""}}`,
      `{"a":"${large}\\\\\\\\","b":"\\\\\\""}`,
    ],
  ])('%s', (_, json, kept) => {
    const result = pass(json);
    expect(result.kept).toBe(kept);
    expect(result.passed).toContain(kept);
  });
});

describe('reads as JSON.parse does, and keeps no text', () => {
  const args = `{"text":"${large}"}`;
  test.each([
    ['of what is small', call('{"text":"x"}')],
    ['over several lines', call(`{"text":"${large}",\n"a":1}`)],
    ['of arguments that are a list', call(`["${large}"]`)],
    ['with the id once more behind', `{"jsonrpc":"2.0","id":1,"result":${args},"id":2}`],
    ['with two results', `{"jsonrpc":"2.0","id":1,"result":${args},"result":${args}}`],
    ['with the id between two results', `{"jsonrpc":"2.0","id":1,"result":${args},"id":2,"result":{}}`],
    ['with two params', `${call(args).slice(0, -1)},"params":{"name":"z"}}`],
    ['with two arguments', call(args, '', `,"arguments":${args}`)],
    ['with a name that is escaped', `{"jsonrpc":"2.0","id":1,"res\\u0075lt":{},"result":${args}}`],
    ['with a name that is escaped behind', `{"jsonrpc":"2.0","id":1,"result":${args},"res\\u0075lt":{}}`],
    ['of an error', `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","data":${args}}}`],
    ['of a list of messages', `[{"jsonrpc":"2.0","id":1,"result":${args}}]`],
    ['with much around it', `{"jsonrpc":"2.0","id":1,"result":${args},"x":"${large}"}`],
    ['of a number', '1'.repeat(5_000)],
  ])('%s', (_, json) => {
    const { value, part } = parse(json);
    expect(value).toEqual(JSON.parse(json));
    expect(part).toBeUndefined();
  });

  test.each([
    ['cut at the end', `{"jsonrpc":"2.0","id":1,"result":${args}`],
    ['without its end', `{"jsonrpc":"2.0","id":1,"result":{"text":"${large}"`],
    ['with something behind', `{"jsonrpc":"2.0","id":1,"result":${args}}}`],
    ['with a part that is no JSON', `{"jsonrpc":"2.0","id":1,"result":{"text":"${large}",}}`],
    ['with surroundings that are none', `{"jsonrpc":"2.0","id":,"result":${args}}`],
    ['with two parts and no comma', `{"jsonrpc":"2.0","id":1,"result":${args}${args}}`],
  ])('refuses what is %s', (_, json) => {
    expect(() => parse(json)).toThrow(SyntaxError);
    expect(parseLine(json, borrowed(Buffer.from(json)))).toEqual({ value: undefined, part: undefined });
  });
});

test.each([
  ['in the part', '"id":1', `{"text":"${large}ä?"}`],
  ['before it', '"id":"?"', `{"text":"${large}"}`],
])('of bytes that are not UTF-8 %s no part is kept, as its text is another', (_, id, args) => {
  const bytes = Buffer.from(`{"jsonrpc":"2.0",${id},"result":${args}}`);
  bytes[bytes.indexOf('?')] = 0xff;
  const json = bytes.toString();
  expect(parseJson(json, borrowed(bytes))).toEqual({ value: JSON.parse(json), part: undefined });
});

test('without the bytes there is no part', () => {
  const json = call(`{"text":"${large}"}`);
  expect(parseJson(json, undefined)).toEqual({ value: JSON.parse(json), part: undefined });
});

test('bytes that go on behind the text are no part of it', () => {
  const json = call(`{"text":"${large}ä"}`);
  expect(textOf(parseJson(json, borrowed(Buffer.from(`${json}\r`))).part)).toBe(`{"text":"${large}ä"}`);
});

test('a very long part travels as its bytes, copied where they are borrowed', () => {
  const json = `{"jsonrpc":"2.0","id":1,"result":{"text":"${'x'.repeat(512 * 1024)}ä"}}`;
  const bytes = Buffer.from(json);
  const { value, part } = parseJson(json, borrowed(bytes));
  expect(part?.json).toBeInstanceOf(Array);
  bytes.fill('!');
  expect(write(changed(value as JSONRPCMessage, 2), part)).toBe(`{"jsonrpc":"2.0","id":2,"result":${textOf(part)}}`);
  expect(JSON.parse(textOf(part) ?? '')).toEqual(part?.value);
});

test('a part that was replaced is written anew', () => {
  const { value, part } = parse(call(`{"text":"${large}"}`));
  const message = value as { params: { arguments: object } } & JSONRPCMessage;
  const other = { ...message, params: { ...message.params, arguments: { text: 'y' } } };
  expect(part).toBeDefined();
  expect(JSON.parse(write(other, part))).toEqual(other);
});

/** JSON with all that its grammar allows: spaces, names that come twice, escapes. */
const space = fc.constantFrom('', '', '', ' ', '\t', '\n', '\r\n');
const string = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }).map((text) => JSON.stringify(text)),
  fc.constantFrom('"\\u0069d"', '"\\"}"', '"{\\\\"', '"]"', '"result"', '"arguments"', '"\\/"', '"__proto__"'),
  fc.nat(9_000).map((length) => JSON.stringify('s'.repeat(length))),
);
const name = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom('"id"', '"params"', '"result"', '"arguments"', '"name"', '"_meta"', '"jsonrpc"'),
  },
  { weight: 1, arbitrary: string },
);
const { json } = fc.letrec<{ json: string; object: string; array: string }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    string,
    fc.constantFrom('0', '-1.5e3', '1E400', 'true', 'false', 'null', '12345678901234567890'),
    tie('object'),
    tie('array'),
  ),
  object: fc
    .array(fc.tuple(space, name, space, tie('json'), space), { maxLength: 6 })
    .map((members) => `{${members.map(([a, key, b, value, c]) => `${a}${key}${b}:${value}${c}`).join(',')}}`),
  array: fc.array(tie('json'), { maxLength: 4 }).map((values) => `[${values.join(',')}]`),
}));

test('reads any text as JSON.parse does, and what is passed on is read as what was written anew', () => {
  const member = (key: string) => fc.tuple(space, space, json).map(([a, b, value]) => `${a}${key}${b}:${value}`);
  const big = fc.tuple(json, fc.nat(6_000)).map(([value, length]) => `{"big":"${'b'.repeat(length)}","json":${value}}`);
  const members = fc.oneof(
    member('"id"'),
    member('"method"'),
    big.map((value) => `"result":${value}`),
    big.map((value) => `"params":{"arguments":${value}}`),
    fc
      .tuple(name, json, big, json)
      .map(([key, a, value, b]) => `"params":{${key}:${a},"arguments":${value},"_meta":${b}}`),
    fc.tuple(name, json).map(([key, value]) => `${key}:${value}`),
  );
  const message = fc.array(members, { maxLength: 6 }).map((all) => `{${all.join(',')}}`);
  fc.assert(
    fc.property(fc.oneof(message, message, json), fc.oneof(fc.nat(), fc.string()), (text, id) => {
      const { value, part } = parse(text);
      expect(value).toEqual(JSON.parse(text));
      if (part !== undefined && typeof value === 'object') {
        const other = changed(value as JSONRPCMessage, id);
        const passed = write(other, part);
        expect(passed).toContain(textOf(part));
        // A number too large for JavaScript stays what it is in the text.
        expect(JSON.parse(JSON.stringify(JSON.parse(passed)))).toEqual(JSON.parse(JSON.stringify(other)));
        expect(passed).not.toMatch(/[\n\r]/);
      }
    }),
    { numRuns: count(5_000, 50_000) },
  );
});

test('cut or changed anywhere, a text is refused or read as JSON.parse does', () => {
  const whole = call(`{"text":"${large}","a":[{"id":1}]}`, '"_meta":{"x":"}"},', ',"y":{"z":"\\""}');
  const edit = fc.tuple(
    fc.nat(1_200),
    fc.boolean(),
    fc.constantFrom('', '"', '{', '}', ',', ':', '\\', '0', '"id":9,'),
  );
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
      let text = whole;
      for (const [distance, fromEnd, replacement] of edits) {
        const at = Math.min(fromEnd ? Math.max(0, text.length - 1 - (distance % 60)) : distance % 120, text.length);
        text = text.slice(0, at) + replacement + text.slice(at + 1);
      }
      let expected: unknown;
      try {
        expected = JSON.parse(text);
      } catch {
        expect(() => parse(text)).toThrow(SyntaxError);
        return;
      }
      expect(parse(text).value).toEqual(expected);
    }),
    { numRuns: count(10_000, 100_000) },
  );
});
