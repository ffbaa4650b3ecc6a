import { describe, expect, test } from 'vitest';
import { hold, type Json, type Script } from '../endpoint/scripted-server.js';
import { type Setup, setUp } from '../endpoint/setup.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { settle } from '../support/fake-clock.js';

const good: Script = { tools: [{ name: 'x' }] };
/** Fails its first start. */
const failsOnce: Script = {
  ...good,
  open(_, opens) {
    if (opens === 1) {
      throw new Error('not yet');
    }
  },
};
const entry = { restart: { backoff: '10s', max_backoff: '10s' }, idle_timeout: '0s' };

/** What a start of "a" may have to wait for: how that begins, and how it ends. */
const waits = {
  'the back-off': {
    scripts: { a: failsOnce },
    limits: {},
    async begin(_t: Setup, caller: TestCaller) {
      expect(await caller.request('tools/call', { name: 'a__x' })).toHaveProperty('error');
    },
    end: (t: Setup) => t.clock.advance(60_000),
    before: 1,
  },
  room: {
    scripts: { a: good, b: good },
    limits: { instances: 1 },
    begin: (_t: Setup, caller: TestCaller) => caller.result('tools/call', { name: 'b__x' }),
    end: (t: Setup) => t.gateway.stop('b'),
    before: 0,
  },
};

const cases = Object.keys(waits).flatMap((what) =>
  ['caller', 'shared', 'request'].map((isolation) => ({ what: what as keyof typeof waits, isolation })),
);

async function waiting({ what, isolation }: (typeof cases)[number]) {
  const { scripts, limits, begin, end, before } = waits[what];
  const t = setUp(scripts, { limits, entry, entries: { a: { isolation } } });
  const caller = await t.caller();
  await begin(t, caller);
  await caller.send({ id: 'waits', method: 'tools/call', params: { name: 'a__x' } });
  await settle();
  expect(t.server('a').opens).toBe(before);
  expect(caller.answers('waits')).toEqual([]);
  return { t, caller, end: () => end(t), before, [Symbol.asyncDispose]: () => t[Symbol.asyncDispose]() };
}

describe.each(cases)('a call that waits for $what, isolation: $isolation,', (given) => {
  test('is answered by a stop, and its server is started by the next call alone', async () => {
    await using call = await waiting(given);
    await call.t.gateway.stop('a');
    await settle();
    expect(call.caller.answers('waits')).toMatchObject([
      { error: { data: { code: 'SERVER_STOPPED', server: 'a', delivered: false } } },
    ]);
    await call.end();
    await settle();
    expect(call.t.server('a').opens).toBe(call.before);
    expect(await call.caller.result('tools/call', { name: 'a__x' })).toBeDefined();
  });

  test('goes on after a restart', async () => {
    await using call = await waiting(given);
    // The call may have taken the only place.
    call.t.gateway.restart('a').catch(() => {});
    await call.end();
    expect((await call.caller.until(() => call.caller.answers('waits')[0])).result).toBeDefined();
  });
});

test('a raw connection that waits for the back-off is told of a stop, and starts nothing', async () => {
  await using t = setUp({ a: failsOnce }, { entry });
  await expect(new TestCaller(t.gateway.connect('a')).transport.start()).rejects.toMatchObject({
    code: 'START_FAILED',
  });
  const caller = new TestCaller(t.gateway.connect('a'));
  const starting = caller.transport.start();
  starting.catch(() => {});
  await settle();
  await t.gateway.stop('a');
  await expect(starting).rejects.toMatchObject({ code: 'SERVER_STOPPED', delivered: false });
  expect(caller.closed).toBe(1);
  await t.clock.advance(60_000);
  expect(t.server('a').opens).toBe(1);
});

test('a list that waits for the back-off comes without a server that is stopped, and the next one starts that', async () => {
  await using t = setUp({ a: failsOnce, b: good }, { entry });
  await using caller = await t.caller();
  expect(await caller.request('tools/call', { name: 'a__x' })).toHaveProperty('error');
  const listing = caller.toolNames();
  await settle();
  await t.gateway.stop('a');
  expect(await listing).toEqual(['b__x']);
  await t.clock.advance(60_000);
  expect(t.server('a').opens).toBe(1);
  expect(caller.notifications('notifications/tools/list_changed')).toHaveLength(1);
  expect(await caller.toolNames()).toEqual(['a__x', 'b__x']);
});

