import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import {
  InMemoryTaskMessageQueue,
  InMemoryTaskStore,
} from '@modelcontextprotocol/sdk/experimental/tasks/stores/in-memory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { ElicitRequestSchema, ElicitResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { describe, expect, test } from 'vitest';
import { SessionTasks } from '../../src/endpoint/modern/session-tasks.js';
import { createGateway, GatewayError, type Interceptor } from '../../src/index.js';
import { settle } from '../support/fake-clock.js';
import { ModernTestCaller } from './modern-caller.js';
import { discovery, statelessServer } from './modern-servers.js';
import { hold, type Json, RpcError, type Script } from './scripted-server.js';
import { type Setup, setUp } from './setup.js';
import { TestCaller } from './test-caller.js';

const extension = 'io.modelcontextprotocol/tasks';
const relatedTask = 'io.modelcontextprotocol/related-task';
const times = { createdAt: '2026-07-28T10:00:00Z', lastUpdatedAt: '2026-07-28T10:00:01Z' };
const withTasks = { extensions: { [extension]: {} } };
const inputSchema = { type: 'object' };
const missing = { code: -32021, data: { requiredCapabilities: { extensions: { [extension]: {} } } } };
/** Of revision 2025-11-25: what a model may be told while a task runs. */
const immediate = 'io.modelcontextprotocol/model-immediate-response';

/** A server of 2025-11-25 with a tool that runs as a task alone. */
function legacyServer(state: { status: string }, more: NonNullable<Script['on']> = {}): Script {
  const task = () => ({ taskId: 't1', status: state.status, ...times, ttl: 60_000, pollInterval: 500 });
  return {
    tools: [
      { name: 'slow', inputSchema, execution: { taskSupport: 'required' } },
      { name: 'quick', inputSchema },
    ],
    capabilities: { tools: {}, tasks: { cancel: {}, list: {}, requests: { tools: { call: {} } } } },
    on: {
      'tools/call': ({ params }) => (params?.task === undefined ? { content: [], plain: true } : { task: task() }),
      'tasks/get': task,
      'tasks/result': () => ({ content: [], isError: false, _meta: { [relatedTask]: { taskId: 't1' }, own: 1 } }),
      'tasks/cancel': () => {
        state.status = 'cancelled';
        return task();
      },
      ...more,
    },
  };
}

const ways = [
  {
    way: 'connect()',
    prefix: 'one__',
    modern: (setup: Setup, capabilities: Json) => ModernTestCaller.open(setup.gateway.connect(), capabilities),
    legacy: (setup: Setup, capabilities: Json) => TestCaller.open(setup.gateway.connect(), capabilities),
  },
  {
    way: 'connect(id, { era })',
    prefix: '',
    modern: (setup: Setup, capabilities: Json) =>
      ModernTestCaller.open(setup.gateway.connect('one', { era: 'modern' }), capabilities),
    legacy: (setup: Setup, capabilities: Json) =>
      TestCaller.open(setup.gateway.connect('one', { era: 'legacy' }), capabilities),
  },
];

