import { describe, expect, test } from 'vitest';
import { type Caller, errorNumbers, GatewayError, type Interceptor } from '../../src/index.js';
import { createLinkedPair } from '../../src/transport/linked-pair.js';
import { settle } from '../support/fake-clock.js';
import { collectGarbage } from '../support/heap.js';
import { envelope, ModernTestCaller } from './modern-caller.js';
import { statelessServer } from './modern-servers.js';
import { hold, type Json, RpcError, type Script, ScriptedServer } from './scripted-server.js';
import { setUp } from './setup.js';
import { TestCaller } from './test-caller.js';

const script: Script = { tools: [{ name: 'x' }], resources: [{ uri: 'x://1', name: '1' }] };
const held: Script = { ...script, on: { 'tools/call': () => hold } };

describe('a start that fails', () => {
  test('answers the call that wanted it, with a typed error; the next call tries again', async () => {
    await using t = setUp({
      a: {
        ...script,
        open: (_, opens) => {
          if (opens === 1) throw new Error('no luck');
        },
      },
    });
    await using caller = await t.caller();
    const error = await caller.error('tools/call', { name: 'a__x' });
    expect(error).toMatchObject({ data: { code: 'START_FAILED', server: 'a', delivered: false } });
    expect(error.message).toMatch(/^"a": .*no luck/);
    expect(error.code < -32768 || error.code > -32000).toBe(true);
    await t.clock.advance(60_000);
    expect(await caller.result('tools/call', { name: 'a__x' })).toMatchObject({ content: [] });
    expect(caller.closed).toBe(0);
  });

  test('a refusal of initialize is one', async () => {
    const refusing = new ScriptedServer({ ...script });
    refusing.script.on = {
      initialize: (request, instance) => {
        instance.say({ id: request.id, error: { code: -32602, message: 'unsupported' } });
        return hold;
      },
    };
    await using t = setUp({ a: refusing });
    await using caller = await t.caller();
    const error = await caller.error('tools/call', { name: 'a__x' });
    expect(error).toMatchObject({ data: { code: 'START_FAILED', server: 'a', delivered: false } });
    expect(error.message).toContain('unsupported');
    await settle();
    expect(refusing.live).toEqual([]);
    // It counts: the next start waits for the back-off.
    const lastError = { code: 'START_FAILED', message: expect.stringContaining('unsupported') };
    expect(t.gateway.status('a')).toMatchObject({ phase: 'failed', lastError });
    const next = caller.error('tools/call', { name: 'a__x' });
    await settle();
    expect(refusing.opens).toBe(1);
    await t.clock.advance(60_000);
    await next;
    expect(refusing.opens).toBe(2);
  });

  test('takes back what the server had asked: an answer goes to no later start that asks under the same id', async () => {
    const asking = new ScriptedServer({ ...script });
    asking.script.on = {
      initialize: ({ params }, instance) => {
        instance.say({ id: 'q', method: 'sampling/createMessage', params: { start: asking.opens } });
        if (asking.opens === 1) throw new RpcError(-32602, 'unsupported');
        return { protocolVersion: params?.protocolVersion, capabilities: { tools: {} }, serverInfo: {} };
      },
    };
    await using t = setUp({ a: asking });
    await using caller = await t.caller({ sampling: {} });
    await caller.error('tools/call', { name: 'a__x' });
    const [first] = caller.requests('sampling/createMessage');
    expect(await caller.notification('notifications/cancelled')).toMatchObject({ requestId: first?.id });
    await t.clock.advance(60_000);
    await caller.result('tools/call', { name: 'a__x' });
    await caller.send({ id: first?.id, result: { to: 1 } });
    await caller.send({ id: caller.requests('sampling/createMessage')[1]?.id, result: { to: 2 } });
    expect(asking.only.answers('q')).toMatchObject([{ result: { to: 2 } }]);
  });

  test('a server that never answers initialize is stopped after start_timeout', async () => {
    const silent = new ScriptedServer({ ...script, on: { initialize: () => hold } });
    await using t = setUp({ a: silent }, { entry: { start_timeout: '2s' } });
    await using caller = await t.caller();
    const calling = caller.error('tools/call', { name: 'a__x' });
    await t.clock.advance(2_000);
    expect(await calling).toMatchObject({ data: { code: 'START_TIMEOUT', server: 'a', delivered: false } });
    await settle();
    expect(silent.live).toEqual([]);
  });

  test('a server that ends in its handshake, or just after it, costs only the calls that waited', async () => {
    for (const answers of [false, true]) {
      const fickle = new ScriptedServer({ ...script });
      fickle.script.on = {
        initialize: (request, instance) => {
          const result = {
            protocolVersion: '2025-11-25',
            capabilities: { tools: {} },
            serverInfo: { name: 'a', version: '1' },
          };
          (answers || fickle.opens > 1) && instance.answer(request, result);
          fickle.opens === 1 && instance.die();
          return hold;
        },
      };
      await using t = setUp({ a: fickle });
      await using caller = await t.caller();
      const errors = await Promise.all([1, 2].map(() => caller.error('tools/call', { name: 'a__x' })));
      expect(errors).toMatchObject(Array(2).fill({ data: { code: 'SERVER_EXITED', server: 'a', delivered: false } }));
      await t.clock.advance(60_000);
      expect(await caller.result('tools/call', { name: 'a__x' })).toMatchObject({ content: [] });
      expect(fickle.opens).toBe(2);
    }
  });

  test('what the host does not allow is said', async () => {
    await using t = setUp({ a: script }, { authorize: () => false });
    await using caller = await t.caller();
    expect(await caller.error('tools/call', { name: 'a__x' })).toMatchObject({
      data: { code: 'NOT_AUTHORIZED', delivered: false },
    });
    expect(t.server('a').opens).toBe(0);
  });
});

