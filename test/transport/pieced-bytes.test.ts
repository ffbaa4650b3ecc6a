import { expect, test, vi } from 'vitest';
import { PiecedBytes } from '../../src/transport/pieced-bytes.js';

const pieces = ['ab', '', 'cde', 'f'].map((text) => Buffer.from(text));
const text = 'abcdef';

test('shows all in a row, and keeps any stretch', () => {
  const bytes = new PiecedBytes(pieces);
  expect(bytes.all.toString()).toBe(text);
  for (let start = 0; start <= text.length; start += 1) {
    for (let end = start; end <= text.length; end += 1) {
      const kept = bytes.keep(start, end);
      expect(kept.join('')).toBe(text.slice(start, end));
      expect(kept.every(({ length }) => length > 0)).toBe(true);
    }
  }
});

test('copies what it keeps of a last piece that is borrowed, and nothing else', () => {
  const shared = Buffer.from('two');
  const bytes = new PiecedBytes([Buffer.from('one'), shared], true);
  const kept = bytes.keep(1, 5);
  shared.fill('!');
  expect(kept.join('')).toBe('netw');
  expect(new PiecedBytes([shared]).keep(0, 3)[0]?.buffer).toBe(shared.buffer);
});

test('joins one after the other in the same place, and what is larger in a place of its own', () => {
  const small = [Buffer.alloc(100_000, 'a'), Buffer.alloc(100_000, 'b')];
  const concat = vi.spyOn(Buffer, 'concat');
  try {
    const first = new PiecedBytes(small).all;
    const second = new PiecedBytes([...small].reverse()).all;
    expect(second.buffer).toBe(first.buffer);
    expect(second.toString()).toBe('b'.repeat(100_000) + 'a'.repeat(100_000));
    const larger = new PiecedBytes([...small, ...small]).all;
    expect(larger.equals(Buffer.concat([...small, ...small]))).toBe(true);
    concat.mockClear();
    const large = [Buffer.alloc(4 * 1024 * 1024, 'c'), Buffer.from('d')];
    const { all } = new PiecedBytes(large);
    expect(concat).toHaveBeenCalledOnce();
    expect([all.length, all.at(-1)]).toEqual([4 * 1024 * 1024 + 1, 0x64]);
  } finally {
    concat.mockRestore();
  }
});

test('of no pieces there are no bytes', () => {
  const bytes = new PiecedBytes([]);
  expect(bytes.all.length).toBe(0);
  expect(bytes.keep(0, 10)).toEqual([]);
});