describe.each(ways)('$way: tasks of a server with sessions, for a stateless caller', ({ prefix, modern }) => {
  const start = async (caller: ModernTestCaller) => {
    expect((await caller.result('tools/list')).tools).toEqual(
      ['slow', 'quick'].map((name) => ({ name: prefix + name, inputSchema })),
    );
    return caller.call(`${prefix}slow`, { arguments: { a: 1 } });
  };

  test('a tool that runs as a task alone is called as one, and asked for how it is until it has ended', async () => {
    const state = { status: 'working' };
    await using setup = setUp({ one: legacyServer(state) });
    await using caller = await modern(setup, withTasks);
    const task = { taskId: 't1', status: 'working', ...times, ttlMs: 60_000, pollIntervalMs: 500 };
    expect(await start(caller)).toMatchObject({ resultType: 'task', ...task });
    const { request } = await setup.server('one').request('tools/call');
    expect(request.params).toMatchObject({ name: 'slow', arguments: { a: 1 }, task: {} });
    expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({ resultType: 'complete', ...task });
    state.status = 'completed';
    const done = await caller.result('tasks/get', { taskId: 't1' });
    expect(done).toMatchObject({ status: 'completed', result: { content: [], isError: false, _meta: { own: 1 } } });
    expect(JSON.stringify(done)).not.toContain(relatedTask);
    expect(await caller.result('tasks/get', { taskId: 't1' })).toEqual(done);
    expect(setup.server('one').only.requests('tasks/result')).toHaveLength(1);
  });

  test('a result that the caller has got is asked for once more when too much has come since', async () => {
    const state = { status: 'completed' };
    let begun = 0;
    const task = (taskId: unknown) => ({ taskId, status: 'completed', ...times, ttl: 60_000 });
    const script = legacyServer(state, {
      'tools/call': () => ({ task: task(`t${++begun}`) }),
      'tasks/get': ({ params }) => task(params?.taskId),
      'tasks/result': ({ params }) => ({ content: [], structuredContent: { of: params?.taskId, text: large } }),
    });
    const large = 'x'.repeat(9 * 1024 * 1024);
    await using setup = setUp({ one: script });
    await using caller = await modern(setup, withTasks);
    const get = async (taskId: string) =>
      ((await caller.result('tasks/get', { taskId })).result as { structuredContent: Json }).structuredContent.of;
    await start(caller);
    await start(caller);
    for (const taskId of ['t1', 't1', 't2', 't2', 't1']) {
      expect(await get(taskId)).toBe(taskId);
    }
    const asked = setup.server('one').only.requests('tasks/result');
    expect(asked.map(({ params }) => params?.taskId)).toEqual(['t1', 't2', 't1']);
  });

  test('what a task has asked and not taken back is answered when it has ended', async () => {
    const state = { status: 'input_required' };
    const asked = Promise.withResolvers<Json>();
    const script = legacyServer(state, {
      'tasks/result': async (_, instance) => {
        instance
          .ask('q', 'elicitation/create', { message: 'Who?', _meta: { [relatedTask]: { taskId: 't1' } } })
          .then(asked.resolve);
        return { content: [] };
      },
    });
    await using setup = setUp({ one: script });
    await using caller = await modern(setup, { ...withTasks, elicitation: {} });
    await start(caller);
    await caller.result('tasks/get', { taskId: 't1' });
    state.status = 'completed';
    expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({ status: 'completed' });
    expect(await asked.promise).toMatchObject({ error: { message: 'the task has ended' } });
  });

  test('what the server asks in a task is found in the task, and answered by an update', async () => {
    const state = { status: 'input_required' };
    const script = legacyServer(state, {
      'tasks/result': async (_, instance) => {
        const _meta = { [relatedTask]: { taskId: 't1' } };
        const { result } = await instance.ask('q', 'elicitation/create', { message: 'Who?', _meta });
        state.status = 'completed';
        return { content: [], structuredContent: { heard: result } };
      },
    });
    await using setup = setUp({ one: script });
    await using caller = await modern(setup, { ...withTasks, elicitation: {} });
    await start(caller);
    let task = await caller.result('tasks/get', { taskId: 't1' });
    while (task.inputRequests === undefined) {
      expect(task.status).toBe('working');
      task = await caller.result('tasks/get', { taskId: 't1' });
    }
    expect(task.status).toBe('input_required');
    // As another client of this caller, that cannot answer.
    caller.capabilities = withTasks;
    expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({
      status: 'input_required',
      inputRequests: {},
    });
    expect(JSON.stringify(caller.received.at(-1))).not.toContain('Who?');
    caller.capabilities = { ...withTasks, elicitation: {} };
    const [[key, question] = []] = Object.entries(task.inputRequests as Json);
    expect(question).toEqual({ method: 'elicitation/create', params: { message: 'Who?' } });
    const update = (inputResponses: Json) => caller.result('tasks/update', { taskId: 't1', inputResponses });
    expect(await update({ other: { action: 'accept' } })).toMatchObject({ resultType: 'complete' });
    expect((await caller.result('tasks/get', { taskId: 't1' })).inputRequests).toEqual(task.inputRequests);
    await update({ [String(key)]: { action: 'decline' } });
    await settle();
    expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({
      status: 'completed',
      result: { structuredContent: { heard: { action: 'decline' } } },
    });
    expect(caller.received.filter((message) => 'method' in message && 'id' in message)).toEqual([]);
  });

  test.each([
    ['a page', 'elicitation/create', { mode: 'url', url: 'https://x', message: 'Look', elicitationId: 'e' }],
    ['sampling with tools', 'sampling/createMessage', { messages: [], maxTokens: 1, tools: [] }],
  ])('%s that the server asks for in a task is shown to who has declared just that', async (_, method, params) => {
    const script = legacyServer({ status: 'input_required' }, { 'tasks/result': () => hold });
    const able = { ...withTasks, elicitation: { form: {}, url: {} }, sampling: { tools: {} } };
    await using setup = setUp({ one: script });
    await using caller = await modern(setup, able);
    await start(caller);
    await caller.result('tasks/get', { taskId: 't1' });
    const { instance } = await setup.server('one').request('tasks/result');
    instance.say({ id: 'q', method, params: { ...params, _meta: { [relatedTask]: { taskId: 't1' } } } });
    await settle();
    const shown = async () => Object.keys((await caller.result('tasks/get', { taskId: 't1' })).inputRequests as Json);
    expect(await shown()).toHaveLength(1);
    // As another client of this caller, that takes forms alone, and samples without tools.
    caller.capabilities = { ...withTasks, elicitation: {}, sampling: {} };
    expect(await shown()).toEqual([]);
  });

  test('has failed when there is an error in place of a result, and else is complete', async () => {
    const state = { status: 'failed' };
    let payload: Json | undefined = { content: [], isError: true };
    const script = legacyServer(state, {
      'tasks/result': () => {
        if (payload === undefined) throw new RpcError(-32603, 'broken', { a: 1 });
        return payload;
      },
    });
    await using setup = setUp({ one: script });
    await using caller = await modern(setup, withTasks);
    await start(caller);
    expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({
      status: 'completed',
      result: { isError: true },
    });
    payload = undefined;
    await caller.call(`${prefix}slow`);
    expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({
      status: 'failed',
      error: { code: -32603, message: 'broken', data: { a: 1 } },
    });
  });

  test('is cancelled, which is only acknowledged', async () => {
    await using setup = setUp({ one: legacyServer({ status: 'working' }) });
    await using caller = await modern(setup, withTasks);
    await start(caller);
    const { _meta, ...acknowledged } = await caller.result('tasks/cancel', { taskId: 't1' });
    expect(acknowledged).toEqual({ resultType: 'complete' });
    expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({ status: 'cancelled' });
  });

  test('is what its server says when that knows it no more, or will not cancel it', async () => {
    const refuse = () => {
      throw new RpcError(-32602, 'no such task');
    };
    await using setup = setUp({
      one: legacyServer({ status: 'working' }, { 'tasks/get': refuse, 'tasks/cancel': refuse }),
    });
    await using caller = await modern(setup, withTasks);
    await start(caller);
    for (const method of ['tasks/get', 'tasks/cancel']) {
      expect(await caller.error(method, { taskId: 't1' })).toMatchObject({ code: -32602, message: 'no such task' });
    }
  });

  test('asks no longer what its server has taken back', async () => {
    const state = { status: 'input_required' };
    await using setup = setUp({ one: legacyServer(state, { 'tasks/result': () => hold }) });
    await using caller = await modern(setup, { ...withTasks, elicitation: {} });
    await start(caller);
    await caller.result('tasks/get', { taskId: 't1' });
    const { instance } = await setup.server('one').request('tasks/result');
    for (const id of ['q1', 'q2']) {
      const params = { message: id, _meta: { [relatedTask]: { taskId: 't1' } } };
      instance.say({ id, method: 'elicitation/create', params });
    }
    instance.notify('notifications/cancelled', { requestId: 'q1' });
    await settle();
    const { inputRequests } = await caller.result('tasks/get', { taskId: 't1' });
    expect(Object.values(inputRequests as Json)).toEqual([{ method: 'elicitation/create', params: { message: 'q2' } }]);
  });

  describe('and a caller with many sets of capabilities', () => {
    /** As many as push out a session that nothing holds. */
    const push = async (caller: ModernTestCaller) => {
      for (let index = 0; index < 8; index += 1) {
        caller.capabilities = { ...withTasks, roots: { index } };
        await caller.result('server/discover');
      }
      caller.capabilities = withTasks;
    };
    const create = async (setup: Setup, ttl: unknown) => {
      const state = { status: 'working' };
      const script = legacyServer(state);
      script.on = { ...script.on, 'tools/call': () => ({ task: { taskId: 't1', status: 'working', ...times, ttl } }) };
      Object.assign(setup.server('one').script, script);
      const caller = await modern(setup, withTasks);
      await start(caller);
      return { caller, state };
    };
    const get = (caller: ModernTestCaller) => caller.request('tasks/get', { taskId: 't1' });
    // Where the session has gone, the endpoint knows no such task; a server alone is asked anew.
    const gone = prefix === '' ? { result: { taskId: 't1' } } : { error: { code: -32602 } };

    test('it is there while it runs, and while somebody waits to hear of it', async () => {
      await using setup = setUp({ one: {} });
      const { caller, state } = await create(setup, 60_000);
      await push(caller);
      expect(await get(caller)).toMatchObject({ result: { status: 'working' } });
      state.status = 'completed';
      expect(await get(caller)).toMatchObject({ result: { status: 'completed' } });
      const { script } = setup.server('one');
      script.on = { ...script.on, 'tasks/get': () => hold };
      const waiting = get(caller);
      const { instance, request } = await setup.server('one').request('tasks/get', 2);
      await push(caller);
      instance.answer(request, { taskId: 't1', status: 'completed', ...times });
      expect(await waiting).toMatchObject({ result: { status: 'completed' } });
      await caller.close();
    });

    test('it goes with its session when it has ended, and is not waited for', async () => {
      await using setup = setUp({ one: {} });
      const { caller, state } = await create(setup, 60_000);
      state.status = 'completed';
      await get(caller);
      await push(caller);
      expect(await get(caller)).toMatchObject(gone);
      await caller.close();
    });

    test.each([
      ['that it may', 1_000, 2_000],
      ['of an hour, if it may live for ever', null, 61 * 60_000],
      ['of an hour, if it may live for longer', 100 * 60 * 60_000, 61 * 60_000],
    ])('it is given up after the time %s', async (_, ttl, ms) => {
      await using setup = setUp({ one: {} }, { entry: { health: { interval: 0 } } });
      const { caller } = await create(setup, ttl);
      await setup.clock.advance(ms);
      await push(caller);
      expect(await get(caller)).toMatchObject(gone);
      await caller.close();
    });
  });

  test('is nothing to other callers, and there is neither a list nor a way to wait', async () => {
    await using setup = setUp({ one: legacyServer({ status: 'working' }) });
    await using caller = await modern(setup, withTasks);
    await start(caller);
    await using other = await modern(setup, withTasks);
    for (const method of ['tasks/list', 'tasks/result']) {
      expect((await caller.error(method, { taskId: 't1' })).code).toBe(-32601);
    }
    const theirs = await other.request('tasks/get', { taskId: 't1' });
    // A connection of its own to one server asks that server, which is another instance.
    prefix === '' ? expect(theirs).toHaveProperty('result') : expect(theirs).toMatchObject({ error: { code: -32602 } });
  });

  test('a caller without the extension gets no tasks', async () => {
    await using setup = setUp({ one: legacyServer({ status: 'working' }) });
    await using caller = await modern(setup, {});
    expect(await start(caller)).toMatchObject({ resultType: 'complete', plain: true });
    expect((await caller.result('server/discover')).capabilities).not.toHaveProperty('extensions');
    const listening = { notifications: { taskIds: ['t1'] } };
    expect(await caller.error('subscriptions/listen', listening)).toMatchObject(missing);
  });

  test.each(['tasks/get', 'tasks/update', 'tasks/cancel'])(
    'a request %s that does not declare the extension is refused, and says so',
    async (method) => {
      await using setup = setUp({ one: legacyServer({ status: 'working' }) });
      await using caller = await modern(setup, withTasks);
      await start(caller);
      caller.capabilities = {};
      expect(await caller.error(method, { taskId: 't1', inputResponses: {} })).toMatchObject(missing);
      expect(setup.server('one').only.requests(method)).toEqual([]);
    },
  );

  test('a tool that its server runs as a task alone says so to a caller without the extension', async () => {
    const script = legacyServer(
      { status: 'working' },
      {
        'tools/call': () => {
          throw new RpcError(-32601, 'it runs as a task');
        },
      },
    );
    await using setup = setUp({ one: script });
    await using caller = await modern(setup, {});
    await caller.result('tools/list');
    expect(await caller.error('tools/call', { name: `${prefix}slow` })).toMatchObject(missing);
    expect(await caller.error('tools/call', { name: `${prefix}quick` })).toMatchObject({ code: -32601 });
    // It would be asked for nothing else then.
    caller.capabilities = withTasks;
    expect(await caller.error('tools/call', { name: `${prefix}slow` })).toMatchObject({ code: -32601 });
  });

  test('what its server says in _meta of a task reaches the caller', async () => {
    const task = { taskId: 't1', status: 'working', ...times, ttl: 60_000 };
    const _meta = { [relatedTask]: { taskId: 't1' }, [immediate]: 'it runs' };
    const script = legacyServer(
      { status: 'working' },
      { 'tools/call': () => ({ task, _meta }), 'tasks/get': () => ({ ...task, _meta }) },
    );
    await using setup = setUp({ one: script });
    await using caller = await modern(setup, withTasks);
    for (const told of [await start(caller), await caller.result('tasks/get', { taskId: 't1' })]) {
      expect(told).toMatchObject({ taskId: 't1', _meta: { [immediate]: 'it runs' } });
      expect(told._meta).not.toHaveProperty(relatedTask);
    }
  });

  test('a caller with the extension hears of it, and calls other tools as ever', async () => {
    await using setup = setUp({ one: legacyServer({ status: 'working' }) });
    await using caller = await modern(setup, withTasks);
    await start(caller);
    expect((await caller.result('server/discover')).capabilities).toMatchObject({ extensions: { [extension]: {} } });
    expect(await caller.call(`${prefix}quick`)).toMatchObject({ resultType: 'complete', plain: true });
    void caller.request('subscriptions/listen', { notifications: { taskIds: ['t1'] } }, 'listen');
    const { notifications } = await caller.notification('notifications/subscriptions/acknowledged');
    expect(notifications).toEqual({});
  });
});