describe('a server that dies', () => {
  test('answers each open request once, says whether it was delivered, and hurts no other server', async () => {
    await using t = setUp({ a: held, b: held });
    await using caller = await t.caller();
    const first = caller.request('tools/call', { name: 'a__x' }, 1);
    const second = caller.request('tools/call', { name: 'a__x' }, 2);
    const other = caller.request('tools/call', { name: 'b__x' }, 3);
    const { instance } = await t.server('a').request('tools/call', 1);
    const b = await t.server('b').request('tools/call');
    instance.die(7);
    for (const answer of await Promise.all([first, second])) {
      expect(answer.error).toMatchObject({
        data: { code: 'SERVER_EXITED', server: 'a', delivered: 'unknown', exit: { code: 7 } },
      });
    }
    b.instance.answer(b.request, { content: [] });
    expect(await other).toMatchObject({ result: { content: [] } });
    await settle();
    for (const id of [1, 2, 3]) {
      expect(caller.answers(id)).toHaveLength(1);
    }
    expect(caller.closed).toBe(0);
  });

  test('answers a call that comes while it is not gone yet, from the server after it', async () => {
    await using t = setUp({
      a: {
        ...script,
        on: { 'tools/call': ({ params }) => (params?.arguments === undefined ? hold : { content: [] }) },
      },
    });
    await using caller = await t.caller();
    const lost = caller.request('tools/call', { name: 'a__x' });
    await t.server('a').request('tools/call');
    let next: Promise<Json> | undefined;
    const { onmessage } = caller.transport;
    caller.transport.onmessage = (message, extra) => {
      // As a caller does that tries again the moment it hears of the failure.
      next ??= caller.result('tools/call', { name: 'a__x', arguments: {} });
      onmessage?.(message, extra);
    };
    t.server('a').only.die();
    expect(await lost).toMatchObject({ error: { data: { code: 'SERVER_EXITED' } } });
    await t.clock.advance(2_000);
    expect(await next).toEqual({ content: [] });
    expect(t.server('a').opens).toBe(2);
  });

  test('comes back with the next call, with the log level and subscriptions of its caller', async () => {
    await using t = setUp({ a: script });
    await using caller = await t.caller();
    await caller.result('logging/setLevel', { level: 'error' });
    await caller.result('resources/subscribe', { uri: 'x://1' });
    await caller.result('resources/subscribe', { uri: 'x://1?2' }).catch(() => {});
    t.server('a').only.die();
    await t.clock.advance(60_000);
    await caller.result('tools/call', { name: 'a__x' });
    await settle();
    const { only, instances } = t.server('a');
    expect(instances).toHaveLength(2);
    expect(only.requests('logging/setLevel').map(({ params }) => params)).toEqual([{ level: 'error' }]);
    expect(only.requests('resources/subscribe').map(({ params }) => params)).toEqual([{ uri: 'x://1' }]);
    only.notify('notifications/resources/updated', { uri: 'x://1' });
    expect(await caller.notification('notifications/resources/updated', 1)).toEqual({ uri: 'x://1' });
    expect(caller.notifications('notifications/message')).toEqual([]);
  });

  test.each([
    ['caller', 'legacy'],
    ['caller', 'modern'],
    ['shared', 'legacy'],
    ['shared', 'modern'],
  ])(
    'is followed by one of which the caller hears once that what it watches may have changed, isolation: %s, era: %s',
    async (isolation, era) => {
      const updated = 'notifications/resources/updated';
      const resources = [1, 2, 3].map((n) => ({ uri: `x://${n}`, name: `${n}` }));
      await using t = setUp({ a: { ...script, resources } }, { entry: { isolation } });
      const open = () => (era === 'legacy' ? t.caller() : ModernTestCaller.open(t.gateway.connect()));
      await using caller = await open();
      await using other = await open();
      const watch = async (who: TestCaller, uri: string) => {
        era === 'legacy'
          ? await who.result('resources/subscribe', { uri })
          : await who.send({
              id: uri,
              method: 'subscriptions/listen',
              params: { notifications: { resourceSubscriptions: [uri] }, _meta: envelope() },
            });
        await settle();
      };
      await watch(caller, 'x://1');
      await watch(caller, 'x://2');
      await watch(other, 'x://3');
      for (const instance of t.server('a').live) instance.die();
      await t.clock.advance(60_000);
      expect(caller.notifications(updated)).toEqual([]);
      const called = caller.result('tools/call', { name: 'a__x' });
      await t.clock.advance(60_000);
      await called;
      await settle();
      expect(caller.notifications(updated).map(({ uri }) => uri)).toEqual(['x://1', 'x://2']);
      expect(other.notifications(updated)).toEqual([]);
    },
  );

  test('is followed by one that refuses a subscription: its caller hears to read again, and the next one is asked again', async () => {
    const updated = 'notifications/resources/updated';
    const refuse = () => {
      throw new RpcError(-32002, 'gone');
    };
    await using t = setUp({ a: { ...script } });
    await using caller = await t.caller();
    await caller.result('resources/subscribe', { uri: 'x://1' });
    t.server('a').script.on = { 'resources/subscribe': refuse, 'resources/read': refuse };
    for (const times of [1, 2]) {
      t.server('a').only.die();
      await t.clock.advance(60_000);
      const called = caller.result('tools/call', { name: 'a__x' });
      await t.clock.advance(60_000);
      await called;
      await settle();
      expect(t.server('a').only.requests('resources/subscribe')).toHaveLength(1);
      expect(caller.notifications(updated)).toEqual(Array(times).fill({ uri: 'x://1' }));
      times === 1 && expect(await caller.error('resources/read', { uri: 'x://1' })).toMatchObject({ code: -32002 });
      t.server('a').script.on = {};
    }
    t.server('a').only.notify(updated, { uri: 'x://1' });
    await caller.notification(updated, 2);
  });

  test('is followed by one that ends before it has taken a subscription: its caller hears of the next one alone', async () => {
    await using t = setUp({ a: { ...script } });
    await using caller = await t.caller();
    await caller.result('resources/subscribe', { uri: 'x://1' });
    const start = async () => {
      t.server('a').only.die();
      await t.clock.advance(60_000);
      const called = caller.result('tools/call', { name: 'a__x' });
      await t.clock.advance(60_000);
      await called;
    };
    t.server('a').script.on = { 'resources/subscribe': () => hold };
    await start();
    expect(t.server('a').only.requests('resources/subscribe')).toHaveLength(1);
    t.server('a').script.on = {};
    await start();
    await settle();
    expect(caller.notifications('notifications/resources/updated')).toEqual([{ uri: 'x://1' }]);
  });

  test('is followed by one of which the caller hears nothing of what it watches no more when that has answered', async () => {
    await using t = setUp({ a: { ...script } });
    await using caller = await t.caller();
    await caller.result('resources/subscribe', { uri: 'x://1' });
    const asked = Promise.withResolvers<Json>();
    t.server('a').script.on = { 'resources/subscribe': () => asked.promise };
    t.server('a').only.die();
    await t.clock.advance(60_000);
    await caller.result('tools/call', { name: 'a__x' });
    await t.server('a').request('resources/subscribe', 1);
    await caller.result('resources/unsubscribe', { uri: 'x://1' });
    asked.resolve({});
    await settle();
    expect(caller.notifications('notifications/resources/updated')).toEqual([]);
  });

  test('is told the latest log level alone, and not started for it, when that was set while the server ended', async () => {
    await using t = setUp({ a: script });
    await using caller = await t.caller();
    const lost = caller.request('tools/call', { name: 'a__hang' });
    await t.server('a').request('tools/call');
    const set: Promise<Json>[] = [];
    const { onmessage } = caller.transport;
    caller.transport.onmessage = (message, extra) => {
      // As a caller may the moment it hears of the failure.
      if (set.length === 0) {
        set.push(caller.result('logging/setLevel', { level: 'alert' }));
        set.push(caller.result('logging/setLevel', { level: 'error' }));
      }
      onmessage?.(message, extra);
    };
    t.server('a').only.die();
    await lost;
    await Promise.all(set);
    await t.clock.advance(60_000);
    expect(t.server('a').opens).toBe(1);
    await caller.result('tools/call', { name: 'a__x' });
    const levels = t
      .server('a')
      .only.requests('logging/setLevel')
      .map(({ params }) => params?.level);
    expect(levels).toEqual(['error']);
  });

  test('has no subscription left that was ended', async () => {
    await using t = setUp({ a: script });
    await using caller = await t.caller();
    await caller.result('resources/subscribe', { uri: 'x://1' });
    await caller.result('resources/unsubscribe', { uri: 'x://1' });
    t.server('a').only.die();
    await t.clock.advance(60_000);
    await caller.result('tools/call', { name: 'a__x' });
    await settle();
    expect(t.server('a').only.requests('resources/subscribe')).toEqual([]);
  });

  test('starts no other for a call that was cancelled while it waited for the end', async () => {
    await using t = setUp({ a: script });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    const { only } = t.server('a');
    const gone = Promise.withResolvers<void>();
    const close = only.close.bind(only);
    Object.assign(only, { close: () => gone.promise.then(close) });
    only.onerror?.(new GatewayError('SERVER_EXITED', 'it crashed', { exit: { code: 1, stderrTail: '' } }));
    await settle();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await settle();
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 1 } });
    gone.resolve();
    await t.clock.advance(60_000);
    expect(t.server('a').opens).toBe(1);
  });

  test.each([
    ['for itself', {}, {}],
    ['shared by a principal whom nobody knows', { isolation: 'principal' }, {}],
    ['for its own caller', {}, { caller: { id: 'ada' } }],
  ])('costs a list that is asked for while it is stopped nothing for good: %s', async (_, more, options) => {
    await using t = setUp({ a: { ...script, on: { 'tools/call': () => hold } } }, { entry: more });
    await using caller = await t.caller({}, options);
    const call = caller.request('tools/call', { name: 'a__x' });
    const { instance, request } = await t.server('a').request('tools/call');
    const stopped = t.gateway.stop('a', { graceMs: 5_000 });
    await settle();
    const isKnown = (await caller.toolNames()).length > 0;
    instance.answer(request, {});
    await call;
    await stopped;
    await t.clock.advance(1_000);
    // Nothing is started for that.
    expect(t.server('a').opens).toBe(1);
    const told = () => caller.notifications('notifications/tools/list_changed').length;
    expect(told()).toBe(isKnown ? 0 : 1);
    expect(await caller.toolNames()).toEqual(['a__x']);
    await t.clock.advance(1_000);
    // Nor is it told again of the list that it has asked for since.
    expect(told()).toBe(isKnown ? 0 : 1);
    await t.gateway.stop('a');
    await t.clock.advance(1_000);
    expect(told()).toBe(isKnown ? 0 : 1);
  });

  test('starts no other for a health check that comes while it ends', async () => {
    await using t = setUp({ a: script }, { entry: { health: { interval: '2s', timeout: '1s' } } });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    const { only } = t.server('a');
    const ended = Promise.withResolvers<void>();
    const close = only.close.bind(only);
    Object.assign(only, { close: () => ended.promise.then(close) });
    const stopped = t.gateway.stop('a');
    await t.clock.advance(3_000);
    ended.resolve();
    await stopped;
    await settle();
    expect(t.server('a').opens).toBe(1);
  });

  test.each([{}, { caller: { id: 'ada' } }])(
    'starts no other for a call that was cancelled while one that was idle ended, for %j',
    async (options) => {
      await using t = setUp({ a: script }, { entry: { idle_timeout: '1s', health: { interval: 0 } } });
      await using caller = await t.caller({}, options);
      await caller.result('tools/call', { name: 'a__x' });
      const { only } = t.server('a');
      const gone = Promise.withResolvers<void>();
      const close = only.close.bind(only);
      Object.assign(only, { close: () => gone.promise.then(close) });
      await t.clock.advance(1_000);
      await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
      await settle();
      await caller.send({ method: 'notifications/cancelled', params: { requestId: 1 } });
      gone.resolve();
      await settle();
      expect(t.server('a').opens).toBe(1);
    },
  );
});

