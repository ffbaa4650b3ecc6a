import type { Library } from './library.ts';
import { collectGarbage } from './measure.ts';
import { figure, type Row } from './report.ts';

const entries = 10_000;
const rounds = 9;

/** A catalog of many entries: what it costs to make a gateway of it, to change one entry, and to keep it idle. */
export async function reload(library: Library): Promise<Row[]> {
  const servers = Array.from({ length: entries }, (_, index) => ({
    id: `server-${index}`,
    description: `The server number ${index}`,
    tags: ['one', 'two'],
    runtime: { type: 'local-process', command: 'node', args: ['server.mjs', `--number=${index}`] } as const,
  }));
  const creations: number[] = [];
  const reloads: number[] = [];
  const memory: number[] = [];
  for (let round = -2; round < rounds; round += 1) {
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    const start = performance.now();
    const gateway = library.createGateway({ servers });
    const created = performance.now() - start;
    collectGarbage();
    const bytes = (process.memoryUsage().heapUsed - before) / entries;
    const changed = servers.with(round + 100, { ...(servers[round + 100] as (typeof servers)[number]), tags: ['new'] });
    const reloadStart = performance.now();
    await gateway.reload({ servers: changed });
    const reloaded = performance.now() - reloadStart;
    if (round >= 0) {
      creations.push(created);
      reloads.push(reloaded);
      memory.push(bytes);
    }
    await gateway.close();
  }
  const toMs = (ms: number) => `${ms.toFixed(1)} ms`;
  const toBytes = (bytes: number) => `${Math.round(bytes)} bytes`;
  const of = `a catalog of ${entries} entries`;
  return [
    figure(`${of}: createGateway`, creations, toMs, 300),
    figure(`${of}: reload with one change`, reloads, toMs, 50),
    figure(`${of}: memory for each idle entry`, memory, toBytes, 2_048),
  ];
}
