import { describe, expect, test } from 'vitest';
import { SnapshotStore } from '../../src/endpoint/snapshot.js';
import type { GatewaySnapshot } from '../../src/index.js';
import { settle } from '../support/fake-clock.js';
import { hold, type Json, type Script, ScriptedServer } from './scripted-server.js';
import { setUp } from './setup.js';
import type { TestCaller } from './test-caller.js';

const full: Script = {
  tools: [{ name: 'x' }],
  prompts: [{ name: 'p' }],
  resources: [{ uri: 'x://1', name: '1' }],
  resourceTemplates: [{ uriTemplate: 'x://{id}', name: 't' }],
  instructions: 'Use x with care.',
};
const shared = { isolation: 'shared' };
const kinds = ['tools', 'prompts', 'resources', 'resourceTemplates'] as const;

/** What a gateway knows of these servers after each was used once. */
async function snapshotOf(scripts: Readonly<Record<string, Script>>): Promise<GatewaySnapshot> {
  await using t = setUp(scripts, { entry: shared });
  await using caller = await t.caller();
  await caller.list('tools');
  await settle();
  return t.gateway.snapshot();
}

describe('given by the host', () => {
  test('answers initialize and all lists of 50 servers, and starts none', async () => {
    const scripts = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`s${index}`, full]));
    const snapshot = JSON.parse(JSON.stringify(await snapshotOf(scripts))) as GatewaySnapshot;
    expect(Object.keys(snapshot)).toHaveLength(50);
    await using t = setUp(scripts, { entry: shared, snapshot });
    await using caller = await t.caller();
    const counts = [];
    for (const kind of kinds) {
      counts.push((await caller.list(kind)).length);
    }
    // Equal URIs and templates are all there, the later ones under an alias.
    expect(counts).toEqual([50, 50, 50, 50]);
    expect(Object.values(t.servers).reduce((sum, { opens }) => sum + opens, 0)).toBe(0);
    // Only who is called starts.
    await caller.result('tools/call', { name: 's7__x' });
    expect(Object.values(t.servers).reduce((sum, { opens }) => sum + opens, 0)).toBe(1);
  });

  test('is taken back whatever the servers had answered', async () => {
    const scripts: Record<string, Script> = {
      // Written by PHP, which has one type for lists and objects.
      nothing: { capabilities: [] as unknown as Json },
      words: { on: { 'tools/list': () => ({ tools: [{ name: 'x' }, ['y'], 'z', null] }) }, tools: [] },
    };
    const snapshot = JSON.parse(JSON.stringify(await snapshotOf(scripts))) as GatewaySnapshot;
    expect(Object.keys(snapshot)).toEqual(['nothing', 'words']);
    await using t = setUp(scripts, { entry: shared, snapshot });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['words__x']);
    expect(Object.values(t.servers).map(({ opens }) => opens)).toEqual([0, 0]);
  });

  test('tells initialize what the servers can do, and what they want to be known', async () => {
    const scripts: Record<string, Script> = {
      a: { ...full, capabilities: { tools: {}, logging: {} } },
      b: {
        prompts: [],
        capabilities: { prompts: { listChanged: false }, experimental: { e: {} }, tasks: { list: {} } },
      },
    };
    const snapshot = await snapshotOf(scripts);
    await using t = setUp(scripts, { entry: shared, entries: { a: { display_name: 'Server A' } }, snapshot });
    await using caller = await t.caller();
    const [answer] = caller.received;
    expect((answer as unknown as { result: object }).result).toMatchObject({
      capabilities: {
        tools: { listChanged: true },
        logging: {},
        prompts: { listChanged: true },
        experimental: { e: {} },
        tasks: { list: {} },
      },
      instructions: '# Server A\n\nUse x with care.',
    });
    expect((answer as unknown as { result: { capabilities: object } }).result.capabilities).not.toHaveProperty(
      'resources',
    );
  });

  test('says that a server can do what any of them can', async () => {
    const scripts: Record<string, Script> = {
      a: { ...full, capabilities: { resources: { subscribe: true }, experimental: { e: { deep: 1 } }, x: false } },
      b: { ...full, capabilities: { resources: { subscribe: false }, experimental: { e: { er: 2 } }, y: false } },
    };
    await using t = setUp(scripts, { entry: shared, snapshot: await snapshotOf(scripts) });
    await using caller = await t.caller();
    expect(caller.received[0]).toMatchObject({
      result: {
        capabilities: {
          resources: { subscribe: true, listChanged: true },
          experimental: { e: { deep: 1, er: 2 } },
          x: false,
          y: false,
        },
      },
    });
  });

  test('of another definition counts for nothing', async () => {
    const snapshot = await snapshotOf({ a: full });
    const other = { a: { ...snapshot.a, fingerprint: 'another' } } as GatewaySnapshot;
    await using t = setUp({ a: full }, { entry: shared, snapshot: other });
    await using caller = await t.caller();
    await caller.list('tools');
    expect(t.server('a').opens).toBe(1);
  });

  test('of a server that is not there, or of none, harms nobody', async () => {
    const snapshot = await snapshotOf({ gone: full });
    await using t = setUp({ a: full }, { snapshot });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
  });

  test('is compared at the first start: list_changed for what differs, and the new list from then on', async () => {
    const snapshot = await snapshotOf({ a: full });
    const now = new ScriptedServer({ ...full, tools: [{ name: 'x' }, { name: 'new' }] });
    await using t = setUp({ a: now }, { entry: shared, snapshot });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    await caller.result('tools/call', { name: 'a__x' });
    await t.clock.advance(1_000);
    expect(caller.notifications('notifications/tools/list_changed')).toHaveLength(1);
    expect(caller.notifications('notifications/prompts/list_changed')).toEqual([]);
    expect(caller.notifications('notifications/resources/list_changed')).toEqual([]);
    expect(await caller.toolNames()).toEqual(['a__x', 'a__new']);
    // Also when it does not run any more, and for callers that come later.
    now.only.die();
    await settle();
    expect(await caller.toolNames()).toEqual(['a__x', 'a__new']);
    await using later = await t.caller();
    expect(await later.toolNames()).toEqual(['a__x', 'a__new']);
    expect(now.opens).toBe(1);
    expect(t.gateway.snapshot().a?.lists.tools).toHaveLength(2);
  });

  test('that is still true says nothing', async () => {
    const snapshot = await snapshotOf({ a: full });
    await using t = setUp({ a: full }, { entry: shared, snapshot });
    await using caller = await t.caller();
    await caller.list('tools');
    await caller.result('tools/call', { name: 'a__x' });
    await t.clock.advance(1_000);
    expect(caller.received.filter((message) => 'method' in message && message.method.endsWith('list_changed'))).toEqual(
      [],
    );
  });

  test('with lists that another release knows keeps no change from the caller', async () => {
    const { a, ...rest } = await snapshotOf({ a: full });
    const snapshot = { ...rest, a: { ...a, lists: { ...a?.lists, skills: [{ name: 's' }] } } } as GatewaySnapshot;
    const gate = Promise.withResolvers<void>();
    const prompts = () => gate.promise.then(() => ({ prompts: full.prompts }) as Json);
    const server = new ScriptedServer({ ...full, on: { 'prompts/list': prompts } });
    await using t = setUp({ a: server }, { entry: shared, snapshot });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    await caller.result('tools/call', { name: 'a__x' });
    // The snapshot is still the one that was given.
    server.script.tools = [{ name: 'y' }];
    server.only.notify('notifications/tools/list_changed');
    await t.clock.advance(1_000);
    expect(caller.notifications('notifications/tools/list_changed')).toHaveLength(1);
    expect(await caller.toolNames()).toEqual(['a__y']);
    gate.resolve();
  });

  test('that turned out wrong is not shown again to a caller that nobody can recognise', async () => {
    const snapshot = await snapshotOf({ a: full });
    const now = new ScriptedServer({ ...full, tools: [{ name: 'new' }] });
    await using t = setUp({ a: now }, { snapshot }); // isolation: caller, and no caller.id
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    await caller.result('tools/call', { name: 'a__new' });
    await t.clock.advance(1_000);
    expect(await caller.toolNames()).toEqual(['a__new']);
    now.only.die();
    await settle();
    expect(await caller.toolNames()).toEqual(['a__new']);
  });
});