test('a call that waits for the host to allow its server is told of a stop', async () => {
  const asked = Promise.withResolvers<void>();
  const allowed = Promise.withResolvers<boolean>();
  const authorize = () => {
    asked.resolve();
    return allowed.promise;
  };
  await using t = setUp({ a: good }, { authorize });
  await using caller = await t.caller();
  await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
  await asked.promise;
  await t.gateway.stop('a');
  await settle();
  expect(caller.answers(1)).toMatchObject([{ error: { data: { code: 'SERVER_STOPPED', delivered: false } } as Json }]);
  allowed.resolve(true);
  await settle();
  expect(t.server('a').opens).toBe(0);
  expect(await caller.result('tools/call', { name: 'a__x' })).toBeDefined();
});

test('one who comes while a stop is under way waits for its end, and starts the next server', async () => {
  await using t = setUp({ a: good }, { entry });
  await using caller = await t.caller();
  await caller.result('tools/call', { name: 'a__x' });
  const stopping = t.gateway.stop('a');
  await using next = await TestCaller.open(t.gateway.connect('a'));
  await stopping;
  expect(await next.result('tools/call', { name: 'x' })).toBeDefined();
  expect(t.server('a').opens).toBe(2);
});

// More than lie between the end of a server that is asked for its era and the start of the next one.
const mostTurns = 40;

/** Starts a server for a call, which has to be started afresh, and ends that so many turns into it. */
async function endAfresh(silentMs: number, turns: number, end: (t: Setup, caller: TestCaller) => Promise<void>) {
  const asked = Promise.withResolvers<void>();
  const initialized = { protocolVersion: '2025-11-25', capabilities: { tools: {} } };
  const script: Script = {
    ...good,
    on: {
      'server/discover'(_request, instance) {
        asked.resolve();
        silentMs > 0 || instance.die(3);
        return hold;
      },
      ...(silentMs > 0 && { initialize: () => (t.server('a').opens === 1 ? hold : initialized) }),
    },
  };
  await using t = setUp({ a: script }, { entry });
  const caller = await t.caller();
  await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
  await asked.promise;
  silentMs > 0 && (await t.clock.advance(silentMs));
  const passing = silentMs > 0 && t.clock.advance(1);
  for (let turn = 0; turn < turns; turn += 1) {
    await Promise.resolve();
  }
  const ending = end(t, caller);
  await passing;
  await t.clock.advance(60_000);
  await ending;
  return { isRunning: t.server('a').live.length > 0, answers: caller.answers(1) };
}

const restless: [string, number][] = [
  ['that exits when it is asked for its era', 0],
  ['that keeps silent', 14_999],
];

test.each(restless)(
  'a server %s, stopped in whatever moment as it is started afresh, does not run afterwards',
  async (_, silentMs) => {
    const runs: number[] = [];
    for (let turns = 0; turns < mostTurns; turns += 1) {
      const { isRunning, answers } = await endAfresh(silentMs, turns, ({ gateway }) =>
        gateway.stop('a', { graceMs: 1 }),
      );
      isRunning && runs.push(turns);
      expect(answers).toHaveLength(1);
    }
    expect(runs).toEqual([]);
  },
);

test.each(restless)(
  'a server %s, whose caller leaves in whatever moment as it is started afresh, does not run afterwards',
  async (_, silentMs) => {
    const runs: number[] = [];
    for (let turns = 0; turns < mostTurns; turns += 1) {
      const { isRunning } = await endAfresh(silentMs, turns, (_t, caller) => caller.close());
      isRunning && runs.push(turns);
    }
    expect(runs).toEqual([]);
  },
);

const reloads = (['drain', 'keep'] as const).flatMap((mode) =>
  (['caller', 'shared'] as const).map((isolation) => [mode, isolation] as const),
);