describe('time', () => {
  test('request_timeout: a typed error, a cancellation for the server, and the late answer goes nowhere', async () => {
    await using t = setUp({ a: held }, { entry: { request_timeout: '5s' } });
    await using caller = await t.caller();
    const calling = caller.request('tools/call', { name: 'a__x' }, 1);
    const { instance, request } = await t.server('a').request('tools/call');
    await t.clock.advance(5_000);
    expect((await calling).error).toMatchObject({
      data: { code: 'REQUEST_TIMEOUT', server: 'a', delivered: true },
    });
    expect(instance.notifications('notifications/cancelled')[0]?.params).toMatchObject({ requestId: request.id });
    instance.answer(request, { content: [] });
    await settle();
    expect(caller.answers(1)).toHaveLength(1);
    expect(instance.closed).toBe(false);
  });

  test('progress restarts request_timeout', async () => {
    await using t = setUp({ a: held }, { entry: { request_timeout: '5s' } });
    await using caller = await t.caller();
    const calling = caller.request('tools/call', { name: 'a__x', _meta: { progressToken: 'p' } }, 1);
    const { instance, request } = await t.server('a').request('tools/call');
    for (let step = 0; step < 5; step += 1) {
      await t.clock.advance(4_000);
      const progressToken = request.params?._meta?.progressToken;
      instance.notify('notifications/progress', { progressToken, progress: step });
      await settle();
    }
    instance.answer(request, { content: [] });
    expect(await calling).toMatchObject({ result: { content: [] } });
  });

  test('a server is not idle while it waits for its caller, runs a task, or is subscribed to', async () => {
    const asks: Script = {
      ...script,
      on: {
        'tools/call': (_, instance) => {
          instance.say({ id: 'q', method: 'sampling/createMessage', params: {} });
          return { content: [] };
        },
      },
    };
    const runs: Script = {
      ...script,
      on: {
        'tools/call': () => ({ task: { taskId: 't', status: 'working' } }),
        'tasks/cancel': () => ({ taskId: 't', status: 'cancelled' }),
      },
    };
    await using t = setUp(
      { asks, runs, subscribed: script },
      { entry: { idle_timeout: '1m', health: { interval: 0 } } },
    );
    await using caller = await t.caller({ sampling: {} });
    const live = () => ['asks', 'runs', 'subscribed'].filter((id) => t.server(id).live.length > 0);
    await caller.result('tools/call', { name: 'asks__x' });
    await caller.result('tools/call', { name: 'runs__x', task: {} });
    await caller.result('resources/subscribe', { uri: 'mcp-gateway://subscribed/x%3A%2F%2F1' });
    await t.clock.advance(10 * 60_000);
    expect(live()).toEqual(['asks', 'runs', 'subscribed']);
    await caller.send({ id: caller.requests('sampling/createMessage')[0]?.id, result: {} });
    await t.clock.advance(10 * 60_000);
    expect(live()).toEqual(['runs', 'subscribed']);
    await caller.result('tasks/cancel', { taskId: 't' });
    await caller.result('resources/unsubscribe', { uri: 'mcp-gateway://subscribed/x%3A%2F%2F1' });
    await t.clock.advance(10 * 60_000);
    expect(live()).toEqual([]);
  });

  test('a task keeps its server running until its ttl is over, counted from when something was last heard of it', async () => {
    const task = { taskId: 't', status: 'working', ttl: 5 * 60_000 };
    const runs: Script = { ...script, on: { 'tools/call': () => ({ task }), 'tasks/get': () => task } };
    await using t = setUp({ runs }, { entry: { idle_timeout: '1m', health: { interval: 0 } } });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'runs__x', task: {} });
    await t.clock.advance(4 * 60_000);
    await caller.result('tasks/get', { taskId: 't' });
    await t.clock.advance(4 * 60_000);
    expect(t.server('runs').live).toHaveLength(1);
    await t.clock.advance(2 * 60_000);
    expect(t.server('runs').live).toEqual([]);
  });

  test.each(['caller', 'shared'])('so does a task of a stateless server, isolation: %s', async (isolation) => {
    const task = { taskId: 't', status: 'working', createdAt: '', lastUpdatedAt: '', ttlMs: 5 * 60_000 };
    const runs = statelessServer({
      'tools/call': () => ({ resultType: 'task', ...task }),
      'tasks/get': () => ({ resultType: 'complete', ...task }),
    });
    await using t = setUp({ runs }, { entry: { isolation, idle_timeout: '1m', health: { interval: 0 } } });
    const capabilities = { extensions: { 'io.modelcontextprotocol/tasks': {} } };
    await using caller = await ModernTestCaller.open(t.gateway.connect(), capabilities);
    await caller.call('runs__go');
    await t.clock.advance(4 * 60_000);
    await caller.result('tasks/get', { taskId: 't' });
    await t.clock.advance(4 * 60_000);
    expect(t.server('runs').live).toHaveLength(1);
    await t.clock.advance(2 * 60_000);
    expect(t.server('runs').live).toEqual([]);
  });

  test('a task goes on when an interceptor does not wait for its result', async () => {
    const runs: Script = {
      ...script,
      on: {
        'tools/call': () => ({ task: { taskId: 't', status: 'working', ttl: null } }),
        'tasks/result': () => hold,
      },
    };
    await using t = setUp(
      { runs },
      {
        entry: { idle_timeout: '1m', health: { interval: 0 } },
        intercept: async ({ method }, next) => {
          const answer = next();
          answer.catch(() => {});
          if (method === 'tasks/result') {
            throw Object.assign(new Error('the request timed out'), { code: -32001 });
          }
          return answer;
        },
      },
    );
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'runs__x', task: {} });
    expect(await caller.error('tasks/result', { taskId: 't' })).toMatchObject({ code: -32001 });
    await t.clock.advance(10 * 60_000);
    expect(t.server('runs').live).toHaveLength(1);
  });

  describe('a task that has begun behind an interceptor', () => {
    const gate = Promise.withResolvers<void>();
    const task = { taskId: 't', status: 'working', ttl: null };
    const begins: Script = {
      ...script,
      on: { 'tools/call': ({ params }) => (params?.task === undefined ? {} : { task }) },
    };
    const begin: [string, Json] = ['tools/call', { name: 'a__x', task: {} }];
    const entry = { idle_timeout: '1m', health: { interval: 0 } };

    test('goes on though its server has lived long enough', async () => {
      const slow: Script = { ...script, on: { 'tools/call': () => gate.promise.then(() => ({ task })) } };
      const intercept: Interceptor = (_, next) => next();
      await using t = setUp({ a: slow }, { entry: { max_lifetime: '10s', health: { interval: 0 } }, intercept });
      await using caller = await t.caller();
      const begun = caller.result(...begin);
      await t.server('a').request('tools/call');
      await t.clock.advance(10_000);
      gate.resolve();
      await begun;
      await t.clock.advance(0);
      expect(t.server('a').live).toHaveLength(1);
    });

    test('keeps no server when its caller is told of none, or when it has ended with its own', async () => {
      for (const isRefused of [true, false]) {
        const thought = Promise.withResolvers<void>();
        const intercept: Interceptor = async ({ params }, next) => {
          const result = await next();
          if (params.task === undefined) return result;
          await thought.promise;
          return isRefused ? { isError: true, content: [] } : result;
        };
        await using t = setUp({ a: begins }, { entry, intercept });
        await using caller = await t.caller();
        const begun = caller.result(...begin);
        const { instance } = await t.server('a').request('tools/call');
        await settle();
        if (!isRefused) {
          instance.onerror?.(new GatewayError('SERVER_EXITED', 'it crashed', { exit: { code: 1, stderrTail: '' } }));
          await instance.close();
          await t.clock.advance(60_000);
          await caller.result('tools/call', { name: 'a__x' });
        }
        thought.resolve();
        await begun;
        await t.clock.advance(60_000);
        expect(t.server('a').live).toEqual([]);
      }
    });
  });

  test.each(['caller', 'shared'])(
    'a list in pages that meets max_lifetime comes whole, of one server, isolation: %s',
    async (isolation) => {
      const gate = Promise.withResolvers<void>();
      const pages: Script = {
        ...script,
        on: {
          'tools/list': async ({ params }, instance) => {
            const own = instance.context.instanceId;
            if (params?.cursor === undefined) {
              await gate.promise;
              return { tools: [{ name: 'one' }], nextCursor: own };
            }
            return { tools: params.cursor === own ? [{ name: 'two' }] : [] };
          },
        },
      };
      const entry = { isolation, max_lifetime: '10s', list_timeout: '1m', health: { interval: 0 } };
      await using t = setUp({ a: pages }, { entry });
      await using caller = await t.caller();
      const names = caller.toolNames();
      await t.server('a').request('tools/list');
      await t.clock.advance(10_000);
      gate.resolve();
      expect(await names).toEqual(['a__one', 'a__two']);
      await t.clock.advance(0);
      expect(t.server('a').live).toEqual([]);
    },
  );

  test.each(['caller', 'shared'])(
    'max_lifetime ends a server that is asked without a pause, isolation: %s',
    async (isolation) => {
      await using t = setUp({ a: held }, { entry: { isolation, max_lifetime: '10s', health: { interval: 0 } } });
      await using caller = await t.caller();
      const first = caller.result('tools/call', { name: 'a__x' });
      const next = first.then(() => caller.result('tools/call', { name: 'a__x' }));
      const { instance, request } = await t.server('a').request('tools/call');
      await t.clock.advance(10_000);
      instance.answer(request, { content: [] });
      await first;
      await t.clock.advance(0);
      expect(instance.closed).toBe(true);
      const second = await t.server('a').request('tools/call', 1);
      second.instance.answer(second.request, { content: [] });
      await next;
    },
  );

  test.each([null, ''])(
    'max_lifetime ends a server that is asked for lists without a pause, also where it writes %j for no further page',
    async (nextCursor) => {
      const list = { tools: [{ name: 'x' }], nextCursor };
      const on: Script['on'] = {
        'tools/list': (_, instance) => (instance === t.server('a').instances[0] ? hold : list),
      };
      const entry = { max_lifetime: '10s', list_timeout: '1m', health: { interval: 0 } };
      await using t = setUp({ a: { ...script, on } }, { entry });
      await using caller = await t.caller();
      const first = caller.result('tools/list');
      const next = first.then(() => caller.result('tools/list'));
      const { instance, request } = await t.server('a').request('tools/list');
      await t.clock.advance(10_000);
      instance.answer(request, list);
      await first;
      await settle();
      await t.clock.advance(0);
      expect(instance.closed).toBe(true);
      await next;
    },
  );

  test.each([
    ['is told to have ended', { taskId: 't', status: 'completed' }, 11_000],
    ['is heard of no more', undefined, 61_000],
  ])('max_lifetime ends a server when its task %s, also without a request', async (_, news, ms) => {
    const task = { taskId: 't', status: 'working', ttl: 60_000 };
    const runs: Script = { ...script, on: { 'tools/call': () => ({ task }) } };
    const entry = { idle_timeout: 0, max_lifetime: '10s', health: { interval: 0 } };
    await using t = setUp({ a: runs }, { entry });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x', task: {} });
    await t.clock.advance(10_000);
    expect(t.server('a').live).toHaveLength(1);
    news && t.server('a').only.notify('notifications/tasks/status', news);
    await t.clock.advance(ms - 10_000);
    expect(t.server('a').live).toEqual([]);
  });

  test('a task that a list says no ttl of keeps its server for no longer than was said when it began', async () => {
    const task = { taskId: 't', status: 'working' };
    const lists: Script = {
      ...script,
      capabilities: { tools: {}, tasks: { list: {} } },
      on: { 'tools/call': () => ({ task: { ...task, ttl: 60_000 } }), 'tasks/list': () => ({ tasks: [task] }) },
    };
    const entry = { idle_timeout: 0, max_lifetime: '10s', health: { interval: 0 } };
    await using t = setUp({ a: lists }, { entry });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x', task: {} });
    expect(await caller.result('tasks/list')).toEqual({ tasks: [{ ...task, ttl: null }] });
    await t.clock.advance(10_000);
    expect(t.server('a').live).toHaveLength(1);
    await t.clock.advance(51_000);
    expect(t.server('a').live).toEqual([]);
  });

  test('a task that a server lists in its last answer within max_lifetime keeps no later one from its rest', async () => {
    const lists: Script = {
      ...script,
      capabilities: { tools: {}, tasks: { list: {} } },
      on: { ...script.on, 'tasks/list': () => hold },
    };
    const entry = { idle_timeout: '10s', max_lifetime: '1m', list_timeout: '2m', health: { interval: 0 } };
    await using t = setUp({ a: lists }, { entry });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    const listing = caller.result('tasks/list');
    const { instance, request } = await t.server('a').request('tasks/list');
    await t.clock.advance(60_000);
    const task = { taskId: 't', status: 'working', ttl: null };
    instance.answer(request, { tasks: [task] });
    expect(await listing).toEqual({ tasks: [task] });
    await settle();
    expect(t.server('a').live).toEqual([]);
    await caller.result('tools/call', { name: 'a__x' });
    expect(t.server('a').live).toHaveLength(1);
    await t.clock.advance(10_000);
    expect(t.server('a').live).toEqual([]);
  });

  test('max_lifetime ends a server whose last question is answered', async () => {
    await using t = setUp({ a: script }, { entry: { idle_timeout: 0, max_lifetime: '10s', health: { interval: 0 } } });
    await using caller = await t.caller({ roots: {} });
    await caller.result('tools/call', { name: 'a__x' });
    const answered = t.server('a').only.ask(1, 'roots/list');
    const question = await caller.until(() => caller.requests('roots/list')[0]);
    await t.clock.advance(10_000);
    expect(t.server('a').live).toHaveLength(1);
    await caller.send({ id: question.id, result: { roots: [] } });
    await answered;
    await t.clock.advance(1_000);
    expect(t.server('a').live).toEqual([]);
  });

  test('a subscription that an interceptor hands on after the server has come to its rest starts the next one', async () => {
    const gate = Promise.withResolvers<Json>();
    const resources = [{ uri: 'file:///x', name: 'x' }];
    const runs: Script = {
      ...script,
      resources,
      on: { 'resources/subscribe': (_, { server }) => (server.opens === 1 ? gate.promise : {}) },
    };
    await using t = setUp(
      { runs },
      {
        entry: { max_lifetime: '10s', health: { interval: 0 } },
        intercept: async (_, next) => ({ ...(await next()) }),
      },
    );
    await using caller = await t.caller();
    await caller.list('resources');
    const subscribed = caller.result('resources/subscribe', { uri: 'file:///x' });
    await t.server('runs').request('resources/subscribe');
    await t.clock.advance(10_000);
    gate.resolve({});
    await subscribed;
    await t.clock.advance(0);
    expect(t.server('runs').opens).toBe(2);
    expect(t.server('runs').only.requests('resources/subscribe')).toHaveLength(1);
  });

  test.each(['caller', 'shared'])(
    'a subscription that an interceptor hands on when another server runs is made there, isolation: %s',
    async (isolation) => {
      const thought = Promise.withResolvers<void>();
      const resources = [{ uri: 'file:///x', name: 'x' }];
      const intercept: Interceptor = async ({ method }, next) => {
        const result = await next();
        method === 'resources/subscribe' && (await thought.promise);
        return result;
      };
      await using t = setUp(
        { a: { ...script, resources } },
        { entry: { isolation, health: { interval: 0 } }, intercept },
      );
      await using caller = await t.caller();
      await caller.list('resources');
      const subscribed = caller.result('resources/subscribe', { uri: 'file:///x' });
      const { instance } = await t.server('a').request('resources/subscribe');
      await settle();
      instance.onerror?.(new GatewayError('SERVER_EXITED', 'it crashed', { exit: { code: 1, stderrTail: '' } }));
      await instance.close();
      await t.clock.advance(60_000);
      await caller.result('tools/call', { name: 'a__x' });
      thought.resolve();
      await subscribed;
      await settle();
      expect(t.server('a').opens).toBe(2);
      expect(t.server('a').only.requests('resources/subscribe')).toHaveLength(1);
    },
  );

  test.each(['caller', 'shared'])('a task has ended when its result is there, isolation: %s', async (isolation) => {
    const answers: (() => Json)[] = [
      () => ({ content: [] }),
      () => {
        throw new RpcError(-32000, 'this is how the task has ended');
      },
    ];
    for (const answer of answers) {
      const gate = Promise.withResolvers<void>();
      const runs: Script = {
        ...script,
        on: {
          'tools/call': () => ({ task: { taskId: 't', status: 'working', ttl: null } }),
          'tasks/result': () => gate.promise.then(answer),
        },
      };
      await using t = setUp({ runs }, { entry: { isolation, idle_timeout: '1m', health: { interval: 0 } } });
      await using caller = await t.caller();
      await caller.result('tools/call', { name: 'runs__x', task: {} });
      const result = caller.request('tasks/result', { taskId: 't' });
      // Ours, which says nothing of the task.
      await t.clock.advance(10 * 60_000);
      expect(await result).toMatchObject({ error: { data: { code: 'REQUEST_TIMEOUT' } } });
      await t.clock.advance(10 * 60_000);
      expect(t.server('runs').live).toHaveLength(1);
      const again = caller.request('tasks/result', { taskId: 't' });
      gate.resolve();
      await again;
      await t.clock.advance(60_000);
      expect(t.server('runs').live).toEqual([]);
    }
  });

  test.each([
    ['nobody', undefined],
    ['an interceptor', (_: unknown, next: () => Promise<Json>) => next()],
  ])(
    'a new server is not idle while it runs a task, though the old one ends; %s stands between',
    async (_, intercept) => {
      const runs: Script = {
        tools: [{ name: 'x' }, { name: 'wait' }],
        capabilities: { tools: {}, tasks: { cancel: {}, requests: { tools: { call: {} } } } },
        on: {
          'tools/call': ({ params }) => (params?.name === 'wait' ? hold : { task: { taskId: 't', status: 'working' } }),
          'tasks/cancel': () => ({ taskId: 't', status: 'cancelled' }),
        },
      };
      const entry = { idle_timeout: '1m', health: { interval: 0 } } as const;
      await using t = setUp({ a: runs }, { entry, intercept });
      await using caller = await t.caller();
      await caller.send({ id: 5, method: 'tools/call', params: { name: 'a__wait' } });
      const { instance, request } = await t.server('a').request('tools/call');
      const runtime = { type: 'scripted' as const, script: 'a' };
      const reloaded = t.gateway.reload(
        { servers: [{ id: 'a', runtime, ...entry, env: { NEW: '1' } }] },
        { graceMs: 60_000 },
      );
      await caller.result('tools/call', { name: 'a__x', task: {} });
      instance.answer(request, { content: [] });
      await reloaded;
      await t.clock.advance(10 * 60_000);
      expect(t.server('a').instances.map(({ closed }) => closed)).toEqual([true, false]);
      await caller.result('tasks/cancel', { taskId: 't' });
      await t.clock.advance(10 * 60_000);
      expect(t.server('a').live).toEqual([]);
    },
  );

  test.each<[string, Caller]>([
    ['caller', {}],
    ['caller', { id: 'ada' }],
    ['shared', {}],
    ['principal', { principal: 'ada' }],
    ['request', {}],
  ])(
    'the progress of a start comes to the calls that wait for it, under their own tokens, isolation: %s of %o',
    async (isolation, who) => {
      let go = () => {};
      const gate = new Promise<void>((resolve) => {
        go = resolve;
      });
      const scripts: Record<string, Script> = {
        a: {
          ...script,
          open: async (context) => {
            context.report('pulling', { current: 0, total: 2 });
            context.report('pulling', { message: 'layer 1 of 2', current: 1, total: 2 });
            context.report('starting', { message: 'nearly' });
            await gate;
          },
        },
        b: held,
      };
      await using t = setUp(scripts, { entry: { isolation } });
      await using caller = await t.caller({}, { caller: who });
      await using other = await t.caller({}, { caller: who });
      await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x', _meta: { progressToken: 'p' } } });
      await caller.send({ id: 2, method: 'tools/call', params: { name: 'a__x' } });
      const messages = () => caller.notifications('notifications/progress').map(({ message }) => message);
      await caller.until(() => (messages().includes('nearly') ? true : undefined));
      expect(messages()).toContain('layer 1 of 2');
      // Where the runtime has no words for it.
      expect(messages()).toContain('starting a');
      const all = caller.notifications('notifications/progress');
      expect(new Set(all.map(({ progressToken }) => progressToken))).toEqual(new Set(['p']));
      const steps = all.map(({ progress }) => progress as number);
      expect(steps).toEqual([...new Set(steps)].sort((x, y) => x - y));
      expect(Math.max(...steps)).toBeLessThan(0);
      expect(other.notifications('notifications/progress')).toEqual([]);
      go();
      expect(await caller.until(() => caller.answers(1)[0])).toMatchObject({ result: { content: [] } });
    },
  );

  test.each([
    ['without an interceptor', undefined],
    ['with an interceptor', ((_, next) => next()) satisfies Interceptor],
  ])('a call whose server tells how far it is hears nothing of the start of the next one, %s', async (_, intercept) => {
    await using t = setUp({ a: held }, { ...(intercept && { intercept }) });
    await using caller = await t.caller();
    const steps = () => caller.notifications('notifications/progress').map(({ progress }) => progress);
    const call = { method: 'tools/call', params: { name: 'a__x', _meta: { progressToken: 'p' } } };
    await caller.send({ id: 1, ...call });
    const { instance, request } = await t.server('a').request('tools/call');
    const tell = (progress: number) =>
      instance.notify('notifications/progress', { progressToken: request.params?._meta?.progressToken, progress });
    tell(10);
    const servers = [{ id: 'a', env: { V: '2' }, runtime: { type: 'scripted' as const, script: 'a' } }];
    const reloading = t.gateway.reload({ servers });
    await caller.send({ id: 2, ...call, params: { name: 'a__x' } });
    await t.server('a').request('tools/call', 1);
    tell(20);
    await settle();
    expect(steps()).toEqual([-1, 10, 20]);
    instance.answer(request, { content: [] });
    await reloading;
  });
});

