import { describe, expect, test } from 'vitest';
import type { RuntimeContext } from '../../src/runtime.js';
import { hold, type Script } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import type { TestCaller } from '../endpoint/test-caller.js';
import type { FakeClock } from '../support/fake-clock.js';

const ids = Array.from({ length: 100 }, (_, index) => `s${index}`);
const minute = 60_000;

/** Takes `ms` of the clock. */
function slow(clock: () => FakeClock, ms: number): NonNullable<Script['open']> {
  return () => new Promise<void>((resolve) => void clock().setTimeout(resolve, ms));
}

/** Never opens, and goes by its signal when it is given up. */
function hang({ signal }: RuntimeContext): Promise<void> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

describe('100 servers that start at once, each within a second', () => {
  /** When each was ready, in milliseconds. */
  async function start(starting: number, hanging: readonly string[]): Promise<Map<string, number>> {
    const scripts = Object.fromEntries(
      ids.map((id): [string, Script] => [
        id,
        { tools: [{ name: 'x' }], open: hanging.includes(id) ? hang : slow(() => t.clock, 1_000) },
      ]),
    );
    const t = setUp(scripts, { limits: { starting } });
    await using _ = t;
    const ready = new Map<string, number>();
    const starts = ids.map((id) =>
      t.gateway.start(id).then(
        () => ready.set(id, t.clock.now()),
        () => {},
      ),
    );
    await t.clock.advance(29_000);
    expect(t.gateway.status().filter(({ phase }) => phase === 'starting')).toHaveLength(hanging.length);
    await t.clock.advance(1_000);
    await Promise.all(starts);
    return ready;
  }

  test('and of which one hangs: no other is delayed', async () => {
    const hanging = ['s3'];
    const [alone, beside] = [await start(100, []), await start(100, hanging)];
    expect([...alone.values()]).toEqual(ids.map(() => 1_000));
    alone.delete('s3');
    expect(beside).toEqual(alone);
  });

  test('and of which one hangs, no more than 8 at a time: the others are delayed by its one place, and no more', async () => {
    const ready = await start(8, ['s3']);
    expect(ready.size).toBe(99);
    expect(Math.max(...ready.values())).toBe(1_000 * Math.ceil(99 / 7));
  });

  test('and of which one hangs: a list has the tools of all others when they are ready, and says which one is missing', async () => {
    const scripts = Object.fromEntries(
      ids.map((id): [string, Script] => [
        id,
        { tools: [{ name: 'x' }], open: id === 's3' ? hang : slow(() => t.clock, 1_000) },
      ]),
    );
    const t = setUp(scripts, { limits: { starting: 100 }, entry: { list_timeout: '10s' } });
    await using _ = t;
    await using caller = await t.caller();
    const listing = caller.toolNames();
    await t.clock.advance(10_000);
    expect((await listing).sort()).toEqual(
      ids
        .filter((id) => id !== 's3')
        .map((id) => `${id}__x`)
        .sort(),
    );
    expect(t.events).toContainEqual(expect.objectContaining({ type: 'list-incomplete', server: 's3' }));
  });
});

test('close() of 100 servers that take a second to stop, each with a call open, takes the grace and that second', async () => {
  const held: Script = { tools: [{ name: 'x' }], on: { 'tools/call': () => hold } };
  const t = setUp(Object.fromEntries(ids.map((id) => [id, held])), { limits: { starting: 100 } });
  await using _ = t;
  await using caller = await t.caller();
  const calls = ids.map((id) => caller.request('tools/call', { name: `${id}__x` }));
  await Promise.all(ids.map((id) => t.server(id).request('tools/call')));
  for (const id of ids) {
    const { only } = t.server(id);
    const close = only.close.bind(only);
    only.close = async () => {
      await new Promise<void>((resolve) => void t.clock.setTimeout(resolve, 1_000));
      await close();
    };
  }
  const start = t.clock.now();
  let took: number | undefined;
  const closing = Promise.all([t.gateway.close({ graceMs: 5_000 }), t.gateway.close({ graceMs: 5_000 })]).then(() => {
    took = t.clock.now() - start;
  });
  await t.clock.advance(minute);
  await closing;
  expect(took).toBe(6_000);
  for (const call of calls) {
    expect((await call).error).toMatchObject({ data: { code: 'SERVER_STOPPED' } });
  }
});

