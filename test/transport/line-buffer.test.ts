import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { LineBuffer } from '../../src/transport/line-buffer.js';

const limit = 1024 * 1024;

function cut(chunks: readonly Buffer[], maxBytes = limit): { lines: string[]; overflow: boolean } {
  const buffer = new LineBuffer(maxBytes);
  const lines: string[] = [];
  for (const chunk of chunks) {
    buffer.feed(chunk);
    for (let line = buffer.next(); line !== undefined; line = buffer.next()) {
      lines.push(line);
    }
  }
  return { lines, overflow: buffer.overflow };
}

/** What it must be: all bytes at once, by the plainest code. */
function expected(bytes: Buffer): string[] {
  const lines: string[] = [];
  let start = 0;
  for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
    lines.push(bytes.subarray(start, end).toString('utf8'));
    start = end + 1;
  }
  return lines;
}

function splitAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const sorted = [...new Set(cuts.map((at) => at % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...sorted].map((at, index) => bytes.subarray(at, sorted[index] ?? bytes.length));
}

const corpus = Buffer.from('{"a":"é"}\r\n\n{"b":"漢字"}\n{"c":"👩‍👩‍👧‍👦"}\n\ufeff{"d":1}\nrest of ü');

test('every cut in two gives the same lines', () => {
  for (let at = 0; at <= corpus.length; at += 1) {
    expect(cut([corpus.subarray(0, at), corpus.subarray(at)]).lines).toEqual(expected(corpus));
  }
});

test('one byte at a time gives the same lines', () => {
  expect(cut([...corpus].map((byte) => Buffer.from([byte]))).lines).toEqual(expected(corpus));
});

test('any bytes in any chunks give the same lines, and bytes that are not UTF-8 become U+FFFD', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc
      .array(fc.constantFrom(10, 13, 0x61, 0xc3, 0xa9, 0xf0, 0x9f, 0xff), { maxLength: 300 })
      .map((list) => Uint8Array.from(list)),
    // Around the sizes at which pieces are gathered.
    fc.integer({ min: 3_000, max: 9_000 }).map((length) => new Uint8Array(length).fill(0x62)),
  );
  const input = fc.tuple(fc.array(bytes, { maxLength: 6 }), fc.array(fc.nat(20_000), { maxLength: 40 }));
  fc.assert(
    fc.property(input, ([parts, cuts]) => {
      const whole = Buffer.concat([...parts, Buffer.from('\n')]);
      expect(cut(splitAt(whole, cuts)).lines).toEqual(expected(whole));
    }),
    { numRuns: 2_000 },
  );
  expect(cut([Buffer.from([0x61, 0xff, 0x62, 10])]).lines).toEqual(['a\ufffdb']);
});

test('bytes in a buffer that is used again give the same lines, also when somebody stops between two of them', () => {
  const input = fc.record({
    lines: fc.array(fc.integer({ min: 0, max: 9_000 }), { maxLength: 12 }),
    cuts: fc.array(fc.nat(60_000), { maxLength: 30 }),
    takes: fc.array(fc.nat(3), { minLength: 1, maxLength: 10 }),
  });
  fc.assert(
    fc.property(input, ({ lines, cuts, takes }) => {
      const whole = Buffer.from(lines.map((length, n) => `${String.fromCharCode(97 + n).repeat(length)}\n`).join(''));
      const shared = Buffer.alloc(whole.length);
      const buffer = new LineBuffer(limit);
      const got: string[] = [];
      const bytes: Buffer[] = [];
      const take = (most: number) => {
        for (let left = most, line: string | undefined; left > 0; left -= 1) {
          line = buffer.next();
          if (line === undefined) {
            return;
          }
          got.push(line);
          bytes.push(Buffer.concat(buffer.lastBytes()?.keep(0, line.length) ?? []));
        }
      };
      for (const [n, chunk] of splitAt(whole, cuts).entries()) {
        chunk.copy(shared);
        buffer.feed(shared.subarray(0, chunk.length), true);
        take(takes[n % takes.length] as number);
        buffer.keep();
        shared.fill('!');
      }
      take(Number.POSITIVE_INFINITY);
      expect(got).toEqual(expected(whole));
      expect(bytes.map(String)).toEqual(got);
    }),
    { numRuns: 1_000 },
  );
});

test('a line of just the limit fits, one byte more does not, however it comes', () => {
  for (const size of [1, 7, 64, 100, 101]) {
    const inPieces = (length: number) => {
      const whole = Buffer.from(`${'x'.repeat(length)}\n`);
      return Array.from({ length: Math.ceil(whole.length / size) }, (_, n) => whole.subarray(n * size, (n + 1) * size));
    };
    expect(cut(inPieces(100), 100)).toEqual({ lines: ['x'.repeat(100)], overflow: false });
    expect(cut(inPieces(101), 100)).toEqual({ lines: [], overflow: true });
  }
});

