import { describe, expect, test } from 'vitest';
import { errorNumbers, GatewayError } from '../../src/errors.js';
import { Link } from '../../src/instance/link.js';
import { SessionPool } from '../../src/instance/session-pool.js';
import { SharedTasks } from '../../src/instance/shared-tasks.js';
import { TaskProgress } from '../../src/instance/task-progress.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import { relatedTask } from '../../src/transport/tasks.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { type Message, type Play, PlayedConnection } from './played-connection.js';

const handshake: Play = {
  initialize: () => ({ result: { protocolVersion: '2025-11-25', capabilities: {} } }),
  ping: () => ({ result: {} }),
  'resources/subscribe': () => ({ result: {} }),
  'resources/unsubscribe': () => ({ result: {} }),
};
type Isolation = 'shared' | 'caller' | 'request';

/** Connections to a server that the test plays, as an isolation shares it. */
function setUp(isolation: Isolation, play: Play = {}, watch = { idleTimeoutMs: 0, maxLifetimeMs: 0 }) {
  const clock = new FakeClock();
  const servers: PlayedConnection[] = [];
  let fails: Error | undefined;
  const health = { intervalMs: 0, timeoutMs: 1_000, failures: 1 };
  const owner = {
    get currentSessions() {
      return pool;
    },
    untilStopped: new AbortController().signal,
    connectAlone() {
      const server = new PlayedConnection({ ...handshake, ...play });
      if (fails !== undefined) {
        server.onstart = () => Promise.reject(fails);
      }
      servers.push(server);
      return server;
    },
  };
  const pool: SessionPool = new SessionPool(
    { id: 'played', isolation, startTimeoutMs: 1_000, ...watch, health },
    owner,
    clock,
  );
  const connect = () => {
    const transport = pool.connect({ id: 'ada' }, () => {});
    const heard: Message[] = [];
    const log: string[] = [];
    transport.onmessage = (message) => {
      heard.push(message as Message);
      log.push('message');
    };
    transport.onerror = () => log.push('error');
    transport.onclose = () => log.push('close');
    const send = (message: Message) => transport.send({ jsonrpc: '2.0', ...message } as JSONRPCMessage);
    return {
      transport,
      heard,
      log,
      send,
      async ask(method: string, params?: Record<string, unknown>, id: string | number = method) {
        await send({ id, method, ...(params && { params }) });
        await settle();
        return heard.find((message) => message.id === id && message.method === undefined);
      },
      async begin(params?: Record<string, unknown>) {
        await transport.start();
        await this.ask('initialize', params);
        return this;
      },
    };
  };
  return {
    clock,
    pool,
    servers,
    connect,
    failStarts(error: Error) {
      fails = error;
    },
    begin: (params?: Record<string, unknown>) => connect().begin(params),
    get server() {
      return servers.at(-1) as PlayedConnection;
    },
  };
}

const stopped = new GatewayError('SERVER_STOPPED', 'stopped', { server: 'played' });

test('what is about to be sent when the server ends goes to the next one', async () => {
  const t = setUp('shared', { ask: () => ({ result: { answered: true } }) });
  const link = new Link(
    { server: 'played', startTimeoutMs: undefined, watch: undefined, connect: () => t.pool.connect({}, () => {}) },
    {
      clock: t.clock,
      activity: () => 'none',
      initializeParams: () => ({}),
      onOpen: () => {},
      onRequest: () => {},
      onNotification: () => {},
      onEnd: () => {},
    },
  );
  await link.open();
  const answer = link.ask('ask', undefined);
  t.server.onclose?.();
  expect(await answer).toEqual({ answered: true });
  expect(t.servers.map((server) => server.of('ask').length)).toEqual([0, 1]);
  await link.close();
});

