import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { tagVariable } from '../processes.ts';
import { CutProxy } from '../proxy.ts';
import { serverFile } from './local.ts';
import { type Part, patience, pick, type Scene } from './part.ts';

const run = promisify(execFile);

/** Containers of the engine on this machine, which hosts reach through a proxy. */
export async function createDockerPart({ tag, logFolder }: Scene): Promise<Part> {
  const proxy = await CutProxy.open(() => ({ path: '/var/run/docker.sock' }));
  // The id is in a label of each container.
  const id = `docker-${tag}`;
  const list = async (...flags: string[]) => {
    const found = await docker('ps', ...flags, '--quiet', '--filter', `label=open-mcp-gateway.server=${id}`);
    return found.split('\n').filter((line) => line !== '');
  };
  const onOne = async (random: () => number, ...command: string[]) => {
    const victim = pick(random, await list());
    // It may be gone by now.
    if (victim !== undefined) await docker(...command, victim).catch(() => {});
    return victim;
  };
  return {
    runtime: 'docker',
    env: { DOCKER_HOST: `tcp://127.0.0.1:${proxy.port}` },
    servers: [
      {
        ...patience,
        id,
        start_timeout: '60s',
        env: { CHAOS_SERVER: id, CHAOS_LOG: '/log', [tagVariable]: tag },
        runtime: {
          type: 'docker',
          image: process.env.TEST_IMAGE,
          command: 'node',
          args: ['/chaos/server.ts', 'stdio'],
          volumes: [`${serverFile}:/chaos/server.ts:ro`, `${logFolder}:/log`],
          network: 'none',
        },
      },
    ],
    faults: {
      'container killed': (random) => onOne(random, 'kill'),
      'container removed': (random) => onOne(random, 'rm', '--force'),
      'container paused': async (random) => {
        const victim = await onOne(random, 'pause');
        if (victim === undefined) return;
        await new Promise((resolve) => setTimeout(resolve, random() * 3_000));
        await docker('unpause', victim).catch(() => {});
      },
      'engine connections cut': (random) => proxy.cut(random, 0.7),
    },
    left: async () => ({
      containers: await list('--all'),
      sockets: Array.from({ length: proxy.connections }, () => 'to the engine'),
    }),
    async [Symbol.asyncDispose]() {
      const left = await list('--all');
      if (left.length > 0) await docker('rm', '--force', ...left);
      await proxy.close();
    },
  };
}

async function docker(...args: string[]): Promise<string> {
  const { stdout } = await run('docker', args);
  return stdout.trim();
}
