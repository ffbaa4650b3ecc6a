import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { DockerRuntime } from '../../src/runtimes/docker.js';
import { temporaryFolder } from './docker.js';

const engineSocket = '/var/run/docker.sock';

/** Who looks at what passes between a runtime and the real engine. */
export interface Watcher {
  /** A call has come, and goes on to the engine when this returns. */
  asked?(call: string): void;
  /** Bytes of an answer have come. What is returned goes on in their place; nothing when the watcher answers by itself. */
  answered(call: string, chunk: Buffer, near: Socket): Buffer | undefined;
}

/** A proxy before the real engine, and a runtime that knows no other way to it. */
export interface EngineProxy extends AsyncDisposable {
  readonly runtime: DockerRuntime;
  /** The names of the calls in the order in which they came. */
  readonly calls: readonly string[];
  /** Ends all connections and takes none, until it is called with true. */
  reachable(is: boolean): void;
}

export async function openEngineProxy(watcher: Watcher): Promise<EngineProxy> {
  const folder = await temporaryFolder();
  const calls: string[] = [];
  const sockets = new Set<Socket>();
  let isReachable = true;
  const server = createServer((near) => {
    if (!isReachable) {
      near.on('error', () => {}).destroy();
      return;
    }
    const far = connect(engineSocket);
    let call: string | undefined;
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.on('data', (chunk) => {
      if (call === undefined) {
        const [, method = '', path = ''] = /^(\w+) ([^ ?]+)/.exec(chunk.toString('latin1')) ?? [];
        call = method === 'DELETE' ? 'remove' : (path.split('/').at(-1) ?? '');
        calls.push(call);
        watcher.asked?.(call);
      }
      far.write(chunk);
    });
    far.on('data', (chunk) => {
      const passed = watcher.answered(call ?? '', chunk, near);
      if (passed !== undefined) near.write(passed);
    });
    near.on('end', () => far.end());
    far.on('end', () => near.end());
  });
  const socket = join(folder.path, 'proxy.sock');
  server.listen(socket);
  await once(server, 'listening');
  return {
    runtime: new DockerRuntime({ host: `unix://${socket}` }),
    calls,
    reachable(is) {
      isReachable = is;
      if (!is) for (const one of sockets) one.destroy();
    },
    async [Symbol.asyncDispose]() {
      for (const one of sockets) one.destroy();
      server.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}
