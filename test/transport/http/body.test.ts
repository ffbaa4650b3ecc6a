import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { BodyTooLarge, readText } from '../../../src/transport/http/body.js';
import { WrittenAnswer } from './written-answer.js';

function read(encoding: string | undefined, limitBytes = 10_000) {
  const answer = new WrittenAnswer(encoding);
  return { answer, text: readText(answer, limitBytes) };
}

const text = 'é漢 and more of it '.repeat(20);
const bytes = Buffer.from(text);

describe('a body', () => {
  test.each<[string | undefined, Buffer]>([
    [undefined, bytes],
    ['', bytes],
    ['identity', bytes],
    ['gzip', gzipSync(bytes)],
    ['X-GZIP', gzipSync(bytes)],
    ['deflate', deflateSync(bytes)],
    ['br', brotliCompressSync(bytes)],
    ['gzip, br', brotliCompressSync(gzipSync(bytes))],
    [' deflate ,identity', deflateSync(bytes)],
  ])('in %s is read', async (encoding, written) => {
    const { answer, text: found } = read(encoding);
    answer.write(written);
    expect(await found).toBe(text);
    expect(answer.done).not.toContain('abort');
  });

  test.each([
    ['zstd', 'an unknown compression'],
    ['gzip, rot13', 'an unknown compression'],
    ['constructor', 'an unknown compression'],
    ['gzip, gzip, gzip', '3 layers of compression'],
  ])('in %s is refused before anything of it is read', async (encoding, what) => {
    const { answer, text: found } = read(encoding);
    await expect(found).rejects.toThrow(`the answer has ${what}`);
    expect(answer.done).toEqual(['abort']);
    expect(answer.sink).toBeUndefined();
  });

  test.each([undefined, 'gzip'])('of just the limit is read, and one byte more is too much (%s)', async (encoding) => {
    const write = (length: number) => {
      const body = Buffer.alloc(length, 'x');
      const reading = read(encoding, 1_000);
      reading.answer.write(encoding === undefined ? body : gzipSync(body));
      return reading;
    };
    expect(await write(1_000).text).toHaveLength(1_000);
    const over = write(1_001);
    await expect(over.text).rejects.toThrow(BodyTooLarge);
    await Promise.resolve();
    expect(over.answer.done).toContain('abort');
  });

  test.each([
    ['deflate', deflateSync(bytes)],
    ['br', brotliCompressSync(bytes)],
  ])('that goes on after what is compressed in %s has ended is not waited for', async (encoding, written) => {
    const { answer, text: found } = read(encoding);
    answer.sink?.data(Buffer.concat([written, bytes]));
    expect(await found).toBe(text);
    expect(answer.done).toContain('abort');
  });

  test('that goes on when it is too much already is not heard any more', async () => {
    const { answer, text: found } = read(undefined, 10);
    answer.write(bytes);
    await expect(found).rejects.toThrow('the body is larger than 10 bytes');
    expect(answer.done).toEqual(['abort']);
  });

  test('that grows beyond the limit when it is decompressed is too much, however small it comes', async () => {
    const { answer, text: found } = read('gzip', 100_000);
    answer.write(gzipSync(Buffer.alloc(50_000_000)));
    await expect(found).rejects.toThrow('the body is larger than 100000 bytes');
  });

  test('that is not what it says fails once, and nothing is said after it', async () => {
    const { answer, text: found } = read('gzip');
    answer.sink?.data(Buffer.from('this is no gzip at all'));
    await expect(found).rejects.toThrow('incorrect header check');
    answer.sink?.fail(new Error('cut off'));
    answer.sink?.data(gzipSync(bytes));
    expect(answer.done).toContain('abort');
  });

  test.each([undefined, 'gzip'])('that breaks off fails with what cut it off (%s)', async (encoding) => {
    const { answer, text: found } = read(encoding);
    answer.sink?.data(gzipSync(bytes).subarray(0, 20));
    answer.sink?.fail(new Error('cut off'));
    await expect(found).rejects.toThrow('cut off');
  });
});
