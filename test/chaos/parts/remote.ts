import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { tagVariable } from '../processes.ts';
import { CutProxy } from '../proxy.ts';
import { serverFile } from './local.ts';
import { type Part, patience, type Scene } from './part.ts';

/** A server over HTTP on loopback, behind a proxy. */
export async function createRemotePart({ tag, logFolder }: Scene): Promise<Part> {
  let server: ChildProcess | undefined;
  let port = 0;
  const begin = async () => {
    const env = { ...process.env, CHAOS_SERVER: 'remote', CHAOS_LOG: logFolder, [tagVariable]: tag };
    server = fork(serverFile, ['http'], { env, execArgv: ['--no-warnings'] });
    [port] = (await once(server, 'message')) as [number];
  };
  await begin();
  const proxy = await CutProxy.open(() => ({ port, host: '127.0.0.1' }));
  const end = async () => {
    const exit = server && once(server, 'exit');
    server?.kill('SIGKILL');
    await exit;
    // Somebody else may have its port by now: nobody listens on this one.
    port = 0;
  };
  let last: Promise<void> = Promise.resolve();
  // Of two at once each would begin a server, and nobody would end one of them.
  const inTurn = (step: () => Promise<void>) => {
    last = last.then(step, step);
    return last;
  };
  return {
    runtime: 'remote-sse',
    env: {},
    servers: [
      { ...patience, id: 'remote', runtime: { type: 'remote-sse', url: `http://127.0.0.1:${proxy.port}/mcp` } },
    ],
    faults: {
      'HTTP server killed': () => inTurn(() => end().then(begin)),
      'HTTP connections cut': (random) => proxy.cut(random, 0.7),
      'HTTP refused': (random) => proxy.refuse(random() * 1_000),
    },
    left: async () => ({ sockets: Array.from({ length: proxy.connections }, () => 'to the HTTP server') }),
    async [Symbol.asyncDispose]() {
      await inTurn(end);
      await proxy.close();
    },
  };
}
