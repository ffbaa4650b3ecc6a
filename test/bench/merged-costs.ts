import { BareCaller } from './calls.ts';
import type { Library } from './library.ts';
import { collectGarbage, interleave, timed } from './measure.ts';
import { compare, figure, kibibytes, milliseconds, type Row } from './report.ts';
import { ToolServer, toolEntry } from './tool-server.ts';

/** What the merged peer costs by itself: servers in this process, so that no pipe hides it. */
export async function mergedCosts(library: Library): Promise<Row[]> {
  return [await routing(library), await merging(library), ...(await callers(library))];
}

/** A call among 10,000 tools against one among 10. */
async function routing(library: Library): Promise<Row> {
  const calls = 4_000;
  const sides = await Promise.all([1_000, 1].map((tools) => openTools(library, 10, tools)));
  const variants = sides.map(({ names, caller }) => ({
    name: `${names.length} tools`,
    run: async () => {
      let next = 0;
      // A stride that has no divisor in common with the number of tools touches them all, in no order.
      const nextTool = () => {
        next = (next + 7_919) % names.length;
        return names[next] as string;
      };
      return (await timed(() => caller.calls(calls, 16, { tool: '', nextTool, arguments: {}, expected: 2 }))) / calls;
    },
  }));
  const samples = await interleave(variants, { rounds: 60, warmUp: 10 });
  await Promise.all(sides.map(({ gateway }) => gateway.close()));
  return compare(samples, {
    what: 'one call of a server in this process, merged peer',
    ours: '10000 tools',
    other: '10 tools',
    goal: { atMost: 1.3 },
  });
}

/** The processor's time from the moment 100 servers answer tools/list until the merged answer is there. */
async function merging(library: Library): Promise<Row> {
  const servers = 100;
  const merge = async () => {
    const gate = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const waiting = new Set(Array.from({ length: servers }, (_, index) => `server-${index}`));
    const entries = [...waiting].map((id) =>
      toolEntry(id, () => {
        const onList = () => {
          waiting.delete(id);
          if (waiting.size === 0) {
            asked.resolve();
          }
        };
        return new ToolServer(50, gate.promise, onList);
      }),
    );
    const gateway = library.createGateway({ servers: entries });
    const caller = await BareCaller.connect(gateway.connect());
    const listed = listTools(caller);
    await asked.promise;
    collectGarbage();
    const before = process.cpuUsage();
    gate.resolve();
    const names = await listed;
    const { user, system } = process.cpuUsage(before);
    await gateway.close();
    if (names.length !== servers * 50) {
      throw new Error(`the merged list holds ${names.length} tools`);
    }
    return (user + system) / 1_000;
  };
  const samples = await interleave([{ name: 'merge', run: merge }], { rounds: 15, warmUp: 3 });
  return figure('CPU to merge 100 servers x 50 tools', samples.get('merge') ?? [], milliseconds, 50);
}

/** The memory of 1,000 open callers on one gateway. */
async function callers(library: Library): Promise<Row[]> {
  const count = 1_000;
  const gateway = library.createGateway({
    servers: Array.from({ length: 10 }, (_, index) => toolEntry(`server-${index}`, () => new ToolServer(10))),
  });
  const open = () => BareCaller.connect(gateway.connect());
  const call = (caller: BareCaller) => caller.calls(1, 1, { tool: 'server-0__tool-0', arguments: {}, expected: 2 });
  // What the first of them loads and compiles is not theirs alone.
  const kept = [await open()];
  await call(kept[0] as BareCaller);
  const empty = await usedBytes();
  kept.push(...(await Promise.all(Array.from({ length: count }, open))));
  const opened = await usedBytes();
  await Promise.all(kept.slice(1).map(call));
  const called = await usedBytes();
  await gateway.close();
  const what = `one of ${count} open callers, merged peer`;
  return [
    figure(what, [(opened - empty) / count], kibibytes, 40 * 1024),
    figure(`${what}, with an instance of its own in this process`, [(called - empty) / count], kibibytes, undefined),
  ];
}

async function openTools(library: Library, servers: number, tools: number) {
  const gateway = library.createGateway({
    servers: Array.from({ length: servers }, (_, index) => toolEntry(`server-${index}`, () => new ToolServer(tools))),
  });
  const caller = await BareCaller.connect(gateway.connect());
  return { gateway, caller, names: await listTools(caller) };
}

/** The names of all tools, page by page. */
async function listTools(caller: BareCaller): Promise<string[]> {
  const names: string[] = [];
  let cursor: unknown;
  do {
    const page = await caller.request('tools/list', cursor === undefined ? {} : { cursor });
    names.push(...(page.tools as { name: string }[]).map(({ name }) => name));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return names;
}

async function usedBytes(): Promise<number> {
  for (let turn = 0; turn < 3; turn++) {
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