test('a result that was lost with a connection is asked for again', async () => {
  const state = { status: 'input_required' };
  const script = legacyServer(state, { 'tasks/result': () => hold });
  await using setup = setUp({ one: script });
  await using caller = await ModernTestCaller.open(setup.gateway.connect(), withTasks);
  await caller.result('tools/list');
  await caller.call('one__slow');
  await caller.result('tasks/get', { taskId: 't1' });
  const { instance } = await setup.server('one').request('tasks/result');
  instance.die();
  await setup.clock.advance(60_000);
  state.status = 'completed';
  script.on = { ...script.on, 'tasks/result': () => ({ content: [], structuredContent: { done: true } }) };
  expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({
    status: 'completed',
    result: { structuredContent: { done: true } },
  });
});

test('a task that is complete has not failed when its result cannot be had at the time', async () => {
  const script = legacyServer({ status: 'completed' }, { 'tasks/result': () => hold });
  await using setup = setUp({ one: script }, { entry: { request_timeout: '1m' } });
  await using caller = await ModernTestCaller.open(setup.gateway.connect(), withTasks);
  await caller.result('tools/list');
  await caller.call('one__slow');
  const late = caller.error('tasks/get', { taskId: 't1' });
  await setup.server('one').request('tasks/result');
  await setup.clock.advance(60_000);
  expect(await late).toMatchObject({ data: { code: 'REQUEST_TIMEOUT' } });
  script.on = { ...script.on, 'tasks/result': () => ({ content: [], structuredContent: { done: true } }) };
  expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({
    status: 'completed',
    result: { structuredContent: { done: true } },
  });
});

