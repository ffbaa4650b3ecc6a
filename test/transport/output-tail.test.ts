import { describe, expect, test, vi } from 'vitest';
import { OptionalReadable, OutputTail } from '../../src/transport/output-tail.js';

describe('what a server writes to stderr', () => {
  test.each([
    ['all of it, while it fits', 20, ['one\n', 'two\n'], 'one\ntwo\n'],
    ['whole lines, when it does not', 9, ['one\n', 'two\n', 'three\n'], 'three\n'],
    ['the end of its last line, when that is too long', 9, ['one\n', 'a very long line\n'], 'ong line\n'],
    ['the end of what has no line', 5, ['abcdefghij'], 'fghij'],
  ])('is kept: %s', (_what, bytes, chunks, kept) => {
    const tail = new OutputTail(bytes);
    for (const chunk of chunks) tail.push(Buffer.from(chunk));
    expect(String(tail)).toBe(kept);
  });

  test('is dropped where nobody reads it, and where somebody does not read it in time', () => {
    const stderr = new OptionalReadable();
    const chunk = Buffer.alloc(512 * 1024);
    stderr.offer(chunk);
    expect(stderr.readableLength).toBe(0);
    const hold = () => {};
    stderr.on('readable', hold);
    for (let n = 0; n < 5; n++) stderr.offer(chunk);
    expect(stderr.readableLength).toBe(1024 * 1024);
    stderr.off('readable', hold);
    stderr.finish();
    expect(stderr.destroyed).toBe(true);
  });

  test('is dropped when it comes after the end, also where somebody has not read all', async () => {
    const stderr = new OptionalReadable();
    const failed = vi.fn();
    stderr.on('error', failed).on('readable', () => {});
    stderr.offer(Buffer.from('one'));
    stderr.finish();
    stderr.offer(Buffer.from('two'));
    expect(await stderr.toArray()).toEqual([Buffer.from('one')]);
    expect(failed).not.toHaveBeenCalled();
  });
});
