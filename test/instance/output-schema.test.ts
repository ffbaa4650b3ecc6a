import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv';
import { describe, expect, test, vi } from 'vitest';
import { isCompilable } from '../../src/instance/era/output-schema.js';

type Json = Record<string, unknown>;

/** Of a tool whose result has one member. */
const of = (x: unknown, rest: Json = {}): Json => ({ type: 'object', properties: { x }, ...rest });

const text = { type: 'string' };

const good: [string, Json][] = [
  ['a definition', of({ $ref: '#/$defs/A' }, { $defs: { A: text } })],
  ['one with a name to be escaped', of({ $ref: '#/definitions/a~1b%20c' }, { definitions: { 'a/b c': text } })],
  ['one with a name that is encoded', of({ $ref: '#/$defs/a%2Fb' }, { $defs: { 'a/b': text } })],
  ['a part beside', of({ $ref: '#/properties/y' }, { properties: { x: { $ref: '#/properties/y' }, y: text } })],
  ['a part in an array', of({ $ref: '#/anyOf/0' }, { anyOf: [text, true] })],
  ['the whole', of({ $ref: '#' })],
  ['what refers to more', of({ $ref: '#/$defs/A' }, { $defs: { A: { $ref: '#/$defs/B' }, B: text } })],
  ['nothing, in a definition that is not used', of(text, { $defs: { A: { $ref: '#/$defs/B' } } })],
  ['nothing, in what is no schema', of({ const: { $ref: '#/a' }, enum: [{ $ref: '#/a' }], default: { $ref: '#/a' } })],
  ['nothing, in a keyword that is not known', of({ more: { $ref: '#/a' } })],
];

/** What few servers write, and clients could use. */
const rare: [string, Json][] = [
  ['an anchor', of({ $ref: '#a' }, { $defs: { A: { $anchor: 'a' } } })],
  ['a part by its name', of({ $ref: 'https://example.com/a' }, { $defs: { A: { $id: 'https://example.com/a' } } })],
  [
    'itself by its name',
    of({ $ref: 'https://example.com/b#/$defs/A' }, { $id: 'https://example.com/b', $defs: { A: text } }),
  ],
  ['an anchor that is also dynamic', of({ $ref: '#a' }, { $defs: { A: { $dynamicAnchor: 'a' } } })],
  ['an anchor as draft 7 writes it', of({ $ref: '#a' }, { definitions: { A: { $id: '#a' } } })],
  ['a part by the end of its name', of({ $ref: 'c' }, { $id: 'https://example.com/b', $defs: { A: { $id: 'c' } } })],
  ['the root in a roundabout way', of({ $ref: '#/' })],
  ['the schema of schemas', of({ $ref: 'http://json-schema.org/draft-07/schema#' })],
];

const bad: [string, Json][] = [
  ['nothing', of({ $ref: '#/$defs/A' })],
  ['nothing, from a definition', of({ $ref: '#/$defs/A' }, { $defs: { A: of({ $ref: '#/$defs/B' }) } })],
  ['nothing, of a schema with a name', of({ $ref: '#/$defs/A' }, { $id: 'https://example.com/c' })],
  ['nothing, in items', of({ type: 'array', items: { $ref: '#/$defs/A' } })],
  ['no anchor', of({ $ref: '#a' })],
  ['another document', of({ $ref: 'https://example.com/d.json' })],
  ['a word', of({ $ref: 'A' })],
  ['another document than its own', of({ $ref: 'd.json' }, { $id: 'https://example.com/d' })],
  ['nothing, beside a part with a name', of({ $ref: '#/$defs/A' }, { $defs: { B: { $id: 'https://example.com/d' } } })],
  ['a name in what is no schema', of({ $ref: 'https://example.com/d' }, { default: { $id: 'https://example.com/d' } })],
  ['what its own document lacks', of({ $id: 'd', items: { $ref: '#/$defs/A' } }, { $defs: { A: text } })],
  ['nothing, from beside a reference', of({ $ref: '#/$defs/A' }, { $defs: { A: { $ref: '#', not: { $ref: '#a' } } } })],
  ['itself alone', of({ $ref: '#/properties/x' })],
  ['itself through another', of({ $ref: '#/$defs/A' }, { $defs: { A: { $ref: '#/properties/x' } } })],
  ['a broken escape', of({ $ref: '#/%' })],
  ['a number', of({ $ref: 1 })],
  ['a part of what has a number for a name', of({ $ref: '#' }, { $id: 1 })],
];

