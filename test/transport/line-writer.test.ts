import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
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
        wrong += JSON.parse(line).params.n === lines ? 0 : 1;
        lines += 1;
      }
    }).on('end', () => process.stdout.write(JSON.stringify({ lines, wrong, rest }), () => clearInterval(alive)));
  });
  process.stdout.write('up');
`;

describe.skipIf(process.platform === 'win32')('writing to a child process', () => {
  test.each([100, 3_000, 40_000])(
    'messages of %i characters wait while it does not read, and all arrive in order',
    async (size) => {
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
          const text = 'x'.repeat(size);
          n += 1;
          return writer.write({ jsonrpc: '2.0', method: 'n', params: { n: n - 1, text } });
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
    },
  );

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