describe('in memory', () => {
  test('what a server says of its list later is remembered too', async () => {
    const server = new ScriptedServer({ ...full, tools: [{ name: 'x' }] });
    await using t = setUp({ a: server }, { entry: shared });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    server.script.tools = [{ name: 'y' }];
    server.only.notify('notifications/tools/list_changed');
    await t.clock.advance(1_000);
    expect(await caller.toolNames()).toEqual(['a__y']);
    server.only.die();
    await settle();
    expect(await caller.toolNames()).toEqual(['a__y']);
    expect(server.opens).toBe(1);
  });

  test.each(['while the server starts', 'later'])(
    'a list that changes %s, and that nobody has asked for since then, is not shown as it was while the server rests',
    async (moment) => {
      const gate = Promise.withResolvers<void>();
      const prompts = () => gate.promise.then(() => ({ prompts: [{ name: 'p' }] }));
      const on: Script['on'] = moment === 'later' ? {} : { 'prompts/list': prompts };
      const server = new ScriptedServer({ ...full, on });
      await using t = setUp({ a: server }, { entry: { ...shared, idle_timeout: '1m' } });
      await using caller = await t.caller();
      const call = caller.result('tools/call', { name: 'a__x' });
      await settle();
      server.script.tools = [{ name: 'y' }];
      server.only.notify('notifications/tools/list_changed');
      gate.resolve();
      await call;
      await t.clock.advance(600_000);
      expect(server.live).toEqual([]);
      expect(await caller.toolNames()).toEqual(['a__y']);
    },
  );

  test.each([
    ['shared', {}],
    ['principal', { caller: { principal: 'p' } }],
    ['caller', { caller: { id: 'c' } }],
  ])('is not asked while the server runs for another connection, isolation: %s', async (isolation, who) => {
    const now = new ScriptedServer({ ...full });
    await using t = setUp({ a: now }, { entry: { isolation } });
    await using one = await t.caller({}, who);
    await one.result('tools/call', { name: 'a__x' });
    await settle();
    now.script.tools = [{ name: 'x' }, { name: 'new' }];
    now.only.notify('notifications/tools/list_changed');
    await using later = await t.caller({}, who);
    expect(await later.toolNames()).toEqual(['a__x', 'a__new']);
    now.script.tools = [];
    now.only.notify('notifications/tools/list_changed');
    await t.clock.advance(100);
    expect(later.notifications('notifications/tools/list_changed')).toHaveLength(1);
    expect(now.opens).toBe(1);
  });

  test('is used while a server is being stopped and takes no more requests', async () => {
    await using t = setUp({ a: { ...full, on: { 'tools/call': () => hold } } }, { entry: { isolation: 'shared' } });
    await using one = await t.caller();
    await using other = await t.caller();
    await one.toolNames();
    await settle();
    await one.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await settle();
    const stopping = t.gateway.stop('a', { graceMs: 1000 });
    await settle();
    expect([await other.toolNames(), await one.toolNames()]).toEqual([['a__x'], ['a__x']]);
    await t.clock.advance(1000);
    await stopping;
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toEqual([]);
  });

  test.each([
    ['runs', 1],
    ['has idled', 0],
  ])('of a server that %s is not changed by who is shown it, and changes it in the same process', async (_, live) => {
    const lists = () => ({
      tools: [{ name: 'x', inputSchema: { type: 'object', properties: { p: { type: 'string' } } } }],
      resources: [{ uri: 'x://1', annotations: { audience: ['user'] } }],
    });
    // As over a wire: each answer is another object.
    const on = { 'tools/list': lists, 'resources/list': lists };
    await using t = setUp({ a: { ...lists(), on } }, { entry: { ...shared, idle_timeout: '1m' } });
    await using one = await t.caller();
    await using other = await t.caller();
    await one.toolNames();
    await t.clock.advance(live === 1 ? 1_000 : 600_000);
    const show = async (caller: TestCaller) => ({
      tools: await caller.list('tools'),
      resources: await caller.list('resources'),
    });
    const { tools, resources } = await show(one);
    (tools as { inputSchema: { properties: Json } }[]).forEach(({ inputSchema }) => {
      inputSchema.properties.p = { type: 'number' };
    });
    (resources as { annotations: { audience: string[] } }[])[0]?.annotations.audience.push('assistant');
    expect(t.gateway.snapshot().a?.lists).toMatchObject(lists());
    expect(await show(other)).toMatchObject({
      ...lists(),
      tools: lists().tools.map(({ inputSchema }) => ({ inputSchema })),
    });
    expect(t.server('a').live).toHaveLength(live);
  });

  test('a server without templates has a snapshot too', async () => {
    const server = new ScriptedServer({ tools: [{ name: 'x' }], resources: [{ uri: 'x://1', name: '1' }] });
    server.script.on = {
      'resources/templates/list': (request, instance) => {
        instance.say({ id: request.id, error: { code: -32601, message: 'Method not found' } });
        return new Promise<never>(() => {});
      },
    };
    await using t = setUp({ a: server }, { entry: shared });
    await using caller = await t.caller();
    await caller.list('tools');
    await settle();
    expect(Object.keys(t.gateway.snapshot())).toEqual(['a']);
  });

  test('serves a returning caller, and only that one', async () => {
    // Shows each caller what is its own.
    const server = new ScriptedServer({
      ...full,
      on: { 'tools/list': (_, { context }) => ({ tools: [{ name: `of-${context.caller?.id ?? 'nobody'}` }] }) },
    });
    await using t = setUp({ a: server });
    const first = await t.caller({}, { caller: { id: 'ann' } });
    expect(await first.toolNames()).toEqual(['a__of-ann']);
    await settle();
    await first.close();
    expect(server.opens).toBe(1);

    await using again = await t.caller({}, { caller: { id: 'ann' } });
    expect(await again.toolNames()).toEqual(['a__of-ann']);
    expect(server.opens).toBe(1);
    await using bob = await t.caller({}, { caller: { id: 'bob' } });
    expect(await bob.toolNames()).toEqual(['a__of-bob']);
    await using nobody = await t.caller();
    expect(await nobody.toolNames()).toEqual(['a__of-nobody']);
    await using nobodyElse = await t.caller();
    expect(await nobodyElse.toolNames()).toEqual(['a__of-nobody']);
    expect(server.opens).toBe(4);
    // Nor does it leave the gateway.
    expect(t.gateway.snapshot()).toEqual({});
  });

  test('is kept per principal where instances are', async () => {
    const server = new ScriptedServer({
      ...full,
      on: { 'tools/list': (_, { context }) => ({ tools: [{ name: `of-${context.caller?.principal ?? 'nobody'}` }] }) },
    });
    await using t = setUp({ a: server }, { entry: { isolation: 'principal' } });
    await using one = await t.caller({}, { caller: { id: '1', principal: 'acme' } });
    expect(await one.toolNames()).toEqual(['a__of-acme']);
    await settle();
    await using two = await t.caller({}, { caller: { id: '2', principal: 'acme' } });
    expect(await two.toolNames()).toEqual(['a__of-acme']);
    expect(server.opens).toBe(1);
    await using three = await t.caller({}, { caller: { id: '2', principal: 'other' } });
    expect(await three.toolNames()).toEqual(['a__of-other']);
    expect(t.gateway.snapshot()).toEqual({});
  });

  test('is kept per caller where a principal would share instances, and there is none', async () => {
    const server = new ScriptedServer({
      ...full,
      on: { 'tools/list': (_, { context }) => ({ tools: [{ name: `of-${context.caller?.id ?? 'nobody'}` }] }) },
    });
    await using t = setUp({ a: server }, { entry: { isolation: 'principal' } });
    const first = await t.caller({}, { caller: { id: 'ann' } });
    expect(await first.toolNames()).toEqual(['a__of-ann']);
    await settle();
    await first.close();
    await using again = await t.caller({}, { caller: { id: 'ann' } });
    expect(await again.toolNames()).toEqual(['a__of-ann']);
    expect(server.opens).toBe(1);
    await using bob = await t.caller({}, { caller: { id: 'bob' } });
    expect(await bob.toolNames()).toEqual(['a__of-bob']);
    await using nobody = await t.caller();
    expect(await nobody.toolNames()).toEqual(['a__of-nobody']);
  });

  test('the lists of one caller are filtered by the tools of the entry all the same', async () => {
    const snapshot = await snapshotOf({ a: { tools: [{ name: 'x' }, { name: 'drop' }] } });
    await using t = setUp(
      { a: { tools: [{ name: 'x' }, { name: 'drop' }] } },
      {
        entry: { ...shared, tools: { deny: ['drop'] } },
        snapshot,
      },
    );
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__x']);
    expect(t.server('a').opens).toBe(0);
  });
});