describe('callers', () => {
  test('who leaves takes its servers with it, and nobody else’s', async () => {
    await using t = setUp({ a: held, b: script });
    const caller = await t.caller();
    await using other = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await other.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await caller.result('tools/call', { name: 'b__x' });
    const { instance, request } = await t.server('a').request('tools/call', 1);
    expect(t.server('a').live).toHaveLength(2);
    await caller.close();
    expect(caller.closed).toBe(1);
    expect(t.server('a').live).toHaveLength(1);
    expect(t.server('b').live).toEqual([]);
    expect(caller.answers(1)).toEqual([]);
    instance.answer(request, { content: [] });
    expect(await other.until(() => other.answers(1)[0])).toMatchObject({ result: { content: [] } });
    await expect(caller.send({ id: 2, method: 'ping' })).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
  });

  test('who leaves while a server starts leaves nothing behind', async () => {
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    await using t = setUp({ a: { ...script, open: () => gate }, b: { ...script, on: { initialize: () => hold } } });
    const caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await caller.send({ id: 2, method: 'tools/call', params: { name: 'b__x' } });
    await caller.send({ id: 3, method: 'tools/list' });
    await t.server('b').request('initialize');
    await caller.close();
    go();
    await settle();
    expect([...t.server('a').live, ...t.server('b').live]).toEqual([]);
    expect(t.clock.waiting).toBe(0);
    const before = t.events.length;
    await t.clock.advance(3_600_000);
    expect(t.events.slice(before)).toEqual([]);
  });

  test('who leaves while an interceptor thinks starts nothing afterwards', async () => {
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    const outcomes: string[] = [];
    await using t = setUp(
      { a: script },
      {
        intercept: async (_, next) => {
          await gate;
          return next().finally(() => outcomes.push('done'));
        },
      },
    );
    const caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await caller.send({ id: 2, method: 'tools/list' });
    await caller.close();
    go();
    await settle();
    expect(t.server('a').opens).toBe(0);
    // The interceptor is told, too: it may hold something.
    expect(outcomes.length).toBeGreaterThan(0);
  });

  test('a call that is cancelled while its server waits for a place gives that up, unless another one waits too', async () => {
    await using t = setUp({ a: script, b: script }, { limits: { instances: 1 } });
    await using caller = await t.caller();
    const call = (id: number) => caller.send({ id, method: 'tools/call', params: { name: 'b__x' } });
    const cancel = (requestId: number) => caller.send({ method: 'notifications/cancelled', params: { requestId } });
    await caller.result('tools/call', { name: 'b__x' });
    await t.gateway.stop('b');
    await caller.result('tools/call', { name: 'a__x' });
    await call(1);
    await call(2);
    await settle();
    await cancel(1);
    await settle();
    await cancel(2);
    await settle();
    await t.gateway.stop('a');
    await settle();
    expect(t.server('b').opens).toBe(1);

    await caller.result('tools/call', { name: 'a__x' });
    await call(3);
    await call(4);
    await settle();
    await cancel(3);
    await t.gateway.stop('a');
    expect(await caller.until(() => caller.answers(4)[0])).toHaveProperty('result');
    expect(t.server('b').opens).toBe(2);
  });

  test('a call that is cancelled gives up the place, also when its caller has told of other roots meanwhile', async () => {
    await using t = setUp({ a: script, b: script }, { limits: { instances: 1 } });
    await using caller = await t.caller({ roots: { listChanged: true } });
    await caller.result('tools/call', { name: 'a__x' });
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'b__x' } });
    await settle();
    await caller.send({ method: 'notifications/roots/list_changed' });
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 1 } });
    await settle();
    await t.gateway.stop('a');
    await settle();
    expect(t.server('b').opens).toBe(0);
  });

  test('a list goes on waiting for a place when a call that waits for the same server is cancelled', async () => {
    await using t = setUp({ a: script, b: script }, { limits: { instances: 1 } });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    await caller.send({ id: 1, method: 'resources/list' });
    await caller.send({ id: 2, method: 'tools/call', params: { name: 'b__x' } });
    await settle();
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 2 } });
    await settle();
    await t.gateway.stop('a');
    const { result } = await caller.until(() => caller.answers(1)[0]);
    expect((result as Json).resources).toHaveLength(2);
  });

  test('a call that is cancelled gives up a place that its server waits for again after a reload', async () => {
    const b = new ScriptedServer({ ...script, open: (_, opens) => (opens === 1 ? new Promise(() => {}) : undefined) });
    await using t = setUp({ a: script, b }, { limits: { instances: 1 } });
    await using caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'b__x' } });
    await settle();
    expect(b.opens).toBe(1);
    await caller.send({ id: 2, method: 'tools/call', params: { name: 'a__x' } });
    await settle();
    const entry = (id: string) => ({ id, runtime: { type: 'scripted' as const, script: id } });
    const reloading = t.gateway.reload({ servers: [entry('a'), { ...entry('b'), env: { X: '1' } }] });
    await caller.until(() => caller.answers(2)[0]);
    await settle();
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 1 } });
    await settle();
    await t.gateway.stop('a');
    await settle();
    expect(b.opens).toBe(1);
    await reloading;
  });

  test('a call that waits for its turn to start is told of a stop, also after a reload that keeps what runs', async () => {
    const entry = { on_reload: 'keep' as const };
    const a: Script = { ...script, open: () => new Promise(() => {}) };
    await using t = setUp({ a, b: script }, { limits: { starting: 1 }, entry });
    await using caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x' } });
    await settle();
    await caller.send({ id: 2, method: 'tools/call', params: { name: 'b__x' } });
    await settle();
    const servers = [{ id: 'a' }, { id: 'b', env: { X: '1' } }].map((each) => {
      return { ...entry, ...each, runtime: { type: 'scripted' as const, script: each.id } };
    });
    await t.gateway.reload({ servers });
    await settle();
    await t.gateway.stop('b');
    await settle();
    expect(caller.answers(2)).toMatchObject([{ error: { data: { code: 'SERVER_STOPPED', delivered: false } } }]);
    expect(t.server('b').opens).toBe(0);
  });

  test('a call that is cancelled while an interceptor thinks never reaches its server', async () => {
    let go = () => {};
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    await using t = setUp(
      { a: script },
      {
        intercept: async ({ params }, next) => {
          (params.arguments as Json | undefined)?.wait && (await gate);
          return next();
        },
      },
    );
    await using caller = await t.caller();
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x', arguments: { wait: true } } });
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 1 } });
    go();
    await caller.result('tools/call', { name: 'a__x', arguments: {} });
    expect(t.server('a').only.requests('tools/call')).toHaveLength(1);
    expect(caller.answers(1)).toEqual([]);
  });

  test('an interceptor that answers first: the server is told to stop, and its progress goes nowhere', async () => {
    await using t = setUp(
      { a: held },
      {
        intercept: (_, next) => Promise.race([next(), settle().then(() => ({ content: [], early: true }))]),
      },
    );
    await using caller = await t.caller();
    await caller.send({ id: 0, method: 'tools/call', params: { name: 'a__x' } });
    await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__x', _meta: { progressToken: 'p' } } });
    expect(await caller.until(() => caller.answers(1)[0])).toMatchObject({ result: { early: true } });
    await settle();
    const { instance, request } = await t.server('a').request('tools/call', 1);
    expect(instance.notifications('notifications/cancelled').map(({ params }) => params?.requestId)).toContain(
      request.id,
    );
    instance.notify('notifications/progress', { progressToken: request.id, progress: 1, total: 2 });
    await settle();
    expect(caller.notifications('notifications/progress').filter(({ total }) => total !== undefined)).toEqual([]);
  });

  test('20 served sessions have servers of their own, and end with their transports', async () => {
    await using t = setUp({ a: script });
    const sessions = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const [near, far] = createLinkedPair();
        await t.gateway.serve(far, { caller: { data: index } });
        return TestCaller.open(near);
      }),
    );
    const answers = await Promise.all(
      sessions.map((caller, index) => caller.result('tools/call', { name: 'a__x', arguments: { index } })),
    );
    expect(answers.map(({ structuredContent }) => (structuredContent as Json).params)).toEqual(
      Array.from({ length: 20 }, (_, index) => ({ name: 'x', arguments: { index } })),
    );
    expect(
      t
        .server('a')
        .instances.map(({ context }) => context.caller?.data)
        .sort(),
    ).toEqual(Array.from({ length: 20 }, (_, index) => index).sort());
    for (const caller of sessions.slice(0, 19)) {
      await caller.close();
    }
    await settle();
    expect(t.server('a').live).toHaveLength(1);
    expect(await sessions[19]?.result('ping')).toEqual({});
  });

  test('a transport that cannot start rejects serve, and leaves nothing', async () => {
    await using t = setUp({ a: script });
    const [near] = createLinkedPair();
    near.start = () => Promise.reject(new Error('port in use'));
    await expect(t.gateway.serve(near)).rejects.toThrow('port in use');
  });

  test('a request at which the callback of the host throws is answered with that, once, and no server gets it', async () => {
    await using t = setUp({ a: { ...script, on: { 'tools/call': () => hold } } });
    const [near, far] = createLinkedPair();
    const errors: Error[] = [];
    const refuses = new Map<unknown, unknown>();
    far.onerror = (error) => errors.push(error);
    far.onmessage = (message) => {
      const { id } = message as { id?: unknown };
      if (refuses.has(id)) throw refuses.get(id);
    };
    await t.gateway.serve(far);
    const caller = await TestCaller.open(near);
    refuses.set(7, new Error('not today'));
    refuses.set(8, Object.assign(new Error('quota'), { code: -32029, data: { left: 0 } }));
    const call = { name: 'a__x' };
    expect(await caller.request('tools/call', call, 7)).toMatchObject({
      error: { code: errorNumbers.INTERCEPTED, message: 'not today', data: { code: 'INTERCEPTED', delivered: false } },
    });
    expect((await caller.request('tools/call', call, 8)).error).toEqual({
      code: -32029,
      message: 'quota',
      data: { left: 0 },
    });
    expect(errors.map(({ message }) => message)).toEqual(['not today', 'quota']);
    expect(t.server('a').instances.flatMap((instance) => instance.requests('tools/call'))).toEqual([]);
    // One that is open is not answered in the place of another.
    await caller.send({ id: 9, method: 'tools/call', params: call });
    const { instance, request } = await t.server('a').request('tools/call');
    refuses.set(9, new Error('twice'));
    await caller.send({ id: 9, method: 'tools/call', params: call });
    await caller.send({ method: 'notifications/initialized' });
    instance.answer(request, { content: [] });
    await caller.until(() => caller.answers(9)[0]);
    expect(caller.answers(9)).toMatchObject([{ result: { content: [] } }]);
  });

  test('a served session whose transport throws on send survives it', async () => {
    await using t = setUp({ a: script });
    const [near, far] = createLinkedPair();
    const errors: Error[] = [];
    far.onerror = (error) => errors.push(error);
    await t.gateway.serve(far);
    const caller = await TestCaller.open(near);
    const { send } = far;
    far.send = () => {
      throw new Error('broken pipe');
    };
    await caller.send({ id: 5, method: 'ping' });
    await settle();
    expect(errors.map(({ message }) => message)).toEqual(['broken pipe']);
    far.send = send;
    expect(await caller.result('ping')).toEqual({});
  });
});

