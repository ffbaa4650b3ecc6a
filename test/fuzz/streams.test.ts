import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { Demultiplexer } from '../../src/runtimes/docker/engine/demultiplexer.js';
import { EventParser } from '../../src/transport/http/event-parser.js';
import { type Chance, count, createChance, cutAnywhere, mutate } from './seed.js';

interface Taken {
  readonly stdout: string;
  readonly stderr: string;
  readonly failed: boolean;
}

async function demultiplex(pieces: readonly Buffer[]): Promise<Taken> {
  const source = new PassThrough();
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  const output = new Demultiplexer(source, (chunk) => stderr.push(Buffer.from(chunk)));
  // The piece is only valid during the call.
  output.onOutput((piece) => stdout.push(Buffer.from(piece)));
  output.stdout.on('error', () => {}).resume();
  let failed = false;
  source.on('error', () => {
    failed = true;
  });
  const over = new Promise((resolve) => source.once('end', resolve).once('close', resolve));
  for (const piece of pieces) source.write(piece);
  source.end();
  await over;
  const ended = once(output.stdout, 'close');
  output.finish();
  await ended;
  return { stdout: Buffer.concat(stdout).toString('latin1'), stderr: Buffer.concat(stderr).toString('latin1'), failed };
}

/** The plainest reading of the same: frame after frame, with everything there. */
function readPlainly(bytes: Buffer): Taken {
  const out: Record<number, string> = { 1: '', 2: '' };
  for (let at = 0; at < bytes.length; ) {
    const header = bytes.subarray(at, at + 8);
    if (header.length < 8) break;
    if (![0, 1, 2].includes(header[0] as number) || header[1] !== 0 || header[2] !== 0 || header[3] !== 0) {
      return { stdout: out[1] ?? '', stderr: out[2] ?? '', failed: true };
    }
    const size = header.readUInt32BE(4);
    const kind = header[0] === 2 ? 2 : 1;
    out[kind] += bytes.subarray(at + 8, at + 8 + size).toString('latin1');
    at += 8 + size;
  }
  return { stdout: out[1] ?? '', stderr: out[2] ?? '', failed: false };
}

function makeFrames(chance: Chance): Buffer {
  const frames = Array.from({ length: 1 + chance.below(6) }, () => {
    const text = Buffer.from(chance.pick(['', '{"jsonrpc":"2.0"}\n', 'warning\n', 'é'.repeat(chance.below(200))]));
    const header = Buffer.from([chance.pick([1, 1, 2]), 0, 0, 0, 0, 0, 0, 0]);
    header.writeUInt32BE(text.length, 4);
    return Buffer.concat([header, text]);
  });
  return Buffer.concat(frames);
}

describe('the frames of an attached container', () => {
  test('every cut in two gives the same bytes', async () => {
    const frame = (kind: number, text: string) => {
      const header = Buffer.from([kind, 0, 0, 0, 0, 0, 0, Buffer.byteLength(text)]);
      return Buffer.concat([header, Buffer.from(text)]);
    };
    const whole = Buffer.concat([frame(1, '{"a":"é"}\n'), frame(2, 'oh\n'), frame(1, ''), frame(1, '{}\n')]);
    for (let at = 0; at <= whole.length; at += 1) {
      expect(await demultiplex([whole.subarray(0, at), whole.subarray(at)])).toEqual(readPlainly(whole));
    }
  });

  test('mutated and cut anywhere: the bytes up to the first frame that is none', { timeout: 600_000 }, async () => {
    const chance = createChance('mutated frames of a container');
    let failed = 0;
    for (let run = 0; run < count(20_000, 200_000); run += 1) {
      const bytes = mutate(makeFrames(chance), chance, chance.below(3));
      const wanted = readPlainly(bytes);
      const taken = await demultiplex(cutAnywhere(bytes, chance));
      failed += Number(taken.failed);
      const where = `run ${run}: ${bytes.toString('base64')}`;
      expect(taken.failed, where).toBe(wanted.failed);
      // What had come before the failure may not have been read when it came.
      if (taken.failed) expect(wanted.stdout.startsWith(taken.stdout), where).toBe(true);
      else expect(taken.stdout, where).toBe(wanted.stdout);
      expect(taken.stderr, where).toBe(wanted.stderr);
    }
    expect(failed).toBeGreaterThan(100);
  });
});

interface Heard {
  readonly events: readonly string[];
  readonly ok: boolean;
}

function parse(pieces: readonly Buffer[], limitBytes: number): Heard {
  const events: string[] = [];
  const parser = new EventParser(limitBytes, {
    event: (type, data) => events.push(`event ${JSON.stringify([type, data])}`),
    id: (id) => events.push(`id ${JSON.stringify(id)}`),
    retry: (ms) => events.push(`retry ${ms}`),
  });
  const ok = pieces.every((piece) => parser.feed(piece));
  return { events, ok };
}

function makeEvents(chance: Chance): Buffer {
  const line = () =>
    chance.pick([
      'data: {"jsonrpc":"2.0"}',
      'data',
      'data:é漢',
      'event: message',
      'id: 7',
      'id',
      'retry: 50',
      ': x',
      '',
      '',
    ]);
  const lines = Array.from({ length: 1 + chance.below(16) }, () => line() + chance.pick(['\n', '\n', '\r\n', '\r']));
  return Buffer.from(chance.pick(['', '', '\ufeff']) + lines.join(''));
}

test('nothing is taken from behind what is no frame', async () => {
  // As fuzzing found it: the second header holds what no engine sends.
  const bytes = Buffer.from('AQAAAAAAAAJ7fQEAAL8AAAADYWJj', 'base64');
  expect(await demultiplex([bytes])).toEqual({ stdout: '{}', stderr: '', failed: true });
});

describe('streams of events', () => {
  test('mutated and cut anywhere: the same is heard as of the whole, line by line', { timeout: 600_000 }, () => {
    const chance = createChance('mutated events');
    let heard = 0;
    for (let run = 0; run < count(30_000, 300_000); run += 1) {
      const bytes = mutate(makeEvents(chance), chance, chance.below(4));
      const whole = parse([bytes], 1_000_000);
      heard += whole.events.length;
      const cut = parse(cutAnywhere(bytes, chance), 1_000_000);
      if (!cut.ok || !whole.ok || cut.events.join('\n') !== whole.events.join('\n')) {
        expect(cut, `run ${run}: ${bytes.toString('base64')}`).toEqual(whole);
      }
    }
    expect(heard).toBeGreaterThan(1_000);
  });

  test('a limit: what is heard is how the whole begins, and no event is larger', { timeout: 600_000 }, () => {
    const chance = createChance('events over the limit');
    for (let run = 0; run < count(10_000, 100_000); run += 1) {
      const bytes = mutate(makeEvents(chance), chance, chance.below(3));
      const limit = 1 + chance.below(60);
      const whole = parse([bytes], 1_000_000).events;
      const { events, ok } = parse(cutAnywhere(bytes, chance), limit);
      const where = `run ${run}: ${bytes.toString('base64')} at ${limit}`;
      // The event that is too large may have told its id already.
      const heard = !ok && events.at(-1)?.startsWith('id ') ? events.slice(0, -1) : events;
      expect(heard, where).toEqual(whole.slice(0, heard.length));
      if (ok) expect(events.length, where).toBe(whole.length);
    }
  });
});