test('a request for a task that something holds is answered when the gateway closes', async () => {
  const entered = Promise.withResolvers<void>();
  const intercept: Interceptor = ({ method }, next) => {
    if (method === 'tasks/get') {
      entered.resolve();
      return new Promise<never>(() => {});
    }
    return next();
  };
  await using setup = setUp({ one: legacyServer({ status: 'working' }) }, { intercept });
  const caller = await ModernTestCaller.open(setup.gateway.connect(), withTasks);
  await caller.result('tools/list');
  await caller.call('one__slow');
  const asking = caller.error('tasks/get', { taskId: 't1' });
  await entered.promise;
  await setup.gateway.close({ graceMs: 0 });
  expect(await asking).toMatchObject({ data: { code: 'GATEWAY_CLOSED', delivered: 'unknown' } });
});

test('what was answered when the caller left comes to nobody', async () => {
  await using setup = setUp({ one: legacyServer({ status: 'working' }) });
  const caller = await ModernTestCaller.open(setup.gateway.connect(), withTasks);
  await caller.result('tools/list');
  await caller.call('one__slow');
  void caller.request('tasks/update', { taskId: 't1', inputResponses: {} }, 'late');
  await caller.close();
  await settle();
  expect(caller.answers('late')).toEqual([]);
});

/** The same as a server of 2025-11-25 that makes a task of each call. */
function modernServerOf({ status }: { status: string }): Script {
  return { ...modernServer([{ status }]), tools: [{ name: 'slow' }] };
}

/** A server of 2026-07-28 that makes a task of each call. */
function modernServer(answers: Json[], more: NonNullable<Script['on']> = {}): Script {
  const task = { taskId: 't1', status: 'working', ...times, ttlMs: null, pollIntervalMs: 100 };
  return statelessServer({
    'server/discover': () => discovery({ capabilities: { tools: {}, extensions: { [extension]: {} } } }),
    'tools/call': ({ params }) => {
      expect(params?._meta?.['io.modelcontextprotocol/clientCapabilities']).toMatchObject(withTasks);
      return { resultType: 'task', ...task };
    },
    'tasks/get': () => ({ resultType: 'complete', ...task, ...(answers.length > 1 ? answers.shift() : answers[0]) }),
    'tasks/update': () => ({ resultType: 'complete' }),
    'tasks/cancel': () => ({ resultType: 'complete' }),
    ...more,
  });
}

/** `String()` throws for what it has in place of a name. */
const nameless = { resultType: 'task', taskId: { toString: 1 }, status: 'working', ...times, ttlMs: null };
const ended = (more: Json = {}) => ({
  status: 'completed',
  result: { resultType: 'complete', content: [], structuredContent: { done: true }, ...more },
});
const question = { mode: 'form', message: 'Who?', requestedSchema: { type: 'object', properties: {} } };
const asking = {
  status: 'input_required',
  inputRequests: { who: { method: 'elicitation/create', params: question } },
};