describe('a transport', () => {
  test('is started once, and sends nothing before and after', async () => {
    await using t = setUp({ a: script });
    const transport = t.gateway.connect();
    const ping = { jsonrpc: '2.0', id: 1, method: 'ping' } as const;
    await expect(transport.send(ping)).rejects.toMatchObject({ code: 'TRANSPORT_NOT_STARTED', delivered: false });
    await transport.start();
    await expect(transport.start()).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
    await transport.close();
    await expect(transport.send(ping)).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED', delivered: false });
  });

  test('tells its end once, also where an interceptor closes it as it hears that its caller has left', async () => {
    const intercept: Interceptor = ({ signal }, next) => {
      signal.addEventListener('abort', () => void caller.close());
      return next();
    };
    await using t = setUp({ a: { ...script, on: { 'tools/call': () => hold } } }, { intercept });
    const caller = await t.caller();
    void caller.request('tools/call', { name: 'a__x' });
    await t.server('a').request('tools/call');
    await caller.close();
    await settle();
    expect(caller.closed).toBe(1);
  });

  test('that is closed while it starts does not start, and leaves nothing', async () => {
    const gate = Promise.withResolvers<void>();
    await using t = setUp({ a: { ...script, open: () => gate.promise } });
    const transport = t.gateway.connect('a', { era: 'legacy' });
    const starting = transport.start();
    const closing = transport.close();
    gate.resolve();
    await expect(starting).rejects.toMatchObject({ code: expect.stringMatching(/CLOSED|STOPPED|ABORTED/) });
    await closing;
    expect(t.server('a').live).toEqual([]);
  });

  test('of the host that goes on after its end is not listened to, and gets what belongs to no request without one', async () => {
    await using t = setUp({ a: script });
    const [near, far] = createLinkedPair();
    await t.gateway.serve(far);
    const related: unknown[] = [];
    const { send } = far;
    far.send = (message, options) => {
      'method' in message && related.push([message.method, options]);
      return send.call(far, message, options);
    };
    const caller = await TestCaller.open(near);
    await caller.result('tools/call', { name: 'a__x' });
    t.server('a').only.notify('notifications/tools/list_changed');
    await t.clock.advance(1_000);
    expect(related).toEqual([['notifications/tools/list_changed', undefined]]);
    await caller.close();
    await settle();
    const sent = related.length;
    far.onmessage?.({ jsonrpc: '2.0', id: 9, method: 'tools/call', params: { name: 'a__x' } });
    await settle();
    expect(related).toHaveLength(sent);
    expect(t.server('a').opens).toBe(1);
  });
});

