import { once } from 'node:events';
import { PassThrough, Writable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { setImmediate as turn } from 'node:timers/promises';
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

  test('is dropped where nobody reads it, and where somebody does not read it in time', async () => {
    const stderr = new OptionalReadable();
    const chunk = Buffer.alloc(512 * 1024);
    stderr.offer(chunk);
    expect(stderr.readableLength).toBe(0);
    const hold = () => {};
    stderr.on('readable', hold);
    for (let n = 0; n < 5; n++) stderr.offer(chunk);
    expect(stderr.readableLength).toBe(1024 * 1024);
    stderr.off('readable', hold);
    await turn();
    stderr.finish();
    await once(stderr, 'close');
    expect(stderr.readableLength).toBe(0);
  });

  test('comes whole, and to its end, through a pipe that is held up', async () => {
    const stderr = new OptionalReadable();
    const written: string[] = [];
    let goOn = () => {};
    const slow = new Writable({
      highWaterMark: 1,
      write: (chunk, _encoding, done) => {
        written.push(String(chunk));
        goOn = done;
        if (written.length > 1) done();
      },
    });
    stderr.pipe(slow);
    await turn();
    stderr.offer(Buffer.from('one'));
    expect(stderr.isPaused()).toBe(true);
    stderr.offer(Buffer.from('two'));
    stderr.finish();
    goOn();
    await finished(slow);
    expect(written).toEqual(['one', 'two']);
  });

  test('has an end for who looks at it only after that', async () => {
    const stderr = new OptionalReadable();
    stderr.finish();
    await finished(stderr);
    const file = new PassThrough().resume();
    await pipeline(stderr, file);
    expect(file.closed).toBe(true);
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
