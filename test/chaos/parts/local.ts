import { fileURLToPath } from 'node:url';
import { livingWith, tagVariable } from '../processes.ts';
import { type Part, patience, pick, type Scene } from './part.ts';

export const serverFile = fileURLToPath(new URL('../server.ts', import.meta.url));
const mark = 'CHAOS_PLACE=local';

/** Child processes: a plain one, one below a shell, and one that callers share. */
export async function createLocalPart({ tag, logFolder }: Scene): Promise<Part> {
  const frozen = new Set<NodeJS.Timeout>();
  const program = `"${process.execPath}" "${serverFile}" stdio`;
  const plain = { command: process.execPath, args: [serverFile, 'stdio'] };
  const runtimes = {
    local: { runtime: plain },
    tree: { runtime: { command: '/bin/sh', args: ['-c', `${program}; :`] } },
    shared: { runtime: plain, isolation: 'shared' },
  };
  const victim = (random: () => number) => pick(random, livingWith(tag, mark));
  return {
    runtime: 'local-process',
    env: {},
    servers: Object.entries(runtimes).map(([id, { runtime, ...entry }]) => ({
      ...patience,
      ...entry,
      id,
      env: { CHAOS_SERVER: id, CHAOS_LOG: logFolder, CHAOS_PLACE: 'local', [tagVariable]: tag },
      runtime: { type: 'local-process', ...runtime },
    })),
    faults: {
      'process killed': (random) => signal(victim(random), 'SIGKILL'),
      'process frozen': (random) => {
        const pid = victim(random);
        signal(pid, 'SIGSTOP');
        const timer = setTimeout(() => {
          frozen.delete(timer);
          signal(pid, 'SIGCONT');
        }, random() * 3_000);
        frozen.add(timer);
      },
    },
    // Processes are counted for all runtimes at once.
    left: async () => ({}),
    async [Symbol.asyncDispose]() {
      for (const timer of frozen) clearTimeout(timer);
    },
  };
}

function signal(pid: number | undefined, name: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(pid, name);
  } catch {
    // It was faster.
  }
}
