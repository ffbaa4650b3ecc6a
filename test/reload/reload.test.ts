import * as v from 'valibot';
import { describe, expect, test, vi } from 'vitest';
import {
  createGateway,
  GatewayError,
  InProcessRuntime,
  type RuntimeFactory,
  type ServerInput,
} from '../../src/index.js';
import { hold, type Json, type Script, ScriptedServer } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { settle } from '../support/fake-clock.js';
import { settledHeap } from '../support/heap.js';
import { ScriptedRuntime } from '../support/scripted-runtime.js';

const script: Script = {
  tools: [{ name: 'x' }],
  on: { 'tools/call': ({ params }) => (params?.hold ? hold : {}) as Json },
};
const entry = (id: string, more: Json = {}): ServerInput<{ type: 'scripted'; script: string }> => ({
  id,
  runtime: { type: 'scripted', script: id },
  ...more,
});
const call = (id: string, more: Json = {}): [string, Json] => ['tools/call', { name: `${id}__x`, ...more }];

const start = () => setUp({ a: script, b: script, c: script });

describe('gateway.reload()', () => {
  test('forgets the names of many servers at once, however many names are known', async () => {
    const ids = Array.from({ length: 400 }, (_, index) => `s${index}`);
    const servers = (description: string) => ids.map((id) => entry(id, { env: { A: description } }));
    const runtimes = [new ScriptedRuntime()];
    await using gateway = createGateway({ servers: servers('before') }, { runtimes });
    for (let index = 0; index < 200_000; index += 1) {
      gateway.names.tool('s399', `n${index}`);
    }
    const before = process.cpuUsage().user;
    expect((await gateway.reload({ servers: servers('after') })).changed).toHaveLength(400);
    // Five seconds or more where all names are looked through for each of them.
    expect(process.cpuUsage().user - before).toBeLessThan(2_500_000);
  });

  test.each(['caller', 'shared', 'request'])(
    'in whatever moment of the start that a call waits for, leaves nothing behind, isolation: %s',
    async (isolation) => {
      for (let turns = 0; turns < 80; turns += 1) {
        // Health checks: what was taken for open and is not would have timers.
        await using t = setUp({ a: { tools: [{ name: 'x' }] } }, { entry: { isolation } });
        await using caller = await t.caller();
        const answered = caller.request(...call('a'));
        for (let turn = 0; turn < turns; turn += 1) {
          await Promise.resolve();
        }
        const reloading = t.gateway.reload({
          servers: [entry('a', { isolation, on_reload: 'keep', env: { A: 'b' } })],
        });
        await Promise.all([answered, reloading]);
        expect(await caller.result(...call('a')), `after ${turns} turns`).toBeDefined();
      }
    },
  );

  test('lets a call end at its server that is taken away, once an interceptor has passed it on', async () => {
    await using t = setUp({ a: script }, { intercept: (_, next) => next() });
    await using caller = await t.caller();
    const answered = caller.result(...call('a', { hold: true }));
    const { instance, request } = await t.server('a').request('tools/call');
    const reloading = t.gateway.reload({ servers: [] }, { graceMs: 60_000 });
    await settle();
    instance.answer(request, { content: [] });
    expect(await answered).toEqual({ content: [] });
    await reloading;
  });

  describe('that keeps a server', () => {
    const gates = new Map<unknown, Promise<unknown>>();
    const listing: Script = {
      ...script,
      on: {
        ...script.on,
        'tools/list': async (_, { context }) => {
          await gates.get(context.env.A);
          return { tools: [{ name: `of ${context.env.A}` }] };
        },
      },
    };
    // The values are another, which no fingerprint shows.
    const kept = (value: string) => entry('a', { isolation: 'shared', on_reload: 'keep', env: { A: value } });

    test('lets what that says of its lists stand for no other', async () => {
      await using t = setUp({ a: listing });
      await t.gateway.reload({ servers: [kept('1')] });
      await using first = await t.caller();
      await first.result('tools/list');
      const old = t.server('a').only;
      await t.gateway.reload({ servers: [kept('2')] });
      await using second = await t.caller();
      await second.result('tools/list');
      const before = old.requests('tools/list').length;
      await first.result('tools/list');
      expect(old.requests('tools/list')).toHaveLength(before + 1);
      expect(t.gateway.snapshot().a?.lists.tools).toEqual([{ name: 'of 2' }]);
    });

    test('lets what that was asked before stand for no other', async () => {
      await using t = setUp({ a: listing });
      await t.gateway.reload({ servers: [kept('1')] });
      const gate = Promise.withResolvers<void>();
      gates.set('1', gate.promise);
      await using caller = await t.caller();
      await caller.result(...call('a'));
      await t.server('a').request('tools/list');
      await t.gateway.reload({ servers: [kept('2')] });
      gate.resolve();
      await settle();
      expect(t.gateway.snapshot()).toEqual({});
    });
  });

  test('tells what was added, removed, changed and left alone, and takes the order of the new catalog', async () => {
    await using t = start();
    expect(await t.gateway.reload({ servers: [entry('c'), entry('a', { idle_timeout: '1m' })] })).toEqual({
      added: [],
      removed: ['b'],
      changed: ['a'],
      unchanged: ['c'],
    });
    expect(t.gateway.status().map(({ id }) => id)).toEqual(['c', 'a']);
    expect(await t.gateway.reload({ servers: [entry('b'), entry('a', { idle_timeout: '60s' })] })).toEqual({
      added: ['b'],
      removed: ['c'],
      changed: [],
      unchanged: ['a'],
    });
    const server = () => t.server('b') as never;
    expect(await t.gateway.reload({ servers: [{ id: 'b', runtime: { type: 'in-process', server } }] })).toEqual({
      added: ['b'],
      removed: ['b', 'a'],
      changed: [],
      unchanged: [],
    });
  });

  test('touches nothing that is not changed, however it is written, and nothing for what callers only see', async () => {
    await using t = start();
    await using caller = await t.caller();
    await caller.result(...call('a'));
    const held = caller.request(...call('a', { hold: true }));
    await settle();
    await t.gateway.reload({ servers: [{ runtime: { script: 'a', type: 'scripted' }, tags: [], id: 'a' }] });
    const more = { display_name: 'A', description: 'first', tags: ['x'], on_reload: 'now', list_timeout: '1s' };
    expect((await t.gateway.reload({ servers: [entry('a', more)] })).changed).toEqual(['a']);
    expect(t.gateway.status('a')).toMatchObject({ displayName: 'A', phase: 'ready', stale: false, inFlight: 1 });
    const { instance, request } = await t.server('a').request('tools/call', 1);
    instance.answer(request, { kept: true });
    expect((await held).result).toEqual({ kept: true });
    expect(t.server('a').opens).toBe(1);
  });

  test('a changed entry drains by default: what is open ends, what comes gets the new server at once', async () => {
    await using t = start();
    await using caller = await t.caller();
    const held = caller.request(...call('a', { hold: true }));
    const { instance, request } = await t.server('a').request('tools/call');
    const reloading = t.gateway.reload({ servers: [entry('a', { env: { V: '2' } })] });
    expect(await caller.result(...call('a'))).toEqual({});
    expect(t.server('a').live).toHaveLength(2);
    expect(t.server('a').live.at(-1)?.context.env).toEqual({ V: '2' });
    expect(t.gateway.status('a')).toMatchObject({ stale: true, inFlight: 1 });
    instance.answer(request, { old: true });
    expect((await held).result).toEqual({ old: true });
    expect(await reloading).toMatchObject({ changed: ['a'], removed: ['b', 'c'] });
    expect(instance.closed).toBe(true);
    expect(t.gateway.status('a')).toMatchObject({ stale: false, phase: 'ready' });
  });

  test('a server that drains hears of a new log level, and that the roots have changed', async () => {
    await using t = start();
    await using caller = await t.caller({ roots: { listChanged: true } });
    const held = caller.request(...call('a', { hold: true }));
    const { instance, request } = await t.server('a').request('tools/call');
    const reloading = t.gateway.reload({ servers: [entry('a', { env: { V: '2' } })] });
    await caller.result('logging/setLevel', { level: 'error' });
    await caller.send({ method: 'notifications/roots/list_changed' });
    await settle();
    expect(instance.requests('logging/setLevel')).toMatchObject([{ params: { level: 'error' } }]);
    expect(instance.notifications('notifications/roots/list_changed')).toHaveLength(1);
    instance.answer(request, {});
    expect(await held).toHaveProperty('result');
    await reloading;
    expect(instance.closed).toBe(true);
  });

  test('nothing is started for a subscription whose server has an instance for each request now', async () => {
    await using t = setUp({ a: { ...script, resources: [{ uri: 'x://1', name: '1' }] } });
    await using caller = await t.caller();
    await caller.result('resources/subscribe', { uri: 'x://1' });
    await t.gateway.reload({ servers: [entry('a', { isolation: 'request' })] });
    await settle();
    expect(t.server('a').opens).toBe(1);
  });

  test('a server that is not running, or could not start, gives its place to the new one', async () => {
    await using t = start();
    await using caller = await t.caller();
    await caller.result(...call('a'));
    t.server('a').only.die();
    await settle();
    await t.gateway.reload({ servers: [entry('a', { env: { V: '2' } })] });
    await t.clock.advance(60_000);
    expect(await caller.result(...call('a'))).toEqual({});
    expect(t.server('a').only.context.env).toEqual({ V: '2' });
  });

  test('what outlasts the grace is answered, and told why', async () => {
    await using t = start();
    await using caller = await t.caller();
    const calls = ['a', 'b'].map((id) => caller.error(...call(id, { hold: true })));
    await Promise.all(['a', 'b'].map((id) => t.server(id).request('tools/call')));
    const reloading = t.gateway.reload({ servers: [entry('a', { env: { V: '2' } })] }, { graceMs: 1_000 });
    await t.clock.advance(1_000);
    await reloading;
    const [changed, removed] = await Promise.all(calls);
    expect(changed).toMatchObject({ data: { code: 'SERVER_STOPPED' } });
    expect(changed?.message).toContain('its entry in the catalog has changed');
    expect(removed?.message).toContain('its entry in the catalog is no longer there');
    expect(t.server('a').live).toEqual([]);
    expect((await caller.error(...call('b'))).message).toContain('unknown tool');
  });

  test('on_reload: now ends at once; keep goes on until the server ends', async () => {
    await using t = start();
    await using caller = await t.caller();
    const now = caller.error(...call('a', { hold: true }));
    await t.server('a').request('tools/call');
    await caller.result(...call('b'));
    const reloading = t.gateway.reload({
      servers: [entry('a', { env: { V: '2' }, on_reload: 'now' }), entry('b', { env: { V: '2' }, on_reload: 'keep' })],
    });
    await t.clock.advance(0);
    await reloading;
    expect(await now).toMatchObject({ data: { code: 'SERVER_STOPPED' } });
    await caller.result(...call('b'));
    expect(t.server('b').opens).toBe(1);
    expect(t.gateway.status('b')).toMatchObject({ phase: 'ready', stale: true, instances: [{ phase: 'ready' }] });
    await using other = await t.caller();
    await other.result(...call('b'));
    expect(t.server('b').live.map(({ context }) => context.env)).toEqual([{}, { V: '2' }]);
    const ids = t.server('b').live.map(({ context }) => context.instanceId);
    expect(t.gateway.status('b').instances.map(({ id }) => id)).toEqual(ids);
    t.server('b').live[0]?.die();
    await settle();
    expect(t.gateway.status('b').stale).toBe(false);
    await caller.result(...call('b'));
    expect(t.server('b').live.map(({ context }) => context.env)).toEqual([{ V: '2' }, { V: '2' }]);
  });

  test('callers of the merged peer are told, and see the new lists', async () => {
    await using t = start();
    await using all = await t.caller();
    await using tagged = await t.caller({}, { tags: ['new'] });
    await using one = await t.caller({}, { servers: ['c'] });
    expect(await all.toolNames()).toEqual(['a__x', 'b__x', 'c__x']);
    await t.gateway.reload({ servers: [entry('c', { tags: ['new'] }), entry('a', { tools: { deny: ['x'] } })] });
    await t.clock.advance(100);
    for (const caller of [all, tagged]) {
      expect(caller.notifications('notifications/tools/list_changed')).toHaveLength(1);
    }
    expect(one.notifications('notifications/tools/list_changed')).toEqual([]);
    expect(await all.toolNames()).toEqual(['c__x']);
    expect(await tagged.toolNames()).toEqual(['c__x']);
    expect((await all.error(...call('a'))).message).toContain('unknown tool');
    await t.gateway.reload({ servers: [] });
    expect(await one.toolNames()).toEqual([]);
  });

  test('raw connections of an entry that is removed or drained end with the reason', async () => {
    await using t = start();
    for (const [id, why] of [
      ['a', 'has changed'],
      ['b', 'is no longer there'],
    ] as const) {
      const raw = t.gateway.connect(id);
      const told: string[] = [];
      raw.onerror = (error) => told.push(error.message);
      raw.onclose = () => told.push('closed');
      await raw.start();
      const later = t.gateway.connect(id);
      await t.gateway.reload({ servers: [entry('a', { env: { V: id } })] });
      expect(told).toEqual([`"${id}": its entry in the catalog ${why}`, 'closed']);
      const started = later.start().then(
        () => 'started',
        (error: { code: string }) => error.code,
      );
      expect(await started).toBe(id === 'a' ? 'started' : 'SERVER_UNKNOWN');
      if (id === 'a') {
        expect(t.server('a').only.context.env).toEqual({ V: 'a' });
        await t.gateway.reload({ servers: [entry('a'), entry('b')] });
      }
    }
  });

  test('a call that waits for a start gets the server of the new catalog', async () => {
    await using t = start();
    const gate = Promise.withResolvers<void>();
    t.server('a').script.open = (_context, opens) => (opens === 1 ? gate.promise : undefined);
    await using caller = await t.caller();
    const answer = caller.result(...call('a'));
    await settle();
    const reloading = t.gateway.reload({ servers: [entry('a', { env: { V: '2' } })] });
    expect(await answer).toEqual({});
    expect(t.server('a').live.map(({ context }) => context.env)).toEqual([{ V: '2' }]);
    gate.resolve();
    await reloading;
  });

  test('with an instance for each request from now on, calls that wait share none, and a raw connection of their caller ends', async () => {
    await using t = setUp({ a: { ...script } }, { entry: { isolation: 'shared' } });
    const gate = Promise.withResolvers<void>();
    t.server('a').script.open = (_context, opens) => (opens === 1 ? gate.promise : undefined);
    const who = { caller: { id: 'ada' } };
    await using caller = await t.caller({}, who);
    await using other = await t.caller({}, who);
    await using raw = new TestCaller(t.gateway.connect('a', who));
    await raw.transport.start();
    const answers = [caller, other].map((each) => each.result(...call('a')));
    await settle();
    const reloading = t.gateway.reload({ servers: [entry('a', { isolation: 'request' })] });
    await expect(raw.initialize()).rejects.toThrow('its entry in the catalog has changed');
    expect(await Promise.all(answers)).toEqual([{}, {}]);
    gate.resolve();
    await reloading;
    const calls = t.server('a').instances.map((instance) => instance.requests('tools/call').length);
    expect(calls.filter((count) => count > 0)).toEqual([1, 1]);
  });

  test.each([
    ['caller', {}, 'starts'],
    ['caller', { id: 'ada' }, 'starts'],
    ['shared', {}, 'starts'],
    ['caller', { id: 'ada' }, 'rests'],
    ['shared', {}, 'rests'],
    ['caller', {}, 'is kept'],
    ['shared', {}, 'is kept'],
    ['caller', {}, 'starts for the second time'],
    ['shared', {}, 'starts for the second time'],
  ] as const)(
    'with an instance for each request from now on, calls of one peer of isolation %s (%j) that wait while the server %s share none',
    async (isolation, caller, what) => {
      const kept = what === 'is kept' ? { on_reload: 'keep' } : {};
      await using t = setUp({ a: { ...script } }, { entry: { isolation, idle_timeout: '1s', ...kept } });
      await using one = await t.caller({}, { caller });
      if (what === 'rests' || what === 'is kept') {
        await one.result(...call('a'));
        what === 'rests' && (await t.clock.advance(1_000));
      }
      const opened = t.server('a').opens;
      const first = t.server('a').live[0];
      const gate = Promise.withResolvers<void>();
      t.server('a').script.open = (_context, opens) => (opens === opened + 1 ? gate.promise : undefined);
      const next = { servers: [entry('a', { isolation: 'request', ...kept })] };
      if (what === 'is kept') {
        gate.resolve();
        await t.gateway.reload(next);
        const ended = Promise.withResolvers<void>();
        const close = first?.close.bind(first);
        Object.assign(first as object, { close: () => ended.promise.then(close) });
        await t.clock.advance(1_000);
        const answers = [1, 2, 3].map(() => one.result(...call('a')));
        await settle();
        ended.resolve();
        expect(await Promise.all(answers)).toEqual([{}, {}, {}]);
      } else {
        const answers = [1, 2, 3].map(() => one.result(...call('a')));
        await settle();
        if (what === 'starts for the second time') {
          t.server('a').script.open = (_context, opens) => (opens <= 2 ? gate.promise : undefined);
          void t.gateway.reload({ servers: [entry('a', { isolation, env: { V: '2' } })] });
          await settle();
        }
        const reloading = t.gateway.reload(next);
        expect(await Promise.all(answers)).toEqual([{}, {}, {}]);
        gate.resolve();
        await reloading;
      }
      await t.clock.advance(0);
      const calls = t.server('a').instances.map((instance) => instance.requests('tools/call').length);
      expect(calls.filter((count) => count > 1)).toEqual([]);
      expect(t.server('a').live).toEqual([]);
    },
  );

  test.each(['caller', 'shared'])(
    'a start that goes on with an entry of isolation %s is over with the start_timeout that it began with',
    async (isolation) => {
      const gate = Promise.withResolvers<void>();
      const on: Script['on'] = { initialize: () => hold };
      await using t = setUp({ a: { ...script, open: () => gate.promise, on } }, { entry: { protocol: 'legacy' } });
      await using caller = await t.caller();
      const answer = caller.error(...call('a'));
      await settle();
      const reloading = t.gateway.reload({ servers: [entry('a', { isolation, protocol: 'legacy', env: { V: '2' } })] });
      await settle();
      gate.resolve();
      await reloading;
      await settle();
      await t.clock.advance(30_000);
      expect(await Promise.race([answer, settle()])).toMatchObject({ data: { code: 'START_TIMEOUT' } });
    },
  );

  test.each(['drain', 'keep'])(
    'a task of a call that waited for a start during a reload is found (%s)',
    async (mode) => {
      const task = { taskId: 't', status: 'working', ttl: 60_000 };
      const created: Json = { task };
      const on = { 'tools/call': () => created, 'tasks/get': () => ({ ...task, n: 1 }) };
      await using t = setUp({ a: { ...script, on } }, {});
      const gate = Promise.withResolvers<void>();
      t.server('a').script.open = (_context, opens) => (opens === 1 ? gate.promise : undefined);
      await using caller = await t.caller();
      const answer = caller.result(...call('a', { task: {} }));
      await settle();
      const reloading = t.gateway.reload({ servers: [entry('a', { on_reload: mode, env: { V: '2' } })] });
      expect(await answer).toEqual(created);
      gate.resolve();
      await reloading;
      await t.clock.advance(0);
      expect(await caller.result('tasks/get', { taskId: 't' })).toMatchObject({ n: 1 });
      expect(t.server('a').live).toHaveLength(1);
      expect(t.server('a').only.requests('tasks/get')).toHaveLength(1);
    },
  );

  describe.each([
    ['shared', {}],
    ['principal', { principal: 'p' }],
    ['caller', { id: 'ada' }],
    ['caller', {}],
    ['request', {}],
  ])('isolation: %s of %j', (isolation, caller) => {
    const second = [entry('a', { isolation, env: { V: '2' } })];

    test('a call and a list that wait for a start get one server of the new catalog, and so do later ones', async () => {
      await using t = setUp({ a: { ...script } }, { entry: { isolation } });
      const gate = Promise.withResolvers<void>();
      t.server('a').script.open = (_context, opens) => (opens === 1 ? gate.promise : undefined);
      await using all = await t.caller({}, { caller });
      const names = all.toolNames();
      const answer = all.result(...call('a'));
      await settle();
      const reloading = t.gateway.reload({ servers: second });
      expect(await answer).toEqual({});
      expect(await names).toEqual(['a__x']);
      gate.resolve();
      await reloading;
      expect(await all.result(...call('a'))).toEqual({});
      await t.clock.advance(0);
      expect(t.server('a').live.map(({ context }) => context.env)).toEqual(isolation === 'request' ? [] : [{ V: '2' }]);
      expect(await all.toolNames()).toEqual(['a__x']);
    });

    test('a call that waits for a start gets one that was told the log level of its caller', async () => {
      await using t = setUp({ a: { ...script } }, { entry: { isolation } });
      const gate = Promise.withResolvers<void>();
      t.server('a').script.open = (_context, opens) => (opens === 1 ? gate.promise : undefined);
      await using all = await t.caller({}, { caller });
      await all.result('logging/setLevel', { level: 'error' });
      const answer = all.result(...call('a'));
      await settle();
      const reloading = t.gateway.reload({ servers: second });
      expect(await answer).toEqual({});
      gate.resolve();
      await reloading;
      const { instance } = await t.server('a').request('tools/call');
      // Where callers share a server nobody has a say.
      const isForCallers = isolation === 'shared' || isolation === 'principal';
      expect(instance.requests('logging/setLevel')).toHaveLength(isForCallers ? 0 : 1);
    });

    test('a call that waits for a server that had come to rest gets the new one', async () => {
      await using t = setUp({ a: { ...script } }, { entry: { isolation, idle_timeout: '1s' } });
      await using all = await t.caller({}, { caller });
      await all.result(...call('a'));
      await t.clock.advance(1_000);
      const gate = Promise.withResolvers<void>();
      t.server('a').script.open = (_context, opens) => (opens === 2 ? gate.promise : undefined);
      const answer = all.result(...call('a'));
      await settle();
      const reloading = t.gateway.reload({ servers: second });
      expect(await answer).toEqual({});
      gate.resolve();
      await reloading;
      expect(await all.result(...call('a'))).toEqual({});
      await t.clock.advance(0);
      expect(t.server('a').live.map(({ context }) => context.env)).toEqual(isolation === 'request' ? [] : [{ V: '2' }]);
    });

    test('a start that fails says why, also the second time', async () => {
      await using t = setUp({ a: { ...script } }, { entry: { isolation, restart: { max: 0 } } });
      t.server('a').script.open = () => {
        throw new Error('no such command');
      };
      await using all = await t.caller({}, { caller });
      expect(await all.error(...call('a'))).toMatchObject({ data: { code: 'START_FAILED', delivered: false } });
      expect(await all.error(...call('a'))).toMatchObject({ data: { code: 'CRASH_LOOP', delivered: false } });
    });

    test('an interceptor that thinks during a reload reaches the new server', async () => {
      const thought = Promise.withResolvers<void>();
      const intercept = async (_: unknown, next: () => Promise<Json>) => {
        await thought.promise;
        return next();
      };
      await using t = setUp({ a: script }, { entry: { isolation }, intercept });
      await using all = await t.caller({}, { caller });
      const answer = all.result(...call('a'));
      await t.gateway.reload({ servers: second });
      thought.resolve();
      expect(await answer).toEqual({});
      expect(await all.result(...call('a'))).toEqual({});
    });

    test('the retry of a server that was down does not stand in the way of the one that mends it', async () => {
      await using t = setUp({ a: { ...script } }, { entry: { isolation, restart: { backoff: '1s' } } });
      t.server('a').script.open = (context) => {
        if (context.env.V === undefined) throw new Error('no such command');
      };
      await using all = await t.caller({}, { caller });
      expect(await all.toolNames()).toEqual([]);
      await t.gateway.reload({ servers: second });
      await t.clock.advance(60_000);
      expect(await all.result(...call('a'))).toEqual({});
      expect(await all.toolNames()).toEqual(['a__x']);
    });
  });

  test('a call that comes while a server that was kept comes to its rest waits for the new one', async () => {
    const kept = { on_reload: 'keep', idle_timeout: '1s' };
    await using t = setUp({ a: { ...script } }, { entry: kept });
    await using caller = await t.caller({}, { caller: { id: 'ada' } });
    await caller.result(...call('a'));
    const [old] = t.server('a').live;
    await t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '2' } })] });
    const ended = Promise.withResolvers<void>();
    const close = old?.close.bind(old);
    Object.assign(old as object, { close: () => ended.promise.then(close) });
    await t.clock.advance(1_000);
    const answer = caller.result(...call('a'));
    await settle();
    ended.resolve();
    expect(await answer).toEqual({});
    expect(old?.closed).toBe(true);
    expect(t.server('a').only.context.env).toEqual({ V: '2' });
  });

  test('a call that waits for the end of a server that was kept leaves no server behind when its caller leaves', async () => {
    const kept = { on_reload: 'keep', idle_timeout: '0' };
    await using t = setUp({ a: script }, { entry: kept });
    const caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x', hold: true } });
    await t.server('a').request('tools/call');
    await t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '2' } })] });
    caller.transport.onmessage = () => {
      // As a caller does that tries again the moment it hears of the failure.
      void caller.send({ id: 2, method: 'tools/call', params: { name: 'a__x', hold: true } });
    };
    t.server('a').only.die();
    await t.server('a').request('tools/call', 1);
    expect(t.server('a').only.context.env).toEqual({ V: '2' });
    await caller.close();
    await settle();
    expect(t.server('a').live).toEqual([]);
  });

  test.each(['caller', 'shared'])(
    'a runtime of another type drains, whatever on_reload says, isolation: %s',
    async (isolation) => {
      const kept = { on_reload: 'keep', isolation };
      await using t = setUp({ a: script }, { entry: kept });
      await using caller = await t.caller();
      await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x', hold: true } });
      const { instance, request } = await t.server('a').request('tools/call');
      const other = new ScriptedServer({ tools: [{ name: 'x' }], on: { 'tools/call': () => ({ isOther: true }) } });
      const reloading = t.gateway.reload({ servers: [{ id: 'a', ...kept, runtime: other.runtime } as never] });
      expect(await caller.result(...call('a'))).toEqual({ isOther: true });
      instance.answer(request, { isOther: false });
      expect(await caller.until(() => caller.answers(1)[0])).toMatchObject({ result: { isOther: false } });
      await reloading;
      expect(t.server('a').live).toEqual([]);
    },
  );

  test.each(['caller', 'shared'])(
    'what was kept ends as its entry does in a later reload, isolation: %s',
    async (isolation) => {
      const kept = { on_reload: 'keep', isolation };
      const next = entry('a', { ...kept, env: { V: '2' } });
      for (const servers of [[], [entry('a', { isolation, on_reload: 'drain', env: { V: '3' } })]]) {
        await using t = setUp({ a: script }, { entry: kept });
        const raw = await TestCaller.open(t.gateway.connect('a'));
        await using caller = await t.caller();
        await caller.result(...call('a'));
        const open = raw.error('tools/call', { name: 'x', hold: true });
        await t.server('a').request('tools/call', 1);
        const old = t.server('a').live;
        await t.gateway.reload({ servers: [next] });
        expect(old.filter(({ closed }) => closed)).toEqual([]);
        // Nothing that it changes.
        await t.gateway.reload({ servers: [next] });
        expect(old.filter(({ closed }) => closed)).toEqual([]);
        const reloading = t.gateway.reload({ servers }, { graceMs: 1_000 });
        await t.clock.advance(1_000);
        await reloading;
        expect(await open).toMatchObject({ data: { code: 'SERVER_STOPPED' } });
        expect(raw.closed).toBe(1);
        expect(t.server('a').live).toEqual([]);
      }
    },
  );

  test('with an instance for each request nothing is kept: the next one goes by the new catalog', async () => {
    const kept = { on_reload: 'keep', isolation: 'request' };
    await using t = setUp({ a: script }, { entry: kept });
    await using caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x', hold: true } });
    const { instance, request } = await t.server('a').request('tools/call');
    await t.gateway.reload({ servers: [entry('a', { ...kept, isolation: 'caller' })] });
    await caller.result(...call('a'));
    await caller.result(...call('a'));
    expect(t.server('a').opens).toBe(2);
    instance.answer(request, { isOld: true });
    expect(await caller.until(() => caller.answers(1)[0])).toMatchObject({ result: { isOld: true } });
    await settle();
    expect(t.server('a').live).toHaveLength(1);
  });

  test('what somebody is subscribed to at a server that was kept goes over to the new one, which ends with its caller', async () => {
    const kept = { on_reload: 'keep', max_lifetime: '10s', idle_timeout: '1s' };
    for (const options of [{}, { caller: { id: 'ada' } }]) {
      await using t = setUp({ a: { ...script, resources: [{ uri: 'file:///x', name: 'x' }] } }, { entry: kept });
      const caller = await t.caller({}, options);
      await caller.list('resources');
      await caller.result('resources/subscribe', { uri: 'file:///x' });
      await t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '2' } })] });
      await t.clock.advance(10_000);
      expect(t.server('a').only.context.env).toEqual({ V: '2' });
      expect(t.server('a').only.requests('resources/subscribe')).toHaveLength(1);
      // It may have changed meanwhile.
      expect(caller.notifications('notifications/resources/updated')).toEqual([{ uri: 'file:///x' }]);
      t.server('a').only.notify('notifications/resources/updated', { uri: 'file:///x' });
      await settle();
      expect(caller.notifications('notifications/resources/updated')).toHaveLength(2);
      await caller.result(...call('a'));
      await caller.close();
      await settle();
      expect(t.server('a').live).toEqual([]);
    }
  });

  test('a server that a reload hides from its caller ends when its last call is cancelled, or its task has no time left', async () => {
    const task = { taskId: 't', status: 'working', ttl: 5_000, createdAt: '', lastUpdatedAt: '' };
    const on: Script['on'] = { 'tools/call': ({ params }) => (params?.task === undefined ? hold : { task }) as Json };
    for (const params of [{}, { task: {} }] as Json[]) {
      await using t = setUp({ a: { ...script, on } }, { entry: { tags: ['t'] } });
      await using caller = await t.caller({}, { tags: ['t'] });
      await caller.send({ id: 'waits', method: 'tools/call', params: { name: 'a__x', ...params } });
      await t.server('a').request('tools/call');
      await settle();
      await t.gateway.reload({ servers: [entry('a', { tags: [] })] });
      await t.clock.advance(0);
      expect(t.server('a').live).toHaveLength(1);
      await caller.send({ method: 'notifications/cancelled', params: { requestId: 'waits' } });
      await t.clock.advance(params.task === undefined ? 0 : 7_000);
      expect(t.server('a').live).toEqual([]);
    }
  });

  test('a shared server that cannot be stopped in its start is told of by the reload', async () => {
    const held: Script = { ...script, on: { initialize: () => hold } };
    await using t = setUp({ a: held }, { entry: { isolation: 'shared', protocol: 'legacy' } });
    const raw = t.gateway.connect('a');
    await raw.start();
    await raw.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params: {} });
    const { instance } = await t.server('a').request('initialize');
    const close = instance.close.bind(instance);
    Object.assign(instance, { close: () => close().then(() => Promise.reject(new Error('it does not stop'))) });
    await expect(t.gateway.reload({ servers: [] }, { graceMs: 0 })).rejects.toThrow('not all has ended');
  });

  test('a call that waits for a server of its own, which cannot be stopped in its start, is answered by the next one', async () => {
    const own = { isolation: 'request', protocol: 'legacy' };
    await using t = setUp({ a: { ...script, on: { initialize: () => hold } }, b: script }, { entry: own });
    await using caller = await t.caller();
    const called = caller.result(...call('a'));
    const { instance } = await t.server('a').request('initialize');
    const close = instance.close.bind(instance);
    Object.assign(instance, { close: () => close().then(() => Promise.reject(new Error('it does not stop'))) });
    const next = entry('a', { ...own, runtime: { type: 'scripted', script: 'b' } });
    await expect(t.gateway.reload({ servers: [next] }, { graceMs: 0 })).rejects.toThrow('not all has ended');
    expect(await called).toBeDefined();
  });

  test('a close() while the first of several servers is told to end leaves none of the others running', async () => {
    await using t = setUp({ a: script, b: script }, { entries: { a: { isolation: 'shared', idle_timeout: '1s' } } });
    await using resting = await TestCaller.open(t.gateway.connect('a'));
    await t.clock.advance(10_000);
    expect(t.server('a').live).toEqual([]);
    await using busy = await TestCaller.open(t.gateway.connect('b'));
    void busy.request('tools/call', { name: 'x', hold: true });
    await t.server('b').request('tools/call');
    let closed: Promise<void> | undefined;
    resting.transport.onerror = () => {
      closed = t.gateway.close({ graceMs: 0 });
    };
    const reloaded = t.gateway.reload({ servers: [] }, { graceMs: 60_000 });
    await t.clock.advance(0);
    await closed;
    expect(t.server('b').live).toEqual([]);
    expect(await reloaded).toMatchObject({ removed: ['a', 'b'] });
  });

  test('restart() of a server that it has taken away touches nothing of what still drains, which cannot be stopped', async () => {
    await using t = setUp({ a: { ...script } });
    await using caller = await t.caller();
    void caller.request(...call('a', { hold: true }));
    const { instance } = await t.server('a').request('tools/call');
    const close = instance.close.bind(instance);
    Object.assign(instance, { close: () => close().then(() => Promise.reject(new Error('it does not stop'))) });
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', note);
    try {
      const reloading = t.gateway.reload({ servers: [] }, { graceMs: 1_000 });
      const refused = expect(reloading).rejects.toThrow('not all has ended');
      await expect(t.gateway.restart('a')).rejects.toMatchObject({ code: 'SERVER_UNKNOWN' });
      await t.clock.advance(60_000);
      await refused;
      await new Promise(setImmediate);
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
    }
  });

  test('a server that was kept for those who share it ends with the last of them', async () => {
    const kept = { isolation: 'shared', on_reload: 'keep', idle_timeout: '0' };
    await using t = setUp({ a: { ...script } }, { entry: kept });
    const callers = [await t.caller(), await t.caller()];
    for (const caller of callers) await caller.result(...call('a'));
    await t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '2' } })] });
    await callers[0]?.[Symbol.asyncDispose]();
    expect(t.server('a').live).toHaveLength(1);
    await callers[1]?.[Symbol.asyncDispose]();
    await settle();
    expect(t.server('a').live).toEqual([]);
    expect(t.gateway.status('a').stale).toBe(false);
  });

  test('a raw connection to what is shared that has not started yet gets the new entry, too', async () => {
    await using t = setUp({ a: script }, { entry: { isolation: 'shared' } });
    const later = t.gateway.connect('a');
    const gone = t.gateway.connect('a');
    await t.gateway.reload({ servers: [entry('a', { isolation: 'shared', env: { V: '2' } })] });
    await TestCaller.open(later);
    expect(t.server('a').only.context.env).toEqual({ V: '2' });
    await t.gateway.reload({ servers: [] });
    await expect(gone.start()).rejects.toMatchObject({ code: 'SERVER_UNKNOWN' });
  });

  test('nothing is kept of entries that were replaced, used or not', async () => {
    await using t = setUp({ a: script, b: script });
    await using caller = await t.caller();
    const mebibyte = 1024 * 1024;
    const reload = async (from: number, to: number) => {
      for (let round = from; round < to; round += 1) {
        const env = { V: String.fromCharCode(97 + round).repeat(mebibyte) };
        await caller.result(...call('a'));
        await t.gateway.reload({ servers: [entry('a', { env }), entry('b', { env })] });
        // The test's own.
        t.server('a').instances.length = 0;
      }
    };
    await reload(0, 3);
    const before = await settledHeap();
    await reload(3, 20);
    expect((await settledHeap()) - before).toBeLessThan(8 * mebibyte);
  });

  test('a bad catalog changes nothing, and names every problem; the last of several wins', async () => {
    await using t = start();
    const bad = { servers: [entry('a', { idle: 1 }), { id: 'b', runtime: { type: 'nope' } }] };
    await expect(t.gateway.reload(bad as never)).rejects.toMatchObject({
      code: 'CATALOG_INVALID',
      issues: [{ path: 'servers[0].idle' }, { path: 'servers[1].runtime.type' }],
    });
    expect(t.gateway.status().map(({ id }) => id)).toEqual(['a', 'b', 'c']);
    const catalogs = [[entry('a')], [entry('b')], [entry('c'), entry('b')]];
    await Promise.all(catalogs.map((servers) => t.gateway.reload({ servers })));
    expect(t.gateway.status().map(({ id }) => id)).toEqual(['c', 'b']);
    await t.gateway.close();
    await expect(t.gateway.reload({ servers: [] })).rejects.toMatchObject({ code: 'GATEWAY_CLOSED' });
  });

  test('a runtime that fails on a new entry changes nothing, and nothing is left behind', async () => {
    const server = new ScriptedServer(script);
    const inner = new InProcessRuntime();
    const picky: RuntimeFactory<{ size: number }> = {
      type: 'picky',
      spec: v.object({ size: v.number() }),
      memory: ({ size }) => {
        if (size > 1) throw new Error('too large to say');
        return size;
      },
      open: (_, context) => inner.open({ server: server.runtime.server }, context),
    };
    const servers = (size: number, display_name: string) => [
      { id: 'a', display_name, runtime: { type: 'picky', size: 1 } },
      { id: 'b', runtime: { type: 'picky', size } },
    ];
    const options = { runtimes: [picky], limits: { memory: '1GiB' } };
    const gateway = createGateway({ servers: servers(1, 'before') }, options);
    await gateway.connect('b').start();
    await expect(gateway.reload({ servers: servers(2, 'after') })).rejects.toThrow('too large to say');
    expect(gateway.status()).toMatchObject([
      { id: 'a', displayName: 'before' },
      { id: 'b', phase: 'ready' },
    ]);
    await gateway.close({ graceMs: 0 });
    expect(server.live).toEqual([]);
  });

  test('what the new catalog takes from a variable does not show, also where nothing else has changed', async () => {
    const runtime = new ScriptedRuntime();
    const env = { PASSWORD: 'hunter2', TENANT: 'acme' };
    const catalog = (login: string) =>
      ({ servers: [{ id: 'a', display_name: 'of ${TENANT}', runtime: { type: 'scripted', login } }] }) as never;
    await using gateway = createGateway(catalog('hunter2'), {
      env,
      runtimes: [Object.assign(runtime, { describe: (spec: unknown) => spec as Json })],
    });
    const errors: string[] = [];
    const first = gateway.connect('a');
    first.onerror = ({ message }) => errors.push(message);
    await first.start();
    env.TENANT = 'globex';
    const { changed } = await gateway.reload(catalog('${PASSWORD}'));
    expect(changed).toEqual(['a']);
    expect(gateway.status('a').displayName).toBe('of ${TENANT}');
    expect(gateway.describe('a').details).toEqual({ login: '${PASSWORD}' });
    // Of a server that ran already, and of the next one.
    runtime.last.onerror?.(new Error('cannot log in with hunter2'));
    const second = gateway.connect('a');
    second.onerror = ({ message }) => errors.push(message);
    await second.start();
    expect(runtime.opened).toHaveLength(2);
    runtime.last.onerror?.(new Error('cannot log in with hunter2'));
    expect(errors).toEqual([expect.stringContaining('${PASSWORD}'), expect.stringContaining('${PASSWORD}')]);
  });

  test('nor of a server whose runtime has named secrets of its own', async () => {
    const runtime = new ScriptedRuntime();
    const open = runtime.open.bind(runtime);
    const conceals: RuntimeFactory['open'] = (spec, context) => {
      context.conceal({ API_TOKEN: 'correct horse' });
      return open(spec as Json, context);
    };
    const catalog = (login: string) => ({ servers: [{ id: 'a', runtime: { type: 'scripted', login } }] }) as never;
    await using gateway = createGateway(catalog('hunter2'), {
      env: { PASSWORD: 'hunter2' },
      runtimes: [Object.assign(runtime, { open: conceals })],
    });
    const errors: string[] = [];
    const raw = gateway.connect('a');
    raw.onerror = ({ message }) => errors.push(message);
    await raw.start();
    const { unchanged } = await gateway.reload(catalog('${PASSWORD}'));
    expect(unchanged).toEqual(['a']);
    runtime.last.onerror?.(new Error('neither hunter2 nor correct horse'));
    expect(errors).toEqual([expect.stringContaining('neither ${PASSWORD} nor ${API_TOKEN}')]);
  });

  test('keep ends a shared server to which nobody is connected', async () => {
    const kept = { isolation: 'shared', on_reload: 'keep', idle_timeout: 0 };
    await using t = setUp({ a: script }, { entry: kept });
    const first = await t.caller();
    await first.result(...call('a'));
    await first.close();
    const [before] = t.server('a').live;
    await t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '2' } })] });
    expect([before?.closed, t.gateway.status('a').stale]).toEqual([true, false]);
    await using second = await t.caller();
    await second.result(...call('a'));
    expect(t.server('a').live).toHaveLength(1);
  });

  test('a raw connection to a server that is shared and was kept ends when the server rests, and tells why', async () => {
    const shared = { isolation: 'shared', on_reload: 'keep', idle_timeout: '1s' };
    await using t = setUp({ a: script }, { entry: shared });
    const caller = await TestCaller.open(t.gateway.connect('a'));
    const told: string[] = [];
    caller.transport.onerror = (error) => told.push(error.message);
    await t.gateway.reload({ servers: [entry('a', { ...shared, env: { V: '2' } })] });
    expect(t.gateway.status('a').stale).toBe(true);
    await t.clock.advance(1_000);
    expect(t.gateway.status('a').stale).toBe(false);
    expect(told).toEqual(['"a": its entry in the catalog has changed']);
    expect(caller.closed).toBe(1);
  });

  test('who shares a start that a reload meets loses nothing by those who end with their server', async () => {
    const shared = { isolation: 'shared', idle_timeout: '1s' };
    await using t = setUp({ a: script }, { entry: shared });
    const raw = await TestCaller.open(t.gateway.connect('a'));
    await using merged = await t.caller();
    await merged.result(...call('a'));
    await t.clock.advance(1_000);
    const { script: own } = t.server('a');
    own.open = () => new Promise(() => {});
    const lost = raw.error('tools/call', { name: 'x' });
    const found = merged.result(...call('a'));
    await settle();
    own.open = () => {};
    await t.gateway.reload({ servers: [entry('a', { ...shared, env: { V: '2' } })] });
    expect((await lost).data).toEqual({ code: 'SERVER_STOPPED', server: 'a', delivered: false });
    expect(await found).toEqual({});
  });

  test('who shared a server that was kept does not share the next one when the catalog says otherwise', async () => {
    const before = { isolation: 'shared', on_reload: 'keep', idle_timeout: '1s' };
    for (const [isolation, servers] of [
      ['shared', 1],
      ['caller', 2],
    ] as const) {
      await using t = setUp({ a: script }, { entry: before });
      await using one = await t.caller();
      await using two = await t.caller();
      await one.result(...call('a'));
      await two.result(...call('a'));
      expect(t.server('a').live).toHaveLength(1);
      await t.gateway.reload({ servers: [entry('a', { ...before, isolation })] });
      await t.gateway.reload({ servers: [entry('a', { ...before, isolation, env: { V: '2' } })] });
      await t.clock.advance(1_000);
      await one.result(...call('a'));
      await two.result(...call('a'));
      expect(t.server('a').live.map(({ context }) => context.env)).toEqual(Array(servers).fill({ V: '2' }));
    }
  });

  test.each(['caller', 'shared'])(
    'a subscription that the old server confirms after a reload goes over too, isolation: %s',
    async (isolation) => {
      for (const isOpen of [true, false]) {
        await using t = setUp(
          { a: { ...script, resources: [{ uri: 'file:///x', name: 'x' }] } },
          { entry: { isolation } },
        );
        const held = Promise.withResolvers<Json>();
        const { script: own } = t.server('a');
        own.on = { ...script.on, 'resources/subscribe': () => held.promise };
        await using caller = await t.caller();
        await caller.list('resources');
        const subscribed = caller.result('resources/subscribe', { uri: 'file:///x' });
        await t.server('a').request('resources/subscribe');
        const reloading = t.gateway.reload({ servers: [entry('a', { isolation, env: { V: '2' } })] });
        if (isOpen) {
          await caller.result(...call('a'));
        }
        held.resolve({});
        await subscribed;
        const { instance } = await t.server('a').request('resources/subscribe', 1);
        await reloading;
        await settle();
        expect(t.server('a').only).toBe(instance);
        expect(caller.notifications('notifications/resources/updated')).toEqual([{ uri: 'file:///x' }]);
        instance.notify('notifications/resources/updated', { uri: 'file:///x' });
        await settle();
        expect(caller.notifications('notifications/resources/updated')).toHaveLength(2);
      }
    },
  );

  describe.each(['caller', 'shared'])('the last word on a subscription counts, isolation: %s', (isolation) => {
    const uri = 'file:///x';
    const updated = 'notifications/resources/updated';
    const second = [entry('a', { isolation, env: { V: '2' } })];
    /** With answers of the first server to one method that wait until they are let go. */
    async function open(method: string) {
      const t = setUp({ a: { ...script, resources: [{ uri, name: 'x' }] }, b: script }, { entry: { isolation } });
      const held = Promise.withResolvers<void>();
      t.server('a').script.on = {
        ...script.on,
        [method]: async (_request, instance) => {
          instance === t.server('a').instances[0] && (await held.promise);
          return {};
        },
      };
      const caller = await t.caller();
      await caller.list('resources');
      return { t, caller, held };
    }
    /** Whether the server that there is now was told to send updates, by what it heard last, and whether they come. */
    async function isSubscribed(caller: TestCaller, t: Awaited<ReturnType<typeof open>>['t']): Promise<boolean[]> {
      await caller.result(...call('a'));
      await settle();
      const { only } = t.server('a');
      const words = only.received.flatMap((message) =>
        'method' in message && /subscribe$/.test(message.method) ? [message.method] : [],
      );
      const told = words.at(-1) === 'resources/subscribe';
      const before = caller.notifications(updated).length;
      told && only.notify(updated, { uri });
      await settle();
      return [told, caller.notifications(updated).length > before];
    }

    test('unsubscribed while its answer waits for a reload that replaces the server', async () => {
      const { t, caller, held } = await open('resources/unsubscribe');
      await using _ = t;
      await caller.result('resources/subscribe', { uri });
      const ended = caller.result('resources/unsubscribe', { uri });
      await t.server('a').request('resources/unsubscribe');
      const reloading = t.gateway.reload({ servers: second });
      await t.server('a').request('resources/subscribe', 1);
      held.resolve();
      await ended;
      await reloading;
      expect(await isSubscribed(caller, t)).toEqual([false, false]);
    });

    test('unsubscribed where the old server is ended before it has answered', async () => {
      const { t, caller } = await open('resources/unsubscribe');
      await using _ = t;
      await caller.result('resources/subscribe', { uri });
      const ended = caller.request('resources/unsubscribe', { uri });
      await t.server('a').request('resources/unsubscribe');
      const reloading = t.gateway.reload({ servers: second }, { graceMs: 100 });
      await t.server('a').request('resources/subscribe', 1);
      await t.clock.advance(100);
      await ended;
      await reloading;
      expect(await isSubscribed(caller, t)).toEqual([false, false]);
    });

    test('subscribed at the old server and unsubscribed at the new one', async () => {
      const { t, caller, held } = await open('resources/subscribe');
      await using _ = t;
      const subscribed = caller.result('resources/subscribe', { uri });
      await t.server('a').request('resources/subscribe');
      const reloading = t.gateway.reload({ servers: second });
      await caller.result('resources/unsubscribe', { uri });
      held.resolve();
      await subscribed;
      await reloading;
      expect(await isSubscribed(caller, t)).toEqual([false, false]);
    });

    test.each([true, false])(
      'unsubscribed at the old server and subscribed at the new one, which answers first: %s',
      async (isFirst) => {
        const { t, caller, held } = await open('resources/unsubscribe');
        await using _ = t;
        await caller.result('resources/subscribe', { uri });
        const ended = caller.result('resources/unsubscribe', { uri });
        await t.server('a').request('resources/unsubscribe');
        const reloading = t.gateway.reload({ servers: second });
        await t.server('a').request('resources/subscribe', 1);
        const asked = Promise.withResolvers<Json>();
        (t.server('a').script.on as NonNullable<Script['on']>)['resources/subscribe'] = () => asked.promise;
        const subscribed = caller.result('resources/subscribe', { uri });
        await settle();
        for (const [answer, said] of isFirst
          ? [
              [asked, subscribed],
              [held, ended],
            ]
          : [
              [held, ended],
              [asked, subscribed],
            ]) {
          (answer as PromiseWithResolvers<Json>).resolve({});
          await said;
        }
        await reloading;
        expect(await isSubscribed(caller, t)).toEqual([true, true]);
      },
    );

    test.each([
      [[entry('a', { isolation, env: { V: '1' } })], false],
      [[entry('b')], true],
    ])('unsubscribed while the catalog has %j', async (servers, isAbsent) => {
      const { t, caller } = await open('none');
      await using _ = t;
      await caller.result('resources/subscribe', { uri });
      await t.gateway.reload({ servers });
      const answer = await caller.request('resources/unsubscribe', { uri });
      expect(answer.result).toEqual({});
      expect(await caller.request('resources/unsubscribe', { uri })).toHaveProperty(isAbsent ? 'error' : 'result');
      await t.gateway.reload({ servers: [...second, entry('b')] });
      expect(await isSubscribed(caller, t)).toEqual([false, false]);
    });

    test.each([
      ['removed', [entry('b')], 1],
      // The new one is told of the subscription, and nobody knows what has changed until then.
      ['replaced', second, 2],
    ])(
      'unsubscribed while a server that a reload has %s goes on for a call, and says more',
      async (_, servers, heard) => {
        const { t, caller } = await open('none');
        await using _t = t;
        await caller.result('resources/subscribe', { uri });
        const gate = Promise.withResolvers<Json>();
        (t.server('a').script.on as NonNullable<Script['on']>)['tools/call'] = () => gate.promise;
        const answer = caller.result(...call('a'));
        const { instance } = await t.server('a').request('tools/call');
        const reloading = t.gateway.reload({ servers });
        await settle();
        instance.notify(updated, { uri });
        await settle();
        await caller.result('resources/unsubscribe', { uri });
        const before = caller.notifications(updated).length;
        instance.notify(updated, { uri });
        await settle();
        gate.resolve({});
        await answer;
        await reloading;
        expect([before, caller.notifications(updated).length]).toEqual([heard, heard]);
      },
    );

    test('unsubscribed while the catalog has none, and a cancelled word is none', async () => {
      const { t, caller, held } = await open('resources/subscribe');
      await using _ = t;
      await caller.send({ id: 1, method: 'resources/subscribe', params: { uri } });
      await t.server('a').request('resources/subscribe');
      const reloading = t.gateway.reload({ servers: [entry('b')] });
      expect(await caller.result('resources/unsubscribe', { uri })).toEqual({});
      held.resolve();
      await reloading;
      await t.gateway.reload({ servers: [...second, entry('b')] });
      expect(await isSubscribed(caller, t)).toEqual([false, false]);
      await caller.result('resources/subscribe', { uri });
      await caller.send({ id: 2, method: 'resources/unsubscribe', params: { uri } });
      await caller.send({ method: 'notifications/cancelled', params: { requestId: 2 } });
      await t.gateway.reload({ servers: [entry('a', { isolation, env: { V: '3' } })] });
      expect(await isSubscribed(caller, t)).toEqual([true, true]);
    });
  });

  test.each([
    ['caller', undefined],
    ['shared', undefined],
    ['caller', 'legacy'],
    ['caller', 'modern'],
    ['shared', 'legacy'],
  ] as const)(
    'a connection to a server with isolation %s, era %s, does not start once each request gets a server of its own',
    async (isolation, era) => {
      await using t = setUp({ a: script }, { entry: { isolation } });
      const transport = t.gateway.connect('a', { era });
      await t.gateway.reload({ servers: [entry('a', { isolation: 'request' })] });
      if (isolation === 'shared' && era !== undefined) {
        await transport.start();
        const caller = new TestCaller(transport);
        expect(await caller.error('initialize')).toMatchObject({ data: { code: 'ISOLATION_UNSUPPORTED' } });
        await caller.until(() => caller.closed || undefined);
      } else {
        await expect(transport.start()).rejects.toMatchObject({ code: 'ISOLATION_UNSUPPORTED' });
      }
      expect(t.server('a').opens).toBe(0);
    },
  );

  test('a server that is kept, and that its caller may not see any more, ends for that caller', async () => {
    const kept = { on_reload: 'keep', idle_timeout: '0' };
    const resources = [{ uri: 'file:///x', name: 'x' }];
    await using t = setUp({ a: { ...script, resources } }, { entry: { ...kept, tags: ['t'] } });
    await using caller = await t.caller({ sampling: {} }, { tags: ['t'] });
    await caller.list('resources');
    await caller.result('resources/subscribe', { uri: 'file:///x' });
    const { only } = t.server('a');
    await t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '2' } })] });
    await t.clock.advance(0);
    only.notify('notifications/resources/updated', { uri: 'file:///x' });
    only.say({ id: 1, method: 'sampling/createMessage', params: {} });
    await settle();
    expect(caller.notifications('notifications/resources/updated')).toEqual([]);
    expect(caller.requests('sampling/createMessage')).toEqual([]);
    expect(t.server('a').live).toEqual([]);
  });

  test('a call that waits for the end of an idle server when a reload comes gets the server that later ones get', async () => {
    await using t = setUp({ a: { ...script } }, { entry: { idle_timeout: '1s' } });
    await using caller = await t.caller();
    await caller.result(...call('a'));
    const { only } = t.server('a');
    const gone = Promise.withResolvers<void>();
    const close = only.close.bind(only);
    Object.assign(only, { close: () => gone.promise.then(close) });
    await t.clock.advance(1_000);
    const answer = caller.result(...call('a'));
    await settle();
    const reloading = t.gateway.reload({ servers: [entry('a', { idle_timeout: '0', env: { V: '2' } })] });
    gone.resolve();
    await reloading;
    expect(await answer).toEqual({});
    await t.clock.advance(0);
    expect(await caller.result(...call('a'))).toEqual({});
    expect(t.server('a').opens).toBe(2);
    expect(t.server('a').only.context.env).toEqual({ V: '2' });
  });

  test('a start that goes on after its caller may not see the server any more leaves no server behind', async () => {
    const gate = Promise.withResolvers<void>();
    await using t = setUp(
      { a: { ...script, open: () => gate.promise } },
      { entry: { tags: ['t'], idle_timeout: '0' } },
    );
    await using caller = await t.caller({}, { tags: ['t'] });
    const refused = caller.error(...call('a'));
    await settle();
    await t.gateway.reload({ servers: [entry('a', { idle_timeout: '0' })] });
    gate.resolve();
    expect((await refused).message).toBe('unknown tool: a__x');
    await t.clock.advance(0);
    expect(t.server('a').opens).toBe(1);
    expect(t.server('a').live).toEqual([]);
  });

  test('nothing is kept of a start that failed after a reload had replaced its entry', async () => {
    await using t = setUp({ a: { ...script } }, { entry: { restart: { max: 1_000 } } });
    await using caller = await t.caller();
    const mebibyte = 1024 * 1024;
    const reload = async (from: number, to: number) => {
      for (let round = from; round < to; round += 1) {
        const gate = Promise.withResolvers<void>();
        t.server('a').script.open = () => gate.promise;
        const failing = caller.error(...call('a'));
        await settle();
        const reloading = t.gateway.reload({ servers: [entry('a', { env: { V: String(round) } })] });
        gate.reject(new Error('no such command'));
        await reloading;
        await t.clock.advance(60_000);
        await failing;
        const env = { V: String.fromCharCode(97 + round).repeat(mebibyte) };
        await t.gateway.reload({ servers: [entry('a', { env })] });
      }
    };
    await reload(0, 3);
    const before = await settledHeap();
    await reload(3, 20);
    expect((await settledHeap()) - before).toBeLessThan(8 * mebibyte);
  });

  test.each([
    ['is rejected', '1m', () => Promise.reject(new Error('no'))],
    [
      'takes too long',
      '50ms',
      (signal: AbortSignal) =>
        new Promise<never>((__, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    ],
  ])('the error of a start that %s holds nothing of an entry that was replaced', async (_, start_timeout, open) => {
    let spec: WeakRef<object> | undefined;
    const toSpec = (value: unknown) => {
      const made = { ...(value as object) };
      spec ??= new WeakRef(made);
      return { value: made };
    };
    const runtime: RuntimeFactory<object> = {
      type: 'failing',
      spec: { '~standard': { version: 1, vendor: 'test', validate: toSpec } },
      async open(__, { signal }) {
        await settle();
        return open(signal);
      },
    };
    const catalog = (start_timeout: string) => ({
      servers: [{ id: 'a', start_timeout, runtime: { type: 'failing' as const } }],
    });
    await using gateway = createGateway(catalog(start_timeout) as never, { runtimes: [runtime] });
    const error = await gateway
      .connect('a')
      .start()
      .catch((reason: unknown) => reason);
    await gateway.reload(catalog('1s') as never);
    // What a start that took too long was about may come to its end a moment later. A failed expect() would hold it.
    const isHeld = () => settledHeap().then(() => spec?.deref() !== undefined);
    await vi.waitFor(async () => expect(await isHeld()).toBe(false), { timeout: 60_000 });
    expect(error).toMatchObject({ server: 'a', delivered: false });
  });

  test('what somebody is subscribed to is taken over by a server that comes back, in a later reload', async () => {
    await using t = setUp({ a: { ...script, resources: [{ uri: 'file:///x', name: 'x' }] }, b: script });
    await using caller = await t.caller();
    await caller.list('resources');
    await caller.result('resources/subscribe', { uri: 'file:///x' });
    await t.gateway.reload({ servers: [entry('b')] });
    expect(t.server('a').live).toEqual([]);
    await t.gateway.reload({ servers: [entry('a'), entry('b')] });
    const { instance } = await t.server('a').request('resources/subscribe', 1);
    expect(instance).toBe(t.server('a').only);
  });

  test('a server that ends after a reload has replaced it, while it is asked for its list, has no other one started after a stop', async () => {
    const restart = { backoff: '1s' };
    await using t = setUp({ a: { ...script, on: { 'tools/list': () => hold } } }, { entry: { restart } });
    await using caller = await t.caller();
    const listing = caller.toolNames();
    const { instance } = await t.server('a').request('tools/list');
    const reloading = t.gateway.reload({ servers: [entry('a', { restart, env: { V: '2' } })] });
    await settle();
    instance.die();
    expect(await listing).toEqual([]);
    await reloading;
    await t.gateway.stop('a');
    await t.clock.advance(60_000);
    expect(t.server('a').opens).toBe(1);
  });

  test('what somebody is subscribed to goes over when a reload finds the shared server between two lives', async () => {
    const kept = { on_reload: 'keep', max_lifetime: '10s', isolation: 'shared' };
    await using t = setUp({ a: { ...script, resources: [{ uri: 'file:///x', name: 'x' }] } }, { entry: kept });
    await using caller = await t.caller();
    await caller.list('resources');
    await caller.result('resources/subscribe', { uri: 'file:///x' });
    const gate = Promise.withResolvers<void>();
    t.server('a').script.open = (_context, opens) => (opens === 2 ? gate.promise : undefined);
    await t.clock.advance(10_000);
    const reloading = t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '2' } })] });
    gate.resolve();
    await reloading;
    await settle();
    expect(t.server('a').only.context.env).toEqual({ V: '2' });
    expect(t.server('a').only.requests('resources/subscribe').length).toBeGreaterThan(0);
  });

  test.each(['keep', 'drain'])(
    'a caller with an id whose server had come to rest is to the next one who it was, on_reload: %s',
    async (onReload) => {
      const entryOf = { on_reload: onReload, idle_timeout: '1s' };
      for (const isWaiting of [false, true]) {
        await using t = setUp({ a: { ...script } }, { entry: entryOf });
        await using caller = await t.caller({ sampling: {} }, { caller: { id: 'ada' } });
        await caller.result('logging/setLevel', { level: 'error' });
        await caller.result(...call('a'));
        await t.clock.advance(1_000);
        const gate = Promise.withResolvers<void>();
        t.server('a').script.open = (_context, opens) => (opens === 2 && isWaiting ? gate.promise : undefined);
        const waits = isWaiting ? caller.result(...call('a')) : undefined;
        await settle();
        const reloading = t.gateway.reload({ servers: [entry('a', { ...entryOf, env: { V: '2' } })] });
        await waits;
        gate.resolve();
        await reloading;
        await caller.result(...call('a'));
        const { only } = t.server('a');
        expect(only.context.env).toEqual({ V: '2' });
        expect(only.requests('initialize')[0]?.params?.capabilities).toEqual({ sampling: {} });
        expect(only.requests('logging/setLevel').length).toBeGreaterThan(0);
      }
    },
  );

  test('a server that was kept and is stopped is followed by none, whatever somebody is subscribed to', async () => {
    const kept = { on_reload: 'keep', idle_timeout: '0' };
    for (const options of [{}, { caller: { id: 'ada' } }]) {
      await using t = setUp({ a: { ...script, resources: [{ uri: 'file:///x', name: 'x' }] } }, { entry: kept });
      await using caller = await t.caller({}, options);
      await caller.list('resources');
      await caller.result('resources/subscribe', { uri: 'file:///x' });
      await t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '2' } })] });
      await t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '3' } })] });
      await t.gateway.stop('a');
      await settle();
      expect(t.server('a').live).toEqual([]);
      await caller.result(...call('a'));
      expect(t.server('a').only.context.env).toEqual({ V: '3' });
      expect(t.server('a').only.requests('resources/subscribe')).toHaveLength(1);
    }
  });

  test('what somebody is subscribed to goes on when a call waits for the stop of a server that was kept', async () => {
    const kept = { on_reload: 'keep', idle_timeout: '0' };
    await using t = setUp({ a: { ...script, resources: [{ uri: 'file:///x', name: 'x' }] } }, { entry: kept });
    await using caller = await t.caller();
    await caller.list('resources');
    await caller.result('resources/subscribe', { uri: 'file:///x' });
    await t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '2' } })] });
    const { only } = t.server('a');
    const gone = Promise.withResolvers<void>();
    const close = only.close.bind(only);
    Object.assign(only, { close: () => gone.promise.then(close) });
    const stopping = t.gateway.stop('a');
    await settle();
    const answer = caller.result(...call('a'));
    await settle();
    gone.resolve();
    await stopping;
    await answer;
    await t.clock.advance(0);
    expect(t.server('a').only.context.env).toEqual({ V: '2' });
    expect(t.server('a').only.requests('resources/subscribe')).toHaveLength(1);
  });

  test.each(['caller', 'shared'])(
    'a server that was kept and crashes with a call and a subscription is followed by one, isolation: %s',
    async (isolation) => {
      const kept = { on_reload: 'keep', idle_timeout: '0', isolation };
      const resources = [{ uri: 'file:///x', name: 'x' }];
      await using t = setUp({ a: { ...script, resources } }, { entry: kept });
      await using caller = await t.caller();
      await caller.list('resources');
      await caller.result('resources/subscribe', { uri: 'file:///x' });
      await t.gateway.reload({ servers: [entry('a', { ...kept, env: { V: '2' } })] });
      const open = caller.error(...call('a', { hold: true }));
      const { instance } = await t.server('a').request('tools/call');
      const ended = Promise.withResolvers<void>();
      const close = instance.close.bind(instance);
      Object.assign(instance, { close: () => ended.promise.then(close) });
      instance.onerror?.(new GatewayError('SERVER_EXITED', 'it crashed', { exit: { code: 1, stderrTail: '' } }));
      expect(await open).toMatchObject({ data: { code: 'SERVER_EXITED' } });
      const next = caller.result(...call('a'));
      await settle();
      ended.resolve();
      await settle();
      await t.clock.advance(2_000);
      expect(await next).toEqual({});
      expect(t.server('a').opens).toBe(2);
      expect(t.server('a').only.requests('resources/subscribe')).toHaveLength(1);
      expect(await caller.result(...call('a'))).toEqual({});
      expect(t.server('a').only.context.env).toEqual({ V: '2' });
    },
  );

  test.each([
    ['caller', { id: 'ada' }],
    ['shared', {}],
  ])(
    'what a server says is heard once when a call that a reload met in a start is served beside a later one, isolation: %s',
    async (isolation, caller) => {
      const uri = 'file:///x';
      const more = { isolation, idle_timeout: '1s' };
      await using t = setUp({ a: { ...script, resources: [{ uri, name: 'x' }] } }, { entry: more });
      await using one = await t.caller({}, { caller });
      await one.list('resources');
      await t.clock.advance(1_000);
      const gate = Promise.withResolvers<void>();
      t.server('a').script.open = (_context, opens) => (opens === 2 ? gate.promise : undefined);
      const subscribed = one.result('resources/subscribe', { uri });
      const first = one.result(...call('a', { hold: true }));
      await settle();
      const reloading = t.gateway.reload({ servers: [entry('a', { ...more, env: { V: '2' } })] });
      const second = one.result(...call('a', { hold: true }));
      await subscribed;
      await t.server('a').request('tools/call', 1);
      await settle();
      const { only } = t.server('a');
      expect(only.requests('resources/subscribe')).toHaveLength(2);
      const said = { level: 'info', data: 'hello' };
      // That it may have changed between the two subscriptions.
      expect(one.notifications('notifications/resources/updated')).toEqual([{ uri }]);
      only.notify('notifications/message', said);
      only.notify('notifications/resources/updated', { uri });
      await settle();
      // What all share says to nobody in particular reaches nobody.
      expect(one.notifications('notifications/message')).toEqual(isolation === 'caller' ? [said] : []);
      expect(one.notifications('notifications/resources/updated')).toEqual([{ uri }, { uri }]);
      for (const request of only.requests('tools/call')) {
        only.answer(request, {});
      }
      await Promise.all([first, second]);
      gate.resolve();
      await reloading;
    },
  );

  test.each([
    ['caller', { id: 'ada' }],
    ['shared', {}],
  ])(
    'a task of a call that a reload met in a start is found by later requests, isolation: %s',
    async (isolation, caller) => {
      const more = { isolation, idle_timeout: '1s' };
      const task = { taskId: 't1', status: 'working', ttl: 60_000 };
      const on = { 'tools/call': () => ({ task }), 'tasks/get': () => task, 'tasks/list': () => ({ tasks: [task] }) };
      const capabilities = { tools: {}, tasks: { list: {}, requests: { tools: { call: {} } } } };
      await using t = setUp({ a: { ...script, capabilities, on } }, { entry: more });
      await using one = await t.caller({}, { caller });
      await one.list('tools');
      await t.clock.advance(1_000);
      const gate = Promise.withResolvers<void>();
      t.server('a').script.open = (_context, opens) => (opens === 2 ? gate.promise : undefined);
      const [method, params] = call('a', {});
      const begun = one.result(method, { ...params, task: {} });
      await settle();
      const reloading = t.gateway.reload({ servers: [entry('a', { ...more, env: { V: '2' } })] });
      expect(await begun).toMatchObject({ task });
      expect(await one.result('tasks/get', { taskId: 't1' })).toMatchObject(task);
      expect(await one.result('tasks/list')).toMatchObject({ tasks: [task] });
      t.server('a').only.notify('notifications/tasks/status', task);
      await settle();
      expect(one.notifications('notifications/tasks/status')).toHaveLength(1);
      gate.resolve();
      await reloading;
      expect(await one.result('tasks/get', { taskId: 't1' })).toMatchObject(task);
    },
  );

  test('subscriptions go over to the new server', async () => {
    await using t = start();
    t.server('a').script.resources = [{ uri: 'file:///x', name: 'x' }];
    await using caller = await t.caller();
    await caller.list('resources');
    await caller.result('resources/subscribe', { uri: 'file:///x' });
    await t.gateway.reload({ servers: [entry('a', { env: { V: '2' } })] });
    await t.server('a').request('resources/subscribe', 1);
    expect(t.server('a').only.context.env).toEqual({ V: '2' });
  });
});
