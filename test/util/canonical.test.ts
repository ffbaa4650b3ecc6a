import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { writeCanonical } from '../../src/util/canonical.js';

function canonical(value: unknown): string {
  const pieces: string[] = [];
  writeCanonical(value, (text) => pieces.push(text));
  return pieces.join('');
}

/** The same with the members of every object in the opposite order. */
function turned(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(turned);
  }
  return typeof value === 'object' && value !== null
    ? Object.fromEntries(
        Object.entries(value)
          .reverse()
          .map(([name, member]) => [name, turned(member)]),
      )
    : value;
}

describe('the canonical text', () => {
  const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as unknown);

  test('is the same whatever the order of members', () => {
    fc.assert(fc.property(json, (value) => canonical(turned(value)) === canonical(value)));
  });

  test('is another one for other JSON', () => {
    const agree = (one: unknown, other: unknown) =>
      (canonical(one) === canonical(other)) === isDeepStrictEqual(one, other);
    fc.assert(fc.property(json, json, agree));
    const alike = [1, '1', [], {}, [[]], [[], []], ['a', 'b'], ['a,b'], [null], null, 'null', { a: 1 }, { 'a:1': 1 }];
    expect(new Set(alike.map(canonical)).size).toBe(alike.length);
  });

  test('has no limit of depth, and comes to an end for what ends nowhere', () => {
    const deep = JSON.parse(`${'[{"a":'.repeat(100_000)}1${'}]'.repeat(100_000)}`);
    expect(canonical(deep)).toHaveLength(100_000 * 10 + 1);
    const endless: Record<string, unknown> = { twice: [{}, {}] };
    endless.self = endless;
    expect(canonical(endless)).toContain('cycle');
    const shared = { a: 1 };
    expect(canonical([shared, shared])).not.toContain('cycle');
    expect(canonical({ a: undefined, b: 1 })).toBe(canonical({ b: 1 }));
  });

  test('comes in pieces', () => {
    const pieces: string[] = [];
    const numbers = Array.from({ length: 200_000 }, (_, index) => index);
    writeCanonical(numbers, (text) => pieces.push(text));
    expect(pieces.length).toBeGreaterThan(10);
    expect(pieces.join('')).toBe(`[,${numbers.join(',')}}`);
  });
});