describe.each<Isolation>(['shared', 'request'])('a connection, isolation: %s', (isolation) => {
  test('takes messages from its start to its end, and starts once', async () => {
    const t = setUp(isolation);
    const one = t.connect();
    const ping = { id: 1, method: 'ping' };
    await expect(one.send(ping)).rejects.toMatchObject({
      code: isolation === 'shared' ? 'TRANSPORT_NOT_STARTED' : 'TRANSPORT_CLOSED',
    });
    await one.begin();
    await expect(one.transport.start()).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
    await one.transport.close();
    await one.transport.close();
    await expect(one.send(ping)).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED', delivered: false });
    expect(one.log).toEqual(['message', 'close']);
  });

  test('answers to what nobody has asked go nowhere', async () => {
    const t = setUp(isolation);
    const one = await t.begin();
    const before = t.server.received.length;
    await one.send({ id: 'never', result: {} });
    await one.send({ error: { code: -1, message: 'to nothing' } });
    await settle();
    expect(t.server.received).toHaveLength(before);
  });
});

test('a connection is closed although its server could not be stopped', async () => {
  const t = setUp('caller');
  const one = await t.begin();
  t.server.close = () => Promise.reject(new Error('it does not stop'));
  await expect(one.transport.close()).rejects.toThrow('it does not stop');
  expect(one.log.filter((entry) => entry === 'close')).toHaveLength(1);
});

test('what a server asks in a handshake that fails is taken back', async () => {
  let starts = 0;
  const t = setUp(
    'caller',
    {
      initialize: () => {
        starts += 1;
        if (starts === 1) {
          return { result: { protocolVersion: '2025-11-25', capabilities: {} } };
        }
        t.server.say({ id: 'q', method: 'roots/list' });
        return { error: { code: -32603, message: 'not today' } };
      },
    },
    { idleTimeoutMs: 1_000, maxLifetimeMs: 0 },
  );
  const one = await t.begin();
  await t.clock.advance(1_000);
  expect(t.server.closes).toBe(1);
  expect(await one.ask('ping')).toMatchObject({ error: { data: { code: 'START_FAILED' } } });
  const question = one.heard.find(({ method }) => method === 'roots/list');
  expect(question).toBeDefined();
  expect(one.heard).toContainEqual(
    expect.objectContaining({
      method: 'notifications/cancelled',
      params: expect.objectContaining({ requestId: question?.id }),
    }),
  );
});

test('a shared connection refuses an id that is in use', async () => {
  const t = setUp('shared');
  const one = await t.begin();
  await one.ask('tools/call', {}, 7);
  await expect(one.send({ id: 7, method: 'tools/call' })).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
  expect(t.server.of('tools/call')).toHaveLength(1);
});

test('a shared server that cannot be connected to fails the handshake of each, whatever the error is', async () => {
  const t = setUp('shared');
  const connecting = t.connect();
  await connecting.transport.start();
  t.failStarts(new Error('no way there'));
  expect(await connecting.ask('initialize')).toMatchObject({
    error: { message: expect.stringContaining('no way there'), data: { code: 'START_FAILED', delivered: false } },
  });
});

test('a request that the transport of a shared server does not take is answered', async () => {
  const t = setUp('shared');
  const one = await t.begin();
  t.server.onsend = async () => {
    throw new Error('broken pipe');
  };
  expect(await one.ask('tools/call')).toMatchObject({
    error: {
      message: expect.stringContaining('broken pipe'),
      data: { code: 'TRANSPORT_CLOSED', delivered: false },
    },
  });
});