describe.each(ways)('$way: tasks of a stateless server, for a caller with a session', ({ prefix, legacy }) => {
  /** Lets the pause between two questions to the server pass until there is an answer. */
  const until = async <T>(setup: Setup, answer: Promise<T>): Promise<T> => {
    let isDone = false;
    const done = answer.finally(() => {
      isDone = true;
    });
    done.catch(() => {});
    for (let round = 0; !isDone && round < 100; round += 1) {
      await setup.clock.advance(100);
      await settle();
    }
    return done;
  };

  test('a call that becomes a task is answered with its result', async () => {
    await using setup = setUp({ one: modernServer([{}, {}, ended()]) });
    await using caller = await legacy(setup, {});
    const result = await until(setup, caller.result('tools/call', { name: `${prefix}go` }));
    expect(result).toEqual({ content: [], structuredContent: { done: true } });
    expect(setup.server('one').only.requests('tasks/get')).toHaveLength(3);
  });

  test('a task whose server says how it is in what is nested too deeply to be written is asked for on', async () => {
    const status = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000));
    await using setup = setUp({ one: modernServer([{ status }, { status, statusMessage: status }, ended()]) });
    await using caller = await legacy(setup, {});
    const result = await until(setup, caller.result('tools/call', { name: `${prefix}go` }));
    expect(result).toEqual({ content: [], structuredContent: { done: true } });
  });

  test('the result of a call that was over at once is nested too deeply for a text: it is the answer all the same', async () => {
    const structuredContent = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000));
    const call = () => ({ resultType: 'complete', content: [], structuredContent });
    await using setup = setUp({ one: modernServer([], { 'tools/call': call }) });
    await using caller = await legacy(setup, {});
    const { task } = await caller.result('tools/call', { name: `${prefix}go`, task: {} });
    const result = await caller.result('tasks/result', { taskId: (task as Json).taskId });
    expect(result).toMatchObject({ content: [], structuredContent: { result: expect.any(Array) } });
  });

  test('what the task needs is asked for by a request, once', async () => {
    const state = { answered: false };
    const script = modernServer([], {
      'tasks/get': () => ({
        resultType: 'complete',
        taskId: 't1',
        ...times,
        pollIntervalMs: 100,
        ...(state.answered ? ended() : asking),
      }),
      'tasks/update': ({ params }) => {
        expect(params).toMatchObject({ taskId: 't1', inputResponses: { who: { action: 'accept' } } });
        state.answered = true;
        return { resultType: 'complete' };
      },
    });
    await using setup = setUp({ one: script });
    await using caller = await legacy(setup, { elicitation: {} });
    const called = caller.result('tools/call', { name: `${prefix}go` });
    await setup.server('one').request('tools/call');
    await setup.clock.advance(500);
    await settle();
    const asked = caller.requests('elicitation/create');
    expect(asked.map(({ params }) => params)).toEqual([question]);
    await caller.send({ id: asked[0]?.id, result: { action: 'accept' } });
    expect(await until(setup, called)).toMatchObject({ structuredContent: { done: true } });
  });

  test('fails with a code that its caller knows where the task lacks a capability', async () => {
    const error = { code: -32021, message: 'no', data: { requiredCapabilities: { sampling: {} } } };
    await using setup = setUp({ one: modernServer([{ status: 'failed', error }]) });
    await using caller = await legacy(setup, {});
    expect(await until(setup, caller.error('tools/call', { name: `${prefix}go` }))).toMatchObject({ code: -32602 });
  });

  test.each([
    [
      { code: 'no', message: 5 },
      { code: -32603, message: '5' },
    ],
    [['no'], { code: -32603, message: 'the task has failed' }],
    [{}, { code: -32603, message: 'no reason given' }],
    [
      { code: -32020, message: { toString: 1 } },
      { code: -32603, message: expect.stringContaining('[object Object]') },
    ],
  ])('fails with what its caller can read where the error of the task is %j', async (error, shown) => {
    await using setup = setUp({ one: modernServer([{ status: 'failed', error }]) });
    await using caller = await legacy(setup, {});
    expect(await until(setup, caller.error('tools/call', { name: `${prefix}go` }))).toEqual(shown);
  });

  test('fails as the task does, and with what the caller will not answer', async () => {
    await using setup = setUp({
      one: modernServer([{ status: 'failed', error: { code: -32001, message: 'broken' } }]),
    });
    await using caller = await legacy(setup, { elicitation: {} });
    expect(await until(setup, caller.error('tools/call', { name: `${prefix}go` }))).toEqual({
      code: -32001,
      message: 'broken',
    });
    await using gone = setUp({
      one: modernServer([], {
        'tasks/get': () => {
          throw new RpcError(-32602, 'no such task');
        },
      }),
    });
    await using other = await legacy(gone, {});
    expect(await until(gone, other.error('tools/call', { name: `${prefix}go` }))).toMatchObject({ code: -32602 });
    await using deaf = setUp({ one: modernServer([asking]) });
    await using mute = await legacy(deaf, {});
    const error = await until(deaf, mute.error('tools/call', { name: `${prefix}go` }));
    expect(error.message).toContain('could not answer');
    await deaf.server('one').request('tasks/cancel');
  });

  test.each([
    ['a task', modernServer([asking])],
    ['a call', modernServer([], { 'tools/call': () => ({ ...asking, resultType: 'input_required' }) })],
  ])('fails where the caller answers what %s needs with an error that has no text', async (_what, script) => {
    await using setup = setUp({ one: script });
    await using caller = await legacy(setup, { elicitation: {} });
    const called = until(setup, caller.error('tools/call', { name: `${prefix}go` }));
    const { id } = await caller.until(() => caller.requests('elicitation/create')[0]);
    await caller.send({ id, error: { code: 7, message: { toString: 1 } } });
    expect(await called).toMatchObject({ code: 7, message: expect.stringContaining('could not answer') });
  });

  test('fails where the task has no name', async () => {
    const refuse = () => {
      throw new RpcError(-32602, 'no such task');
    };
    const script = modernServer([], { 'tools/call': () => nameless, 'tasks/get': refuse });
    await using setup = setUp({ one: script });
    await using caller = await legacy(setup, {});
    expect(await until(setup, caller.error('tools/call', { name: `${prefix}go` }))).toMatchObject({ code: -32602 });
  });

  test('fails when the server does not take what the caller has answered, and not when it goes on all the same', async () => {
    for (const goesOn of [false, true]) {
      let asked = 0;
      const script = modernServer([], {
        'tasks/get': () => {
          asked += 1;
          const state = goesOn && asked > 1 ? ended() : asking;
          return { resultType: 'complete', taskId: 't1', ...times, pollIntervalMs: 100, ...state };
        },
        'tasks/update': () => {
          throw new RpcError(-32603, 'it was lost');
        },
      });
      await using setup = setUp({ one: script });
      await using caller = await legacy(setup, { elicitation: {} });
      caller.onRequest = () => ({ action: 'accept' });
      const answer = await until(setup, caller.request('tools/call', { name: `${prefix}go` }));
      const server = setup.server('one').only;
      expect(caller.requests('elicitation/create')).toHaveLength(1);
      if (goesOn) {
        expect(answer).toMatchObject({ result: { structuredContent: { done: true } } });
      } else {
        const message = 'the server did not take what the client has answered: it was lost';
        expect(answer).toMatchObject({ error: { code: -32603, message } });
        expect(server.requests('tasks/cancel')).toHaveLength(1);
      }
    }
  });

  test('fails when it needs what cannot be asked for', async () => {
    for (const input of [{ method: 'vendor/ask' }, 'no object']) {
      const script = modernServer([{ status: 'input_required', inputRequests: { who: input } }]);
      await using setup = setUp({ one: script });
      await using caller = await legacy(setup, { elicitation: {} });
      const error = await until(setup, caller.error('tools/call', { name: `${prefix}go` }));
      expect(error).toMatchObject({ code: -32603, message: expect.stringContaining('cannot be asked for') });
      expect(setup.server('one').only.requests('tasks/cancel')).toHaveLength(1);
    }
  });

  test('its server is told of no request as cancelled that it has answered or never got', async () => {
    await using setup = setUp({ one: modernServer([{ status: 'working' }]) });
    await using caller = await legacy(setup, {});
    void caller.send({ id: 'call', method: 'tools/call', params: { name: `${prefix}go` } });
    void caller.send({ id: 'result', method: 'tasks/result', params: { taskId: 't1' } });
    await setup.server('one').request('tools/call');
    await setup.clock.advance(100);
    for (const requestId of ['call', 'result']) {
      await caller.send({ method: 'notifications/cancelled', params: { requestId } });
    }
    await setup.server('one').request('tasks/cancel');
    await settle();
    expect(setup.server('one').only.notifications('notifications/cancelled')).toEqual([]);
  });

  test.each(['tasks/get', 'tasks/cancel'])(
    'its server is told of no %s as cancelled, which it got under another id',
    async (method) => {
      await using setup = setUp({ one: modernServer([{}], { [method]: () => hold }) });
      await using caller = await legacy(setup, {});
      await caller.result('tools/call', { name: `${prefix}go`, task: {} });
      void caller.send({ id: 'asked', method, params: { taskId: 't1' } });
      await setup.server('one').request(method);
      await caller.send({ method: 'notifications/cancelled', params: { requestId: 'asked' } });
      await settle();
      expect(setup.server('one').only.notifications('notifications/cancelled')).toEqual([]);
    },
  );

  test('is cancelled with its call', async () => {
    await using setup = setUp({ one: modernServer([asking]) });
    await using caller = await legacy(setup, { elicitation: {} });
    void caller.send({ id: 'call', method: 'tools/call', params: { name: `${prefix}go` } });
    await setup.server('one').request('tools/call');
    await setup.clock.advance(100);
    await caller.until(() => caller.requests('elicitation/create')[0]);
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'call' } });
    const { request } = await setup.server('one').request('tasks/cancel');
    expect(request.params).toMatchObject({ taskId: 't1' });
    const asked = caller.requests('elicitation/create')[0]?.id;
    expect(caller.notifications('notifications/cancelled')).toMatchObject([{ requestId: asked }]);
    await setup.clock.advance(1_000);
    expect(caller.answers('call')).toEqual([]);
  });

  test('a call that waits for the end of a task is answered when the server ends', async () => {
    await using setup = setUp({ one: modernServer([{}]) });
    await using caller = await legacy(setup, {});
    const called = caller.error('tools/call', { name: `${prefix}go` });
    await setup.server('one').request('tools/call');
    await settle();
    setup.server('one').only.die();
    expect(await called).toMatchObject({ data: { code: 'SERVER_EXITED' } });
  });

  test('a caller that asks for a task gets one, and asks for it in its own words', async () => {
    await using setup = setUp({ one: modernServer([{}, {}, ended()]) });
    await using caller = await legacy(setup, {});
    const { tools } = await caller.result('tools/list');
    expect(tools).toMatchObject([{ name: `${prefix}go`, execution: { taskSupport: 'optional' } }]);
    const task = { taskId: 't1', status: 'working', ...times, ttl: null, pollInterval: 100 };
    expect(await caller.result('tools/call', { name: `${prefix}go`, task: { ttl: 1 } })).toEqual({ task });
    expect((await setup.server('one').request('tools/call')).request.params).not.toHaveProperty('task');
    expect(await caller.result('tasks/get', { taskId: 't1' })).toEqual(task);
    const result = await until(setup, caller.result('tasks/result', { taskId: 't1' }));
    expect(result).toMatchObject({ structuredContent: { done: true }, _meta: { [relatedTask]: { taskId: 't1' } } });
    expect(result).not.toHaveProperty('resultType');
    const list = await caller.request('tasks/list');
    // The merged peer has a list of its own.
    prefix === '' ? expect(list).toMatchObject({ error: { code: -32601 } }) : expect(list).toHaveProperty('result');
  });

  test('what its server says in _meta of a task reaches the caller', async () => {
    const task = { taskId: 't1', status: 'working', ...times, ttlMs: null, _meta: { own: 1 } };
    const script = modernServer([], {
      'tools/call': () => ({ resultType: 'task', ...task }),
      'tasks/get': () => ({ resultType: 'complete', ...task }),
    });
    await using setup = setUp({ one: script });
    await using caller = await legacy(setup, {});
    const { _meta, task: begun } = await caller.result('tools/call', { name: `${prefix}go`, task: {} });
    expect([_meta, begun]).toEqual([{ own: 1 }, { taskId: 't1', status: 'working', ...times, ttl: null }]);
    expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({ taskId: 't1', _meta: { own: 1 } });
  });

  test('who cancels a task sees it, and hears of one that has ended already, though its server acknowledges both', async () => {
    for (const status of ['working', 'cancelled', 'completed', 'failed']) {
      await using setup = setUp({ one: modernServer([{ status }]) });
      await using caller = await legacy(setup, {});
      await caller.result('tools/call', { name: `${prefix}go`, task: {} });
      const hasEnded = status === 'completed' || status === 'failed';
      expect(await caller.request('tasks/cancel', { taskId: 't1' })).toMatchObject(
        hasEnded ? { error: { code: -32602 } } : { result: { taskId: 't1', status } },
      );
      expect(setup.server('one').only.requests('tasks/cancel')).toHaveLength(1);
    }
  });

  test('a task is no answer to anything but the call of a tool', async () => {
    const task = { taskId: 't1', status: 'working', ...times, ttlMs: null };
    const script = modernServer([ended()], { 'resources/read': () => ({ resultType: 'task', ...task }) });
    script.on = {
      ...script.on,
      'server/discover': () => discovery({ capabilities: { resources: {}, extensions: { [extension]: {} } } }),
    };
    await using setup = setUp({ one: { ...script, resources: [{ uri: 'x://1', name: '1' }] } });
    await using caller = await legacy(setup, {});
    await caller.result('resources/list');
    const answer = await until(setup, caller.request('resources/read', { uri: 'x://1' }));
    expect(answer).toMatchObject({ error: { code: -32603, message: expect.stringContaining('"task"') } });
  });

  test('what a task needs is asked for once, however many wait for its result, and again when who was asked waits no more', async () => {
    const state = { answered: false };
    const task = { taskId: 't1', ...times, pollIntervalMs: 100 };
    const script = modernServer([], {
      'tasks/get': () => ({ resultType: 'complete', ...task, ...(state.answered ? ended() : asking) }),
      'tasks/update': () => {
        state.answered = true;
        return { resultType: 'complete' };
      },
    });
    await using setup = setUp({ one: script });
    await using caller = await legacy(setup, { elicitation: {} });
    await caller.result('tools/call', { name: `${prefix}go`, task: { ttl: 1 } });
    for (const id of ['r1', 'r2', 'r3']) void caller.request('tasks/result', { taskId: 't1' }, id);
    await setup.server('one').request('tasks/get', 2);
    await settle();
    await setup.clock.advance(1_000);
    await settle();
    const [asked, ...more] = caller.requests('elicitation/create');
    expect(more).toEqual([]);
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'r1' } });
    expect(await caller.notification('notifications/cancelled')).toMatchObject({ requestId: asked?.id });
    await setup.clock.advance(1_000);
    await settle();
    const again = caller.requests('elicitation/create').slice(1);
    expect(again).toHaveLength(1);
    await caller.send({ id: again[0]?.id, result: { action: 'accept' } });
    const results = ['r2', 'r3'].map((id) => caller.until(() => caller.answers(id)[0]));
    for (const { result } of await until(setup, Promise.all(results))) {
      expect(result).toMatchObject({ structuredContent: { done: true } });
    }
    expect(setup.server('one').only.requests('tasks/update')).toHaveLength(1);
    expect(caller.requests('elicitation/create')).toHaveLength(2);
  });

  test('a caller that asks for a task where the server answers at once finds it complete', async () => {
    const script = modernServer([], { 'tools/call': () => ({ resultType: 'complete', content: [], quick: true }) });
    await using setup = setUp({ one: script });
    await using caller = await legacy(setup, {});
    const { task } = (await caller.result('tools/call', { name: `${prefix}go`, task: {} })) as { task: Json };
    expect(task).toMatchObject({ status: 'completed', ttl: null });
    const { taskId } = task;
    expect(await caller.result('tasks/get', { taskId })).toEqual(task);
    expect(await caller.result('tasks/result', { taskId })).toMatchObject({ quick: true });
    expect((await caller.error('tasks/cancel', { taskId })).code).toBe(-32602);
  });
});