test('a store remembers so many, and forgets what was taken longest ago', () => {
  const store = new SnapshotStore(undefined, 2);
  const taken = (name: string) => ({ fingerprint: 'f', capabilities: {}, lists: { tools: [{ name }] } });
  for (const owner of ['ada', 'bob', 'ada', 'eve']) store.set('a', owner, taken(owner));
  expect(['ada', 'bob', 'eve'].map((owner) => store.get('a', 'f', owner)?.lists.tools)).toEqual([
    [{ name: 'ada' }],
    undefined,
    [{ name: 'eve' }],
  ]);
});

test('a store remembers so many items of lists, whosever they are', () => {
  const store = new SnapshotStore(undefined, 100, 5);
  const taken = (count: number) => ({
    fingerprint: 'f',
    capabilities: {},
    lists: { tools: Array.from({ length: count }, (_, index) => ({ name: `t${index}` })) },
  });
  const known = () => ['ada', 'bob', 'eve'].filter((owner) => store.get('a', 'f', owner) !== undefined);
  store.set('a', 'ada', taken(3));
  store.set('a', 'bob', taken(2));
  expect(known()).toEqual(['ada', 'bob']);
  store.set('a', 'bob', taken(1));
  store.set('a', 'eve', taken(1));
  expect(known()).toEqual(['ada', 'bob', 'eve']);
  store.set('a', 'eve', taken(2));
  expect(known()).toEqual(['bob', 'eve']);
});