describe('what callers share', () => {
  test('one may not change the log of the others', async () => {
    const t = setUp('shared');
    const one = await t.begin();
    expect(await one.ask('logging/setLevel', { level: 'debug' })).toMatchObject({ result: {} });
    expect(t.server.of('logging/setLevel')).toEqual([]);
  });

  test('a subscription ends at the server with the last who has it', async () => {
    const t = setUp('shared');
    const [one, two] = [await t.begin(), await t.begin()];
    const uri = 'file:///a';
    for (const each of [one, two]) await each.ask('resources/subscribe', { uri });
    expect(await one.ask('resources/unsubscribe', { uri })).toMatchObject({ result: {} });
    expect(t.server.of('resources/unsubscribe')).toEqual([]);
    t.server.say({ method: 'notifications/resources/updated', params: { uri } });
    expect([one, two].map(({ heard }) => heard.some(({ method }) => method?.endsWith('updated')))).toEqual([
      false,
      true,
    ]);
    expect(await two.ask('resources/unsubscribe', { uri })).toMatchObject({ result: {} });
    expect(t.server.of('resources/unsubscribe')).toHaveLength(1);
  });

  test('a server that has lived long enough is replaced at once for who is subscribed', async () => {
    const t = setUp('shared', {}, { idleTimeoutMs: 1_000, maxLifetimeMs: 10_000 });
    const one = await t.begin();
    await one.ask('resources/subscribe', { uri: 'file:///a' });
    // Not idle, although nothing is asked.
    await t.clock.advance(9_999);
    expect(t.servers).toHaveLength(1);
    await t.clock.advance(1);
    await settle();
    expect(t.servers.map(({ closes }) => closes)).toEqual([1, 0]);
    expect(t.server.of('resources/subscribe')[0]?.params).toMatchObject({ uri: 'file:///a' });
    expect(one.log).not.toContain('close');
    await t.pool.close(stopped);
    expect(t.clock.waiting).toBe(0);
  });

  test('who is subscribed hears once that it may have changed when another server has taken over', async () => {
    const t = setUp('shared', {}, { idleTimeoutMs: 0, maxLifetimeMs: 10_000 });
    const [one, two, three] = [await t.begin(), await t.begin(), await t.begin()];
    await one.ask('resources/subscribe', { uri: 'file:///a' }, 1);
    await one.ask('resources/subscribe', { uri: 'file:///b' }, 2);
    await two.ask('resources/subscribe', { uri: 'file:///a' });
    await t.clock.advance(10_000);
    await settle();
    expect(t.servers).toHaveLength(2);
    const told = (who: typeof one) =>
      who.heard.flatMap(({ method, params }) => (method === 'notifications/resources/updated' ? [params?.uri] : []));
    expect([one, two, three].map(told)).toEqual([['file:///a', 'file:///b'], ['file:///a'], []]);
  });

  test('who is subscribed to what the next server refuses hears to read it again, and the one after that is asked', async () => {
    let servers = 0;
    const play: Play = {
      initialize: () => {
        servers += 1;
        return { result: { protocolVersion: '2025-11-25', capabilities: {} } };
      },
      'resources/subscribe': () => (servers === 2 ? { error: { code: -32002, message: 'gone' } } : { result: {} }),
    };
    const t = setUp('shared', play, { idleTimeoutMs: 0, maxLifetimeMs: 10_000 });
    const one = await t.begin();
    await one.ask('resources/subscribe', { uri: 'file:///a' });
    for (const times of [1, 2]) {
      await t.clock.advance(10_000);
      await settle();
      expect(t.server.of('resources/subscribe')).toHaveLength(1);
      expect(one.heard.filter(({ method }) => method === 'notifications/resources/updated')).toHaveLength(times);
    }
    expect(t.servers).toHaveLength(3);
  });

  test('a server does not rest while a task runs, and no other caller can touch the task', async () => {
    const task = (status?: string) => ({ result: { task: { taskId: 't', ...(status && { status }) } } });
    const t = setUp(
      'shared',
      {
        'tools/call': () => task('working'),
        'tasks/get': ({ params }) => ({ result: { taskId: params?.taskId as string } }),
        'tasks/list': () => ({ result: { tasks: [{ taskId: 't' }, { taskId: 'another' }, null] } }),
        'tasks/cancel': () => ({ result: { taskId: 't', status: 'cancelled' } }),
      },
      { idleTimeoutMs: 1_000, maxLifetimeMs: 0 },
    );
    const [one, two] = [await t.begin(), await t.begin()];
    await one.ask('tools/call', { task: {} });
    await t.clock.advance(5_000);
    expect(t.server.closes).toBe(0);
    expect(await two.ask('tasks/get', { taskId: 't' })).toMatchObject({ error: { code: -32602 } });
    expect(await one.ask('tasks/get', { taskId: 't' })).toMatchObject({ result: { taskId: 't' } });
    expect((await one.ask('tasks/list'))?.result).toEqual({ tasks: [{ taskId: 't' }] });
    expect((await two.ask('tasks/list'))?.result).toEqual({ tasks: [] });
    // Of no task at all.
    t.server.say({ method: 'notifications/tasks/status' });
    t.server.say({ method: 'notifications/tasks/status', params: { taskId: 't', status: 'input_required' } });
    expect(one.heard.filter(({ method }) => method === 'notifications/tasks/status')).toHaveLength(1);
    expect(two.heard.filter(({ method }) => method === 'notifications/tasks/status')).toHaveLength(0);
    await one.ask('tasks/cancel', { taskId: 't' });
    await t.clock.advance(1_000);
    expect(t.server.closes).toBe(1);
  });

  test('a list of tasks that is none is handed on as it is', async () => {
    const t = setUp('shared', { 'tasks/list': () => ({ result: { tasks: 'none' } }) });
    expect((await (await t.begin()).ask('tasks/list'))?.result).toEqual({ tasks: 'none' });
  });

  test('progress that was not asked for goes nowhere', async () => {
    const t = setUp('shared');
    const one = await t.begin();
    await one.ask('tools/call', {}, 1);
    await one.ask('tools/call', { _meta: { progressToken: 'mine' } }, 2);
    for (const { id } of t.server.of('tools/call')) {
      t.server.say({ method: 'notifications/progress', params: { progressToken: id, progress: 1 } });
    }
    expect(one.heard.slice(1)).toMatchObject([{ params: { progressToken: 'mine', progress: 1 } }]);
  });

  test('who is closed while all are told hears nothing any more', async () => {
    const t = setUp('shared');
    const [one, two] = [await t.begin(), await t.begin()];
    one.transport.onmessage = () => void two.transport.close();
    t.server.say({ method: 'notifications/tools/list_changed' });
    await settle();
    expect(two.log).toEqual(['message', 'close']);
  });

  test('an end within the end is told once', async () => {
    const t = setUp('shared');
    const [one, two, three] = [await t.begin(), await t.begin(), await t.begin()];
    one.transport.onerror = () => {
      one.log.push('error');
      void two.transport.close();
      void t.pool.close(stopped);
    };
    t.server.onclose?.();
    await settle();
    expect([one, two, three].map(({ log }) => log)).toEqual([
      ['message', 'error', 'close'],
      ['message', 'close'],
      ['message', 'error', 'close'],
    ]);
  });
});