describe.each([
  ['one with sessions and another', legacyServer, legacyServer],
  ['a stateless one and another', modernServerOf, modernServerOf],
  ['one with sessions and a stateless one', legacyServer, modernServerOf],
  ['a stateless one and one with sessions', modernServerOf, legacyServer],
] as const)('tasks of two servers with one id, %s', (_, first, second) => {
  test('are two for a stateless caller, whatever it declares with each request', async () => {
    const one = first({ status: 'working' });
    const two = second({ status: 'working' });
    await using setup = setUp({ one, two });
    await using caller = await ModernTestCaller.open(setup.gateway.connect(), withTasks);
    await caller.result('tools/list');
    const begin = async (server: string, capabilities: Json) => {
      caller.capabilities = capabilities;
      const { taskId, resultType } = await caller.call(`${server}__slow`);
      expect(resultType).toBe('task');
      return taskId;
    };
    const others = { ...withTasks, elicitation: {} };
    const ofOne = await begin('one', withTasks);
    const ofTwo = await begin('two', others);
    expect(ofTwo).not.toBe(ofOne);
    for (const [server, taskId] of [
      ['one', ofOne],
      ['two', ofTwo],
    ] as const) {
      for (const method of ['tasks/get', 'tasks/cancel', 'tasks/get']) {
        const { taskId: shown = taskId } = await caller.result(method, { taskId });
        expect(shown).toBe(taskId);
      }
      const asked = setup.server(server).instances.flatMap((instance) => instance.requests('tasks/cancel'));
      expect(asked.map(({ params }) => params?.taskId)).toEqual(['t1']);
    }
  });
});