const odd: [string, Json, boolean][] = [
  ['a group as Python names it', of({ pattern: '(?P<year>\\d+)' }), false],
  ['an escape that is none', of({ pattern: '^https\\:' }), false],
  ['a flag', of({ pattern: '(?i)abc' }), false],
  ['a pattern', of({ pattern: '^\\p{L}+$' }), true],
  ['a pattern of names of Python', of({ patternProperties: { '(?P<year>\\d+)': text } }), false],
  ['a pattern of names', of({ patternProperties: { '^\\p{L}+$': text } }), true],
  ['one name twice', of({ $id: 'A', type: 'object' }, { $defs: { A: { $id: 'A', type: 'object' } } }), false],
  ['one anchor twice', of(text, { $defs: { A: { $anchor: 'a' }, B: { $anchor: 'a' } } }), false],
  ['an anchor that is none', of(text, { $defs: { A: { $anchor: 'a b' } } }), false],
  ['the name of itself for a part', of({ $id: 'A' }, { $id: 'https://example.com/A' }), false],
  [
    'members that are called so',
    { type: 'object', properties: { $id: text, y: of(text, { properties: { $id: text } }) } },
    true,
  ],
  ['a property of characters that is none', of({ pattern: '\\p{Letters}' }), false],
  ['one without an end', of({ pattern: '\\p{L' }), false],
  ['its contrary', of({ pattern: '[^\\P{Script=Greek}_]+' }), true],
  ['a range from one on', of({ pattern: '[\\p{L}-z]' }), false],
  ['an escape before what looks like one', of({ pattern: '\\\\p{L}' }), false],
  ['the same with what it takes', of({ pattern: '\\\\p\\{L\\}' }), true],
  ['a type that is none', of({ type: 'any' }), false],
  ['a type that is none among others', of({ type: ['string', 'any'] }), false],
  ['null for a type', of({ type: null }), false],
  ['types', of({ type: ['string', 'null'] }), true],
  ['null for items', of({ type: 'array', items: null }), false],
  ['several items', of({ type: 'array', items: [text, true] }), true],
  ['null for a member', { type: 'object', properties: { x: of(null) } }, false],
  ['null for what may be more', of(text, { additionalProperties: null }), false],
  ['required as a flag', of({ type: 'string', required: true }), false],
  ['a limit as in draft 4', of({ minimum: 1, exclusiveMinimum: true }), false],
  ['a limit as a text', of({ maxLength: '3' }), false],
  ['a name that each object has', of(text, { $id: 'constructor' }), false],
  ['the same with an end of one', of(text, { $id: '__proto__#' }), false],
  ['a name that is like one', of(text, { $id: 'constructors' }), true],
  ['a limit of a format', of({ type: 'string', formatMinimum: 'a' }), false],
  ['an id as in draft 4', of(text, { id: 'https://example.com/e' }), false],
  ['a member of that name', { type: 'object', properties: { id: text, $ref: text, pattern: text } }, true],
  ['nullable without a type', of({ nullable: true, anyOf: [text] }), false],
  ['nullable without any', of({ nullable: true, type: [] }), false],
  ['not nullable, and null', of({ nullable: false, type: ['string', 'null'] }), false],
  ['null for nullable', of({ nullable: null, type: 'string' }), false],
  ['nullable with one', of({ nullable: true, type: 'string' }), true],
  ['no values', of({ enum: [] }), false],
  ['null among values', of({ enum: [null] }), true],
  ['null among alternatives', of({ anyOf: [text, null] }), false],
  ['schemas that are flags', of({ not: false, if: true, else: { type: 'object', properties: { y: false } } }), true],
  ['keywords of later drafts', of({ prefixItems: [text], unevaluatedProperties: false, $dynamicRef: '#a' }), true],
  ['a draft that is not known', of(text, { $schema: 'https://example.com/meta' }), true],
  ['a format that is not known', of({ type: 'string', format: 'colour' }), true],
];

