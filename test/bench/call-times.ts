import { type CallingPeer, echo } from './calls.ts';
import { interleave, type Samples, timed } from './measure.ts';
import type { Way } from './transports.ts';

/** How many bytes each way, and how many calls open at any time. */
export interface Load {
  readonly bytes: number;
  readonly atOnce: number;
  /** How many calls a sample has at most: fewer where each takes long. */
  readonly atMost?: number;
}

/**
 * The time of one echo call on each of the ways, in milliseconds. Samples are short and rounds are many: what else the
 * machine does in the meantime then spoils a few rounds, not all of them.
 */
export async function callTimes<Result>(
  ways: readonly Way[],
  connect: (transport: Way['transport']) => Promise<CallingPeer>,
  use: (measure: (load: Load) => Promise<Samples>) => Promise<Result>,
): Promise<Result> {
  try {
    const callers = await Promise.all(
      ways.map(async ({ name, transport, prefix = '' }) => ({
        name,
        tool: `${prefix}echo`,
        caller: await connect(transport),
      })),
    );
    return await use(({ bytes, atOnce, atMost = atOnce === 1 ? 500 : 2_000 }) => {
      const calls = Math.max(2 * atOnce, Math.min(atMost, Math.ceil(2 ** 21 / bytes)), 4);
      const variants = callers.map(({ name, caller, tool }) => ({
        name,
        run: async () => (await timed(() => caller.calls(calls, atOnce, echo(bytes, tool)))) / calls,
      }));
      return interleave(
        variants,
        bytes > 100_000 ? { rounds: 25, warmUp: 5 } : { rounds: 60, warmUp: 40, collect: false },
      );
    });
  } finally {
    await Promise.all(ways.map((way) => way.close()));
  }
}

/** As a table names a size. */
export function toSize(bytes: number): string {
  const mebibytes = bytes / 1024 / 1024;
  return bytes < 1024 ? `${bytes} B` : mebibytes < 1 ? `${bytes / 1024} KiB` : `${mebibytes} MiB`;
}
