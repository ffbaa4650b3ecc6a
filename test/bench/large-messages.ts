import { BareCaller } from './calls.ts';
import type { Library } from './library.ts';
import { interleave, type Rounds, timed } from './measure.ts';
import { compare, type Row } from './report.ts';
import { echoServer, openGateway, openRuntime, openSdkV1, openSdkV2 } from './transports.ts';

const mebibyte = 1024 * 1024;

/** One large answer, from the request to `onmessage`. */
export async function largeMessages(library: Library, options: { readonly full: boolean }): Promise<Row[]> {
  const ways = [
    await openRuntime(library, echoServer),
    openGateway(library, echoServer),
    openSdkV1(echoServer),
    openSdkV2(echoServer),
  ];
  const callers = await Promise.all(
    ways.map(async ({ name, transport }) => ({ name, caller: await BareCaller.connect(transport) })),
  );
  const measure = async (mebibytes: number, faster: number, rounds: Rounds) => {
    const bytes = mebibytes * mebibyte;
    await Promise.all(
      callers.map(({ caller }) => caller.calls(1, 1, { tool: 'prepare', arguments: { bytes }, expected: 0 })),
    );
    const call = { tool: 'text', arguments: { bytes }, expected: bytes };
    const variants = callers.map(({ name, caller }) => ({ name, run: () => timed(() => caller.calls(1, 1, call)) }));
    const samples = await interleave(variants, rounds);
    const what = `one message of ${mebibytes} MiB`;
    return ['local-process', 'gateway.connect(id)'].flatMap((ours) =>
      ['SDK v1', 'SDK v2'].map((other) => compare(samples, { what, ours, other, goal: { faster } })),
    );
  };
  try {
    const rows = await measure(16, 8, { rounds: 5, warmUp: 1 });
    return options.full ? [...rows, ...(await measure(100, 20, { rounds: 1, warmUp: 0 }))] : rows;
  } finally {
    await Promise.all(ways.map((way) => way.close()));
  }
}
