import { expect, test } from 'vitest';
import { LineBuffer } from '../../src/transport/line-buffer.js';
import { type Chance, count, createChance, cutAnywhere, mutate } from './seed.js';

const frames = [
  { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'é漢👩‍👩‍👧‍👦', arguments: { text: '\u2028"\\' } } },
  { jsonrpc: '2.0', id: 'a', result: { content: [{ type: 'text', text: 'x'.repeat(300) }] } },
  { jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 0, progress: 0.5 } },
  { jsonrpc: '2.0', id: 2, error: { code: -32601, message: 'no\r\nsuch method' } },
].map((frame) => `${JSON.stringify(frame)}\n`);

function linesOf(pieces: readonly Buffer[], maxBytes: number): { lines: string[]; overflow: boolean } {
  const buffer = new LineBuffer(maxBytes);
  const lines: string[] = [];
  for (const piece of pieces) {
    buffer.feed(piece);
    for (let line = buffer.next(); line !== undefined; line = buffer.next()) lines.push(line);
  }
  return { lines, overflow: buffer.overflow };
}

function makeStream(chance: Chance, mutations: number): Buffer {
  const whole = Buffer.from(Array.from({ length: 1 + chance.below(6) }, () => chance.pick(frames)).join(''));
  return mutate(whole, chance, mutations);
}

test('a stream of frames is the same however it is cut in three', () => {
  const whole = Buffer.from(frames.join(''));
  const wanted = whole.toString().split('\n').slice(0, -1);
  const step = count(3, 1);
  for (let first = 0; first <= whole.length; first += step) {
    for (let second = first; second <= whole.length; second += step) {
      const pieces = [whole.subarray(0, first), whole.subarray(first, second), whole.subarray(second)];
      const { lines } = linesOf(pieces, 100_000);
      if (lines.length !== wanted.length || lines.some((line, index) => line !== wanted[index])) {
        expect(lines, `cut at ${first} and ${second}`).toEqual(wanted);
      }
    }
  }
}, 300_000);

test('mutated streams, cut anywhere, are the lines that a plain split finds', { timeout: 600_000 }, () => {
  const chance = createChance('mutated frames');
  const mutationsEach = 5;
  let lines = 0;
  for (let run = 0; run < count(100_000, 1_000_000) / mutationsEach; run += 1) {
    const stream = makeStream(chance, mutationsEach);
    const wanted: string[] = [];
    for (let start = 0, end = stream.indexOf(10); end !== -1; start = end + 1, end = stream.indexOf(10, start)) {
      wanted.push(stream.subarray(start, end).toString());
    }
    const found = linesOf(cutAnywhere(stream, chance), 100_000);
    lines += found.lines.length;
    if (found.overflow || found.lines.join('\n') !== wanted.join('\n')) {
      expect(found, `run ${run}: ${stream.toString('base64')}`).toEqual({ lines: wanted, overflow: false });
    }
  }
  expect(lines).toBeGreaterThan(1_000);
});

test('a limit lets through what comes before the line that passes it, and nothing after', () => {
  const chance = createChance('frames over the limit');
  for (let run = 0; run < count(10_000, 100_000); run += 1) {
    const stream = makeStream(chance, 3);
    const limit = 1 + chance.below(400);
    const { lines, overflow } = linesOf(cutAnywhere(stream, chance), limit);
    const all = linesOf([stream], 1_000_000).lines;
    expect(lines, `run ${run}: ${stream.toString('base64')}`).toEqual(all.slice(0, lines.length));
    const next = all[lines.length];
    // What is decoded may be longer than what came: bytes that are not UTF-8 become three.
    if (next !== undefined) expect(overflow, `run ${run}: ${stream.toString('base64')} at ${limit}`).toBe(true);
    for (const line of lines) {
      if (!line.includes('\ufffd')) expect(Buffer.byteLength(line)).toBeLessThanOrEqual(limit);
    }
  }
});
