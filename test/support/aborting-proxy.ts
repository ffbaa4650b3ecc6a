import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { DockerRuntime } from '../../src/runtimes/docker.js';
import { containersOf, DockerScene, shell, temporaryFolder } from './docker.js';

const engineSocket = '/var/run/docker.sock';

/** When to abort: before the engine sees the call, or after it has answered and before we hear of it. */
export interface AbortPoint {
  readonly call: string;
  readonly when: 'before' | 'after';
}

/**
 * Opens a server through a proxy before the real engine, aborts at the given point and sees to it that nothing is left.
 * Without a point nothing is aborted.
 *
 * @returns the names of the calls in the order in which they came
 */
export async function abortInCall(point: AbortPoint | undefined): Promise<string[]> {
  await using folder = await temporaryFolder();
  const reason = new Error(`enough, ${point?.when} ${point?.call}`);
  const abort = new AbortController();
  const calls: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(engineSocket);
    let name: string | undefined;
    const reached = (when: AbortPoint['when']) => {
      if (point !== undefined && point.call === name && point.when === when) {
        abort.abort(reason);
      }
    };
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
      if (name === undefined) {
        const [, method = '', path = ''] = /^(\w+) ([^ ?]+)/.exec(chunk.toString('latin1')) ?? [];
        name = method === 'DELETE' ? 'remove' : (path.split('/').at(-1) ?? '');
        calls.push(name);
        reached('before');
      }
      far.write(chunk);
    });
    far.on('data', (chunk) => {
      reached('after');
      near.write(chunk);
    });
    near.on('end', () => far.end());
    far.on('end', () => near.end());
  });
  const socket = join(folder.path, 'proxy.sock');
  server.listen(socket);
  await once(server, 'listening');
  const scene = new DockerScene(new DockerRuntime({ host: `unix://${socket}` }));
  try {
    const outcome = await scene.open(shell('cat'), { signal: abort.signal }).then(
      (peer) => peer,
      (error: unknown) => error,
    );
    if (point === undefined || !abort.signal.aborted) {
      if (outcome instanceof Error) throw outcome;
    } else if (outcome instanceof Error && outcome !== reason) {
      throw new Error(`rejected with something else ${reason.message}`, { cause: outcome });
    }
    const left = outcome instanceof Error ? await containersOf(scene.gatewayId) : [];
    if (left.length > 0) {
      throw new Error(`${left.length} containers are left: ${reason.message}`);
    }
    return [...new Set(calls)];
  } finally {
    await scene[Symbol.asyncDispose]();
    for (const one of sockets) one.destroy();
    server.close();
  }
}