test('the limit is noticed before the line has ended, and what came before it is delivered', () => {
  expect(cut([Buffer.from(`ok\n${'x'.repeat(11)}`)], 10)).toEqual({ lines: ['ok'], overflow: true });
});

test('each byte is copied at most twice, whatever the chunks', () => {
  let copied = 0;
  const concat = Buffer.concat;
  vi.spyOn(Buffer, 'concat').mockImplementation((list, length) => {
    copied += list.reduce((sum, item) => sum + item.length, 0);
    return concat(list, length);
  });
  const { copy } = Buffer.prototype;
  vi.spyOn(Buffer.prototype, 'copy').mockImplementation(function (this: Buffer, ...args) {
    copied += this.length;
    return copy.apply(this, args as Parameters<typeof copy>);
  });
  try {
    for (const size of [1, 100, 5_000, 65_536]) {
      copied = 0;
      const line = Buffer.from(`${'y'.repeat(limit - 1)}\n`);
      const chunks = Array.from({ length: Math.ceil(limit / size) }, (_, n) => line.subarray(n * size, (n + 1) * size));
      expect(cut(chunks).lines[0]?.length).toBe(limit - 1);
      expect(copied).toBeGreaterThan(0);
      expect(copied).toBeLessThanOrEqual(2 * limit);
    }
  } finally {
    vi.restoreAllMocks();
  }
});

test('pieces of one byte cost no object each', () => {
  const buffer = new LineBuffer(64 * limit);
  const piece = Buffer.from('z');
  for (let n = 0; n < 1_000_000; n += 1) {
    buffer.feed(piece);
    buffer.next();
  }
  buffer.feed(Buffer.from('\n'));
  expect(buffer.next()?.length).toBe(1_000_000);
  expect(buffer.lastBytes()?.keep(0, 1_000_000).length).toBeLessThan(100);
});

test('tells whether bytes wait that nobody has looked at, and whether any wait at all', () => {
  const buffer = new LineBuffer(limit);
  const state = () => ({ isEmpty: buffer.isEmpty, hasInput: buffer.hasInput });
  expect(state()).toEqual({ isEmpty: true, hasInput: false });
  buffer.feed(Buffer.alloc(0));
  expect(state()).toEqual({ isEmpty: true, hasInput: false });
  buffer.feed(Buffer.from('a\nb'));
  expect(state()).toEqual({ isEmpty: false, hasInput: true });
  expect(buffer.next()).toBe('a');
  expect(state()).toEqual({ isEmpty: false, hasInput: true });
  expect(buffer.next()).toBeUndefined();
  // Half a line has been looked at.
  expect(state()).toEqual({ isEmpty: false, hasInput: false });
  buffer.feed(Buffer.from('\n'));
  expect(buffer.next()).toBe('b');
  expect(state()).toEqual({ isEmpty: true, hasInput: false });
});

test('is empty after a line over the limit, and stays so', () => {
  const buffer = new LineBuffer(10);
  buffer.feed(Buffer.from(`${'x'.repeat(8)}`));
  expect(buffer.next()).toBeUndefined();
  buffer.feed(Buffer.from(`${'x'.repeat(8)}\nafter\n`));
  expect(buffer.next()).toBeUndefined();
  buffer.feed(Buffer.from('more\n'));
  expect(buffer.next()).toBeUndefined();
  expect({ ...buffer, isEmpty: buffer.isEmpty, hasInput: buffer.hasInput, overflow: buffer.overflow }).toEqual({
    isEmpty: true,
    hasInput: false,
    overflow: true,
  });
});

test('the limit is that of a line, wherever it stands in a chunk', () => {
  const lines = ['x', 'y', 'z'].map((letter) => letter.repeat(60));
  expect(cut([Buffer.from(`${lines.join('\n')}\n`)], 100)).toEqual({ lines, overflow: false });
});

test('is as new once cleared', () => {
  const buffer = new LineBuffer(limit);
  buffer.feed(Buffer.from('a\nhalf'));
  expect(buffer.next()).toBe('a');
  buffer.clear();
  expect(buffer.isEmpty).toBe(true);
  buffer.feed(Buffer.from('b\nc\n'));
  expect([buffer.next(), buffer.next(), buffer.next()]).toEqual(['b', 'c', undefined]);
});

test('has the bytes of the line that it has just given, and none when it gave none', () => {
  const buffer = new LineBuffer(limit);
  expect(buffer.lastBytes()).toBeUndefined();
  buffer.feed(Buffer.from('é\n'));
  buffer.next();
  expect(buffer.lastBytes()?.all).toEqual(Buffer.from('é'));
  buffer.next();
  expect(buffer.lastBytes()).toBeUndefined();
  buffer.feed(Buffer.from('b\n'));
  buffer.next();
  buffer.clear();
  expect(buffer.lastBytes()).toBeUndefined();
});
