import { describe, expect, test } from 'vitest';
import { createGateway, InProcessRuntime } from '../../src/index.js';
import { ModernTestCaller } from '../endpoint/modern-caller.js';
import { discovery, statelessServer } from '../endpoint/modern-servers.js';
import { hold, type Json, type Script, ScriptedServer } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import { slowToBegin } from '../endpoint/slow-to-begin.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { FakeClock, settle } from '../support/fake-clock.js';

const script: Script = {
  tools: [{ name: 'who' }],
  capabilities: { tools: { listChanged: true }, logging: {} },
  on: { 'tools/call': ({ params }) => ({ content: [{ type: 'text', text: JSON.stringify(params?.arguments) }] }) },
};
const held: Script = { ...script, on: { 'tools/call': () => hold } };

describe('isolation: shared', () => {
  const shared = { entry: { isolation: 'shared' } };

  test('one instance and one handshake for all callers, and each gets its own answers', async () => {
    await using t = setUp({ a: script }, shared);
    const callers = await Promise.all(Array.from({ length: 5 }, () => t.caller({ sampling: {} })));
    const answers = await Promise.all(
      callers.map((caller, index) => caller.request('tools/call', { name: 'a__who', arguments: { index } }, 7)),
    );
    expect(answers.map(({ result }) => (result as { content: [{ text: string }] }).content[0].text)).toEqual(
      [0, 1, 2, 3, 4].map((index) => JSON.stringify({ index })),
    );
    expect(t.server('a').opens).toBe(1);
    expect(t.server('a').only.requests('initialize')).toHaveLength(1);
    // Nobody in particular could answer for all.
    expect(t.server('a').only.requests('initialize')[0]?.params?.capabilities).toEqual({});
    for (const caller of callers) {
      await caller[Symbol.asyncDispose]();
    }
  });

  test('what the server says to nobody in particular reaches nobody, and a changed list everybody', async () => {
    await using t = setUp({ a: held }, shared);
    await using one = await t.caller();
    await using two = await t.caller();
    void one.request('tools/call', { name: 'a__who' });
    void two.request('tools/call', { name: 'a__who' });
    await t.server('a').request('tools/call', 1);
    const instance = t.server('a').only;
    instance.say({ method: 'notifications/message', params: { level: 'info', data: 'of somebody' } });
    instance.say({ method: 'notifications/tools/list_changed' });
    instance.say({ id: 'q', method: 'sampling/createMessage', params: {} });
    await t.clock.advance(1_000);
    for (const caller of [one, two]) {
      expect(caller.notifications('notifications/message')).toEqual([]);
      expect(caller.notifications('notifications/tools/list_changed')).toHaveLength(1);
      expect(caller.received.filter((message) => 'method' in message && 'id' in message)).toEqual([]);
    }
  });

  test('a crash answers the calls of all, once each', async () => {
    await using t = setUp({ a: held }, shared);
    await using one = await t.caller();
    await using two = await t.caller();
    const calls = [one, two].map((caller) => caller.request('tools/call', { name: 'a__who' }, 9));
    await t.server('a').request('tools/call', 1);
    t.server('a').only.die();
    for (const answer of await Promise.all(calls)) {
      expect(answer.error).toMatchObject({ data: { code: 'SERVER_EXITED', server: 'a' } });
    }
    expect(one.answers(9)).toHaveLength(1);
    expect(two.answers(9)).toHaveLength(1);
    expect(t.server('a').live).toEqual([]);
  });

  test('raw connections share it too', async () => {
    await using t = setUp({ a: script }, shared);
    await using one = await t.caller();
    await one.result('tools/call', { name: 'a__who' });
    const raw = t.gateway.connect('a');
    await raw.start();
    const answer = new Promise((resolve) => {
      raw.onmessage = resolve;
    });
    await raw.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'who', arguments: { raw: 1 } } });
    expect(await answer).toMatchObject({ id: 1, result: { content: [{ text: '{"raw":1}' }] } });
    expect(t.server('a').opens).toBe(1);
    await raw.close();
  });
});

