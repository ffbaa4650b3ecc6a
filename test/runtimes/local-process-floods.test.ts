import { describe, expect, test } from 'vitest';
import { count } from '../support/counts.js';
import { measuresMemory, startHost } from '../support/host.js';

interface Measured {
  readonly messages: number;
  readonly wrong: number;
  readonly codes: readonly string[];
  readonly closes: number;
  readonly tailBytes: number;
  /** How far the resident memory of the host grew while the server wrote. */
  readonly grownMiB: number;
  /** How much more of its memory was of use afterwards. */
  readonly heldMiB: number;
}

/** Runs a host whose server floods it, in a process of its own, so that its memory can be seen. */
async function flood(kind: string, amount: number): Promise<Measured> {
  const host = startHost('flooded', [kind, String(amount)], measuresMemory);
  const { value } = await host.lines.next();
  expect(host.stderr()).toBe('');
  expect(await host.ended(150_000)).toBe(0);
  return JSON.parse(String(value)) as Measured;
}

// The limit of a message is 16 MiB in these hosts: three of it for the line while it is joined and decoded, and room.
const boundMiB = 64 + 3 * 16;

describe('a server that writes without measure', { timeout: 300_000 }, () => {
  test('one line of 200 MB ends the connection as soon as it passes the limit', async () => {
    const { codes, closes, messages, grownMiB } = await flood('line', 200 * 1_000_000);
    expect(codes).toEqual(['MESSAGE_TOO_LARGE']);
    expect(closes).toBe(1);
    expect(messages).toBe(1);
    expect(grownMiB).toBeLessThan(boundMiB);
  });

  test('a line of 16 MiB, byte by byte in part, costs no more than its bytes', async () => {
    const { codes, messages, grownMiB } = await flood('dribble', count(100_000, 1_000_000));
    expect(codes).toEqual([]);
    expect(messages).toBe(3);
    expect(grownMiB).toBeLessThan(boundMiB);
  });

  test('hundreds of megabytes on stderr: the tail stays small, and answers arrive', async () => {
    const { codes, messages, grownMiB, heldMiB, tailBytes } = await flood('stderr', count(400_000_000, 1_000_000_000));
    expect(messages).toBe(2);
    expect(codes).toEqual(['SERVER_EXITED']);
    expect(tailBytes).toBeGreaterThan(0);
    expect(tailBytes).toBeLessThanOrEqual(64 * 1024);
    expect(heldMiB).toBeLessThan(4);
    // The engine lets 64 MiB of what was read pile up before it collects, and as much again while it does. Half of what was
    // written is more than that.
    expect(grownMiB).toBeLessThan(190);
  });

  test.each(['text', 'brace', 'empty', 'array', 'deep', 'binary'])(
    'malformed frames (%s): reported, skipped, nothing delivered wrongly',
    async (kind) => {
      const { codes, messages, wrong, grownMiB } = await flood(kind, count(100_000, 1_000_000));
      expect(wrong).toBe(0);
      expect(messages).toBe(2);
      expect(new Set(codes)).toEqual(new Set(kind === 'empty' ? [] : ['MESSAGE_INVALID']));
      expect(grownMiB).toBeLessThan(boundMiB);
    },
  );
});
