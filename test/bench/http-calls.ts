import { fork } from 'node:child_process';
import { once } from 'node:events';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { RuntimeContext } from '../../src/runtime.js';
import { toSize } from './call-times.ts';
import { BareCaller, type CallingPeer, ClientCaller, echo } from './calls.ts';
import type { Library } from './library.ts';
import { collectGarbage, interleave, timed } from './measure.ts';
import { compare, figure, kibibytes, type Row } from './report.ts';
import { serverFile, type Way } from './transports.ts';

const mebibyte = 1024 * 1024;
const clients = { 'no client': BareCaller.connect, 'SDK v1 Client': ClientCaller.connect } as const;

/** Calls over Streamable HTTP, and what a session holds: our transport against the SDK's on one server. */
export async function httpCalls(library: Library): Promise<Row[]> {
  const server = await startServer();
  try {
    return [
      ...(await calls(library, `${server.origin}/events`, 'events', 'no client', [100, mebibyte])),
      ...(await calls(library, `${server.origin}/json`, 'JSON', 'no client', [100, mebibyte])),
      ...(await calls(library, `${server.origin}/events`, 'events', 'SDK v1 Client', [100])),
      ...(await sessions(library, `${server.origin}/events`)),
    ];
  } finally {
    await server.close();
  }
}

async function calls(
  library: Library,
  url: string,
  answers: string,
  client: keyof typeof clients,
  sizes: readonly number[],
): Promise<Row[]> {
  const ways = [await openRemote(library, url), openGatewayTo(library, url), openSdk(url)];
  const rows: Row[] = [];
  try {
    const callers: { readonly name: string; readonly caller: CallingPeer }[] = [];
    for (const { name, transport } of ways) callers.push({ name, caller: await clients[client](transport) });
    for (const bytes of sizes) {
      for (const atOnce of [1, 16, 128]) {
        const total = bytes < mebibyte ? Math.max(200, 2 * atOnce) : Math.max(4, atOnce);
        const variants = callers.map(({ name, caller }) => ({
          name,
          run: async () => (await timed(() => caller.calls(total, atOnce, echo(bytes)))) / total,
        }));
        const rounds =
          bytes < mebibyte
            ? { rounds: 60, warmUp: 15, collect: false }
            : { rounds: atOnce < 128 ? 25 : 9, warmUp: atOnce < 128 ? 5 : 2 };
        const samples = await interleave(variants, rounds);
        const what = `${toSize(bytes)} calls, ${atOnce} at once, ${answers}, ${client}`;
        for (const ours of ['remote-sse', 'gateway.connect(id)']) {
          rows.push(compare(samples, { what, ours, other: 'SDK v1', goal: { atMost: 1 } }));
        }
      }
    }
  } finally {
    for (const way of ways) await way.close();
  }
  return rows;
}

/** The memory of open sessions, each with its stream, and with one call behind it. */
async function sessions(library: Library, url: string): Promise<Row[]> {
  const count = 200;
  const used = async (open: () => Promise<Way>) => {
    // What the first ones load and compile is not theirs alone.
    const ways = [await open(), await open()];
    await Promise.all(ways.map(begin));
    const before = await usedBytes();
    for (let left = count; left > 0; left--) {
      const way = await open();
      ways.push(way);
      await begin(way);
    }
    const after = await usedBytes();
    await Promise.all(ways.map((way) => way.close()));
    return (after - before) / count;
  };
  const runtime = new library.RemoteSseRuntime();
  const ours = await used(() => openWith(runtime, url));
  await runtime.close();
  const other = await used(async () => openSdk(url));
  const row = figure(`one of ${count} open sessions`, [ours], kibibytes, other);
  return [
    {
      ...row,
      ours: `${row.ours} remote-sse`,
      other: `${kibibytes(other)} SDK v1`,
      goal: '≤ 1',
      result: (ours / other).toFixed(2),
      met: ours <= other,
    },
  ];
}

async function begin({ transport }: Way): Promise<void> {
  const caller = await BareCaller.connect(transport);
  await caller.calls(1, 1, echo(100));
}

async function usedBytes(): Promise<number> {
  for (let turn = 0; turn < 5; turn++) {
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

async function openRemote(library: Library, url: string): Promise<Way> {
  const runtime = new library.RemoteSseRuntime();
  const { transport, ...way } = await openWith(runtime, url);
  return {
    ...way,
    transport,
    async close() {
      await transport.close();
      await runtime.close();
    },
  };
}

async function openWith(runtime: InstanceType<Library['RemoteSseRuntime']>, url: string): Promise<Way> {
  const context: RuntimeContext = {
    server: 'bench',
    env: {},
    baseDir: process.cwd(),
    instanceId: 'bench-1',
    gatewayId: 'bench',
    signal: new AbortController().signal,
    report() {},
    conceal() {},
    limits: { maxMessageBytes: 16 * mebibyte, stderrTailBytes: 64 * 1024 },
    clock: {
      now: () => performance.now(),
      date: () => Date.now(),
      setTimeout: (run, ms) => setTimeout(run, ms).unref(),
      clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
    },
  };
  const transport = await runtime.open({ url }, context);
  return { name: 'remote-sse', transport, close: () => transport.close() };
}

function openGatewayTo(library: Library, url: string): Way {
  const gateway = library.createGateway({ servers: [{ id: 'bench', runtime: { type: 'remote-sse', url } }] });
  return { name: 'gateway.connect(id)', transport: gateway.connect('bench'), close: () => gateway.close() };
}

function openSdk(url: string): Way {
  const transport = new StreamableHTTPClientTransport(new URL(url));
  return { name: 'SDK v1', transport: transport as Way['transport'], close: () => transport.close() };
}

async function startServer() {
  const child = fork(serverFile('http-echo.mjs'), [], { execPath: process.execPath, execArgv: [] });
  const [origin] = (await once(child, 'message')) as [string];
  return {
    origin,
    async close() {
      const exit = once(child, 'exit');
      child.disconnect();
      await exit;
    },
  };
}
