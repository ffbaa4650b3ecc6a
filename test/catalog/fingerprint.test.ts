import { describe, expect, test } from 'vitest';
import { fingerprint } from '../../src/catalog/fingerprint.js';

const of = (spec: unknown, env: Record<string, string> = {}, type = 'x', baseDir = '/catalogs') =>
  fingerprint({ runtime: { type, spec }, env, baseDir });

describe('fingerprint', () => {
  test('is the same for the same, whatever the order of keys', () => {
    expect(of({ a: 1, b: { c: [1], d: 2 } }, { A: '1', B: '2' })).toBe(
      of({ b: { d: 2, c: [1] }, a: 1 }, { B: '3', A: '4' }),
    );
    expect(of({ a: 1, b: undefined })).toBe(of({ a: 1 }));
    expect(of({})).toMatch(/^[0-9a-f]{64}$/);
  });

  test('differs for what differs', () => {
    const run = () => {};
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    const all = [
      of({}),
      // A relative path in the spec leads elsewhere.
      of({}, {}, 'x', '/elsewhere'),
      of([]),
      of(null),
      of(undefined),
      of(''),
      of('null'),
      of(null, {}, 'y'),
      of(0),
      of(-0),
      of(Number.NaN),
      of('NaN'),
      of(true),
      of(1n),
      of('1'),
      of(1),
      of([1, 2]),
      of([2, 1]),
      of([[1], 2]),
      of({ a: 1 }),
      of({ a: '1' }),
      of({ 'a":1,"b': 1 }),
      of({ a: 1, b: 1 }),
      of({}, { A: '' }),
      of({}, { B: '' }),
      of({}, { A: '', B: '' }),
      of(run),
      of(() => {}),
      of({ run }),
      of(new Date(0)),
      of(new Date(0)),
      of('<identity 1>'),
      of(cycle),
      of({ cycle }),
    ];
    expect(new Set(all).size).toBe(all.length);
  });

  test('counts functions and instances by identity', () => {
    const run = () => {};
    const date = new Date();
    expect(of({ run, date })).toBe(of({ run, date }));
  });
});
