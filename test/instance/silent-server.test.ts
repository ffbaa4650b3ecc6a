import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { expect, test, vi } from 'vitest';
import { createGateway, InProcessRuntime, type RuntimeFactory } from '../../src/index.js';
import { settle } from '../support/fake-clock.js';

/** A server that says on stderr what it waits for, a secret included. */
const waiting = "console.error('waiting for the database of ' + process.env.TOKEN);";
const silent = `${waiting} process.stdin.resume();`;
/** So do servers that log to stdout, or listen for HTTP. */
const onStdout = silent.replace('console.error', 'console.log');
/** Or ask a person there, and wait. */
const asks = onStdout.replace('console.log', 'process.stdout.write');
/** It makes its handshake and answers nothing after it. */
const mute = `${waiting} process.stdin.once('data', (line) => {
  const { id, params } = JSON.parse(String(line).split('\\n')[0]);
  const result = { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'm', version: '1' } };
  console.log(JSON.stringify({ jsonrpc: '2.0', id, result }));
});`;

test.each([
  ['START_TIMEOUT', 'stderr', silent, { start_timeout: '5s' }],
  ['START_TIMEOUT', 'stdout', onStdout, { start_timeout: '5s' }],
  ['START_TIMEOUT', 'stdout, in a line that has not ended', asks, { start_timeout: '5s' }],
  ['SERVER_UNHEALTHY', 'stderr', mute, { health: { interval: '100ms', timeout: '500ms', failures: 1 } }],
])('%s tells what the server wrote to %s', async (code, _stream, script, settings) => {
  const runtime = { type: 'local-process' as const, command: process.execPath, args: ['-e', script] };
  const env = { TOKEN: '${TOKEN}' };
  await using gateway = createGateway(
    { servers: [{ id: 's', protocol: 'legacy', ...settings, env, runtime }] },
    { env: { TOKEN: 'hunter22' } },
  );
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(gateway.connect());
  await expect(client.callTool({ name: 's__x' })).rejects.toMatchObject({
    message: expect.stringContaining('; its output ends with: waiting for the database of ${TOKEN}'),
    data: { code, exit: { stderrTail: expect.stringMatching(/^waiting for the database of \$\{TOKEN\}\n?$/) } },
  });
  await expect
    .poll(() => gateway.status('s').lastError?.message)
    .toContain('; its output ends with: waiting for the database of ${TOKEN}');
  await client.close();
});

test('a server that never speaks, and ends too slowly to be started afresh in time, has failed', async () => {
  const runtime = {
    type: 'local-process' as const,
    command: process.execPath,
    args: ['-e', 'setInterval(() => {}, 1e6)'],
  };
  await using gateway = createGateway({ servers: [{ id: 's', start_timeout: '1s', runtime }] });
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(gateway.connect());
  await expect(client.callTool({ name: 's__x' })).rejects.toMatchObject({ data: { code: 'START_TIMEOUT' } });
  const failed = { phase: 'failed', lastError: { code: 'START_TIMEOUT' }, instances: [] };
  await expect.poll(() => gateway.status('s'), { timeout: 60_000 }).toMatchObject(failed);
  await client.close();
});

test('the message of a request whose server ended in its handshake says as its data do that it was not delivered', async () => {
  const script = "process.stdin.once('data', () => process.exit(1))";
  const runtime = { type: 'local-process' as const, command: process.execPath, args: ['-e', script] };
  await using gateway = createGateway({ servers: [{ id: 's', protocol: 'legacy', runtime }] });
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(gateway.connect());
  const failure = await client.callTool({ name: 's__x' }).catch((error: unknown) => error);
  expect(failure).toMatchObject({ data: { code: 'SERVER_EXITED', delivered: false } });
  expect((failure as Error).message).toMatch(/"s": initialize got no answer: \S/);
  await client.close();
});

test('a start that takes too long tells the last news of it', async () => {
  // As of a volume whose ConfigMap is not there: Kubernetes says so, and goes on waiting.
  const slow: RuntimeFactory = {
    type: 'slow',
    spec: new InProcessRuntime().spec,
    open: (_, { report, signal }) => {
      report('starting', { message: 'old news' });
      report('starting', { message: 'hunter22 is not there' });
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    },
  };
  const runtime = { type: 'slow', server: () => '${TOKEN}' };
  await using gateway = createGateway(
    { servers: [{ id: 's', start_timeout: '100ms', env: { TOKEN: '${TOKEN}' }, runtime }] },
    { runtimes: [slow], env: { TOKEN: 'hunter22' } },
  );
  await expect(gateway.start('s')).rejects.toMatchObject({
    code: 'START_TIMEOUT',
    message: '"s": the start took longer than start_timeout (100 ms); the last news: ${TOKEN} is not there',
  });
});

test.each(['the next start', 'close()'])(
  'a start that takes too long is told at its time-out; %s waits until what it has begun is gone',
  async (what) => {
    const clearing = Promise.withResolvers<void>();
    const onOpen = vi.fn();
    const slow: RuntimeFactory = {
      type: 'slow',
      spec: new InProcessRuntime().spec,
      open: (_, { signal }) => {
        onOpen();
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => void clearing.promise.then(() => reject(signal.reason)));
        });
      },
    };
    const servers = [{ id: 's', start_timeout: '100ms', runtime: { type: 'slow', server: () => undefined } }];
    await using gateway = createGateway({ servers }, { runtimes: [slow] });
    await expect(gateway.start('s')).rejects.toMatchObject({ code: 'START_TIMEOUT' });
    const failed = { instances: [{ phase: 'stopping' }], lastError: { code: 'START_TIMEOUT' } };
    expect(gateway.status('s')).toMatchObject(failed);
    const onNext = vi.fn();
    const next = (what === 'close()' ? gateway.close() : gateway.start('s')).then(onNext, onNext);
    await settle();
    expect(onNext).not.toHaveBeenCalled();
    expect(onOpen).toHaveBeenCalledOnce();
    clearing.resolve();
    await next;
    expect(onOpen).toHaveBeenCalledTimes(what === 'close()' ? 1 : 2);
  },
);

test.each([
  ['keeps silent', 'START_TIMEOUT', '1s', ''],
  [
    'refuses initialize',
    'START_FAILED',
    '1m',
    `process.stdin.once('data', (line) => {
      const error = { code: -32000, message: 'not today' };
      console.log(JSON.stringify({ jsonrpc: '2.0', id: JSON.parse(line).id, error }));
    });`,
  ],
])(
  'the failure of a server that %s is told at once, however slowly it ends',
  async (_, code, start_timeout, script) => {
    // Ends a while after the end of its input.
    const slowly = `${script} process.on('SIGTERM', () => {}); setInterval(() => {}, 1e6);`;
    const runtime = { type: 'local-process' as const, command: process.execPath, args: ['-e', slowly] };
    await using gateway = createGateway({ servers: [{ id: 's', protocol: 'legacy', start_timeout, runtime }] });
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(gateway.connect());
    await expect(client.callTool({ name: 's__x' })).rejects.toMatchObject({ data: { code } });
    const ending = { instances: [{ phase: 'stopping' }], lastError: { code } };
    expect(gateway.status('s')).toMatchObject(ending);
    await gateway.stop('s');
    expect(gateway.status('s')).toMatchObject({ phase: 'failed', instances: [] });
    await client.close();
  },
);