describe('isolation: shared, subscriptions', () => {
  const uri = 'file:///a';
  const updated = 'notifications/resources/updated';

  async function open() {
    const t = setUp({ a: { resources: [{ uri, name: 'a' }] } }, { entry: { isolation: 'shared' } });
    const [one, two] = [
      await TestCaller.open(t.gateway.connect('a')),
      await TestCaller.open(t.gateway.connect('a')),
    ] as const;
    return {
      one,
      two,
      gateway: t.gateway,
      clock: t.clock,
      instances: t.server('a'),
      get server() {
        return t.server('a').only;
      },
      say: (changed: string) => t.server('a').only.say({ method: updated, params: { uri: changed } }),
      async [Symbol.asyncDispose]() {
        await Promise.all([one.close(), two.close()]);
        await t[Symbol.asyncDispose]();
      },
    };
  }

  test('who is not subscribed cannot end the subscription of another', async () => {
    await using t = await open();
    await t.one.result('resources/subscribe', { uri });
    expect(await t.two.result('resources/unsubscribe', { uri })).toEqual({});
    expect(t.server.requests('resources/unsubscribe')).toEqual([]);
    t.say(uri);
    expect(await t.one.notification(updated)).toEqual({ uri });
  });

  test('one that begins while another ends is kept', async () => {
    await using t = await open();
    await t.one.result('resources/subscribe', { uri });
    await Promise.all([t.two.result('resources/subscribe', { uri }), t.one.result('resources/unsubscribe', { uri })]);
    expect(t.server.requests('resources/unsubscribe')).toEqual([]);
    t.say(uri);
    expect(await t.two.notification(updated)).toEqual({ uri });
    expect(t.one.notifications(updated)).toEqual([]);
  });

  test('one that is ended before it has begun has ended', async () => {
    await using t = await open();
    await Promise.all([t.one.result('resources/subscribe', { uri }), t.one.result('resources/unsubscribe', { uri })]);
    expect(t.server.requests('resources/unsubscribe')).toHaveLength(1);
    await t.two.result('resources/subscribe', { uri });
    t.say(uri);
    await t.two.notification(updated);
    expect(t.one.notifications(updated)).toEqual([]);
  });

  test("one that was called off before its answer ends at the server, and stands in nobody's way", async () => {
    await using t = await open();
    t.instances.script.on = { 'resources/subscribe': () => hold };
    await t.one.send({ id: 7, method: 'resources/subscribe', params: { uri } });
    await t.instances.request('resources/subscribe');
    await t.one.send({ method: 'notifications/cancelled', params: { requestId: 7 } });
    await t.instances.request('resources/unsubscribe');
    t.instances.script.on = {};
    await t.two.result('resources/subscribe', { uri });
    await t.two.result('resources/unsubscribe', { uri });
    expect(t.server.requests('resources/unsubscribe')).toHaveLength(2);
  });

  test('the end of one starts no server in place of one that ends', async () => {
    await using t = await open();
    await t.one.result('resources/subscribe', { uri });
    const { server } = t;
    const gone = Promise.withResolvers<void>();
    const close = server.close.bind(server);
    Object.assign(server, { close: () => gone.promise.then(close) });
    const stopping = t.gateway.stop('a');
    await settle();
    const closing = t.one.close();
    await settle();
    gone.resolve();
    await Promise.all([stopping, closing]);
    await settle();
    expect(t.instances.opens).toBe(1);
  });

  test('one that was called off does not end another one', async () => {
    await using t = await open();
    await t.two.result('resources/subscribe', { uri });
    t.instances.script.on = { 'resources/subscribe': () => hold };
    await t.one.send({ id: 7, method: 'resources/subscribe', params: { uri } });
    const again = t.one.request('resources/subscribe', { uri });
    const { request } = await t.instances.request('resources/subscribe', 2);
    await t.one.send({ method: 'notifications/cancelled', params: { requestId: 7 } });
    await settle();
    t.server.answer(request, {});
    await again;
    expect(t.server.requests('resources/unsubscribe')).toEqual([]);
    t.say(uri);
    await Promise.all([t.one, t.two].map((caller) => caller.notification(updated)));
  });

  test('the end of one with its server starts no other', async () => {
    await using t = await open();
    await t.one.result('resources/subscribe', { uri });
    t.server.die();
    await t.clock.advance(60_000);
    expect([t.one.closed, t.two.closed, t.instances.opens]).toEqual([1, 1, 1]);
  });

  test('an update reaches who is subscribed to it or what it is a part of, and not to what merely begins alike', async () => {
    await using t = await open();
    await t.one.result('resources/subscribe', { uri });
    await t.two.result('resources/subscribe', { uri: 'file:///abc' });
    for (const changed of ['file:///abc', 'file:///a/b', 'file:///a']) {
      t.say(changed);
    }
    await t.one.notification(updated, 1);
    expect(t.one.notifications(updated)).toEqual([{ uri: 'file:///a/b' }, { uri: 'file:///a' }]);
    expect(t.two.notifications(updated)).toEqual([{ uri: 'file:///abc' }]);
  });
});

