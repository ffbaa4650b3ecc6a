import { callTimes } from './call-times.ts';
import { BareCaller } from './calls.ts';
import type { Library } from './library.ts';
import { collectGarbage, interleave, timed } from './measure.ts';
import { rawAttach } from './raw-attach.ts';
import { compare, figure, type Row } from './report.ts';
import { type Command, serverFile, type Way } from './transports.ts';

const mebibyte = 1024 * 1024;
const servers = 20;

/**
 * Servers in containers: through the engine's API against through the `docker` command, with the same image, server and
 * flags. Needs an engine, and `TEST_IMAGE`, an image with Node.
 */
export async function dockerServers(library: Library): Promise<Row[]> {
  const image = process.env.TEST_IMAGE;
  if (image === undefined) {
    console.error('not measured: set TEST_IMAGE to an image with Node');
    return [];
  }
  return [await startTimes(library, image), ...(await roundTrips(library, image)), await memory(library, image)];
}

const mount = `${serverFile('echo.mjs')}:/server/echo.mjs:ro`;

function ours(library: Library, image: string): Way {
  const runtime = {
    type: 'docker',
    image,
    command: 'node',
    args: ['/server/echo.mjs'],
    volumes: [mount],
    network: 'none',
  } as const;
  const gateway = library.createGateway({ servers: [{ id: 'bench', start_timeout: '5m', runtime }] });
  return { name: 'docker', transport: gateway.connect('bench'), close: () => gateway.close() };
}

/** The flags that ours sets, for `docker run` and `docker create`, and what comes after them. */
function flagsOf(image: string): string[] {
  const flags = [
    ['--interactive', '--rm', '--init', '--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges'],
    ['--pids-limit=256', '--memory=512m', '--memory-swap=512m', '--cpus=1', '--network=none', '--log-driver=none'],
    ['--tmpfs=/tmp:rw,noexec,nosuid,nodev,size=64m,mode=1777', `--volume=${mount}`, '--entrypoint=node'],
  ];
  return [...flags.flat(), image, '/server/echo.mjs'];
}

/** What users write who have no such runtime. */
function cli(library: Library, image: string): Way {
  const command: Command = { command: 'docker', args: ['run', ...flagsOf(image)] };
  const runtime = { type: 'local-process', ...command } as const;
  const gateway = library.createGateway({ servers: [{ id: 'bench', start_timeout: '5m', runtime }] });
  return { name: 'docker run', transport: gateway.connect('bench'), close: () => gateway.close() };
}

async function startTimes(library: Library, image: string): Promise<Row> {
  const variants = [ours, cli].map((open) => ({
    name: open === ours ? 'docker' : 'docker run',
    async run() {
      const way = open(library, image);
      try {
        return await timed(() => BareCaller.connect(way.transport));
      } finally {
        await way.close();
      }
    },
  }));
  const samples = await interleave(variants, { rounds: 15, warmUp: 2 });
  const what = 'from connect to the first answer';
  return compare(samples, { what, ours: 'docker', other: 'docker run', goal: { atMost: 1.15 } });
}

async function roundTrips(library: Library, image: string): Promise<Row[]> {
  const ways = [ours(library, image), cli(library, image), rawAttach(flagsOf(image))];
  return callTimes(ways, BareCaller.connect, async (times) => {
    const rows: Row[] = [];
    for (const atOnce of [1, 16]) {
      const samples = await times({ bytes: 1024, atOnce });
      const what = `1 KiB calls, ${atOnce} at once, no client`;
      const goal = atOnce === 1 ? { faster: 1.25 } : undefined;
      rows.push(compare(samples, { what, ours: 'docker', other: 'docker run', goal }));
      rows.push(compare(samples, { what, ours: 'docker', other: 'raw attach', goal: undefined }));
    }
    return rows;
  });
}

/** What one more server costs the host, once each of them has answered. */
async function memory(library: Library, image: string): Promise<Row> {
  const first = ours(library, image);
  await BareCaller.connect(first.transport);
  const before = used();
  const ways = Array.from({ length: servers }, () => ours(library, image));
  const callers = await Promise.all(ways.map((way) => BareCaller.connect(way.transport)));
  const each = (used() - before) / callers.length;
  await Promise.all([first, ...ways].map((way) => way.close()));
  return figure(`memory of the host for one of ${servers} servers`, [each], kibibytes, mebibyte);
}

function used(): number {
  collectGarbage();
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function kibibytes(bytes: number): string {
  return `${(bytes / 1024).toFixed(0)} KiB`;
}