/** Whether a client of SDK v1 reads a list with a tool that says so of its results. */
function isRead(schema: Json): boolean {
  const warn = vi.spyOn(console, 'warn').mockReturnValue();
  try {
    new AjvJsonSchemaValidator().getValidator(schema);
    return true;
  } catch {
    return false;
  } finally {
    warn.mockRestore();
  }
}

describe('a schema of results is one that clients can use', () => {
  test.each(good)('where it refers to %s', (_, schema) => {
    expect([isCompilable(schema), isRead(schema)]).toEqual([true, true]);
  });

  test.each(rare)('nor, though they could, where it refers to %s', (_, schema) => {
    expect([isCompilable(schema), isRead(schema)]).toEqual([false, true]);
  });

  test.each(bad)('not where it refers to %s', (_, schema) => {
    expect([isCompilable(schema), isRead(schema)]).toEqual([false, false]);
  });

  test.each(odd)('or not, as they can, with %s', (_, schema, isGood) => {
    expect([isCompilable(schema), isRead(schema)]).toEqual([isGood, isGood]);
  });

  test('not where it is too deep for them, or has no end', () => {
    const deep = (levels: number) => {
      let schema: Json = text;
      for (let depth = 0; depth < levels; depth += 1) schema = of(schema);
      return schema;
    };
    expect([isCompilable(deep(200)), isRead(deep(200))]).toEqual([true, true]);
    expect([isCompilable(deep(5_000)), isRead(deep(5_000))]).toEqual([false, false]);
    expect(isCompilable(deep(100_000))).toBe(false);
    const endless: Json = of({});
    endless.items = endless;
    expect(isCompilable(endless)).toBe(false);
  });

  test('not where the checks of its alternatives are nested too deeply for them', () => {
    const anyOf = (count: number) => of({ anyOf: Array(count).fill({ const: 1 }) });
    expect([isCompilable(anyOf(500)), isRead(anyOf(500))]).toEqual([true, true]);
    expect([isCompilable(anyOf(5_000)), isRead(anyOf(5_000))]).toEqual([false, false]);
    // The alternatives of the last one are nested in all before them.
    const within = (part: unknown) => ({ anyOf: [...Array(499).fill({ const: 1 }), part] });
    const ten = of(
      Array(10)
        .fill(within)
        .reduce<unknown>((part, put) => put(part), text),
    );
    expect([isCompilable(ten), isRead(ten)]).toEqual([false, false]);
    // Which references that lead to them first do not change.
    const references = Array.from({ length: 10 }, (_, depth) => ({
      $ref: `#/properties/x${'/anyOf/499'.repeat(depth)}`,
    }));
    expect(isCompilable({ allOf: references, ...ten })).toBe(false);
    const beside = of(text, {
      properties: Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [name, within(text)])),
    });
    expect([isCompilable(beside), isRead(beside)]).toEqual([true, true]);
    const named = of(within({ $ref: '#/$defs/A' }), { $defs: { A: within(text) } });
    expect([isCompilable(named), isRead(named)]).toEqual([true, true]);
    // These take a client half a minute.
    expect(isCompilable(of({ oneOf: Array(5_000).fill(text) }))).toBe(false);
    const names = Array.from({ length: 5_000 }, (_, index) => [`${index}`, text] as const);
    expect(isCompilable(of({ patternProperties: Object.fromEntries(names) }))).toBe(false);
    expect(isCompilable(of({ allOf: Array(5_000).fill(text), properties: Object.fromEntries(names) }))).toBe(true);
  });

  test('also where a pattern names what is very much very often', () => {
    const before = process.resourceUsage().maxRSS;
    expect(isCompilable(of({ pattern: '\\p{L}'.repeat(50_000) }))).toBe(true);
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(200_000);
  });

  test('also where many references lead through each other', () => {
    const $defs: Json = { d30000: text };
    for (let index = 0; index < 30_000; index += 1) $defs[`d${index}`] = { $ref: `#/$defs/d${index + 1}` };
    const properties = Object.fromEntries(Object.keys($defs).map((name) => [name, { $ref: `#/$defs/${name}` }]));
    expect(isCompilable({ type: 'object', properties, $defs })).toBe(true);
  });
});
