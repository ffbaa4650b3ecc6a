import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Library } from './library.ts';
import type { Costs, ReloadCosts } from './many-entries.ts';
import { figure, type Row } from './report.ts';

const entries = 10_000;
const rounds = 9;

/** A catalog of many entries: what it costs to make a gateway of it, to change one entry, and to keep it idle. */
export async function reload(_: Library, { library }: { readonly library?: string | undefined }): Promise<Row[]> {
  const samples: ReloadCosts[] = [];
  for (let round = 0; round < rounds; round += 1) {
    samples.push(await measure(library));
  }
  const toBytes = (bytes: number) => `${Math.round(bytes)} bytes`;
  const of = `a catalog of ${entries} entries`;
  const created = samples.map(({ create }) => create);
  const reloaded = samples.map(({ reload }) => reload);
  const kept = samples.map(({ bytesPerEntry }) => bytesPerEntry);
  return [
    ...times(`${of}: createGateway`, created, 300),
    ...times(`${of}: reload with one change`, reloaded, 50),
    figure(`${of}: memory for each idle entry`, kept, toBytes, 2_048),
  ];
}

function times(what: string, costs: readonly Costs[], below: number): Row[] {
  const toMs = (ms: number) => `${ms.toFixed(1)} ms`;
  const row = (name: string, key: keyof Costs, goal?: number) =>
    figure(
      name,
      costs.map((cost) => cost[key]),
      toMs,
      goal,
    );
  return [
    row(what, 'ms', below),
    row(`${what}, CPU of the main thread`, 'mainThreadCpuMs'),
    row(`${what}, user CPU of all threads`, 'userCpuMs'),
  ];
}

async function measure(library: string | undefined): Promise<ReloadCosts> {
  const file = fileURLToPath(new URL('many-entries.ts', import.meta.url));
  const child = fork(file, [String(entries), ...(library === undefined ? [] : [library])], {
    execArgv: ['--expose-gc'],
  });
  const ended = once(child, 'exit').then(([code]: unknown[]) => {
    throw new Error(`${file} ended with ${String(code)} before it had measured anything`);
  });
  const [costs] = (await Promise.race([once(child, 'message'), ended])) as [ReloadCosts];
  await ended.catch(() => {});
  return costs;
}
