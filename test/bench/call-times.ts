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

const rounds = {
  small: { rounds: 60, warmUp: 40, collect: false },
  middle: { rounds: 30, warmUp: 10, collect: false },
  large: { rounds: 25, warmUp: 5 },
};

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
      const size = bytes > 100_000 ? 'large' : bytes > 10_000 ? 'middle' : 'small';
      // Where few calls go one behind the other, a sample is the start and the end of a burst more than what is between.
      const inARow = size === 'large' ? 2 : 8;
      const calls = Math.max(inARow * atOnce, Math.min(atMost, Math.ceil(2 ** 25 / bytes)), 4);
      const variants = callers.map(({ name, caller, tool }) => ({
        name,
        run: async () => (await timed(() => caller.calls(calls, atOnce, echo(bytes, tool)))) / calls,
      }));
      return interleave(variants, rounds[size]);
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