describe('scopes', () => {
  const scripts = { a: script, b: script, c: script };
  const entries = { a: { tags: ['red'] }, b: { tags: ['red', 'blue'] }, c: { enabled: false, tags: ['red'] } };

  test.each([
    [{}, ['a__x', 'b__x']],
    [{ servers: ['b'] }, ['b__x']],
    [{ servers: ['b', 'a'] }, ['a__x', 'b__x']],
    [{ servers: [] }, []],
    [{ tags: ['blue'] }, ['b__x']],
    [{ tags: ['red', 'nothing'] }, ['a__x', 'b__x']],
    [{ tags: ['red'], servers: ['a'] }, ['a__x']],
    [{ tags: [] }, []],
  ])('%j', async (options, names) => {
    await using t = setUp(scripts, { entries });
    await using caller = await t.caller({}, options);
    expect(await caller.toolNames()).toEqual(names);
    // Nor can what is outside be called, read, or asked in another way.
    for (const id of ['a', 'b', 'c'].filter((each) => !names.includes(`${each}__x`))) {
      const uri = `mcp-gateway://${id}/x%3A%2F%2F1`;
      expect(await caller.error('tools/call', { name: `${id}__x` })).toMatchObject({ code: -32602 });
      expect(await caller.error('resources/read', { uri })).toMatchObject({ code: -32002 });
      expect(await caller.error('vendor/x', { name: `${id}__x`, uri })).toMatchObject({ code: -32601 });
      expect(t.server(id).opens).toBe(0);
    }
  });

  test('an unknown server is an error at once', () => {
    const t = setUp(scripts);
    expect(() => t.gateway.connect({ servers: ['nobody'] })).toThrow(
      expect.objectContaining({ code: 'SERVER_UNKNOWN' }),
    );
  });
});

