// A fresh process for reload.ts: how much memory is kept shows only where no earlier round has left any garbage.
import { loadLibrary } from './library.ts';
import { collectGarbage } from './measure.ts';

/** In milliseconds. */
export interface Costs {
  readonly ms: number;
  /** Of all threads: the garbage collector's and the compiler's too. */
  readonly userCpuMs: number;
  readonly mainThreadCpuMs: number;
}

/** What a catalog of many entries cost. */
export interface ReloadCosts {
  readonly create: Costs;
  readonly reload: Costs;
  readonly bytesPerEntry: number;
}

const [count = '', file] = process.argv.slice(2);
const entries = Number(count);
const { createGateway } = await loadLibrary(file);
const servers = Array.from({ length: entries }, (_, index) => ({
  id: `server-${index}`,
  description: `The server number ${index}`,
  tags: ['one', 'two'],
  runtime: { type: 'local-process', command: 'node', args: ['server.mjs', `--number=${index}`] } as const,
}));
// Nothing is shared with the catalog that is kept: as when a file is read anew.
const changed = structuredClone(servers);
Object.assign(changed[100] as object, { tags: ['new'] });
// What is made once for all gateways is not an entry's.
await createGateway({ servers: servers.slice(0, 1) }).close();

const before = heapUsed();
const [gateway, create] = await measure(() => createGateway({ servers }));
const bytesPerEntry = (heapUsed() - before) / entries;
const [result, reload] = await measure(() => gateway.reload({ servers: changed }));
if (result.unchanged.length !== entries - 1 || result.changed.length !== 1) {
  throw new Error(`${result.unchanged.length} unchanged, ${result.changed.length} changed`);
}
await gateway.close();
const costs: ReloadCosts = { create, reload, bytesPerEntry };
process.send?.(costs);

function heapUsed(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

async function measure<Value>(work: () => Value | Promise<Value>): Promise<[Value, Costs]> {
  const cpu = process.cpuUsage();
  const thread = process.threadCpuUsage();
  const start = performance.now();
  const value = await work();
  const ms = performance.now() - start;
  const { user, system } = process.threadCpuUsage(thread);
  return [value, { ms, userCpuMs: process.cpuUsage(cpu).user / 1_000, mainThreadCpuMs: (user + system) / 1_000 }];
}
