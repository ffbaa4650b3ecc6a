import { callTimes } from './call-times.ts';
import { BareCaller, ClientCaller } from './calls.ts';
import type { Library } from './library.ts';
import { compare, type Row } from './report.ts';
import { echoServer, openGateway, openPipe, openRuntime, openSdkV1, openSdkV2, type Way } from './transports.ts';

/** Calls of 1 KiB each way on one server, without a client and through SDK v1's. */
export async function roundTrips(library: Library): Promise<Row[]> {
  const ways = async () => [
    await openRuntime(library, echoServer),
    openGateway(library, echoServer),
    openSdkV1(echoServer),
    openSdkV2(echoServer),
  ];
  return [
    ...(await measure('no client', BareCaller.connect, [...(await ways()), openPipe(echoServer)])),
    ...(await measure('SDK v1 Client', ClientCaller.connect, await ways())),
  ];
}

function measure(client: string, connect: Parameters<typeof callTimes>[1], ways: readonly Way[]): Promise<Row[]> {
  return callTimes(ways, connect, async (times) => {
    const rows: Row[] = [];
    for (const atOnce of [1, 16, 128]) {
      const samples = await times({ bytes: 1024, atOnce });
      const what = `1 KiB calls, ${atOnce} at once, ${client}`;
      for (const ours of ['local-process', 'gateway.connect(id)']) {
        for (const other of ['SDK v1', 'SDK v2']) {
          rows.push(compare(samples, { what, ours, other, goal: { atMost: 1 } }));
        }
      }
      if (samples.has('raw pipe')) {
        rows.push(compare(samples, { what, ours: 'gateway.connect(id)', other: 'raw pipe', goal: undefined }));
      }
    }
    return rows;
  });
}
