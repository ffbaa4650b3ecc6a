import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type Readable, Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { GatewayError } from '../../src/errors.js';
import { handedOver } from '../../src/transport/handed-over.js';
import { LineWriter } from '../../src/transport/line-writer.js';

// Reads nothing until it is told to by a signal, and counts lines then; the number comes with the end of its input.
const program = `
  const alive = setInterval(() => {}, 60_000);
  process.on('SIGUSR2', () => {
    let lines = 0;
    let wrong = 0;
    let rest = '';
    process.stdin.setEncoding('utf8').on('data', (text) => {
      const all = (rest + text).split('\\n');
      rest = all.pop();
      for (const line of all) {
        const { n, arguments: args } = JSON.parse(line).params;
        wrong += n === lines && (args === undefined || args.text === 'é'.repeat(args.size)) ? 0 : 1;
        lines += 1;
      }
    }).on('end', () => process.stdout.write(JSON.stringify({ lines, wrong, rest }), () => clearInterval(alive)));
  });
  process.stdout.write('up');
`;

describe.skipIf(process.platform === 'win32')('writing to a child process', () => {
  test.each([
    [100, ''],
    [3_000, ''],
    [40_000, ''],
    [3_000, ' with their bytes'],
    [40_000, ' with their bytes'],
  ])('messages of %i characters%s wait while it does not read, and all arrive in order', async (size, withBytes) => {
    const child = spawn(process.execPath, ['-e', program], { stdio: ['pipe', 'pipe', 'ignore'] });
    try {
      const stdout = child.stdout as Readable;
      await once(stdout.setEncoding('utf8'), 'data');
      const writer = new LineWriter(
        child.stdin as Writable,
        { server: 'test', maxMessageBytes: 2 ** 20 },
        async () => false,
      );
      let n = 0;
      const write = () => {
        const value = { size, text: 'é'.repeat(size) };
        const part = withBytes === '' ? undefined : { value, json: [Buffer.from(JSON.stringify(value))] };
        n += 1;
        return writer.write({ jsonrpc: '2.0', method: 'n', params: { n: n - 1, arguments: value } }, part);
      };
      let waiting: Promise<void>;
      do {
        // The first message of a turn goes out by itself.
        writer.newTurn();
        waiting = write();
        await turn();
      } while (waiting === handedOver);
      const more = Array.from({ length: 20 }, write);
      let settled = 0;
      const all = [waiting, ...more].map((outcome) => outcome.then(() => (settled += 1)));
      await turn();
      expect(settled).toBe(0);
      child.kill('SIGUSR2');
      await Promise.all(all);
      const answer = once(stdout, 'data');
      // What goes on after it has waited is as ever.
      writer.newTurn();
      await write();
      child.stdin?.end();
      const [text] = await answer;
      expect(JSON.parse(text)).toEqual({ lines: n, wrong: 0, rest: '' });
    } finally {
      child.kill('SIGKILL');
    }
  });

  test('messages of one turn arrive in order, also when nothing was read in between', async () => {
    const child = spawn(process.execPath, ['-e', program], { stdio: ['pipe', 'pipe', 'ignore'] });
    try {
      const stdout = child.stdout as Readable;
      await once(stdout.setEncoding('utf8'), 'data');
      child.kill('SIGUSR2');
      const writer = new LineWriter(
        child.stdin as Writable,
        { server: 'test', maxMessageBytes: 2 ** 20 },
        async () => false,
      );
      let n = 0;
      for (const burst of [1, 2, 7, 8, 9, 30, 1, 1]) {
        await Promise.all(
          Array.from({ length: burst }, () => writer.write({ jsonrpc: '2.0', method: 'n', params: { n: n++ } })),
        );
      }
      const answer = once(stdout, 'data');
      child.stdin?.end();
      const [text] = await answer;
      expect(JSON.parse(text)).toEqual({ lines: n, wrong: 0, rest: '' });
    } finally {
      child.kill('SIGKILL');
    }
  });
});

describe('a message with the bytes of its large part', () => {
  const value = { text: 'é'.repeat(30_000) };
  const part = { value, json: [Buffer.from(JSON.stringify(value))] };
  const message = { jsonrpc: '2.0' as const, id: 1, result: value };
  const line = `${JSON.stringify(message)}\n`;
  const open = (stream: Writable, maxMessageBytes = 2 ** 20) =>
    new LineWriter(stream, { server: 'test', maxMessageBytes }, async () => false);

  test('is one write to what is no socket, as some make a frame of each', async () => {
    const writes: string[] = [];
    const writer = open(
      new Writable({
        write: (chunk, _, done) => {
          writes.push(String(chunk));
          done();
        },
      }),
    );
    await Promise.all([writer.write(message, part), writer.write(message, part)]);
    expect(writes).toEqual([line, line]);
  });

  test('leaves behind what was accepted before, when the end comes and the server is owed it', async () => {
    const writes: string[] = [];
    let goOn = () => {};
    const stream = new Writable({
      write: (chunk, _, done) => {
        writes.push(String(chunk));
        goOn = done;
      },
    });
    const writer = open(stream);
    const small = { jsonrpc: '2.0' as const, method: 'n' };
    const outcomes = [writer.write(small), writer.write(small), writer.write(message, part), writer.write(small)];
    writer.fail(new GatewayError('TRANSPORT_CLOSED', 'the end'), true);
    const settled = await Promise.allSettled(outcomes);
    expect(settled.map(({ status }) => status)).not.toContain('fulfilled');
    while (writes.join('').length < 3 * 30 + line.length) {
      const before = writes.length;
      goOn();
      await turn();
      if (writes.length === before) break;
    }
    const text = `${JSON.stringify(small)}\n`;
    expect(writes.join('')).toBe(text + text + line + text);
  });

  test.each([
    [line.length + 30_000 - 1, true],
    [line.length + 30_000 - 2, false],
  ])('counts in bytes: under a limit of %i it passes: %s', async (limit, passes) => {
    const writer = open(new Writable({ write: (_chunk, _encoding, done) => done() }), limit);
    const outcome = writer.write(message, part);
    if (passes) await outcome;
    else await expect(outcome).rejects.toMatchObject({ code: 'MESSAGE_TOO_LARGE', delivered: false });
  });
});
