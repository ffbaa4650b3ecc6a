import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { referenceServerPath } from '../../src/testing/index.js';

// In a process of its own: what the signal must not end is the process that has the worker.
const host = `
  import { Worker } from 'node:worker_threads';
  const worker = new Worker(process.argv[1], { execArgv: ['--no-warnings'], stdin: true, stdout: true });
  const params = { name: 'crash', arguments: { signal: 'SIGKILL' } };
  worker.stdin.write(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }) + '\\n');
  worker.on('exit', (code) => console.log(code));
`;

test('the reference server in a worker thread that is to end by a signal ends with its code, and only itself', async () => {
  const args = ['--no-warnings', '--input-type=module', '--eval', host, referenceServerPath()];
  expect(await promisify(execFile)(process.execPath, args)).toEqual({ stdout: '137\n', stderr: '' });
});