test.each(['shared', 'caller'])(
  'a snapshot of an entry that a reload changes is not used, isolation: %s',
  async (isolation) => {
    const script: Script = {
      tools: [],
      on: { 'tools/list': (_, { context }) => ({ tools: [{ name: `v${context.env.V}` }] }) },
    };
    const entry = { isolation, idle_timeout: '10s' };
    await using first = setUp({ a: script }, { entry: { ...entry, env: { V: '1' } } });
    const caller = await first.caller({}, { caller: { id: 'me' } });
    expect(await caller.toolNames()).toEqual(['a__v1']);
    await first.clock.advance(60_000);
    const server = { id: 'a', runtime: { type: 'scripted' as const, script: 'a' }, ...entry };
    const snapshot = first.gateway.snapshot();
    await first.gateway.reload({ servers: [{ ...server, env: { V: '2' } }] } as never);
    expect(first.gateway.snapshot()).toEqual({});
    expect(await caller.toolNames()).toEqual(['a__v2']);
    await using second = setUp({ a: script }, { entry: { ...entry, env: { V: '1' } }, snapshot });
    await second.gateway.reload({ servers: [{ ...server, env: { V: '2' } }] } as never);
    const other = await second.caller();
    expect(await other.toolNames()).toEqual(['a__v2']);
  },
);

test.each([
  ['shared', {}],
  ['caller', { id: 'ada' }],
])('lists of a server that rests start none, isolation: %s', async (isolation, caller) => {
  const capabilities = { tools: {}, logging: {}, tasks: { list: {} } };
  const script: Script = {
    ...full,
    capabilities,
    on: { 'logging/setLevel': () => ({}), 'tasks/list': () => ({ tasks: [] }) },
  };
  await using t = setUp({ a: script }, { entry: { isolation, idle_timeout: '1s' } });
  await using one = await t.caller({}, { caller });
  expect(await one.toolNames()).toEqual(['a__x']);
  await settle();
  await t.clock.advance(1_000);
  expect(t.server('a').live).toEqual([]);
  expect(await one.toolNames()).toEqual(['a__x']);
  expect(await one.result('tasks/list')).toEqual({ tasks: [] });
  expect(await one.result('logging/setLevel', { level: 'error' })).toEqual({});
  await settle();
  expect(t.server('a').opens).toBe(1);
  await one.result('tools/call', { name: 'a__x' });
  await settle();
  const levels = t
    .server('a')
    .only.requests('logging/setLevel')
    .map(({ params }) => params?.level);
  expect(levels).toEqual(isolation === 'shared' ? [] : ['error']);
});
