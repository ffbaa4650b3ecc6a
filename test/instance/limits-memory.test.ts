import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import {
  createGateway,
  type GatewayLimits,
  InProcessRuntime,
  type RuntimeContext,
  type RuntimeFactory,
} from '../../src/index.js';
import { Places } from '../../src/instance/limits.js';
import { takeRoom } from '../../src/instance/room.js';
import { formatSize } from '../../src/util/quantity.js';
import { ScriptedServer } from '../endpoint/scripted-server.js';
import { FakeClock, settle } from '../support/fake-clock.js';

const never = new AbortController().signal;
const gibibyte = 1024 ** 3;

/** Servers in this process whose entries say how much memory they may use. */
class SizedRuntime implements RuntimeFactory<{ bytes?: number | undefined }> {
  readonly type = 'sized';
  readonly spec = v.object({ bytes: v.optional(v.custom<number>(() => true)) });
  readonly supports = { stderr: false, exit: false };
  readonly server = new ScriptedServer();
  readonly #inner = new InProcessRuntime();

  memory({ bytes }: { bytes?: number | undefined }) {
    return bytes;
  }

  open(_spec: unknown, context: RuntimeContext) {
    return this.#inner.open({ server: this.server.runtime.server }, context);
  }
}

/** A gateway whose entries are given as id and GiB. */
function setUp(entries: Readonly<Record<string, number | undefined>>, limits: GatewayLimits) {
  const clock = new FakeClock();
  const runtime = new SizedRuntime();
  const servers = Object.entries(entries).map(([id, gib]) => ({
    id,
    start_timeout: '30s',
    runtime: { type: 'sized' as const, bytes: gib && gib * gibibyte },
  }));
  const gateway = createGateway({ servers }, { runtimes: [runtime], limits, clock });
  const open = async (id: string) => {
    const transport = gateway.connect(id);
    await transport.start();
    return transport;
  };
  return {
    gateway,
    clock,
    open,
    live: () => runtime.server.live.map(({ context }) => context.server),
    async [Symbol.asyncDispose]() {
      await gateway.close({ graceMs: 0 });
      expect(clock.waiting).toBe(0);
    },
  };
}

describe('limits.memory', () => {
  test('a start that finds no memory fails when its start_timeout is over', async () => {
    await using t = setUp({ a: 1, b: 1, c: 1 }, { memory: '2GiB' });
    await t.open('a');
    await t.open('b');
    const failing = expect(t.open('c')).rejects.toMatchObject({
      code: 'LIMIT_REACHED',
      server: 'c',
      delivered: false,
      message: '"c": no place within start_timeout (30000 ms): limits.memory allows 2 GiB',
    });
    await t.clock.advance(29_999);
    expect(t.live()).toEqual(['a', 'b']);
    await t.clock.advance(1);
    await failing;
    expect(t.live()).toEqual(['a', 'b']);
  });

  test('an error tells whole milliseconds, though time passes meanwhile', async () => {
    const clock = new FakeClock();
    let passed = 0;
    const creeping = {
      now() {
        passed += 0.001;
        return clock.now() + passed;
      },
      date: () => clock.date(),
      setTimeout: (run: () => void, ms: number) => clock.setTimeout(run, ms),
      clearTimeout: (timer: unknown) => clock.clearTimeout(timer),
    };
    const instances = new Places('limits.instances', 1, creeping);
    const room = { instances, memory: undefined };
    const place = await takeRoom(room, 'a', 1_000, never, creeping);
    const failing = expect(takeRoom(room, 'b', 1_000, never, creeping)).rejects.toMatchObject({
      message: '"b": no place within start_timeout (1000 ms): limits.instances allows 1',
    });
    await clock.advance(1_000);
    await failing;
    place();
  });

  test('a start waits until an instance has given its memory back', async () => {
    await using t = setUp({ a: 1.5, b: 1 }, { memory: '2GiB' });
    const first = await t.open('a');
    const second = t.open('b');
    await t.clock.advance(10_000);
    expect(t.live()).toEqual(['a']);
    await first.close();
    await second;
    expect(t.live()).toEqual(['b']);
  });

  test('one that alone needs more than there is fails at once, and check() says so', async () => {
    await using t = setUp({ a: 1, big: 4 }, { memory: '2GiB' });
    const text = 'it may use 4 GiB of memory, and limits.memory allows 2 GiB for all servers';
    await expect(t.open('big')).rejects.toMatchObject({ code: 'LIMIT_REACHED', message: `"big": ${text}` });
    expect(await t.gateway.check()).toEqual([
      { server: 'a', ok: true, problems: [] },
      { server: 'big', ok: false, problems: [text] },
    ]);
  });

  test('a server whose runtime sets no limit counts for nothing, also while others wait', async () => {
    await using t = setUp({ a: 2, b: 2, free: undefined }, { memory: '2GiB' });
    await t.open('a');
    const waiting = t.open('b').catch((error: unknown) => error);
    await settle();
    await t.open('free');
    expect(t.live()).toEqual(['a', 'free']);
    await t.clock.advance(30_000);
    expect(await waiting).toMatchObject({ code: 'LIMIT_REACHED' });
  });

  test('who waits for memory holds no place among the instances', async () => {
    await using t = setUp({ a: 2, b: 2, free: undefined }, { memory: '2GiB', instances: 2 });
    await t.open('a');
    const waiting = t.open('b').catch((error: unknown) => error);
    await settle();
    await t.open('free');
    expect(t.live()).toEqual(['a', 'free']);
    await t.gateway.stop('a');
    await waiting;
    expect(t.live()).toEqual(['free', 'b']);
  });

  test('the waits for memory and for a place share one start_timeout', async () => {
    await using t = setUp({ a: 2, b: 2, free: undefined }, { memory: '2GiB', instances: 1 });
    await t.open('a');
    const failing = expect(t.open('b')).rejects.toMatchObject({
      code: 'LIMIT_REACHED',
      message: expect.stringContaining('limits.instances allows 1'),
    });
    const free = t.open('free');
    await t.clock.advance(20_000);
    await t.gateway.stop('a');
    await free;
    await t.clock.advance(10_000);
    await failing;
    expect(t.live()).toEqual(['free']);
  });

  test('a start that found memory but no place gives the memory back, after one start_timeout', async () => {
    await using t = setUp({ a: 1, b: 1, c: 1 }, { memory: '2GiB', instances: 1 });
    const first = await t.open('a');
    const failing = expect(t.open('b')).rejects.toMatchObject({
      code: 'LIMIT_REACHED',
      message: expect.stringContaining('limits.instances allows 1'),
    });
    await t.clock.advance(30_000);
    await failing;
    await first.close();
    await (await t.open('c')).close();
    await t.open('a');
  });

  test('a client that gives up while it waits makes room for the next', async () => {
    await using t = setUp({ a: 1, b: 2, c: 1 }, { memory: '2GiB' });
    await t.open('a');
    const waiting = t.gateway.connect('b');
    const started = waiting.start().catch((error: unknown) => error);
    await settle();
    const next = t.open('c');
    await settle();
    expect(t.live()).toEqual(['a']);
    await waiting.close();
    await next;
    expect(await started).toMatchObject({ code: 'TRANSPORT_CLOSED' });
    expect(t.live()).toEqual(['a', 'c']);
  });

  test.each([Number.NaN, -1, Number.POSITIVE_INFINITY])('a runtime that tells %d bytes is refused', (bytes) => {
    expect(() => setUp({ a: bytes }, { memory: '2GiB' })).toThrow(/memory\(\) of the runtime "sized" returned/);
  });
});