test('after a crash the next call waits for the back-off and gets another instance', async () => {
  await using t = setUp({ a: script }, { entry: { isolation: 'shared' } });
  await using caller = await t.caller();
  await caller.result('tools/call', { name: 'a__who' });
  t.server('a').only.die();
  await settle();
  const next = caller.request('tools/call', { name: 'a__who' });
  for (let step = 0; step < 20; step += 1) {
    await t.clock.advance(100);
  }
  expect((await next).result).toBeDefined();
  expect(t.server('a').opens).toBe(2);
});

describe('isolation: request', () => {
  test('each request gets a fresh instance, which ends with the answer', async () => {
    await using t = setUp({ a: script }, { entry: { isolation: 'request' } });
    await using caller = await t.caller();
    for (let index = 0; index < 3; index += 1) {
      await caller.result('tools/call', { name: 'a__who' });
      await settle();
    }
    expect(t.server('a').opens).toBe(3);
    expect(t.server('a').live).toEqual([]);
    expect(() => t.gateway.connect('a')).toThrow(
      expect.objectContaining({ code: 'ISOLATION_UNSUPPORTED', delivered: false }),
    );
  });

  test('each instance is told the level of the log, and nothing can be subscribed to', async () => {
    const resources = [{ uri: 'file:///a', name: 'a' }];
    await using t = setUp({ a: { tools: [{ name: 'who' }], resources } }, { entry: { isolation: 'request' } });
    await using caller = await t.caller();
    await caller.result('logging/setLevel', { level: 'debug' });
    for (const count of [1, 2]) {
      await caller.result('tools/call', { name: 'a__who' });
      expect(t.server('a').opens).toBe(count);
    }
    for (const instance of t.server('a').instances) {
      expect(instance.requests('logging/setLevel').map(({ params }) => params?.level)).toEqual(['debug']);
      expect(instance.requests('tools/call')).toHaveLength(1);
    }
    await caller.list('resources');
    const { code, message } = await caller.error('resources/subscribe', { uri: 'file:///a' });
    expect([code, message]).toEqual([-32601, expect.stringContaining('isolation: request')]);
  });

  test('runs nothing as a task, and says so', async () => {
    const tasks = { list: {}, cancel: {}, requests: { tools: { call: {} } } };
    const capabilities = { tools: {}, tasks };
    const tools = ['optional', 'required'].map((taskSupport) => ({
      name: taskSupport,
      execution: { taskSupport, own: 1 },
    }));
    await using t = setUp({ a: { ...script, tools, capabilities } }, { entry: { isolation: 'request' } });
    await using caller = await t.caller({}, { caller: { id: 'same' } });
    const { code, message } = await caller.error('tools/call', { name: 'a__who', task: { ttl: 1_000 } });
    expect([code, message]).toEqual([-32602, expect.stringContaining('isolation: request')]);
    expect(t.server('a').instances.flatMap((instance) => instance.requests('tools/call'))).toEqual([]);
    await caller.result('tools/call', { name: 'a__who' });
    // Clients ask for a task where the tool says that it may run as one, and other servers may have declared tasks.
    expect((await caller.list('tools')).map(({ execution }) => execution)).toEqual([
      { own: 1 },
      { taskSupport: 'required', own: 1 },
    ]);
    // Known of it by now, and without what it has for tasks.
    await using other = await t.caller({}, { caller: { id: 'same' } });
    expect(other.received[0]).toMatchObject({ result: { capabilities: { tools: {} } } });
    expect(other.received[0]).not.toHaveProperty('result.capabilities.tasks');
  });

  test('has a stateless server make no task of a call', async () => {
    const extensions = { 'io.modelcontextprotocol/tasks': {}, own: {} };
    const task = { taskId: 't', status: 'working', createdAt: '', lastUpdatedAt: '', ttlMs: null };
    const server = statelessServer({
      'server/discover': () => discovery({ capabilities: { tools: {}, extensions } }),
      'tools/call': ({ params }) =>
        JSON.stringify(params?._meta).includes('/tasks')
          ? { resultType: 'task', ...task }
          : { resultType: 'complete', content: [] },
    });
    await using t = setUp({ a: server }, { entry: { isolation: 'request' } });
    await using caller = await ModernTestCaller.open(t.gateway.connect({ caller: { id: 'same' } }), { extensions });
    expect(await caller.call('a__go')).toMatchObject({ resultType: 'complete', content: [] });
    const { request } = await t.server('a').request('tools/call');
    expect(request.params?._meta).toMatchObject({
      'io.modelcontextprotocol/clientCapabilities': { extensions: { own: {} } },
    });
    await using other = await ModernTestCaller.open(t.gateway.connect({ caller: { id: 'same' } }), { extensions });
    expect((await other.result('server/discover')).capabilities).toMatchObject({ extensions: { own: {} } });
    expect((await other.result('server/discover')).capabilities).not.toHaveProperty([
      'extensions',
      'io.modelcontextprotocol/tasks',
    ]);
  });

  test('what was known of a server with another isolation, tasks included, counts no more', async () => {
    const tools = [{ name: 'x', execution: { taskSupport: 'optional' } }];
    const tasks = { list: {}, cancel: {}, requests: { tools: { call: {} } } };
    await using t = setUp({ a: { ...script, tools, capabilities: { tools: {}, tasks } } });
    const options = { caller: { id: 'same' } };
    await using one = await t.caller({}, options);
    expect(await one.list('tools')).toMatchObject(tools.map((tool) => ({ ...tool, name: 'a__x' })));
    await settle();
    const servers = [{ id: 'a', isolation: 'request' as const, runtime: { type: 'scripted' as const, script: 'a' } }];
    await t.gateway.reload({ servers });
    await using two = await t.caller({}, options);
    expect(await two.list('tools')).toMatchObject([{ name: 'a__x', execution: {} }]);
    expect(JSON.stringify(await two.list('tools'))).not.toContain('optional');
    await using three = await t.caller({}, options);
    expect(three.received[0]).not.toHaveProperty('result.capabilities.tasks');
  });

  test('an instance that says in each start that its lists have changed has no caller ask for them without end', async () => {
    const told: Script = {
      tools: [{ name: 'who' }],
      on: {
        'tools/list': (_, instance) => {
          for (const kind of ['tools', 'prompts', 'resources']) {
            instance.notify(`notifications/${kind}/list_changed`);
          }
          return { tools: [{ name: 'who' }] };
        },
      },
    };
    await using t = setUp({ a: told }, { entry: { isolation: 'request' } });
    await using caller = await t.caller();
    expect(await caller.toolNames()).toEqual(['a__who']);
    await t.clock.advance(1_000);
    expect(caller.received.filter((message) => 'method' in message)).toEqual([]);
    expect(t.server('a').opens).toBe(1);
  });

  test('what the caller says of its roots, and of the progress of its answers, reaches the instances it is for', async () => {
    await using t = setUp({ a: held }, { entry: { isolation: 'request' } });
    await using caller = await t.caller({ sampling: {}, roots: { listChanged: true } });
    for (const index of [0, 1]) {
      await caller.send({ id: index, method: 'tools/call', params: { name: 'a__who' } });
      const { instance } = await t.server('a').request('tools/call', index);
      instance.say({ id: 1, method: 'sampling/createMessage', params: { _meta: { progressToken: 'same' } } });
      await caller.until(() => caller.requests('sampling/createMessage')[index]);
    }
    const [, second] = caller.requests('sampling/createMessage') as { params: { _meta: Json } }[];
    const progressToken = second?.params._meta.progressToken;
    await caller.send({ method: 'notifications/progress', params: { progressToken, progress: 1 } });
    await caller.send({ method: 'notifications/roots/list_changed' });
    await settle();
    const told = (method: string) =>
      t.server('a').instances.map((one) => one.notifications(method).map((each) => each.params));
    expect(told('notifications/progress')).toEqual([[], [{ progressToken: 'same', progress: 1 }]]);
    expect(told('notifications/roots/list_changed')).toEqual([[undefined], [undefined]]);
  });

  test('changed roots reach an instance that has asked for them in its handshake, behind that', async () => {
    const taken = Promise.withResolvers<void>();
    // The first one serves the handshake of the connection.
    const slow = slowToBegin(taken.promise, 1);
    await using t = setUp({ a: slow }, { entry: { isolation: 'request' } });
    await using caller = await t.caller({ roots: { listChanged: true } });
    caller.onRequest = () => ({ roots: [] });
    await caller.result('tools/call', { name: 'a__x' });
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await settle();
    const { only } = t.server('a');
    await only.ask(1, 'roots/list');
    await caller.send({ method: 'notifications/roots/list_changed' });
    taken.resolve();
    await caller.until(() => caller.answers(1)[0]);
    expect(only.notifications('notifications/roots/list_changed')).toHaveLength(1);
  });

  test('an instance takes back its own questions alone, whatever ids others have given theirs', async () => {
    await using t = setUp({ a: held }, { entry: { isolation: 'request' } });
    await using caller = await t.caller({ sampling: {} });
    const ask = async (index: number, own: string) => {
      await caller.send({ id: `call ${index}`, method: 'tools/call', params: { name: 'a__who' } });
      const { instance, request } = await t.server('a').request('tools/call', index);
      instance.say({ id: 1, method: 'sampling/createMessage', params: { own } });
      const asked = await caller.until(() => caller.requests('sampling/createMessage')[index]);
      return { instance, request, id: asked.id };
    };
    const first = await ask(0, 'first');
    const second = await ask(1, 'second');
    second.instance.notify('notifications/cancelled', { requestId: 1, reason: 'no longer' });
    expect(await caller.notification('notifications/cancelled')).toEqual({ requestId: second.id, reason: 'no longer' });
    await caller.send({ id: first.id, result: { to: 'first' } });
    await settle();
    expect(first.instance.answers(1)).toMatchObject([{ result: { to: 'first' } }]);
    // One that ends with its answer does not wait for others any more.
    const third = await ask(2, 'third');
    third.instance.answer(third.request, { content: [] });
    expect(await caller.notification('notifications/cancelled', 1)).toMatchObject({ requestId: third.id });
  });

  test('a call that comes in the turn in which its instance is stopped is answered', async () => {
    await using t = setUp({ a: script }, { entry: { isolation: 'request' } });
    await using caller = await t.caller();
    await caller.send({ id: 'early', method: 'tools/call', params: { name: 'a__who' } });
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'early' } });
    await settle();
    // The instance of the handshake is there, and nobody has used it.
    expect(t.server('a').live).toHaveLength(1);
    const stopping = t.gateway.stop('a');
    const answer = await caller.request('tools/call', { name: 'a__who' });
    expect(answer.error).toMatchObject({ data: { code: 'SERVER_STOPPED', delivered: false } });
    await stopping;
  });

  test.each([
    ['answered', {}],
    ['cancelled', { on: { 'tools/call': () => hold } }],
    ['refused in its handshake', { on: { initialize: () => hold } }],
  ])('a caller that leaves waits for the end of an instance whose request was %s', async (what, on) => {
    const entry = { isolation: 'request', protocol: 'legacy', start_timeout: '1s' };
    await using t = setUp({ a: { tools: [{ name: 'x' }], ...on } }, { entry });
    const caller = await t.caller();
    const answer = caller.request('tools/call', { name: 'a__x' }, 'call');
    const { instance } = await t.server('a').request('initialize');
    const ended = Promise.withResolvers<void>();
    const close = instance.close.bind(instance);
    instance.close = () => ended.promise.then(close);
    await settle();
    if (what === 'cancelled') {
      await caller.send({ method: 'notifications/cancelled', params: { requestId: 'call' } });
    } else {
      await t.clock.advance(what === 'answered' ? 0 : 1_000);
      await answer;
    }
    let hasLeft = false;
    const leaving = caller[Symbol.asyncDispose]().then(() => {
      hasLeft = true;
    });
    await settle();
    const hadLeft = hasLeft;
    ended.resolve();
    await leaving;
    expect(hadLeft).toBe(false);
    expect(instance.closed).toBe(true);
  });
});

