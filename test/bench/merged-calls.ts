import { callTimes, type Load, toSize } from './call-times.ts';
import { BareCaller, ClientCaller } from './calls.ts';
import type { Library } from './library.ts';
import { compare, type Row } from './report.ts';
import { echoServer, openMerged, openPipe, openSdkRelay, openSdkV1, openSdkV2 } from './transports.ts';

const kibibyte = 1024;
const ours = 'gateway.connect()';

/**
 * Calls through the merged peer, against a client that goes to the server directly, against a relay that is made of the SDK,
 * and against a bare pipe.
 */
export async function mergedCalls(library: Library): Promise<Row[]> {
  const loads: (Load & { readonly goals: Readonly<Record<string, number>> })[] = [
    ...[1, 16, 128].map((atOnce) => ({
      bytes: 100,
      atOnce,
      goals: { 'SDK v1': 0.95, 'SDK v1 relay': 0.95, ...(atOnce === 16 && { 'raw pipe': 1.5 }) },
    })),
    ...[1, 16].map((atOnce) => ({ bytes: 64 * kibibyte, atOnce, goals: { 'SDK v1': 1 } })),
    ...[1, 16, 128].map((atOnce) => ({
      bytes: kibibyte * kibibyte,
      atOnce,
      goals: { 'SDK v1': 1, 'SDK v1 relay': 1, 'raw pipe': 1.1 },
    })),
  ];
  const client = await callTimes(
    [
      openMerged(library, echoServer),
      openSdkV1(echoServer),
      openSdkV2(echoServer),
      await openSdkRelay(echoServer),
      openPipe(echoServer),
    ],
    ClientCaller.connect,
    async (times) => {
      const rows: Row[] = [];
      for (const { goals, ...load } of loads) {
        const what = `${toSize(load.bytes)} calls, ${load.atOnce} at once, SDK v1 Client`;
        const samples = await times(load);
        for (const other of ['SDK v1', 'SDK v2', 'SDK v1 relay', 'raw pipe']) {
          const atMost = goals[other];
          rows.push(compare(samples, { what, ours, other, goal: atMost === undefined ? undefined : { atMost } }));
        }
      }
      return rows;
    },
  );
  const bare = await callTimes(
    [openMerged(library, echoServer), openPipe(echoServer)],
    BareCaller.connect,
    async (times) => {
      const rows: Row[] = [];
      for (const load of [
        ...[1, 16, 128].map((atOnce) => ({ bytes: 100, atOnce })),
        { bytes: kibibyte ** 2, atOnce: 16 },
      ]) {
        const what = `${toSize(load.bytes)} calls, ${load.atOnce} at once, no client`;
        rows.push(compare(await times(load), { what, ours, other: 'raw pipe', goal: { atMost: 1.2 } }));
      }
      return rows;
    },
  );
  return [...client, ...bare];
}