test('a call of a stateless caller is answered also where it becomes a task without a name', async () => {
  await using setup = setUp({ one: modernServer([], { 'tools/call': () => nameless }) });
  await using caller = await ModernTestCaller.open(setup.gateway.connect(), withTasks);
  expect(await caller.call('one__go')).toMatchObject({ resultType: 'task', status: 'working' });
});

test('tasks of one era pass as they are', async () => {
  await using setup = setUp({ one: modernServer([{ status: 'working' }]), two: legacyServer({ status: 'working' }) });
  await using caller = await ModernTestCaller.open(setup.gateway.connect(), withTasks);
  expect(await caller.call('one__go')).toMatchObject({ resultType: 'task', taskId: 't1' });
  expect(await caller.result('tasks/get', { taskId: 't1' })).toMatchObject({ status: 'working', pollIntervalMs: 100 });
  await caller.result('tasks/update', { taskId: 't1', inputResponses: { a: {} } });
  expect((await setup.server('one').request('tasks/update')).request.params).toMatchObject({
    inputResponses: { a: {} },
  });
  await caller.result('tasks/cancel', { taskId: 't1' });
  await using old = await setup.caller();
  const { task } = await old.result('tools/call', { name: 'two__slow', task: {} });
  expect(task).toMatchObject({ taskId: 't1', ttl: 60_000 });
});

describe('with SDK v1', () => {
  /** A server whose tool runs as a task, and asks its caller in the middle of it. */
  function createServer(): McpServer {
    const taskStore = new InMemoryTaskStore();
    const server = new McpServer(
      { name: 'tasks', version: '1' },
      {
        capabilities: { tasks: { cancel: {}, list: {}, requests: { tools: { call: {} } } } },
        taskStore,
        taskMessageQueue: new InMemoryTaskMessageQueue(),
      },
    );
    server.experimental.tasks.registerToolTask(
      'slow',
      { description: 'Asks', inputSchema: {}, execution: { taskSupport: 'required' } },
      {
        async createTask(_args, extra) {
          const task = await extra.taskStore.createTask({ ttl: 60_000, pollInterval: 10 });
          const work = async () => {
            await extra.taskStore.updateTaskStatus(task.taskId, 'input_required');
            const params = {
              mode: 'form' as const,
              message: 'Who?',
              requestedSchema: { type: 'object' as const, properties: {} },
            };
            const answer = await extra.sendRequest({ method: 'elicitation/create', params }, ElicitResultSchema, {
              relatedTask: { taskId: task.taskId },
            } as never);
            const content = [{ type: 'text' as const, text: `heard ${answer.action}` }];
            await extra.taskStore.storeTaskResult(task.taskId, 'completed', { content });
          };
          void work();
          return { task };
        },
        getTask: async (_args, { taskId, taskStore: store }) => store.getTask(taskId),
        getTaskResult: async (_args, { taskId, taskStore: store }) => (await store.getTaskResult(taskId)) as never,
      },
    );
    return server;
  }

  test('a stateless caller runs the task of a server, and answers what it asks', async () => {
    await using gateway = createGateway({
      servers: [{ id: 'one', runtime: { type: 'in-process', server: () => createServer() } }],
    });
    await using caller = await ModernTestCaller.open(gateway.connect('one', { era: 'modern' }), {
      ...withTasks,
      elicitation: {},
    });
    await caller.result('tools/list');
    const { taskId, resultType } = await caller.call('slow', { arguments: {} });
    expect(resultType).toBe('task');
    let task = await caller.result('tasks/get', { taskId });
    while (task.inputRequests === undefined) task = await caller.result('tasks/get', { taskId });
    const [key = ''] = Object.keys(task.inputRequests as Json);
    await caller.result('tasks/update', { taskId, inputResponses: { [key]: { action: 'decline' } } });
    while (task.status !== 'completed') task = await caller.result('tasks/get', { taskId });
    expect(task.result).toMatchObject({ content: [{ text: 'heard decline' }] });
  });

  test('a client gets the result of a call that a stateless server makes a task of', async () => {
    const state = { answered: false };
    const script = modernServer([], {
      'tasks/get': () => ({
        resultType: 'complete',
        taskId: 't1',
        ...times,
        ttlMs: null,
        pollIntervalMs: 50,
        ...(state.answered ? ended() : asking),
      }),
      'tasks/update': () => {
        state.answered = true;
        return { resultType: 'complete' };
      },
    });
    const schema = { type: 'object' };
    await using setup = setUp({ one: { ...script, tools: [{ name: 'go', inputSchema: schema }] } });
    const client = new Client({ name: 'test', version: '1' }, { capabilities: { elicitation: {} } });
    client.setRequestHandler(ElicitRequestSchema, async () => ({ action: 'decline' }));
    await client.connect(setup.gateway.connect('one', { era: 'legacy' }));
    const called = client.callTool({ name: 'go', arguments: {} });
    let result: unknown;
    void called.then((value) => {
      result = value;
    });
    while (result === undefined) {
      await setup.clock.advance(50);
      await settle();
    }
    expect(result).toMatchObject({ structuredContent: { done: true } });
    await client.close();
  });
});

test('a call that waits for its caller is answered when the server ends', async () => {
  const script = statelessServer({
    'tools/call': () => ({ resultType: 'input_required', inputRequests: { a: { method: 'roots/list' } } }),
    'subscriptions/listen': () => hold,
  });
  await using setup = setUp({ one: script });
  await using caller = await setup.caller({ roots: {} });
  const called = caller.error('tools/call', { name: 'one__go' });
  await caller.until(() => caller.requests('roots/list')[0]);
  setup.server('one').only.die();
  expect(await called).toMatchObject({ data: { code: 'SERVER_EXITED' } });
});

test.each([
  ['has needed input', { resultType: 'input_required', inputRequests: { a: { method: 'roots/list' } } }],
  ['has become a task', { resultType: 'task', taskId: 't1', status: 'working', ...times, ttlMs: null }],
])('a call that %s was delivered, though what goes on with it is not', async (_, answer) => {
  const script = statelessServer({ 'server/discover': () => discovery({ capabilities: { tools: {}, ...withTasks } }) });
  await using setup = setUp({ one: { ...script, on: { ...script.on, 'tools/call': () => answer } } });
  await using caller = await setup.caller({ roots: {} });
  const called = caller.error('tools/call', { name: 'one__go' });
  const { instance } = await setup.server('one').request('tools/call');
  await settle();
  instance.send = async () => {
    // As of a remote server that refuses the connection.
    throw new GatewayError('CONNECTION_FAILED', 'refused', { server: 'one', delivered: false });
  };
  for (const { id } of caller.requests('roots/list')) await caller.send({ id, result: { roots: [] } });
  await setup.clock.advance(10_000);
  expect(await called).toMatchObject({ data: { delivered: true } });
});