describe('places of several sizes', () => {
  test('go to the first in the queue, also when a later one would fit', async () => {
    const clock = new FakeClock();
    const places = new Places('limits.memory', 10, clock, formatSize);
    const first = await places.take('a', 1_000, never, 6);
    const order: string[] = [];
    const take = (server: string, amount: number) =>
      places.take(server, 1_000, never, amount).then((place) => {
        order.push(server);
        return place;
      });
    const large = take('large', 10);
    const small = take('small', 1);
    await settle();
    expect(order).toEqual([]);
    first();
    (await large)();
    (await small)();
    expect(order).toEqual(['large', 'small']);
    expect(clock.waiting).toBe(0);
  });

  test('let in as many as fit when a large one leaves, or waits no longer', async () => {
    const clock = new FakeClock();
    const places = new Places('limits.memory', 10, clock);
    const first = await places.take('a', 1_000, never, 6);
    const large = places.take('large', 1_000, never, 10).catch((error: unknown) => error);
    await clock.advance(500);
    const small = [places.take('b', 1_000, never, 2), places.take('c', 1_000, never, 2)];
    await clock.advance(500);
    expect(await large).toMatchObject({ code: 'LIMIT_REACHED' });
    for (const place of await Promise.all(small)) {
      place();
    }
    first();
    expect(clock.waiting).toBe(0);
  });
});

describe('limits that cannot be', () => {
  test.each([
    [{ memory: '2 GB' }, 'limits.memory must be a size such as "2GiB", not "2 GB"'],
    [{ memory: '0' }, 'limits.memory must be a size such as "2GiB", not "0"'],
    [{ memory: 1024 as unknown as string }, 'limits.memory must be a size such as "2GiB", not 1024'],
    [{ instances: 0 }, 'limits.instances must be a whole number from 1, not 0'],
    [{ starting: 1.5 }, 'limits.starting must be a whole number from 1, not 1.5'],
    [{ starting: Number.NaN }, 'limits.starting must be a whole number from 1, not NaN'],
    [
      { starting: '2' as never, instances: -1, memory: '1.5x' },
      'limits.starting must be a whole number from 1, not 2; limits.instances must be a whole number from 1, not -1; ' +
        'limits.memory must be a size such as "2GiB", not "1.5x"',
    ],
  ])('%o', (limits, message) => {
    expect(() => createGateway({ servers: [] }, { limits })).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', message: `createGateway: ${message}` }),
    );
  });

  test('no limit may be said in so many words', () => {
    expect(() => createGateway({ servers: [] }, { limits: { instances: Number.POSITIVE_INFINITY } })).not.toThrow();
  });
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [512 * 1024 ** 2, '512 MiB'],
  [2 * gibibyte, '2 GiB'],
])('%d bytes are written as %s', (bytes, text) => {
  expect(formatSize(bytes)).toBe(text);
});
