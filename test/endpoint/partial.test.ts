import { describe, expect, test } from 'vitest';
import { GatewayError, type Interceptor } from '../../src/index.js';
import { settle } from '../support/fake-clock.js';
import { statelessServer } from './modern-servers.js';
import { type Handler, hold, type Json, RpcError, type Script, ScriptedServer } from './scripted-server.js';
import { SdkPeer, sdks } from './sdk-clients.js';
import { type Setup, setUp } from './setup.js';
import type { TestCaller } from './test-caller.js';

const good: Script = { tools: [{ name: 'x' }] };
const never = () => new Promise<never>(() => {});
const listChanged = (caller: TestCaller) => caller.notifications('notifications/tools/list_changed').length;

test('initialize waits for no server, nor do servers start for it', async () => {
  await using t = setUp({ a: { open: never }, b: { open: () => Promise.reject(new Error('broken')) } });
  await using caller = await t.caller();
  expect(caller.received).toHaveLength(1);
  expect(caller.received[0]).toMatchObject({
    result: {
      capabilities: {
        tools: { listChanged: true },
        prompts: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        completions: {},
        logging: {},
        tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } },
      },
    },
  });
  expect(t.server('a').opens + t.server('b').opens).toBe(0);
});

describe('a server that cannot start', () => {
  test('costs only its own tools, at once, and an event tells of it', async () => {
    await using t = setUp({ a: good, b: { ...good, open: () => Promise.reject(new Error('broken')) }, c: good });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x', 'c__x']);
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toMatchObject([
      { server: 'b', list: 'tools', reason: { code: 'START_FAILED' } },
    ]);
    expect(await caller.result('tools/call', { name: 'a__x' })).toMatchObject({ content: [] });
  });

  test('is tried again, and list_changed follows when it is back', async () => {
    let broken = true;
    await using t = setUp({
      a: good,
      b: {
        ...good,
        open: () => {
          if (broken) throw new Error('broken');
        },
      },
    });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    await t.clock.advance(500);
    expect(listChanged(caller)).toBe(0);
    broken = false;
    await t.clock.advance(60_000);
    expect(listChanged(caller)).toBe(1);
    expect(await caller.toolNames()).toEqual(['a__x', 'b__x']);
    await t.clock.advance(600_000);
    expect(listChanged(caller)).toBe(1);
  });

  test.each([
    ['whose caller nobody can recognise', {}, {}],
    ['of a caller with an id', {}, { caller: { id: 'anna' } }],
    ['that is shared', { isolation: 'shared' }, {}],
    ['with an instance for each request', { isolation: 'request' }, {}],
  ])('after its rest is tried again likewise, and the event says why (%s)', async (_, own, options) => {
    const b = new ScriptedServer({ ...good });
    await using t = setUp({ a: good, b }, { entries: { b: { idle_timeout: '1m', ...own } } });
    await using caller = await t.caller({}, options);
    expect(await caller.toolNames()).toEqual(['a__x', 'b__x']);
    await t.clock.advance(0);
    // What it says of its list holds when it rests: the list is asked for anew.
    b.live.at(-1)?.notify('notifications/tools/list_changed');
    await t.clock.advance(120_000);
    expect(b.live).toEqual([]);
    const before = listChanged(caller);
    const firstGood = b.opens + 3;
    b.script.open = (_context, opens) => {
      if (opens < firstGood) throw new Error('not now');
    };
    const listing = caller.toolNames();
    await t.clock.advance(100);
    expect(await listing).toEqual(['a__x']);
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toMatchObject([
      { server: 'b', list: 'tools', reason: { code: 'START_FAILED' } },
    ]);
    // What is known without a server brings none back.
    const prompts = caller.list('prompts');
    await settle();
    expect(listChanged(caller)).toBe(before);
    await t.clock.advance(30_000);
    expect(listChanged(caller)).toBe(before + 1);
    expect(await prompts).toEqual([]);
    expect(await caller.toolNames()).toEqual(['a__x', 'b__x']);
    await t.clock.advance(30_000);
    expect(listChanged(caller)).toBe(before + 1);
  });

  test('for want of room is tried again likewise, with an instance for each request', async () => {
    const entries = { b: { isolation: 'request', start_timeout: '5s' } };
    await using t = setUp({ a: good, b: good }, { entries, limits: { instances: 1 } });
    await using caller = await t.caller({}, { servers: ['b'] });
    expect(await caller.toolNames()).toEqual(['b__x']);
    await t.clock.advance(0);
    const other = t.gateway.connect('a');
    await other.start();
    const listing = caller.toolNames();
    await t.clock.advance(5_000);
    expect(await listing).toEqual([]);
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toMatchObject([
      { server: 'b', reason: { code: 'LIMIT_REACHED' } },
    ]);
    await other.close();
    await t.clock.advance(30_000);
    expect(listChanged(caller)).toBe(1);
    expect(await caller.toolNames()).toEqual(['b__x']);
  });

  test('with an instance for each request comes back although it refuses another of its lists', async () => {
    const refuse = () => {
      throw new RpcError(-32603, 'no prompts today');
    };
    const b = new ScriptedServer({ ...good, prompts: [], on: { 'prompts/list': refuse } });
    await using t = setUp({ a: good, b }, { entries: { b: { isolation: 'request' } } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x', 'b__x']);
    await caller.list('prompts');
    const before = listChanged(caller);
    const firstGood = b.opens + 2;
    b.script.open = (_context, opens) => {
      if (opens < firstGood) throw new Error('not now');
    };
    expect(await caller.toolNames()).toEqual(['a__x']);
    await t.clock.advance(60_000);
    expect(listChanged(caller)).toBe(before + 1);
    expect(caller.notifications('notifications/prompts/list_changed')).toEqual([]);
    expect(await caller.toolNames()).toEqual(['a__x', 'b__x']);
    const { opens } = b;
    await t.clock.advance(600_000);
    expect(b.opens).toBe(opens);
  });

  test('is tried again although a try ends that was begun before a reload', async () => {
    const before = Promise.withResolvers<void>();
    let isBroken = true;
    const open = (_: unknown, opens: number) =>
      opens === 2 ? before.promise : isBroken ? Promise.reject(new Error('no')) : undefined;
    const entry = { id: 'a', runtime: { type: 'scripted' as const, script: 'a' } };
    await using t = setUp({ a: { ...good, open } }, { entry: { tags: ['t'] } });
    await using caller = await t.caller({}, { tags: ['t'] });
    expect(await caller.toolNames()).toEqual([]);
    await t.clock.advance(2_000);
    expect(t.server('a').opens).toBe(2);
    await t.gateway.reload({ servers: [entry] });
    await t.gateway.reload({ servers: [{ ...entry, tags: ['t'] }] });
    let listed: string[] | undefined;
    void caller.toolNames().then((names) => {
      listed = names;
    });
    // How long it waits for its back-off is left to chance; its next try is a second later.
    while (listed === undefined) {
      await t.clock.advance(100);
    }
    expect(listed).toEqual([]);
    const { opens } = t.server('a');
    isBroken = false;
    before.reject(new Error('no'));
    await t.clock.advance(60_000);
    expect(t.server('a').opens).toBe(opens + 1);
    expect(await caller.toolNames()).toEqual(['a__x']);
  });

  test('is tried again although an interceptor answers another of its lists meanwhile', async () => {
    const open = (_: unknown, opens: number) => (opens === 1 ? Promise.reject(new Error('no')) : undefined);
    const intercept: Interceptor = async ({ method }, next) => (method === 'prompts/list' ? { prompts: [] } : next());
    await using t = setUp({ a: { ...good, open } }, { intercept });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual([]);
    await caller.list('prompts');
    await t.clock.advance(60_000);
    expect(listChanged(caller)).toBe(1);
    expect(await caller.toolNames()).toEqual(['a__x']);
  });

  test.each<[string, Interceptor]>([
    ['refuses to ask, with an error of ours', () => Promise.reject(new GatewayError('INTERCEPTED', 'not for you'))],
    ['has no result for', () => Promise.resolve() as never],
  ])('is not one that an interceptor %s: nothing is started', async (_, intercept) => {
    await using t = setUp({ a: good }, { intercept });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual([]);
    await t.clock.advance(60_000);
    expect(t.server('a').opens).toBe(0);
    expect(t.events.map(({ type }) => type)).toContain('list-incomplete');
  });

  test('that ends while it is asked for its list is tried again likewise', async () => {
    await using t = setUp({ a: good, b: { ...good, on: { 'tools/list': () => hold } } });
    await using caller = await t.caller();
    const listing = caller.toolNames();
    const { instance } = await t.server('b').request('tools/list');
    t.server('b').script.on = {};
    instance.die();
    expect(await listing).toEqual(['a__x']);
    await t.clock.advance(10_000);
    expect(listChanged(caller)).toBe(1);
    expect(await caller.toolNames()).toEqual(['a__x', 'b__x']);
  });

  test('that ends between two pages of its list is announced: the list may be of two servers', async () => {
    const pages: Handler = (request, instance) => {
      if (instance.server.instances.length > 1) {
        return { tools: [{ name: request.params?.cursor === undefined ? 'x' : 'y' }] };
      }
      return hold;
    };
    const restart = { max: 100, backoff: '1ms', max_backoff: '1ms' };
    await using t = setUp({ b: { ...good, on: { 'tools/list': pages } } }, { entry: { restart } });
    await using caller = await t.caller();
    const listing = caller.toolNames();
    const { instance, request } = await t.server('b').request('tools/list');
    instance.answer(request, { tools: [{ name: 'old' }], nextCursor: '1' });
    instance.die();
    await t.clock.advance(1_000);
    expect(await listing).toEqual(['b__old', 'b__y']);
    await t.clock.advance(1_000);
    expect(listChanged(caller)).toBe(1);
    expect(await caller.toolNames()).toEqual(['b__x']);
  });

  test.each(['caller', 'shared'])(
    'is not tried again when it is stopped in the start that a list waits for; list_changed follows (isolation: %s)',
    async (isolation) => {
      const started = Promise.withResolvers<void>();
      await using t = setUp(
        { a: { ...good, on: { 'tools/list': () => hold } }, b: { ...good, open: () => started.promise } },
        { entries: { b: { isolation } } },
      );
      await using caller = await t.caller();
      const listing = caller.toolNames();
      const { instance, request } = await t.server('a').request('tools/list');
      await settle();
      const stopped = t.gateway.stop('b');
      started.resolve();
      await stopped;
      await t.clock.advance(5_000);
      instance.answer(request, { tools: good.tools });
      expect(await listing).toEqual(['a__x']);
      const told = listChanged(caller);
      await t.clock.advance(60_000);
      expect(listChanged(caller)).toBe(told + 1);
      expect(t.server('b').opens).toBe(1);
      const again = caller.toolNames();
      const next = await t.server('a').request('tools/list', 1);
      next.instance.answer(next.request, { tools: good.tools });
      expect(await again).toEqual(['a__x', 'b__x']);
      await t.clock.advance(60_000);
      expect(listChanged(caller)).toBe(told + 1);
    },
  );

  test.each([
    ['whose caller nobody can recognise', {}, {}],
    ['of a caller with an id', {}, { caller: { id: 'anna' } }],
    ['that is shared', { isolation: 'shared' }, {}],
  ])(
    'after its rest is announced likewise when it is stopped in the start that a list waits for (%s)',
    async (_, own, options) => {
      const started = Promise.withResolvers<void>();
      const b = new ScriptedServer({ ...good });
      await using t = setUp({ a: good, b }, { entries: { b: { idle_timeout: '1m', ...own } } });
      await using caller = await t.caller({}, options);
      await caller.toolNames();
      await t.clock.advance(0);
      b.only.notify('notifications/tools/list_changed');
      await t.clock.advance(120_000);
      expect(b.live).toEqual([]);
      const told = listChanged(caller);
      b.script.open = () => started.promise;
      const listing = caller.toolNames();
      await settle();
      const stopped = t.gateway.stop('b');
      started.resolve();
      await stopped;
      expect(await listing).toEqual(['a__x']);
      await t.clock.advance(60_000);
      expect(listChanged(caller)).toBe(told + 1);
      expect(await caller.toolNames()).toEqual(['a__x', 'b__x']);
      await t.clock.advance(10_000);
      expect(listChanged(caller)).toBe(told + 1);
    },
  );

  test('with an instance for each request, and is stopped as a list waits for one, is announced after the list', async () => {
    const started = Promise.withResolvers<void>();
    const open: Script['open'] = (_, nth) => (nth === 2 ? started.promise : undefined);
    await using t = setUp({ b: { ...good, open } }, { entry: { isolation: 'request' } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['b__x']);
    const listing = caller.toolNames();
    await settle();
    const stopped = t.gateway.stop('b');
    started.resolve();
    await stopped;
    expect(await listing).toEqual([]);
    await t.clock.advance(60_000);
    expect(listChanged(caller)).toBe(1);
    expect(t.server('b').opens).toBe(2);
    expect(await caller.toolNames()).toEqual(['b__x']);
  });

  test.each([
    ['between two tries', 1],
    ['in the midst of a try', 2],
  ])('is not tried again when it is stopped %s; list_changed follows', async (_, opens) => {
    const started = Promise.withResolvers<void>();
    const open: Script['open'] = async (_context, nth) => {
      await (nth > 1 && started.promise);
      throw new Error('broken');
    };
    await using t = setUp({ a: good, b: { ...good, open } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    await t.clock.advance(opens === 1 ? 0 : 5_000);
    const stopped = t.gateway.stop('b');
    started.resolve();
    await stopped;
    await t.clock.advance(600_000);
    expect(t.server('b').opens).toBe(opens);
    expect(listChanged(caller)).toBe(1);
  });

  test('is not announced when it is stopped as only the owner of a URI is looked for: no list was shown', async () => {
    const started = Promise.withResolvers<void>();
    await using t = setUp({ b: { resources: [{ uri: 'x://1', name: 'x' }], open: () => started.promise } });
    await using caller = await t.caller();
    const answer = caller.request('resources/read', { uri: 'x://1' });
    await settle();
    const stopped = t.gateway.stop('b');
    started.resolve();
    await stopped;
    expect(await answer).toMatchObject({ error: { code: -32002 } });
    await t.clock.advance(60_000);
    expect(caller.notifications('notifications/resources/list_changed')).toEqual([]);
    expect(t.server('b').opens).toBe(1);
  });

  test('is not tried again when the last try is ended by a stop; list_changed follows', async () => {
    const started = Promise.withResolvers<void>();
    const open: Script['open'] = async (_context, nth) => {
      await (nth > 1 && started.promise);
      throw new Error('broken');
    };
    await using t = setUp({ a: good, b: { ...good, open } }, { entry: { restart: { max: 1 } } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    await t.clock.advance(5_000);
    const stopped = t.gateway.stop('b');
    started.resolve();
    await stopped;
    await t.clock.advance(20);
    expect(t.server('b').opens).toBe(2);
    expect(listChanged(caller)).toBe(1);
  });

  test('is not tried again when it is stopped while its failed start still ends; list_changed follows', async () => {
    const ended = Promise.withResolvers<void>();
    const silent: Script = { ...good, on: { initialize: () => hold } };
    await using t = setUp({ a: good, b: silent }, { entry: { protocol: 'legacy', start_timeout: '1s' } });
    await using caller = await t.caller();
    const listing = caller.toolNames();
    const { instance } = await t.server('b').request('initialize');
    const close = instance.close.bind(instance);
    instance.close = () => ended.promise.then(close);
    await t.clock.advance(1_000);
    expect(await listing).toEqual(['a__x']);
    await t.clock.advance(1_500);
    const stopped = t.gateway.stop('b');
    ended.resolve();
    await stopped;
    await t.clock.advance(600_000);
    expect(t.server('b').opens).toBe(1);
    expect(listChanged(caller)).toBe(1);
  });

  test('is not tried for ever', async () => {
    await using t = setUp(
      { b: { ...good, open: () => Promise.reject(new Error('broken')) } },
      {
        entry: { restart: { max: 3, backoff: '1s', max_backoff: '2s' } },
      },
    );
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual([]);
    await t.clock.advance(3_600_000);
    expect(t.server('b').opens).toBeLessThanOrEqual(1 + 3);
    expect(listChanged(caller)).toBe(0);
  });
});

describe('a slow server', () => {
  test('costs only its own tools within list_timeout; its late list is announced, and is there the next time', async () => {
    let answer = (_: Json) => {};
    const slow: Handler = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    await using t = setUp(
      { a: good, b: { ...good, on: { 'tools/list': slow } } },
      {
        entries: { b: { list_timeout: '2s' } },
      },
    );
    await using caller = await t.caller();
    const listing = caller.toolNames();
    await t.clock.advance(1_999);
    expect(caller.answers(1001)).toEqual([]);
    await t.clock.advance(1);
    expect(await listing).toEqual(['a__x']);
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toMatchObject([
      { server: 'b', reason: { code: 'REQUEST_TIMEOUT' } },
    ]);
    answer({ tools: [{ name: 'late' }] });
    await t.clock.advance(100);
    expect(listChanged(caller)).toBe(1);
    // As slow as before: what it has just said counts.
    const again = caller.toolNames();
    await t.clock.advance(2_000);
    expect(await again).toEqual(['a__x', 'b__late']);
    await t.clock.advance(60_000);
    expect(listChanged(caller)).toBe(1);
  });

  test.each([
    ['has ended since', (t: Setup) => t.server('b').only.die(), () => {}],
    [
      'has said in the middle of it that it changed',
      () => {},
      (t: Setup) => t.server('b').only.notify('notifications/tools/list_changed'),
    ],
  ])('whose list came late and %s is asked anew', async (_, afterwards, meanwhile) => {
    await using t = setUp(
      { a: good, b: { ...good, on: { 'tools/list': () => hold } } },
      { entries: { b: { list_timeout: '2s', restart: { backoff: '1ms', max_backoff: '1ms' } } } },
    );
    await using caller = await t.caller();
    const listing = caller.toolNames();
    const { instance, request } = await t.server('b').request('tools/list');
    await t.clock.advance(2_000);
    expect(await listing).toEqual(['a__x']);
    meanwhile(t);
    await t.clock.advance(1_000);
    const before = listChanged(caller);
    instance.answer(request, { tools: [{ name: 'old' }] });
    await t.clock.advance(1_000);
    expect(listChanged(caller)).toBe(before + 1);
    afterwards(t);
    await settle();
    t.server('b').script.on = {};
    const again = caller.toolNames();
    await t.clock.advance(1_000);
    expect(await again).toEqual(['a__x', 'b__x']);
  });

  test('that never starts costs its own tools within list_timeout', async () => {
    await using t = setUp(
      { a: good, b: { ...good, open: never } },
      { entry: { list_timeout: '3s', start_timeout: '5s' } },
    );
    await using caller = await t.caller();
    const listing = caller.toolNames();
    await t.clock.advance(3_000);
    expect(await listing).toEqual(['a__x']);
  });

  test('holds up no call to another, whatever the names look like', async () => {
    const lookup: Script = { tools: [{ name: 'x_0123456789' }, { name: 'plain' }] };
    await using t = setUp(
      { a: lookup, b: { ...good, open: never } },
      {
        entry: { list_timeout: '3s' },
        names: ({ name }) => name,
      },
    );
    await using caller = await t.caller();
    const calling = caller.result('tools/call', { name: 'plain' });
    await t.clock.advance(3_000);
    expect(await calling).toMatchObject({ structuredContent: { server: 'a' } });
  });

  test('a call while a list is open is not held up', async () => {
    await using t = setUp({ a: good, b: { ...good, on: { 'tools/list': never } } });
    await using caller = await t.caller();
    const listing = caller.toolNames();
    expect(await caller.result('tools/call', { name: 'b__x' })).toMatchObject({ structuredContent: { server: 'b' } });
    await t.clock.advance(10_000);
    expect(await listing).toEqual(['a__x']);
  });
});

describe('a server that returns rubbish', () => {
  test.each<[string, unknown]>([
    ['no array', { tools: { x: 1 } }],
    ['nothing', {}],
    ['null', { tools: null }],
    ['text', { tools: 'x' }],
  ])('%s: costs its own part, says so once, and is not asked again and again', async (_, result) => {
    await using t = setUp({ a: good, b: { ...good, on: { 'tools/list': () => result as Json } } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toMatchObject([
      { server: 'b', reason: { code: 'MESSAGE_INVALID' } },
    ]);
    // Longer than any back-off, and shorter than it takes to be idle.
    await t.clock.advance(240_000);
    expect(listChanged(caller)).toBe(0);
    expect(t.server('b').only.requests('tools/list')).toHaveLength(1);
  });

  test('items without a name or URI are left out, and those of others stay', async () => {
    const items = [null, 7, 'x', [], {}, { name: 5 }, { name: '', title: 'empty' }, { name: 'ok' }, { name: 'ok' }];
    const uris = [null, {}, { uri: 5, name: 'n' }, { uri: 'x://ok', name: 'ok' }];
    const templates = [null, {}, { uriTemplate: null }, { uriTemplate: 'x://{ok}', name: 'ok' }];
    await using t = setUp({
      a: {
        tools: items as Script['tools'] & {},
        prompts: items as Json[],
        resources: uris as Json[],
        resourceTemplates: templates as Json[],
      },
      b: { ...good, resources: [{ uri: 'undefined', name: 'real' }] },
    });
    await using caller = await t.caller();
    expect((await caller.toolNames()).filter((name) => !/^a___[0-9a-f]{10}$/.test(name))).toEqual(['a__ok', 'b__x']);
    expect((await caller.list('prompts')).map(({ name }) => name)).toContain('a__ok');
    expect((await caller.list('resources')).map(({ uri }) => uri)).toEqual(['x://ok', 'undefined']);
    expect((await caller.list('resourceTemplates')).map(({ uriTemplate }) => uriTemplate)).toEqual(['x://{ok}']);
  });

  test('what is no item in the list of an interceptor is left out, and those of others stay', async () => {
    const intercept: Interceptor = async ({ server }, next) => {
      const { tools, ...more } = await next();
      const own =
        server === 'a' && Array.isArray(tools) ? [...tools.map(({ name }) => name === 'y'), null, 'x'] : tools;
      return { ...more, tools: own };
    };
    await using t = setUp({ a: good, b: good }, { intercept });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['b__x']);
  });

  describe.each(sdks)('a client of SDK %s', (sdk) => {
    const uri = 'x://1';
    const uriTemplate = 'x://{id}';
    test.each<[string, Script, string, Json]>([
      // As `zod-to-json-schema` writes it of a schema that another version of zod has made.
      [
        'an inputSchema without a type',
        { tools: [{ name: 'y', inputSchema: { $schema: 'https://x' } }] },
        'tools',
        {
          name: 'b__y',
          inputSchema: { $schema: 'https://x', type: 'object' },
        },
      ],
      [
        'an inputSchema of another type',
        { tools: [{ name: 'y', inputSchema: { type: ['object', 'null'], title: 't' } }] },
        'tools',
        {
          name: 'b__y',
          inputSchema: { type: 'object', title: 't' },
        },
      ],
      ['no inputSchema', { tools: [{ name: 'y' }] }, 'tools', { name: 'b__y', inputSchema: { type: 'object' } }],
      [
        'an inputSchema that is none',
        { tools: [{ name: 'y', inputSchema: true }] },
        'tools',
        {
          name: 'b__y',
          inputSchema: { type: 'object' },
        },
      ],
      [
        'null for what a tool does not have',
        {
          tools: [
            {
              name: 'y',
              title: null,
              annotations: { title: null, readOnlyHint: true },
              inputSchema: { type: 'object', properties: { z: { default: null } } },
              icons: [{ src: 'data:,', mimeType: null }],
            },
          ],
        },
        'tools',
        {
          name: 'b__y',
          annotations: { readOnlyHint: true },
          inputSchema: { type: 'object', properties: { z: { default: null } } },
          icons: [{ src: 'data:,' }],
        },
      ],
      [
        'a schema as some generators do',
        {
          tools: [
            {
              name: 'y',
              inputSchema: { type: 'object', properties: { any: true, z: { default: null } }, required: null },
              outputSchema: { type: 'object', properties: null },
            },
          ],
        },
        'tools',
        {
          name: 'b__y',
          inputSchema: { type: 'object', properties: { any: {}, z: { default: null } } },
          outputSchema: { type: 'object' },
        },
      ],
      [
        'a schema of results that refers to nothing',
        {
          tools: [
            {
              name: 'y',
              inputSchema: { type: 'object', properties: { z: { $ref: '#/$defs/Z' } } },
              outputSchema: { type: 'object', properties: { z: { $ref: '#/$defs/Z' } } },
            },
          ],
        },
        'tools',
        { name: 'b__y', inputSchema: { type: 'object', properties: { z: { $ref: '#/$defs/Z' } } } },
      ],
      [
        'lists for objects without members',
        { tools: [{ name: 'y', annotations: [], inputSchema: { type: 'object', properties: [], required: {} } }] },
        'tools',
        { name: 'b__y', annotations: {}, inputSchema: { type: 'object', properties: {} } },
      ],
      [
        'null for the _meta of a tool, and odd icons',
        {
          tools: [
            {
              name: 'y',
              _meta: null,
              inputSchema: { type: 'object' },
              icons: [null, { src: 'data:,', sizes: '48x48' }],
            },
          ],
        },
        'tools',
        { name: 'b__y', inputSchema: { type: 'object' }, icons: [{ src: 'data:,' }] },
      ],
      [
        'a time without its zone',
        {
          resources: [
            {
              uri,
              name: 'y',
              _meta: { own: null },
              annotations: { lastModified: '2026-01-01T10:00:00.5', audience: 'user' },
            },
          ],
        },
        'resources',
        { uri, name: 'y', _meta: { own: null }, annotations: {} },
      ],
      [
        'a time without a text',
        { resources: [{ uri, name: 'y', annotations: { priority: 1, lastModified: { toString: 1 } } }] },
        'resources',
        { uri, name: 'y', annotations: { priority: 1 } },
      ],
      [
        'a long text for a time',
        { resources: [{ uri, name: 'y', annotations: { lastModified: 'T'.repeat(200_000) } }] },
        'resources',
        { uri, name: 'y', annotations: {} },
      ],
      [
        'a time as a header has it',
        { resources: [{ uri, name: 'y', annotations: { lastModified: 'Tue, 1 Dec 2026 10:00Z' } }] },
        'resources',
        { uri, name: 'y', annotations: {} },
      ],
      [
        'no day for a time, as some databases do',
        { resources: [{ uri, name: 'y', annotations: { lastModified: '0000-00-00T00:00:00Z' } }] },
        'resources',
        { uri, name: 'y', annotations: {} },
      ],
      [
        'a time after the end of its day',
        { resources: [{ uri, name: 'y', annotations: { lastModified: '2026-12-01T24:00:00+01:00' } }] },
        'resources',
        { uri, name: 'y', annotations: {} },
      ],
      [
        'null for what a prompt does not have',
        { prompts: [{ name: 'q', arguments: [{ name: 'n', description: null }] }] },
        'prompts',
        { name: 'b__q', arguments: [{ name: 'n' }] },
      ],
      ['null for _meta alone', { prompts: [{ name: 'q', _meta: null }] }, 'prompts', { name: 'b__q' }],
      [
        'null for what a resource does not have',
        { resources: [{ uri, name: null, mimeType: null }] },
        'resources',
        { uri, name: uri },
      ],
      ['a resource without a name', { resources: [{ uri }] }, 'resources', { uri, name: uri }],
      [
        'a template without a name',
        { resourceTemplates: [{ uriTemplate }] },
        'resourceTemplates',
        {
          uriTemplate,
          name: uriTemplate,
        },
      ],
    ])('gets what all servers have where one writes %s', async (_what, script, kind, shown) => {
      const a: Script = {
        tools: [{ name: 'x', inputSchema: { type: 'object' } }],
        prompts: [{ name: 'p' }],
        resources: [{ uri: 'x://0', name: 'zero' }],
        resourceTemplates: [{ uriTemplate: 'x://0/{id}', name: 'zero' }],
      };
      await using t = setUp({ a, b: script });
      const peer = await SdkPeer.open(sdk, t.gateway.connect());
      const { client } = peer;
      const lists = {
        ...(await client.listTools()),
        ...(await client.listPrompts()),
        ...(await client.listResources()),
        ...(await client.listResourceTemplates()),
      };
      const items = (lists as Json)[kind] as Json[];
      expect(items).toHaveLength(2);
      expect(items).toContainEqual(shown);
      await peer.close();
    });

    test.each<[string, unknown]>([
      ['null', { tools: { listChanged: null }, prompts: null, logging: null, experimental: { x: null }, tasks: null }],
      [
        'true',
        { tools: true, logging: true, experimental: { x: true }, tasks: { list: true, requests: { tools: true } } },
      ],
      ['lists', { tools: [], logging: [], experimental: [], tasks: [], extensions: [] }],
      ['false', { tools: {}, prompts: false, logging: false, experimental: false }],
    ])('begins a session where one declares capabilities as %s', async (_what, declared) => {
      const tools = [{ name: 'x', inputSchema: { type: 'object' } }];
      const own = { tools: {}, logging: {}, prompts: {} };
      const b = { tools, capabilities: declared as Json };
      await using t = setUp({ a: { tools, capabilities: own }, b }, { entry: { isolation: 'shared' } });
      // With the second one it is known of all servers what they have declared.
      for (const _ of ['first', 'second']) {
        const peer = await SdkPeer.open(sdk, t.gateway.connect());
        expect(peer.client.getServerCapabilities()).toMatchObject({ tools: { listChanged: true }, logging: {} });
        expect((await peer.client.listTools()).tools).toHaveLength(2);
        await peer.close();
      }
    });
  });

  test('5,000 pages cost its own part alone', async () => {
    let pages = 0;
    const endless: Handler = () => ({ tools: [{ name: `t${pages}` }], nextCursor: `${++pages}` });
    await using t = setUp({ a: good, b: { ...good, on: { 'tools/list': endless } } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    expect(pages).toBeLessThanOrEqual(1_000);
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toMatchObject([
      { reason: { code: 'LIMIT_REACHED' } },
    ]);
    await t.clock.advance(3_600_000);
    expect(pages).toBeLessThanOrEqual(1_000);
  });

  test('pages that would fill the memory cost its own part alone', async () => {
    let pages = 0;
    const description = 'x'.repeat(1024 * 1024);
    const endless: Handler = () => ({ tools: [{ name: `t${pages}`, description }], nextCursor: `${++pages}` });
    await using t = setUp({ a: good, b: { ...good, on: { 'tools/list': endless } } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    expect(pages).toBe(65);
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toMatchObject([
      { reason: { code: 'LIMIT_REACHED', message: expect.stringContaining('tools/list has more than 64 MiB') } },
    ]);
  });

  test('a cursor that comes again ends the list', async () => {
    const circle: Handler = ({ params }) => ({
      tools: [{ name: `t${String(params?.cursor)}` }],
      nextCursor: params?.cursor === 'p' ? 'q' : 'p',
    });
    await using t = setUp({ b: { ...good, on: { 'tools/list': circle } } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['b__tundefined', 'b__tp', 'b__tq']);
  });

  test.each([null, ''])('a cursor %j on the last page is none: the list ends with that', async (nextCursor) => {
    const resources = [{ uri: 'x://1', name: '1' }];
    const tasks = [{ taskId: 't', status: 'completed', ttl: null }];
    const last: Script = {
      capabilities: { resources: {}, tasks: { list: {} } },
      on: {
        'resources/list': () => ({ resources, nextCursor }),
        'tasks/list': () => ({ tasks, nextCursor }),
      },
    };
    await using t = setUp({ a: last });
    await using caller = await t.caller();
    expect(await caller.list('resources')).toEqual(resources);
    expect(await caller.result('tasks/list')).toEqual({ tasks });
  });

  test('a stateless server may give "" for a cursor as any other, and may also mean that its list has ended', async () => {
    const fresh = { resultType: 'complete', ttlMs: 0, cacheScope: 'private' };
    const resources = [1, 2, 3].map((each) => ({ uri: `x://${each}`, name: String(each) }));
    const first = { resources: resources.slice(0, 1), nextCursor: 'p' };
    const second = { resources: resources.slice(1, 2), nextCursor: '' };
    const refuse = () => {
      throw new RpcError(-32602, 'no such cursor');
    };
    const ways: readonly [() => Json, Json[]][] = [
      [() => ({ resources: resources.slice(2) }), resources],
      // Asked with what it has written itself.
      [() => first, resources.slice(0, 2)],
      [refuse, resources.slice(0, 2)],
    ];
    for (const [third, listed] of ways) {
      const script = statelessServer({
        'resources/list': ({ params: { cursor } = {} }) => ({
          ...fresh,
          ...(cursor === undefined ? first : cursor === 'p' ? second : third()),
        }),
      });
      await using t = setUp({ a: script });
      await using caller = await t.caller();
      expect(await caller.list('resources')).toEqual(listed);
      expect(t.server('a').only.requests('resources/list')).toHaveLength(3);
    }
  });

  test('an error for templates, which it does not know, is not worth an event', async () => {
    await using t = setUp({
      a: {
        resources: [{ uri: 'x://1', name: '1' }],
        on: {
          'resources/templates/list': (request, instance) => {
            instance.say({ id: request.id, error: { code: -32601, message: 'Method not found' } });
            return never();
          },
        },
      },
    });
    await using caller = await t.caller();
    expect(await caller.list('resourceTemplates')).toEqual([]);
    expect(await caller.list('resources')).toHaveLength(1);
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toEqual([]);
  });

  test('an initialize without capabilities fails its start alone', async () => {
    await using t = setUp({ a: good, b: { ...good, on: { initialize: () => ({ hello: 1 }) } } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    const failing = caller.error('tools/call', { name: 'b__x' });
    // It is a failure like others: the next try comes after the back-off.
    await t.clock.advance(1_200);
    expect(await failing).toMatchObject({ data: { code: 'START_FAILED', server: 'b', delivered: false } });
  });

  test('messages that are none are survived', async () => {
    await using t = setUp({ a: good });
    await using caller = await t.caller();
    await caller.toolNames();
    const instance = t.server('a').only;
    for (const message of [
      { id: null, error: { code: 1, message: 'x' } },
      { id: 77, result: null },
      { method: 'notifications/resources/updated' },
      { method: 'notifications/cancelled' },
      { method: 'notifications/progress', params: null },
      { method: 'notifications/tasks/status', params: { task: null, tasks: [null], _meta: null } },
      { id: 1, method: 'sampling/createMessage' },
    ]) {
      instance.say(message as Json);
    }
    await settle();
    expect(await caller.result('tools/call', { name: 'a__x' })).toMatchObject({ content: [] });
  });

  test.each([
    { result: { content: null, contents: 5, tasks: {}, task: 'x', _meta: null } },
    { result: { content: [null, 5, { type: 'resource', resource: null }], task: null, taskId: 7 } },
    { result: { messages: [null, { content: null }, { content: [null] }] } },
  ])('an odd result passes as it came: $result', async ({ result }) => {
    await using t = setUp({ a: { ...good, on: { 'tools/call': () => result as Json } } });
    await using caller = await t.caller();
    expect(await caller.result('tools/call', { name: 'a__x' })).toEqual(result);
  });
});

test('a result of a session that has no content is one for a stateless client of SDK v2, too', async () => {
  await using t = setUp({ a: { ...good, on: { 'tools/call': () => ({ structuredContent: { done: true } }) } } });
  const peer = new SdkPeer('v2', 'auto');
  await peer.client.connect(t.gateway.connect());
  expect(await peer.call('a__x')).toMatchObject({ content: [], structuredContent: { done: true } });
  await peer.close();
});

describe('long lists', () => {
  const tools = Array.from({ length: 2_500 }, (_, index) => ({ name: `t${index}` }));
  const paged: Handler = ({ params }) => {
    const start = Number(params?.cursor ?? 0);
    const end = start + 400;
    return { tools: tools.slice(start, end), ...(end < tools.length && { nextCursor: String(end) }) };
  };

  test('come in pages, whatever the pages of the servers', async () => {
    await using t = setUp({ a: good, b: { tools: [], on: { 'tools/list': paged } } });
    await using caller = await t.caller();
    const first = await caller.result('tools/list');
    expect(first.tools).toHaveLength(1_000);
    expect(await caller.toolNames()).toEqual(['a__x', ...tools.map(({ name }) => `b__${name}`)]);
  });

  test('a cursor that is unknown, expired, of another list or of another caller is refused', async () => {
    await using t = setUp({ b: { tools: [], prompts: [], on: { 'tools/list': paged } } });
    await using caller = await t.caller();
    await using other = await t.caller();
    const { nextCursor: cursor } = await caller.result('tools/list');
    expect(await caller.result('tools/list', { cursor })).toMatchObject({ nextCursor: expect.any(String) });
    for (const bad of ['x', `${String(cursor)}1`, 7, {}]) {
      expect(await caller.error('tools/list', { cursor: bad }), JSON.stringify(bad)).toMatchObject({ code: -32602 });
    }
    expect(await caller.error('prompts/list', { cursor })).toMatchObject({ code: -32602 });
    expect(await caller.error('tasks/list', { cursor })).toMatchObject({ code: -32602 });
    expect(await other.error('tools/list', { cursor })).toMatchObject({ code: -32602 });
    for (let times = 0; times < 20; times += 1) {
      await caller.result('tools/list');
    }
    expect(await caller.error('tools/list', { cursor })).toMatchObject({ code: -32602 });
  });

  test('one that was read to its end is kept until another one was', async () => {
    await using t = setUp({ b: { tools: [], on: { 'tools/list': paged } } });
    await using caller = await t.caller();
    const { nextCursor: open } = await caller.result('tools/list');
    const readAll = async () => {
      const { nextCursor: second } = await caller.result('tools/list');
      const { nextCursor: last } = await caller.result('tools/list', { cursor: second });
      const page = () => caller.request('tools/list', { cursor: last });
      expect(await page()).toEqual({ ...(await page()), id: expect.any(Number) });
      return page;
    };
    const pages = [await readAll(), await readAll()];
    const answers = await Promise.all(pages.map((page) => page()));
    expect(answers).toMatchObject([{ error: { code: -32602 } }, { result: { tools: { length: 500 } } }]);
    expect(await caller.result('tools/list', { cursor: open })).toMatchObject({ tools: { length: 1_000 } });
  });
});

test.each(['resources', 'resourceTemplates'] as const)(
  'what a server has among the %s stays its own while no list comes from it',
  async (kind) => {
    const resources = kind === 'resources' ? [{ uri: 'x://1', name: '1' }] : [];
    const resourceTemplates = kind === 'resources' ? [] : [{ uriTemplate: 'x://{id}', name: 't' }];
    const script = (server: string): Script => ({
      resources,
      resourceTemplates,
      on: { 'resources/read': () => ({ contents: [], server }) },
    });
    await using t = setUp({ a: script('a'), b: script('b') }, { entry: { list_timeout: '2s' } });
    await using caller = await t.caller();
    const before = await caller.list(kind);
    expect((await caller.result('resources/read', { uri: 'x://1' })).server).toBe('a');
    const method = kind === 'resources' ? 'resources/list' : 'resources/templates/list';
    t.server('a').script.on = { ...script('a').on, [method]: never };
    const late = caller.list(kind);
    await t.clock.advance(2_000);
    // What the other one has it shows as before.
    expect(await late).toEqual(before.slice(1));
    expect((await caller.result('resources/read', { uri: 'x://1' })).server).toBe('a');
  },
);