describe('what the connections of one caller share', () => {
  const question = { id: 'q', method: 'roots/list' };

  test('a question goes to one of them, whose answer alone counts', async () => {
    const t = setUp('caller', {}, { idleTimeoutMs: 1_000, maxLifetimeMs: 0 });
    const [one, two] = [await t.begin({ capabilities: { roots: {} } }), await t.begin()];
    expect(t.server.of('initialize')[0]?.params).toEqual({ capabilities: { roots: {} } });
    await one.ask('tools/call', {}, 1);
    const { id: called } = t.server.of('tools/call')[0] as { id: number };
    t.server.say(question);
    const id = one.heard.at(-1)?.id as number;
    t.server.say({ id: called, result: {} });
    // It waits for an answer, so it is not idle.
    await t.clock.advance(5_000);
    expect(t.server.closes).toBe(0);
    await two.send({ id, result: { roots: ['of two'] } });
    await one.send({ id, result: { roots: [] } });
    expect(t.server.received.filter((message) => message.id === 'q')).toMatchObject([{ result: { roots: [] } }]);
    await t.pool.close(stopped);
  });

  test('the level of the log is their own', async () => {
    const t = setUp('caller', { 'logging/setLevel': () => ({ result: {} }) });
    const one = await t.begin();
    expect(await one.ask('logging/setLevel', { level: 'debug' })).toMatchObject({ result: {} });
    expect(t.server.of('logging/setLevel')).toHaveLength(1);
  });

  test('one that wants little of the log takes nothing from another, and gets no more than it wants', async () => {
    const t = setUp('caller', { 'logging/setLevel': () => ({ result: {} }) });
    const one = await t.begin();
    const two = await t.begin();
    await one.ask('logging/setLevel', { level: 'debug' });
    await two.ask('logging/setLevel', { level: 'error' });
    expect(t.server.of('logging/setLevel').map(({ params }) => params?.level)).toEqual(['debug', 'debug']);
    for (const level of ['info', 'error', 'critical']) {
      t.server.say({ method: 'notifications/message', params: { level, data: 'x' } });
    }
    const read = ({ heard }: typeof one) =>
      heard.map(({ params }) => (params as { level?: string } | undefined)?.level);
    expect(read(one).filter(Boolean)).toEqual(['info', 'error', 'critical']);
    expect(read(two).filter(Boolean)).toEqual(['error', 'critical']);
    await t.pool.close(stopped);
  });

  test('a server that asks without end is refused at some point, and asks again when it has its answers', async () => {
    const t = setUp('caller');
    const one = await t.begin({ capabilities: { roots: {} } });
    for (let id = 0; id < 1_100; id += 1) {
      t.server.say({ id, method: 'roots/list' });
    }
    const asked = one.heard.filter(({ method }) => method === 'roots/list');
    expect(asked).toHaveLength(1_000);
    await settle();
    const refused = t.server.received.filter(({ error }) => error?.code === errorNumbers.LIMIT_REACHED);
    expect(refused.map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, index) => 1_000 + index));
    await one.send({ id: asked[0]?.id as number, result: { roots: [] } });
    t.server.say({ id: 'again', method: 'roots/list' });
    expect(one.heard.at(-1)).toMatchObject({ method: 'roots/list' });
  });

  test('a server that starts again is told the level of the log', async () => {
    const play: Play = {
      initialize: () => ({ result: { protocolVersion: '2025-11-25', capabilities: { logging: {} } } }),
      'logging/setLevel': () => ({ result: {} }),
    };
    const t = setUp('caller', play, { idleTimeoutMs: 1_000, maxLifetimeMs: 0 });
    const one = await t.begin();
    await one.ask('logging/setLevel', { level: 'debug' });
    await t.clock.advance(1_000);
    await one.ask('ping');
    expect(t.servers.map((server) => server.of('logging/setLevel').map(({ params }) => params?.level))).toEqual([
      ['debug'],
      ['debug'],
    ]);
  });

  test('what a server asked in a start that is given up is taken back, and its answer is none for the next', async () => {
    const t = setUp('caller', { initialize: () => undefined });
    const one = t.connect();
    await one.transport.start();
    await one.send({ id: 1, method: 'initialize', params: { capabilities: { roots: {} } } });
    await settle();
    const [first] = t.servers;
    first?.say(question);
    const asked = one.heard.find(({ method }) => method === 'roots/list');
    await t.pool.retire(stopped);
    await settle();
    expect(one.heard.at(-1)).toMatchObject({ method: 'notifications/cancelled', params: { requestId: asked?.id } });
    expect(t.servers).toHaveLength(2);
    t.server.say(question);
    await one.send({ id: asked?.id as number, result: { roots: ['for the first'] } });
    expect(t.server.received.filter(({ id }) => id === 'q')).toEqual([]);
    await t.pool.close(stopped);
  });

  test('what a server asks as soon as it is initialized reaches the caller, who has asked for nothing yet', async () => {
    const t = setUp('caller');
    const one = await t.begin({ capabilities: { roots: {} } });
    t.server.say(question);
    const asked = one.heard.find(({ method }) => method === 'roots/list');
    await one.send({ id: asked?.id as number, result: { roots: [] } });
    expect(t.server.received.find(({ id }) => id === 'q')).toMatchObject({ result: { roots: [] } });
  });
});