describe('isolation: caller', () => {
  test('connections of one caller.id share its instance, and others have their own', async () => {
    await using t = setUp({ a: script });
    await using one = await t.caller({}, { caller: { id: 'ada' } });
    await using again = await t.caller({}, { caller: { id: 'ada' } });
    await using other = await t.caller({}, { caller: { id: 'bob' } });
    for (const caller of [one, again, other]) {
      await caller.result('tools/call', { name: 'a__who' });
    }
    expect(t.server('a').opens).toBe(2);
  });

  test('a caller that comes back while its instance ends waits, and then gets a new one', async () => {
    await using t = setUp({ a: script });
    const options = { caller: { id: 'ada' } };
    const one = await t.caller({}, options);
    await one.result('tools/call', { name: 'a__who' });
    const { only } = t.server('a');
    const ended = Promise.withResolvers<void>();
    const close = only.close.bind(only);
    only.close = () => ended.promise.then(close);
    const leaving = one.close();
    // It may hold a file or a port, also for who comes after somebody who came and left.
    const two = await t.caller({}, options);
    const unanswered = two.send({ id: 1, method: 'tools/call', params: { name: 'a__who' } });
    await settle();
    const leavingToo = two.close();
    await using three = await t.caller({}, options);
    const answer = three.result('tools/call', { name: 'a__who' });
    await settle();
    expect(t.server('a').opens).toBe(1);
    await using other = await t.caller({}, { caller: { id: 'bob' } });
    await other.result('tools/call', { name: 'a__who' });
    expect(t.server('a').opens).toBe(2);
    ended.resolve();
    await Promise.all([leaving, leavingToo, unanswered, answer]);
    expect(t.server('a').opens).toBe(3);
  });

  test('an instance rests after idle_timeout, counted from its last answer, and starts again when it is needed', async () => {
    await using t = setUp({ a: script }, { entry: { idle_timeout: '1m', health: { interval: '10s' } } });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__who' });
    await t.clock.advance(50_000);
    await caller.result('tools/call', { name: 'a__who' });
    await t.clock.advance(50_000);
    expect(t.server('a').live).toHaveLength(1);
    await t.clock.advance(20_000);
    expect(t.server('a').live).toEqual([]);
    expect(t.gateway.status('a').phase).toBe('idle');
    await caller.result('tools/call', { name: 'a__who' });
    expect(t.server('a').opens).toBe(2);
  });

  test.each(['caller', 'shared', 'principal'])(
    'a connection that closes with nothing open puts the rest of its server off no longer, isolation: %s',
    async (isolation) => {
      await using t = setUp({ a: script }, { entry: { isolation, idle_timeout: '1m', health: { interval: 0 } } });
      const options = { caller: { id: 'ada', principal: 'staff' } };
      await using one = await t.caller({}, options);
      const two = await t.caller({}, options);
      await two.result('tools/call', { name: 'a__who' });
      await one.result('tools/call', { name: 'a__who' });
      await t.clock.advance(40_000);
      await two.close();
      await t.clock.advance(20_000);
      expect(t.gateway.status('a').phase).toBe('idle');
    },
  );

  test('an instance is not stopped while a call is open, however long it takes', async () => {
    await using t = setUp(
      { a: held },
      { entry: { idle_timeout: '1m', request_timeout: '1h', health: { interval: 0 } } },
    );
    await using caller = await t.caller();
    const calling = caller.request('tools/call', { name: 'a__who' });
    const { instance, request } = await t.server('a').request('tools/call');
    await t.clock.advance(30 * 60_000);
    instance.say({ id: request.id, result: { content: [] } });
    expect((await calling).result).toBeDefined();
    expect(t.server('a').opens).toBe(1);
  });

  test('a server that answers no health check is stopped, and its open calls are answered', async () => {
    const deaf: Script = { ...held, on: { 'tools/call': () => hold, ping: () => hold } };
    await using t = setUp({ a: deaf }, { entry: { health: { interval: '30s', timeout: '5s', failures: 3 } } });
    await using caller = await t.caller();
    const calling = caller.request('tools/call', { name: 'a__who' });
    await t.server('a').request('tools/call');
    await t.clock.advance(120_000);
    expect((await calling).error).toMatchObject({ data: { code: 'SERVER_UNHEALTHY', server: 'a', delivered: true } });
    expect(t.server('a').live).toEqual([]);
  });

  test('a server that answers, but that its runtime finds dead, is stopped too', async () => {
    let asked = 0;
    class Doubtful extends InProcessRuntime {
      override async open(...args: Parameters<InProcessRuntime['open']>) {
        const health = async () => {
          asked += 1;
          throw new Error('the container is gone');
        };
        return Object.assign(await super.open(...args), { health });
      }
    }
    const clock = new FakeClock();
    const server = new ScriptedServer(held);
    const health = { interval: '30s', timeout: '5s', failures: 3 };
    await using gateway = createGateway(
      { servers: [{ id: 'a', runtime: server.runtime, health }] },
      { clock, runtimes: [new Doubtful()] },
    );
    await using caller = await TestCaller.open(gateway.connect());
    const calling = caller.request('tools/call', { name: 'a__who' });
    const { instance } = await server.request('tools/call');
    await clock.advance(120_000);
    expect((await calling).error).toMatchObject({ data: { code: 'SERVER_UNHEALTHY', server: 'a', delivered: true } });
    expect(asked).toBe(3);
    expect(instance.requests('ping')).toHaveLength(3);
  });
});

