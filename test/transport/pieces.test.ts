import { describe, expect, test, vi } from 'vitest';
import { Pieces } from '../../src/transport/pieces.js';

/** Bytes that tell where they belong. */
function numbered(length: number, from = 0): Buffer {
  return Buffer.from(Array.from({ length }, (_, n) => (from + n) % 251));
}

/** Sizes around those at which pieces are gathered, and how they fill what they are gathered in. */
const sizes = {
  'one by one': Array.from({ length: 300 }, () => 1),
  'just small': Array.from({ length: 40 }, () => 4_095),
  'just large': [4_096, 4_096],
  'small ones that fill a block to its end': [...Array.from({ length: 32 }, () => 2_048), 1, 2],
  'small ones that do not fit any more': [...Array.from({ length: 16 }, () => 4_000), 3_000, 5],
  'a large one between small ones': [10, 20_000, 10, 10, 5_000, 0, 7],
  'a large one behind a full block': [...Array.from({ length: 32 }, () => 2_048), 9_000, 3],
};

describe.each(Object.entries(sizes))('pieces: %s', (_name, lengths) => {
  const whole = numbered(lengths.reduce((sum, length) => sum + length, 0));
  const add = (pieces: Pieces, isBorrowed: boolean) => {
    const shared = Buffer.alloc(32_768);
    let at = 0;
    for (const length of lengths) {
      const piece = isBorrowed ? shared.subarray(0, length) : Buffer.alloc(length);
      whole.copy(piece, 0, at, at + length);
      at += length;
      pieces.add(piece, isBorrowed);
      expect(pieces.bytes).toBe(at);
      if (isBorrowed) shared.fill(255);
    }
  };

  test('are what was added, also where that changes afterwards', () => {
    for (const isBorrowed of [false, true]) {
      const pieces = new Pieces();
      add(pieces, isBorrowed);
      expect(pieces.take().equals(whole)).toBe(true);
    }
  });

  test('are gone once taken or cleared, and what was taken stays as it was', () => {
    const pieces = new Pieces();
    const end = { taken: () => pieces.take(), cleared: () => pieces.clear() };
    for (const how of ['taken', 'cleared', 'taken', 'taken'] as const) {
      add(pieces, false);
      const all = end[how]();
      expect(pieces.bytes).toBe(0);
      expect(pieces.take()).toHaveLength(0);
      pieces.add(Buffer.alloc(100, 255));
      expect(pieces.take().equals(Buffer.alloc(100, 255))).toBe(true);
      if (all !== undefined) expect(all.equals(whole)).toBe(true);
    }
  });
});

test('a large piece alone is not copied, unless its bytes are going to change', () => {
  const piece = numbered(10_000);
  const pieces = new Pieces();
  pieces.add(piece);
  expect(pieces.take()).toBe(piece);
  pieces.add(piece, true);
  expect(pieces.take()).not.toBe(piece);
});

test('small pieces alone are copied once', () => {
  const pieces = new Pieces();
  for (const length of [100, 4_095, 1]) pieces.add(numbered(length));
  const concat = vi.spyOn(Buffer, 'concat');
  expect(pieces.take()).toHaveLength(4_196);
  expect(concat).not.toHaveBeenCalled();
  concat.mockRestore();
});

test.each([
  ['small ones are gathered in one block until it is full', Array.from({ length: 32 }, () => 2_048), 1],
  ['and the next one needs another', [...Array.from({ length: 32 }, () => 2_048), 1], 2],
  ['a large one between them changes nothing', Array.from({ length: 100 }, () => [10, 4_096]).flat(), 1],
])('%s', (_what, lengths, blocks) => {
  const pieces = new Pieces();
  const allocate = vi.spyOn(Buffer, 'allocUnsafeSlow');
  for (const length of lengths) pieces.add(Buffer.alloc(length));
  expect(allocate).toHaveBeenCalledTimes(blocks);
  allocate.mockRestore();
});