describe('a request for a task that takes two at the server was delivered, though the second is not', () => {
  const refuse = async () => {
    throw new GatewayError('CONNECTION_FAILED', 'refused', { server: 'one', delivered: false });
  };

  test('when a caller with a session cancels a task of a stateless server', async () => {
    await using setup = setUp({ one: modernServer([{}], { 'tasks/cancel': () => hold }) });
    await using caller = await setup.caller();
    await caller.result('tools/call', { name: 'one__go', task: {} });
    const cancelled = caller.error('tasks/cancel', { taskId: 't1' });
    const { instance, request } = await setup.server('one').request('tasks/cancel');
    instance.send = refuse;
    instance.answer(request, { resultType: 'complete' });
    expect(await cancelled).toMatchObject({ data: { code: 'CONNECTION_FAILED', delivered: true } });
  });

  test.each(['completed', 'failed'])(
    'when a stateless caller asks a server with sessions for a task that has %s',
    async (status) => {
      const state = { status: 'working' };
      await using setup = setUp({ one: legacyServer(state, { 'tasks/get': () => hold }) });
      await using caller = await ModernTestCaller.open(setup.gateway.connect(), withTasks);
      await caller.result('tools/list');
      await caller.call('one__slow');
      const asked = caller.request('tasks/get', { taskId: 't1' });
      const { instance, request } = await setup.server('one').request('tasks/get');
      instance.send = refuse;
      instance.answer(request, { taskId: 't1', status, ...times, ttl: 60_000 });
      const answer = (await asked) as { error?: Json; result?: { error?: Json } };
      expect(answer.error ?? answer.result?.error).toMatchObject({
        data: { code: 'CONNECTION_FAILED', delivered: true },
      });
    },
  );
});

test('a call that waits for its caller has its request_timeout, in each round anew', async () => {
  const asked = { resultType: 'input_required', inputRequests: { a: { method: 'roots/list' } } };
  await using setup = setUp(
    { one: statelessServer({ 'tools/call': () => asked }) },
    { entry: { request_timeout: '1m' } },
  );
  await using caller = await setup.caller({ roots: {} });
  const called = caller.error('tools/call', { name: 'one__go' });
  const question = (number: number) => caller.until(() => caller.requests('roots/list')[number]);
  const { id } = await question(0);
  await setup.clock.advance(50_000);
  await caller.send({ id, result: { roots: [] } });
  const second = await question(1);
  await setup.clock.advance(50_000);
  expect(caller.notifications('notifications/cancelled')).toEqual([]);
  await setup.clock.advance(10_000);
  expect(await called).toMatchObject({
    message: expect.stringMatching(/^"one": no answer within request_timeout \(60000 ms\): the client was asked/),
    data: { code: 'REQUEST_TIMEOUT', server: 'one', delivered: true },
  });
  expect(caller.notifications('notifications/cancelled')).toMatchObject([{ requestId: second.id }]);
  expect(setup.gateway.status('one').inFlight).toBe(0);
  // A late answer goes nowhere.
  await caller.send({ id: second.id, result: { roots: [] } });
  await setup.clock.advance(0);
  expect(setup.server('one').only.requests('tools/call')).toHaveLength(2);
});

test('a call that a stateless server makes a task of has its request_timeout, which news of the task restarts', async () => {
  const at = (lastUpdatedAt: string) => Array.from({ length: 40 }, () => ({ lastUpdatedAt, pollIntervalMs: 1_000 }));
  await using setup = setUp(
    { one: modernServer([...at('1'), ...at('2'), ...at('3')]) },
    { entry: { request_timeout: '1m' } },
  );
  await using caller = await setup.caller();
  const called = caller.error('tools/call', { name: 'one__go' });
  await setup.server('one').request('tools/call');
  for (let second = 0; second < 130; second += 1) await setup.clock.advance(1_000);
  expect(setup.gateway.status('one').phase).toBe('ready');
  expect(setup.server('one').only.requests('tasks/cancel')).toEqual([]);
  for (let second = 0; second < 20; second += 1) await setup.clock.advance(1_000);
  expect(await called).toMatchObject({
    message: expect.stringMatching(/^"one": no answer within request_timeout \(60000 ms\): the task of the call/),
    data: { code: 'REQUEST_TIMEOUT', server: 'one', delivered: true },
  });
  expect(setup.server('one').only.requests('tasks/cancel')).toHaveLength(1);
  const asked = setup.server('one').only.requests('tasks/get').length;
  await setup.clock.advance(10_000);
  expect(setup.server('one').only.requests('tasks/get')).toHaveLength(asked);
});

test('who waits for the result of a task waits for request_timeout, and the task goes on', async () => {
  const news = Array.from({ length: 1_000 }, (_, index) => ({ lastUpdatedAt: `${index}`, pollIntervalMs: 1_000 }));
  await using setup = setUp({ one: modernServer(news) }, { entry: { request_timeout: '1m' } });
  await using caller = await setup.caller();
  await caller.result('tools/call', { name: 'one__go', task: {} });
  const result = caller.error('tasks/result', { taskId: 't1' });
  // Progress restarts it ten times at most, and here that is over after ten seconds.
  for (let second = 0; second < 80; second += 1) await setup.clock.advance(1_000);
  expect(await result).toMatchObject({ data: { code: 'REQUEST_TIMEOUT' } });
  expect(setup.server('one').only.requests('tasks/cancel')).toEqual([]);
});

test('a call that a stateless server makes a task of waits no longer for its caller', async () => {
  await using setup = setUp(
    { one: modernServer([{ ...asking, pollIntervalMs: 1_000 }]) },
    { entry: { request_timeout: '1m' } },
  );
  await using caller = await setup.caller({ elicitation: {} });
  const called = caller.error('tools/call', { name: 'one__go' });
  await setup.server('one').request('tools/call');
  for (let second = 0; second < 50; second += 1) await setup.clock.advance(1_000);
  const [question] = caller.requests('elicitation/create');
  expect(caller.notifications('notifications/cancelled')).toEqual([]);
  for (let second = 0; second < 20; second += 1) await setup.clock.advance(1_000);
  expect(await called).toMatchObject({
    message: expect.stringMatching(/^"one": no answer within request_timeout \(60000 ms\): the client was asked/),
    data: { code: 'REQUEST_TIMEOUT', server: 'one', delivered: true },
  });
  expect(caller.notifications('notifications/cancelled')).toMatchObject([{ requestId: question?.id }]);
  expect(setup.server('one').only.requests('tasks/cancel')).toHaveLength(1);
  await setup.clock.advance(10_000);
  expect(setup.gateway.status('one').inFlight).toBe(0);
});

test('of the tools that run as tasks alone, the last 10,000 are known', () => {
  const known = new SessionTasks(undefined as never);
  const tool = (name: string, taskSupport: string) => ({ name, execution: { taskSupport } });
  known.learn(Array.from({ length: 10_001 }, (_, index) => tool(`t${index}`, 'required')));
  known.learn([tool('t2', 'optional')]);
  expect(['t0', 't1', 't2', 't10000'].map((name) => known.isRequired(name))).toEqual([false, true, false, true]);
});