describe('closing the gateway', () => {
  test('lets open calls finish, refuses new ones, then ends every peer', async () => {
    await using t = setUp({ a: held });
    const caller = await t.caller();
    const [near, far] = createLinkedPair();
    await t.gateway.serve(far);
    const served = await TestCaller.open(near);
    const first = caller.request('tools/call', { name: 'a__x' }, 1);
    const second = served.request('tools/call', { name: 'a__x' }, 1);
    await t.server('a').request('tools/call', 1);
    const closing = t.gateway.close({ graceMs: 10_000 });
    await settle();
    expect(await caller.error('tools/call', { name: 'a__x' })).toMatchObject({
      data: { code: expect.stringMatching(/SERVER_STOPPED|GATEWAY_CLOSED/), delivered: false },
    });
    for (const instance of t.server('a').live) {
      for (const request of instance.requests('tools/call')) {
        instance.answer(request, { content: [], finished: true });
      }
    }
    expect(await first).toMatchObject({ result: { finished: true } });
    expect(await second).toMatchObject({ result: { finished: true } });
    await closing;
    await settle();
    expect([caller.closed, served.closed]).toEqual([1, 1]);
    expect(t.server('a').live).toEqual([]);
  });

  test('answers what does not finish in time', async () => {
    await using t = setUp({ a: held });
    const caller = await t.caller();
    const calling = caller.request('tools/call', { name: 'a__x' }, 1);
    await t.server('a').request('tools/call');
    const closing = t.gateway.close({ graceMs: 1_000 });
    await t.clock.advance(1_000);
    await closing;
    expect((await calling).error).toMatchObject({
      data: { code: 'SERVER_STOPPED', server: 'a', delivered: true },
    });
    expect(caller.closed).toBe(1);
  });

  test('answers what an interceptor still holds, and names its server', async () => {
    const entered = Promise.withResolvers<void>();
    const intercept = () => {
      entered.resolve();
      return new Promise<never>(() => {});
    };
    await using t = setUp({ a: script }, { intercept });
    const caller = await t.caller();
    const calling = caller.request('tools/call', { name: 'a__x' }, 1);
    await entered.promise;
    await t.gateway.close({ graceMs: 0 });
    expect((await calling).error).toMatchObject({
      data: { code: 'GATEWAY_CLOSED', server: 'a', delivered: 'unknown' },
    });
  });

  test('ends peers that have not done anything, and refuses new ones', async () => {
    const t = setUp({ a: script });
    const idle = new TestCaller(t.gateway.connect());
    await idle.transport.start();
    await t.gateway.close();
    expect(idle.closed).toBe(1);
    const late = new TestCaller(t.gateway.connect());
    await expect(late.transport.start()).rejects.toMatchObject({ code: 'GATEWAY_CLOSED' });
    expect(late.closed).toBe(1);
    const [near, far] = createLinkedPair();
    const served = new TestCaller(near);
    await expect(t.gateway.serve(far)).rejects.toMatchObject({ code: 'GATEWAY_CLOSED' });
    expect(served.closed).toBeLessThanOrEqual(1);
  });
});

