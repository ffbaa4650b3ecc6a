import { execFile, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../support/free-port.ts';
import { callTimes, toSize } from './call-times.ts';
import { ClientCaller } from './calls.ts';
import { openHost } from './host-calls.ts';
import { type Library, libraryUrl } from './library.ts';
import { interleave, type Samples } from './measure.ts';
import { compare, kibibytes, type Row } from './report.ts';
import { echoServer, serverFile } from './transports.ts';

const run = promisify(execFile);
const folder = fileURLToPath(new URL('peers/', import.meta.url));
const names = [
  'open-mcp-gateway',
  'SDK v1',
  '@mastra/mcp',
  '@langchain/mcp-adapters',
  '@ai-sdk/mcp',
  'mcp-use',
  'mcporter',
];
const [ours = '', ...others] = names;

/** What one process of `peers/work.mjs` prints. */
interface Work {
  readonly importMs: number;
  readonly startOneMs: number;
  readonly startTenMs: number;
  readonly bytesEach: number;
  readonly calls: Readonly<Record<string, { readonly ms: number; readonly cpuMs: number }>>;
}

/** The same work with the libraries that do it too: each in a process of its own, in turns. Installs them first. */
export async function peers(_: Library, options: { readonly library?: string | undefined }): Promise<Row[]> {
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder });
  return [...(await libraries(options.library)), ...(await hosts(options.library))];
}

async function libraries(library: string | undefined): Promise<Row[]> {
  const works = new Map<string, Work[]>(names.map((name) => [name, []]));
  const rounds = 7;
  await interleave(
    names.map((name) => ({
      name,
      run: async () => {
        works.get(name)?.push(await work(name, library));
        return 0;
      },
    })),
    { rounds, warmUp: 0 },
  );
  const rows = (what: string, unit: ((sample: number) => string) | undefined, pick: (work: Work) => number): Row[] => {
    const samples: Samples = new Map([...works].map(([name, all]) => [name, all.map(pick)]));
    return others.map((other) => compare(samples, { what, ours, other, goal: { atMost: 1 }, ...(unit && { unit }) }));
  };
  const loads = Object.keys((works.get(ours) as Work[])[0]?.calls ?? {});
  return [
    ...rows('one server, until its tools are listed', undefined, (each) => each.startOneMs),
    ...rows('ten servers, until their tools are listed', undefined, (each) => each.startTenMs),
    ...loads.flatMap((load) => [
      ...rows(`${load}, time of a call`, undefined, ({ calls }) => (calls[load] as { ms: number }).ms),
      ...rows(
        `${load}, CPU of the host for a call`,
        undefined,
        ({ calls }) => (calls[load] as { cpuMs: number }).cpuMs,
      ),
    ]),
    ...rows('memory of the host for each server', kibibytes, (each) => each.bytesEach),
  ];
}

async function work(name: string, library: string | undefined): Promise<Work> {
  const args = ['--expose-gc', 'work.mjs', name, libraryUrl(library).href, serverFile('echo.mjs')];
  const child = spawn(process.execPath, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, errors, code] = await Promise.all([
    child.stdout.toArray(),
    child.stderr.toArray(),
    new Promise((resolve) => child.once('exit', resolve)),
  ]);
  if (code !== 0) {
    throw new Error(`${name} failed: ${Buffer.concat(errors).toString()}`);
  }
  return JSON.parse(Buffer.concat(out).toString().trim().split('\n').at(-1) ?? '') as Work;
}

/** One server over stdio behind HTTP, and what answers over HTTP itself. */
async function hosts(library: string | undefined): Promise<Row[]> {
  const server = [echoServer.command, ...echoServer.args];
  const mine = await openHost('gateway.serve()', serverFile('merged-host.mjs'), [libraryUrl(library).href, ...server]);
  const other = async (name: string, file: string, args: readonly string[]) =>
    openHost(name, `${folder}${file}`, [String(await freePort()), ...args]);
  const ways = [
    { ...mine, prefix: 'bench__' },
    await other('mcp-proxy', 'mcp-proxy-host.mjs', server),
    await other('fastmcp', 'fastmcp-host.mjs', []),
  ];
  return callTimes(ways, ClientCaller.connect, async (times) => {
    const rows: Row[] = [];
    for (const [bytes, atOnce] of [
      [100, 1],
      [100, 16],
      [64 * 1024, 16],
    ] as const) {
      const samples = await times({ bytes, atOnce, atMost: 64 });
      const what = `${toSize(bytes)} calls, ${atOnce} at once, over HTTP`;
      for (const { name } of ways.slice(1)) {
        rows.push(compare(samples, { what, ours: mine.name, other: name, goal: { atMost: 1 } }));
      }
    }
    return rows;
  });
}