describe('a server for each request', () => {
  test('asks the caller of its request, and no longer when that is over', async () => {
    const t = setUp('request');
    const one = await t.begin({ capabilities: { roots: {} } });
    await one.ask('tools/call', {}, 1);
    await one.ask('tools/call', {}, 2);
    const [first, second] = t.servers as [PlayedConnection, PlayedConnection];
    for (const server of [first, second]) server.say({ id: 'q', method: 'roots/list' });
    const [toFirst, toSecond] = one.heard.filter(({ method }) => method === 'roots/list').map(({ id }) => id);
    first.say({ id: first.of('tools/call')[0]?.id as number, result: {} });
    await settle();
    // Its server is gone; the other one still waits.
    await one.send({ id: toFirst as number, result: { roots: ['late'] } });
    await one.send({ id: toSecond as number, result: { roots: [] } });
    await settle();
    const answers = (server: PlayedConnection) => server.received.filter(({ id }) => id === 'q');
    expect(answers(first)).toEqual([]);
    expect(answers(second)).toMatchObject([{ result: { roots: [] } }]);
  });
});

describe('tasks are forgotten at some point', () => {
  test('whose they are: when ten thousand newer ones are there', () => {
    const tasks = new SharedTasks<string>(new FakeClock());
    for (let n = 0; n <= 10_000; n++) tasks.see('ada', { taskId: `t${n}`, status: 'working' });
    expect(['t0', 't1', 't10000'].map((id) => tasks.ownerOf(id))).toEqual([undefined, 'ada', 'ada']);
    for (let n = 1; n <= 10_000; n++) tasks.see('ada', { taskId: `t${n}`, status: 'completed' });
    // The one that was forgotten keeps nothing running.
    expect(tasks.running).toBe(false);
  });

  test('whose they are: when their owner has gone', () => {
    const tasks = new SharedTasks<string>(new FakeClock());
    tasks.see('ada', { taskId: 'a', status: 'working' });
    tasks.see('bob', { taskId: 'b', status: 'working' });
    // Another's stays another's.
    tasks.see('bob', { taskId: 'a', status: 'working' });
    tasks.forget('ada');
    expect([tasks.ownerOf('a'), tasks.ownerOf('b'), tasks.running]).toEqual([undefined, 'bob', true]);
    tasks.forget('bob');
    expect(tasks.running).toBe(false);
  });

  test('that they run: when their ttl is over, counted from when something was last heard of them', async () => {
    const clock = new FakeClock();
    const tasks = new SharedTasks<string>(clock);
    const see = (more: Record<string, unknown>) => tasks.see('ada', { taskId: 'a', status: 'working', ...more });
    see({ ttl: 1_000 });
    await clock.advance(999);
    see({});
    expect(tasks.running).toBe(true);
    await clock.advance(1);
    expect(tasks.running).toBe(false);
    see({ ttl: 1_000 });
    await clock.advance(999);
    see({ ttl: 1_000 });
    await clock.advance(999);
    expect(tasks.running).toBe(true);
    expect(tasks.owns('ada', 'a')).toBe(true);
    see({ ttl: null });
    await clock.advance(1_000_000);
    expect(tasks.running).toBe(true);
    see({ status: 'completed' });
    expect(tasks.running).toBe(false);
  });

  test('who hears of their progress: when a thousand newer ones are there', () => {
    const tasks = new TaskProgress();
    const listener = { onProgress() {} };
    for (let id = 0; id <= 1_000; id++) {
      tasks.see({ jsonrpc: '2.0', id, result: { task: { taskId: `t${id}`, status: 'working' } } }, listener);
    }
    expect([0, 1, 1_000].map((token) => tasks.of(token))).toEqual([
      undefined,
      listener.onProgress,
      listener.onProgress,
    ]);
  });

  test('who hears of their progress: with the result, or with what is said of their end', () => {
    const tasks = new TaskProgress();
    const listener = { onProgress() {} };
    const say = (id: number, result: Record<string, unknown>) => tasks.see({ jsonrpc: '2.0', id, result }, listener);
    for (const id of [1, 2, 3]) {
      say(id, { task: { taskId: `t${id}`, status: 'working' } });
    }
    const of = (taskId: string) => ({ _meta: { [relatedTask]: { taskId } } });
    say(4, { taskId: 't1', status: 'working', ...of('t1') });
    say(5, { content: [], ...of('t2') });
    say(6, { taskId: 't3', status: 'completed' });
    tasks.see({ jsonrpc: '2.0', method: 'notifications/message', params: of('t1') });
    expect([1, 2, 3].map((token) => tasks.of(token))).toEqual([listener.onProgress, undefined, undefined]);
  });
});