test('a thousand callers that came and went leave nothing', async () => {
  await using t = setUp({ a: script, b: script });
  const gone: WeakRef<object>[] = [];
  for (let round = 0; round < 20; round += 1) {
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        const caller = await t.caller({ sampling: {} });
        await caller.list('tools');
        await caller.result('tools/call', { name: 'b__x' });
        gone.push(new WeakRef(caller.transport));
        await caller.close();
      }),
    );
    for (const server of Object.values(t.servers)) {
      expect(server.live).toEqual([]);
      server.instances.length = 0;
    }
  }
  await settle();
  expect(t.clock.waiting).toBe(0);
  await settle();
  collectGarbage();
  await settle();
  collectGarbage();
  const left = gone.filter((each) => each.deref() !== undefined).length;
  expect(left).toBeLessThan(50);
});

test.each([
  [{ tags: 'db' }, 'tags must be an array of strings'],
  [{ servers: 'a' }, 'servers must be an array of strings'],
  [{ caller: 'ada' }, 'caller must be an object such as'],
  [{ caller: null }, 'caller must be an object such as'],
])('connect(%j) is refused at once, and says why', async (options, message) => {
  await using t = setUp({ a: script });
  const refusal = expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringContaining(message) });
  expect(() => t.gateway.connect(options as never)).toThrow(refusal);
  if ('caller' in options) {
    expect(() => t.gateway.connect('a', options as never)).toThrow(refusal);
  }
});

test('a session on a transport of the host ends with it although the host’s own onclose throws', async () => {
  await using t = setUp({ a: script });
  const [near, far] = createLinkedPair();
  const failure = new Error('no');
  const errors: Error[] = [];
  near.onclose = () => {
    throw failure;
  };
  near.onerror = (error) => errors.push(error);
  await t.gateway.serve(near);
  await using caller = await TestCaller.open(far);
  await caller.result('tools/call', { name: 'a__x' });
  const { only } = t.server('a');
  await caller.close();
  await settle();
  expect(only.closed).toBe(true);
  expect(errors).toEqual([failure]);
});

test('a session whose server cannot be stopped is told so, and kept no longer: close() of the gateway has no more to say', async () => {
  await using t = setUp({ a: script });
  const [near, far] = createLinkedPair();
  const errors: Error[] = [];
  near.onerror = (error) => errors.push(error);
  await t.gateway.serve(near);
  await using caller = await TestCaller.open(far);
  await caller.result('tools/call', { name: 'a__x' });
  const { only } = t.server('a');
  const close = only.close.bind(only);
  only.close = () => Promise.reject(new Error('still there'));
  await caller.close();
  await settle();
  expect(errors).toMatchObject([{ code: 'STOP_FAILED', server: 'a' }]);
  await close();
  await t.gateway.close();
});

test.each(['legacy', 'modern'])(
  'what nobody is subscribed to any more is not asked of later servers: %s',
  async (era) => {
    let isBroken = false;
    const open = () => {
      if (isBroken) throw new Error('no disk');
    };
    const uri = 'x://1';
    const entry = { restart: { backoff: '1ms', max_backoff: '1ms' } };
    await using t = setUp({ a: { tools: [{ name: 'x' }], resources: [{ uri }], open } }, { entry });
    const isModern = era === 'modern';
    const transport = t.gateway.connect();
    await using caller = await (isModern ? ModernTestCaller.open(transport) : TestCaller.open(transport));
    const subscribing = isModern
      ? caller.request('subscriptions/listen', { notifications: { resourceSubscriptions: [uri] } }, 'listen')
      : caller.result('resources/subscribe', { uri });
    await t.server('a').request('resources/subscribe');
    await (isModern ? settle() : subscribing);
    t.server('a').only.die();
    await settle();
    isBroken = true;
    if (isModern) {
      await caller.send({ method: 'notifications/cancelled', params: { requestId: 'listen' } });
      await t.clock.advance(1_000);
    } else {
      const failing = caller.error('resources/unsubscribe', { uri });
      await t.clock.advance(1_000);
      expect((await failing).data).toMatchObject({ code: 'START_FAILED', delivered: false });
    }
    isBroken = false;
    const calling = caller.result('tools/call', { name: 'a__x' });
    await t.clock.advance(1_000);
    await calling;
    expect(t.server('a').only.requests('resources/subscribe')).toEqual([]);
  },
);
