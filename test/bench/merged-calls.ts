import { callTimes, type Load, toSize } from './call-times.ts';
import { BareCaller, ClientCaller } from './calls.ts';
import type { Library } from './library.ts';
import { compare, type Row } from './report.ts';
import { echoServer, openMerged, openPipe, openSdkV1 } from './transports.ts';

const kibibyte = 1024;

/** Calls through the merged peer, against a client that goes to the server directly, and against a bare pipe. */
export async function mergedCalls(library: Library): Promise<Row[]> {
  const loads: (Load & { readonly atMost: number })[] = [
    ...[1, 16, 128].map((atOnce) => ({ bytes: 100, atOnce, atMost: 0.95 })),
    ...[1, 16].map((atOnce) => ({ bytes: 64 * kibibyte, atOnce, atMost: 1 })),
    ...[1, 16].map((atOnce) => ({ bytes: kibibyte * kibibyte, atOnce, atMost: 1 })),
  ];
  const client = await callTimes(
    [openMerged(library, echoServer), openSdkV1(echoServer)],
    ClientCaller.connect,
    async (times) => {
      const rows: Row[] = [];
      for (const { atMost, ...load } of loads) {
        const what = `${toSize(load.bytes)} calls, ${load.atOnce} at once, SDK v1 Client`;
        const goal = { atMost };
        rows.push(compare(await times(load), { what, ours: 'gateway.connect()', other: 'SDK v1', goal }));
      }
      return rows;
    },
  );
  const bare = await callTimes(
    [openMerged(library, echoServer), openPipe(echoServer)],
    BareCaller.connect,
    async (times) => {
      const rows: Row[] = [];
      for (const atOnce of [1, 16, 128]) {
        const what = `100 B calls, ${atOnce} at once, no client`;
        const goal = { atMost: 1.2 };
        const samples = await times({ bytes: 100, atOnce });
        rows.push(compare(samples, { what, ours: 'gateway.connect()', other: 'raw pipe', goal }));
      }
      return rows;
    },
  );
  return [...client, ...bare];
}
