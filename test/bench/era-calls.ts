import { callTimes } from './call-times.ts';
import { BareCaller } from './calls.ts';
import type { Library } from './library.ts';
import { compare, type Row } from './report.ts';
import { type Command, echoServer, openGateway, openMerged, openSdkV2 } from './transports.ts';

const modernServer: Command = { ...echoServer, args: [...echoServer.args, 'modern'] };

/** What a translation between the eras costs, against a call that needs none; and a call that passes as it is. */
export async function eraCalls(library: Library): Promise<Row[]> {
  const rows: Row[] = [];
  const named = (name: string, command: Command) => ({ ...openMerged(library, command), name });
  const callers = [
    { who: 'caller with a session', connect: BareCaller.connect, other: echoServer, bridged: modernServer },
    { who: 'stateless caller', connect: BareCaller.connectModern, other: modernServer, bridged: echoServer },
  ];
  for (const { who, connect, other, bridged } of callers) {
    await callTimes([named('bridged', bridged), named('of one era', other)], connect, async (times) => {
      for (const atOnce of [1, 16, 128]) {
        const samples = await times({ bytes: 100, atOnce });
        const what = `100 B calls, ${atOnce} at once, ${who}`;
        rows.push(compare(samples, { what, ours: 'bridged', other: 'of one era', goal: { atMost: 1.3 } }));
      }
    });
  }
  const passed = [openGateway(library, modernServer), openSdkV2(modernServer)];
  await callTimes(passed, BareCaller.connectModern, async (times) => {
    for (const atOnce of [1, 16, 128]) {
      const samples = await times({ bytes: 100, atOnce });
      const what = `100 B stateless calls, ${atOnce} at once, no client`;
      rows.push(compare(samples, { what, ours: 'gateway.connect(id)', other: 'SDK v2', goal: { atMost: 1.05 } }));
    }
  });
  return rows;
}
