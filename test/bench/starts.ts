import { BareCaller } from './calls.ts';
import type { Library } from './library.ts';
import { interleave, timed } from './measure.ts';
import { compare, type Row } from './report.ts';
import { type Command, entry, serverFile } from './transports.ts';

/** Servers that take 300 ms to answer initialize: ten at once against one. */
export async function starts(library: Library): Promise<Row[]> {
  const light: Command = { command: serverFile('slow-initialize.sh'), args: [] };
  const node: Command = { command: process.execPath, args: [serverFile('slow-initialize.mjs')] };
  return [
    await tenAgainstOne(library, 'servers ready that take 300 ms to answer', light, { atMost: 1.1 }),
    // For information: starting Node takes a processor for a while, ten times.
    await tenAgainstOne(library, 'the same, servers written for Node', node, undefined),
  ];
}

async function tenAgainstOne(
  library: Library,
  what: string,
  command: Command,
  goal: { readonly atMost: number } | undefined,
): Promise<Row> {
  const variants = [10, 1].map((count) => ({
    name: count === 1 ? 'one' : 'ten',
    run: () => startAll(library, command, count),
  }));
  const samples = await interleave(variants, { rounds: 9, warmUp: 1 });
  return compare(samples, { what, ours: 'ten', other: 'one', goal });
}

/** From `connect` until the last server has answered initialize, in milliseconds. */
async function startAll(library: Library, command: Command, count: number): Promise<number> {
  const ids = Array.from({ length: count }, (_, index) => `server-${index}`);
  const gateway = library.createGateway({ servers: ids.map((id) => entry(id, command)) });
  try {
    return await timed(() => Promise.all(ids.map((id) => BareCaller.connect(gateway.connect(id)))));
  } finally {
    await gateway.close({ graceMs: 0 });
  }
}