test.each([
  ['caller', 'legacy'],
  ['shared', 'legacy'],
  ['shared', undefined],
] as const)(
  'a request to one server that ends has not been delivered (isolation: %s, era: %s)',
  async (isolation, era) => {
    await using t = setUp({ a: script }, { entry: { isolation } });
    await using one = await TestCaller.open(t.gateway.connect('a', { era }));
    const gone = Promise.withResolvers<void>();
    const { only } = t.server('a');
    const close = only.close.bind(only);
    only.close = () => gone.promise.then(close);
    const stopping = t.gateway.stop('a');
    await settle();
    const error = one.error('tools/call', { name: 'who' });
    await settle();
    gone.resolve();
    await stopping;
    expect(await error).toMatchObject({ data: { code: 'SERVER_STOPPED', server: 'a', delivered: false } });
    expect(t.server('a').opens).toBe(1);
  },
);

test('a server that connections of one caller share hears of a higher level of the log when who wanted the lowest has left', async () => {
  await using t = setUp({ a: { tools: [{ name: 'go' }] } });
  const levels = () =>
    t
      .server('a')
      .only.requests('logging/setLevel')
      .map(({ params }) => params?.level);
  const ada = { caller: { id: 'ada' } };
  await using one = await t.caller({}, ada);
  await using two = await t.caller({}, ada);
  for (const [caller, level] of [
    [one, 'error'],
    [two, 'debug'],
  ] as const) {
    await caller.result('tools/call', { name: 'a__go' });
    await caller.result('logging/setLevel', { level });
  }
  await settle();
  expect(levels()).toEqual(['error', 'debug']);
  await two.close();
  await settle();
  expect(levels()).toEqual(['error', 'debug', 'error']);
  await using three = await t.caller({}, ada);
  await three.result('tools/call', { name: 'a__go' });
  await three.close();
  await settle();
  expect(levels()).toEqual(['error', 'debug', 'error']);
});