describe('a server that always crashes is started at most 25 times in 10 minutes', () => {
  const dies: NonNullable<Script['on']>[string] = (_, instance) => {
    instance.die();
    return hold;
  };
  const ways: Readonly<Record<string, Script>> = {
    'while it starts': {
      open: () => {
        throw new Error('out of order');
      },
    },
    'before it answers initialize': { on: { initialize: dies } },
    'at each call': { tools: [{ name: 'x' }], on: { 'tools/call': dies } },
  };
  const cases = Object.keys(ways).flatMap((way) =>
    ['caller', 'shared', 'request'].flatMap((isolation) => [0, 0.999].map((chance) => ({ way, isolation, chance }))),
  );

  test.each(cases)('$way, isolation: $isolation, chance: $chance', async ({ way, isolation, chance }) => {
    const script = ways[way] as Script;
    await using t = setUp({ a: script }, { entry: { isolation }, random: () => chance });
    const callers = await Promise.all([t.caller(), t.caller(), t.caller({}, { caller: { id: 'ada' } })]);
    let answered = 0;
    const pester = async (caller: TestCaller) => {
      while (t.clock.now() < 10 * minute) {
        await caller.request('tools/call', { name: 'a__x' });
        answered += 1;
        await new Promise<void>((resolve) => void t.clock.setTimeout(resolve, 1_000));
      }
    };
    const pestering = callers.map(pester);
    await t.clock.advance(20 * minute);
    await Promise.all(pestering);
    expect(t.server('a').opens).toBeGreaterThan(5);
    expect(t.server('a').opens).toBeLessThanOrEqual(25);
    expect(answered).toBeGreaterThan(t.server('a').opens);
  });
});

test('a call that is sent while its server ends waits for the next one', async () => {
  const t = setUp(
    { a: { tools: [{ name: 'x' }], on: { 'tools/call': (request) => (request.params?.first ? hold : {}) as never } } },
    { entry: { restart: { backoff: '1s' } } },
  );
  await using _ = t;
  await using caller = await t.caller();
  const first = caller.request('tools/call', { name: 'a__x', first: true }, 1);
  const { instance } = await t.server('a').request('tools/call');
  // As of a process that is gone while something that it has started still holds its pipes.
  const gone = Promise.withResolvers<void>();
  const { onclose } = instance;
  delete instance.onclose;
  instance.close = () => gone.promise;
  instance.die();
  expect((await first).error).toMatchObject({ data: { code: 'SERVER_EXITED', delivered: 'unknown' } });
  const second = caller.result('tools/call', { name: 'a__x' });
  // Longer than the back-off, and less than the runtime waits for a server to close.
  await t.clock.advance(1_500);
  expect(t.server('a').opens).toBe(1);
  onclose?.();
  gone.resolve();
  await t.clock.advance(5_000);
  expect(await second).toEqual({});
  expect(t.server('a').opens).toBe(2);
});

test('a start that is stopped while it waits for its turn says so at once, and nobody who comes later meets it', async () => {
  const t = setUp(
    { a: { open: hang }, b: { tools: [{ name: 'x' }], on: { 'tools/call': () => ({}) } } },
    { limits: { starting: 1 } },
  );
  await using _ = t;
  const held = t.gateway.start('a').catch(() => {});
  await using caller = await t.caller();
  const first = caller.request('tools/call', { name: 'b__x' });
  await t.clock.advance(1_000);
  await t.gateway.stop('b');
  expect((await first).error).toMatchObject({ data: { code: 'SERVER_STOPPED', delivered: false } });
  const second = caller.result('tools/call', { name: 'b__x' });
  await t.gateway.stop('a');
  await held;
  expect(await second).toEqual({});
  expect(t.server('b').opens).toBe(1);
});
