import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { PassThrough, type Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { borrowOutput, type Output } from '../../src/runtimes/local-process/output.js';

// Writes what it is told to, and ends by itself.
const program = `process.stdin.on('data', (data) => process.stdout.write(data)).on('end', () => process.stdout.end('end'))`;

async function run(use: (child: ChildProcess, output: Output) => Promise<void>): Promise<void> {
  const child = spawn(process.execPath, ['-e', program], { stdio: ['pipe', 'pipe', 'ignore'] });
  try {
    // This Node keeps behind a socket what is needed; without it the tests below would prove nothing.
    const output = borrowOutput(child.stdout as Readable);
    expect(output).toBeDefined();
    await use(child, output as Output);
  } finally {
    child.kill('SIGKILL');
  }
}

const skipped = process.platform === 'win32';

test.skipIf(skipped)('reads all bytes into one buffer, and the end comes after them', async () => {
  await run(async (child, { stream, onBytes }) => {
    const buffers = new Set<Buffer>();
    const texts: string[] = [];
    onBytes((bytes, length) => {
      buffers.add(bytes);
      texts.push(bytes.toString('utf8', 0, length));
    });
    stream.resume();
    const ended = once(stream, 'end');
    const big = 'x'.repeat(1_000_000);
    child.stdin?.end(`${big}\n`);
    await ended;
    expect(texts.join('')).toBe(`${big}\nend`);
    expect(buffers.size).toBe(1);
  });
});

test.skipIf(skipped)(
  'reads nothing before the stream flows and while it is paused, not even when the child has gone',
  async () => {
    await run(async (child, { stream, onBytes }) => {
      let text = '';
      const came = Promise.withResolvers<void>();
      onBytes((bytes, length) => {
        text += bytes.toString('utf8', 0, length);
        stream.pause();
        came.resolve();
      });
      const closed = once(child, 'close');
      child.stdin?.write('first');
      stream.resume();
      await came.promise;
      expect(text).toBe('first');
      child.stdin?.end('second');
      // Its own socket is closed, or the child's end would be waited for in vain.
      await closed;
      expect(text).toBe('first');
      const ended = once(stream, 'end');
      stream.on('pause', () => stream.resume()).resume();
      await ended;
      expect(text).toBe('firstsecondend');
    });
  },
);

test.skipIf(skipped)('a stream that is destroyed reads no more, and the child learns that nobody does', async () => {
  await run(async (child, { stream }) => {
    stream.on('error', () => {}).destroy();
    await once(stream, 'close');
    const exit = once(child, 'exit');
    child.stdin?.on('error', () => {}).write('x'.repeat(1_000_000));
    expect(await exit).not.toEqual([0, null]);
  });
});

test('what is no socket stays as it is', () => {
  const stream = new PassThrough();
  expect(borrowOutput(stream)).toBeUndefined();
  expect(stream.destroyed).toBe(false);
});