describe.each(reloads)(
  'a start that waits as its entry is replaced, on_reload: %s, isolation: %s,',
  (mode, isolation) => {
    /** Both at once: what waits has not come to the new entry yet. */
    async function reloadAndStop(t: Setup) {
      const a = {
        id: 'a',
        ...entry,
        isolation,
        on_reload: mode,
        env: { A: 'b' },
        runtime: { type: 'scripted' as const, script: 'a' },
      };
      const reloading = t.gateway.reload({ servers: [a] });
      await t.gateway.stop('a');
      await reloading;
      await t.clock.advance(60_000);
      expect(t.server('a').opens).toBe(1);
    }

    test('is none any more after a stop of the new one, for a call', async () => {
      await using t = setUp({ a: failsOnce }, { entry: { ...entry, isolation } });
      await using caller = await t.caller();
      expect(await caller.request('tools/call', { name: 'a__x' })).toHaveProperty('error');
      await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
      await settle();
      await reloadAndStop(t);
      expect(caller.answers(1)).toMatchObject([{ error: { data: { code: 'SERVER_STOPPED', delivered: false } } }]);
      expect(await caller.result('tools/call', { name: 'a__x' })).toBeDefined();
    });

    test('is none any more after a stop of the new one, for a raw connection', async () => {
      await using t = setUp({ a: failsOnce }, { entry: { ...entry, isolation } });
      // A shared one says in the answer to `initialize` what its start has ended with.
      const open = () =>
        TestCaller.open(t.gateway.connect('a')).then(
          () => 'open',
          ({ code, message }) => `${code} ${message}`,
        );
      expect(await open()).toContain('START_FAILED');
      const opening = open();
      await settle();
      await reloadAndStop(t);
      expect(await opening).toContain('SERVER_STOPPED');
      expect(await open()).toBe('open');
      expect(t.server('a').opens).toBe(2);
    });
  },
);

/** A server whose next end takes until that is let through. */
function endSlowly({ server }: Setup) {
  const { only } = server('a');
  const ended = Promise.withResolvers<void>();
  const close = only.close.bind(only);
  only.close = () => ended.promise.then(close);
  return ended.resolve;
}

describe.each(['caller', 'shared', 'principal', 'request'] as const)('a stop, isolation: %s,', (isolation) => {
  test('ends the start of who waits for the end of a server that a reload gives up, and not of who comes after it', async () => {
    const initialized = { protocolVersion: '2025-11-25', capabilities: { tools: {} } };
    const script: Script = { ...good, on: { initialize: () => (t.server('a').opens === 1 ? hold : initialized) } };
    await using t = setUp({ a: script }, { entry: { ...entry, protocol: 'legacy', isolation: 'caller' } });
    await using caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await t.server('a').request('initialize');
    const end = endSlowly(t);
    const runtime = { type: 'scripted' as const, script: 'a' };
    const reloading = t.gateway.reload({ servers: [{ id: 'a', ...entry, isolation, env: { A: 'b' }, runtime }] });
    await settle();
    const stopping = t.gateway.stop('a', { graceMs: 0 });
    await settle();
    const next = caller.request('tools/call', { name: 'a__x' });
    await settle();
    const opens = t.server('a').opens;
    end();
    await t.clock.advance(60_000);
    await Promise.all([reloading, stopping]);
    expect(caller.answers(1)).toMatchObject([{ error: { data: { code: 'SERVER_STOPPED', delivered: false } } }]);
    expect(await next).toHaveProperty('result');
    expect([opens, t.server('a').opens]).toEqual([1, 2]);
  });
});

test.each(['caller', 'shared', 'principal'])(
  'a call that waits for the end of a server, isolation: %s, is told at once of a second stop',
  async (isolation) => {
    await using t = setUp({ a: good }, { entry: { ...entry, isolation } });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    const end = endSlowly(t);
    const stopping = t.gateway.stop('a', { graceMs: 0 });
    await settle();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await settle();
    const early = caller.answers(1);
    const again = t.gateway.stop('a', { graceMs: 0 });
    await settle();
    const answers = caller.answers(1);
    end();
    await t.clock.advance(60_000);
    await Promise.all([stopping, again]);
    expect(early).toEqual([]);
    expect(answers).toMatchObject([{ error: { data: { code: 'SERVER_STOPPED', delivered: false } } }]);
    expect(t.server('a').opens).toBe(1);
  },
);
