import { createParser } from 'eventsource-parser';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EventParser } from '../../../src/transport/http/event-parser.js';
import { count } from '../../support/counts.js';

/** What is heard of a stream that comes in these chunks. */
function read(chunks: readonly (string | Buffer)[], limitBytes = 10_000) {
  const heard: unknown[] = [];
  const parser = new EventParser(limitBytes, {
    event: (type, data) => heard.push({ type, data }),
    id: (id) => heard.push({ id }),
    retry: (ms) => heard.push({ ms }),
  });
  const ok = chunks.every((chunk) => parser.feed(Buffer.from(chunk)));
  return { heard, ok };
}

/** Another parser, for comparison. It takes text, so it gets whole characters. */
function readOther(text: string) {
  const heard: unknown[] = [];
  const parser = createParser({
    onEvent: ({ event = 'message', data }) => heard.push({ type: event, data }),
    onId: (id) => heard.push({ id }),
    onRetry: (ms) => heard.push({ ms }),
  });
  parser.feed(text);
  return heard;
}

describe('too much', () => {
  test('a line that does not end', () => {
    expect(read(['data: ', 'x'.repeat(60), 'x'.repeat(60)], 100)).toEqual({ heard: [], ok: false });
  });

  test('an event whose id came before: the id is told', () => {
    expect(read(['id: 1\n\nid: 7\ndata: ', 'x'.repeat(120)], 100)).toEqual({
      heard: [{ id: '1' }, { id: '7' }],
      ok: false,
    });
  });

  test('an event of many lines', () => {
    expect(read(['data: x\n'.repeat(100)], 100)).toEqual({ heard: [], ok: false });
  });

  test('an event of many lines without anything in them', () => {
    expect(read(['data\n'.repeat(1_000)], 100)).toEqual({ heard: [], ok: false });
  });

  test('an event of two lines that are each within the limit', () => {
    expect(read([`data: ${'x'.repeat(60)}\ndata: ${'y'.repeat(60)}\n\n`], 100)).toEqual({ heard: [], ok: false });
  });

  test('two events of which each is within the limit are not', () => {
    expect(read(['data: 0123\n\ndata: 4567\n\n'], 10).heard).toHaveLength(2);
  });

  test('a comment that does not end', () => {
    expect(read([':', 'x'.repeat(200)], 100).ok).toBe(false);
  });

  test('many events that are each within the limit are not', () => {
    const { heard, ok } = read(['id: 7\ndata: 0123456789\n\n'.repeat(1_000)], 100);
    expect(ok).toBe(true);
    expect(heard).toHaveLength(2_000);
  });

  test('begins with the first byte beyond the limit', () => {
    expect(read(['data: 0123\n\n'], 10).heard).toEqual([{ type: 'message', data: '0123' }]);
    expect(read(['data: 01234\n\n'], 10)).toEqual({ heard: [], ok: false });
  });

  test('nothing more is told of the chunk within which somebody has heard enough', () => {
    const heard: string[] = [];
    const parser: EventParser = new EventParser(100, {
      event: (_type, data) => {
        heard.push(data);
        parser.stop();
      },
      id() {},
      retry() {},
    });
    parser.feed(Buffer.from('data: 1\n\ndata: 2\n\n'));
    expect(heard).toEqual(['1']);
  });

  test('nothing is told after it', () => {
    const heard: unknown[] = [];
    const parser = new EventParser(10, { event: (...event) => heard.push(event), id() {}, retry() {} });
    expect(parser.feed(Buffer.from('data: 0123456789'))).toBe(false);
    parser.feed(Buffer.from('\n\ndata: x\n\n'));
    expect(heard).toEqual([]);
  });
});

test('a stream that ends within an event: that event does not count', () => {
  expect(read(['data: whole\n\ndata: half\n']).heard).toEqual([{ type: 'message', data: 'whole' }]);
});

test('lines end as they like, and a mark of byte order goes', () => {
  const whole = '\ufeffdata: 1\r\n\r\ndata:2\r\rid: x\ndata\n\nevent: ping\ndata:  3\n\n';
  const wanted = [
    { type: 'message', data: '1' },
    { type: 'message', data: '2' },
    { id: 'x' },
    { type: 'message', data: '' },
    { type: 'ping', data: ' 3' },
  ];
  expect(read([whole]).heard).toEqual(wanted);
  // Byte by byte, so that every cut there can be is there.
  expect(read([...Buffer.from(whole)].map((byte) => Buffer.of(byte))).heard).toEqual(wanted);
});

test.each<[string, string, readonly string[]]>([
  ['line feeds before a carriage return', 'data: one\n\ndata: two\r\n\r\ndata: three\n\n', ['one', 'two', 'three']],
  ['a mark of byte order is one at the beginning alone', '\ufeffdata: 1\n\n\ufeffdata: 2\n\ndata: 3\n\n', ['1', '3']],
])('%s', (_what, whole, data) => {
  for (const chunks of [[whole], [...Buffer.from(whole)].map((byte) => Buffer.of(byte))]) {
    expect(read(chunks).heard).toEqual(data.map((text) => ({ type: 'message', data: text })));
  }
});

test('streams of all kinds, cut anywhere: the same is heard as by another parser', () => {
  const end = fc.constantFrom('\n', '\r\n');
  const value = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 12 }),
    fc.constantFrom('', ' ', ':', '  x', 'data: y'),
  );
  const line = fc
    .tuple(fc.constantFrom('data', 'event', 'id', 'retry', '', 'datax', 'dat'), fc.constantFrom(':', ': ', ''), value)
    .map(([name, colon, text]) => (colon === '' ? name : name + colon + text.replaceAll(/[\r\n\0]/g, '')));
  const lines = fc.array(
    fc.oneof({ weight: 3, arbitrary: line }, fc.constantFrom('', 'data: x', 'retry: 12', 'id: 5')),
    {
      maxLength: 20,
    },
  );
  const stream = fc.tuple(lines, end).map(([all, newline]) => all.map((text) => text + newline).join(''));
  let events = 0;
  fc.assert(
    fc.property(stream, fc.array(fc.nat({ max: 200 }), { maxLength: 8 }), (text, cuts) => {
      const bytes = Buffer.from(text);
      const bounds = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length];
      const chunks = bounds.slice(1).map((bound, index) => bytes.subarray(bounds[index], bound));
      const { heard, ok } = read(chunks);
      expect(ok).toBe(true);
      expect(heard).toEqual(readOther(text));
      events += heard.length;
    }),
    { numRuns: count(10_000, 100_000) },
  );
  expect(events).toBeGreaterThan(1_000);
});
