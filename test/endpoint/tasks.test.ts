import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { describe, expect, test } from 'vitest';
import { settle } from '../support/fake-clock.js';
import { settledHeap } from '../support/heap.js';
import { hold, type Json, RpcError, type Script, type ScriptedInstance } from './scripted-server.js';
import { type SetupOptions, setUp } from './setup.js';
import { TestCaller } from './test-caller.js';

const relatedTask = 'io.modelcontextprotocol/related-task';
const task = (taskId: string, status = 'working') => ({ taskId, status, ttl: 1000 });

const when = '2026-01-01T00:00:00Z';
const sdkTask = (status: string) => ({ ...task('t', status), createdAt: when, lastUpdatedAt: when, pollInterval: 1 });

/** A server whose every call becomes a task of this id. */
function taskServer(taskId: string, more: Script['on'] = {}): Script {
  return {
    tools: [{ name: 'x' }],
    capabilities: { tools: {}, tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } },
    on: {
      'tools/call': () => ({ task: task(taskId) }),
      'tasks/get': ({ params }, { context }) => ({ ...task(String(params?.taskId)), statusMessage: context.server }),
      'tasks/result': ({ params }, { context }) => ({
        content: [{ type: 'text', text: context.server }],
        _meta: { [relatedTask]: { taskId: params?.taskId } },
      }),
      'tasks/cancel': ({ params }, { context }) => ({
        ...task(String(params?.taskId), 'cancelled'),
        statusMessage: context.server,
      }),
      'tasks/list': () => ({ tasks: [task(taskId)] }),
      ...more,
    },
  };
}

const taskIdOf = (result: Json) => (result.task as Json).taskId;

describe('tasks that servers run', () => {
  test.each([
    ['isolation: caller', { entry: { isolation: 'caller' } }, { era: 'legacy' as const }],
    ['isolation: shared', { entry: { isolation: 'shared' } }, { era: 'legacy' as const }],
    ['the merged peer', {}, undefined],
    ['the merged peer, with an interceptor', { intercept: (_request, next) => next() }, undefined],
  ] satisfies [string, SetupOptions, unknown][])(
    'hold nothing of the arguments of their calls (%s)',
    async (_, options, era) => {
      let begun = 0;
      const script = taskServer('t', { 'tools/call': () => ({ task: task(`t${++begun}`) }) });
      await using t = setUp({ a: script }, options);
      await using caller = await TestCaller.open(era === undefined ? t.gateway.connect() : t.gateway.connect('a', era));
      const name = era === undefined ? 'a__x' : 'x';
      const call = async () => {
        const text = Buffer.alloc(100_000, 'x').toString();
        await caller.result('tools/call', { name, arguments: { text }, task: {}, _meta: { progressToken: begun } });
        // The script keeps what it was sent.
        t.server('a').only.received.length = 0;
      };
      await call();
      const before = await settledHeap();
      for (let count = 0; count < 40; count += 1) await call();
      expect((await settledHeap()) - before).toBeLessThan(1_000_000);
    },
  );

  test('a client of SDK v1 calls a tool that runs as a task alone, whether its server was started before or not', async () => {
    const script = taskServer('t', {
      'tools/call': ({ params }) => {
        if (params?.task === undefined) {
          throw new RpcError(-32601, 'this tool runs as a task alone');
        }
        return { task: sdkTask('working') };
      },
      'tasks/get': () => sdkTask('completed'),
    });
    script.tools = [
      { name: 'x', inputSchema: { type: 'object' }, execution: { taskSupport: 'required' } },
      { name: 'y', inputSchema: { type: 'object' } },
    ];
    await using t = setUp({ a: script });
    for (const _ of ['first', 'second']) {
      const client = new Client({ name: 'test', version: '1' });
      await client.connect(t.gateway.connect({ caller: { id: 'same' } }));
      await client.listTools();
      const types = async (name: string) => {
        const seen: string[] = [];
        for await (const { type } of client.experimental.tasks.callToolStream({ name, arguments: {} })) {
          seen.push(type);
        }
        return seen;
      };
      expect(await types('a__x')).toEqual(['taskCreated', 'taskStatus', 'result']);
      // No task is asked for where the tool does not say that it can be one.
      expect(await types('a__y')).toEqual(['error']);
      await client.close();
    }
  });

  test('a tool offers to run as one where its own server runs tools so, whatever others do', async () => {
    const tools = [{ name: 'x', execution: { taskSupport: 'optional', own: 1 } }];
    const tasks = { list: {}, cancel: {} };
    const b: Script = { tools, capabilities: { tools: {}, tasks } };
    await using t = setUp({ a: { ...taskServer('t'), tools }, b });
    await using caller = await t.caller();
    const shown = (await caller.list('tools')).map(({ name, execution }) => [name, execution]);
    expect(shown).toEqual([
      ['a__x', { taskSupport: 'optional', own: 1 }],
      ['b__x', { own: 1 }],
    ]);
  });

  test('two servers with one task id: each is asked for its own', async () => {
    await using t = setUp({ a: taskServer('same'), b: taskServer('same') });
    await using caller = await t.caller();
    const ofA = taskIdOf(await caller.result('tools/call', { name: 'a__x', task: { ttl: 1 } }));
    const ofB = taskIdOf(await caller.result('tools/call', { name: 'b__x', task: { ttl: 1 } }));
    expect(ofA).toBe('same');
    expect(ofB).not.toBe('same');
    for (const [taskId, server] of [
      [ofA, 'a'],
      [ofB, 'b'],
    ]) {
      expect(await caller.result('tasks/get', { taskId })).toMatchObject({ taskId, statusMessage: server });
      expect(await caller.result('tasks/result', { taskId })).toEqual({
        content: [{ type: 'text', text: server }],
        _meta: { [relatedTask]: { taskId } },
      });
      expect(await caller.result('tasks/cancel', { taskId })).toMatchObject({ taskId, statusMessage: server });
    }
    expect(t.server('b').only.requests('tasks/get')[0]?.params).toEqual({ taskId: 'same' });
    const { tasks } = await caller.result('tasks/list');
    expect((tasks as Json[]).map(({ taskId }) => taskId)).toEqual([ofA, ofB]);
  });

  test('a task of one caller is nothing to another', async () => {
    await using t = setUp({ a: taskServer('t') });
    await using caller = await t.caller();
    await using other = await t.caller();
    await caller.result('tools/call', { name: 'a__x', task: {} });
    expect(await other.error('tasks/get', { taskId: 't' })).toMatchObject({ code: -32602 });
    expect(await other.result('tasks/list')).toEqual({ tasks: [] });
  });

  test('a task whose server a reload takes away is one of nobody', async () => {
    await using t = setUp({ a: taskServer('t'), b: taskServer('t') });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x', task: {} });
    await t.gateway.reload({ servers: [{ id: 'b', runtime: { type: 'scripted', script: 'b' } }] });
    expect(await caller.error('tasks/get', { taskId: 't' })).toMatchObject({ code: -32602 });
    expect(t.server('b').opens).toBe(0);
  });

  test('a server cannot take the task of another by naming it', async () => {
    // b's own id is what a's would be shown as.
    await using t = setUp({ a: taskServer('t'), b: taskServer('t'), c: taskServer('b__t') });
    await using caller = await t.caller();
    const shown = new Map<string, unknown>();
    for (const server of ['c', 'a', 'b']) {
      shown.set(server, taskIdOf(await caller.result('tools/call', { name: `${server}__x`, task: {} })));
    }
    expect(new Set(shown.values()).size).toBe(3);
    for (const [server, taskId] of shown) {
      expect(await caller.result('tasks/get', { taskId })).toMatchObject({ statusMessage: server });
    }
  });

  test('status notifications and related messages speak of the task as the caller knows it', async () => {
    await using t = setUp({ a: taskServer('same'), b: taskServer('same') });
    await using caller = await t.caller({ elicitation: {} });
    await caller.result('tools/call', { name: 'a__x', task: {} });
    const taskId = taskIdOf(await caller.result('tools/call', { name: 'b__x', task: {} }));
    const instance = t.server('b').only;
    instance.notify('notifications/tasks/status', { ...task('same', 'completed'), odd: 1 });
    expect(await caller.notification('notifications/tasks/status')).toEqual({
      ...task(String(taskId), 'completed'),
      odd: 1,
    });
    const asked = instance.ask('e', 'elicitation/create', {
      message: 'm',
      _meta: { [relatedTask]: { taskId: 'same' } },
    });
    const request = await caller.until(() => caller.requests('elicitation/create')[0]);
    expect((request.params as { _meta: Json })._meta[relatedTask]).toEqual({ taskId });
    await caller.send({ id: request.id, result: { action: 'accept', _meta: { [relatedTask]: { taskId } } } });
    expect((await asked).result).toEqual({ action: 'accept', _meta: { [relatedTask]: { taskId: 'same' } } });
  });

  test('progress goes on after the task was created, and ends with the task', async () => {
    await using t = setUp({ a: taskServer('t') });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x', task: {}, _meta: { progressToken: 'p' } });
    const instance = t.server('a').only;
    const progressToken = instance.requests('tools/call')[0]?.params?._meta?.progressToken;
    instance.notify('notifications/progress', { progressToken, progress: 1, total: 3 });
    const ofServer = () => caller.notifications('notifications/progress').filter(({ total }) => total !== undefined);
    await caller.until(() => ofServer()[0]);
    instance.notify('notifications/tasks/status', task('t', 'completed'));
    await caller.notification('notifications/tasks/status');
    instance.notify('notifications/progress', { progressToken, progress: 2, total: 3 });
    await settle();
    expect(ofServer()).toEqual([{ progressToken: 'p', progress: 1, total: 3 }]);
  });

  test('all pages of all servers are listed, and one that fails costs its own part', async () => {
    const paged = taskServer('x', {
      'tasks/list': ({ params }) =>
        params?.cursor === undefined ? { tasks: [task('t1')], nextCursor: 'more' } : { tasks: [task('t2')] },
    });
    const broken = taskServer('x', { 'tasks/list': () => ({ tasks: 'rubbish' }) });
    const failing = taskServer('x', {
      'tasks/list': () => {
        throw new RpcError(-32603, 'not now');
      },
    });
    await using t = setUp({ a: broken, b: paged, c: failing });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    await caller.result('tools/call', { name: 'b__x' });
    await caller.result('tools/call', { name: 'c__x' });
    const { tasks } = await caller.result('tasks/list');
    expect((tasks as Json[]).map(({ taskId }) => taskId)).toEqual(['t1', 't2']);
  });

  test('a server that keeps silent when it is asked for its tasks costs its own part, after list_timeout', async () => {
    const silent = taskServer('s', { 'tasks/list': () => hold });
    await using t = setUp({ a: silent, b: taskServer('x') }, { entry: { list_timeout: '5s' } });
    await using caller = await t.caller();
    await caller.result('tools/call', { name: 'a__x' });
    await caller.result('tools/call', { name: 'b__x' });
    const listed = caller.result('tasks/list');
    await settle();
    await t.clock.advance(5_000);
    expect(((await listed).tasks as Json[]).map(({ taskId }) => taskId)).toEqual(['x']);
  });

  test('one that says no ttl, or null for what it does not have, is listed so that a client takes the list', async () => {
    const { ttl: _, ...endless } = sdkTask('working') as Json;
    const b = [{ ...endless, taskId: 't2', statusMessage: null, pollInterval: null }, null];
    await using t = setUp({
      a: taskServer('t', { 'tasks/list': () => ({ tasks: [sdkTask('working')] }) }),
      b: taskServer('t2', { 'tasks/list': () => ({ tasks: b }) }),
    });
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(t.gateway.connect());
    await client.listTools();
    const { tasks } = await client.experimental.tasks.listTasks();
    expect(tasks.map(({ taskId, ttl }) => [taskId, ttl])).toEqual([
      ['t', (sdkTask('working') as Json).ttl],
      ['t2', null],
    ]);
    await client.close();
  });
});

test('a task without an id is left out of the list, and those of others stay', async () => {
  const nameless = [null, 7, { toString: 1 }, undefined].map((taskId) => ({ ...(sdkTask('working') as Json), taskId }));
  await using t = setUp({
    a: taskServer('t', { 'tasks/list': () => ({ tasks: [sdkTask('working')] }) }),
    b: taskServer('t2', { 'tasks/list': () => ({ tasks: nameless }) }),
  });
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(t.gateway.connect());
  await client.listTools();
  const { tasks } = await client.experimental.tasks.listTasks();
  expect(tasks.map(({ taskId }) => taskId)).toEqual(['t']);
  await client.close();
});

describe('tasks that the caller runs for a server', () => {
  const capabilities = { sampling: {}, tasks: { list: {}, cancel: {}, requests: { sampling: { createMessage: {} } } } };

  test('are there for the server that asked, and for no other', async () => {
    await using t = setUp({ a: { tools: [{ name: 'x' }] }, b: { tools: [{ name: 'x' }] } });
    await using caller = await t.caller(capabilities);
    await caller.result('tools/call', { name: 'a__x' });
    await caller.result('tools/call', { name: 'b__x' });
    caller.onRequest = (method) => (method === 'sampling/createMessage' ? { task: task('mine') } : { ...task('mine') });
    const [a, b] = [t.server('a').only, t.server('b').only] as [ScriptedInstance, ScriptedInstance];
    await a.ask(1, 'sampling/createMessage', { task: {}, _meta: { progressToken: 'p' } });
    expect(await a.ask(2, 'tasks/get', { taskId: 'mine' })).toMatchObject({ result: { taskId: 'mine' } });
    expect(await b.ask(1, 'tasks/get', { taskId: 'mine' })).toMatchObject({ error: { code: -32602 } });
    expect(await b.ask(2, 'tasks/list', {})).toMatchObject({ error: { code: -32602 } });
    await caller.send({ method: 'notifications/tasks/status', params: { ...task('mine', 'completed') } });
    await settle();
    expect(a.notifications('notifications/tasks/status').map(({ params }) => params)).toEqual([
      task('mine', 'completed'),
    ]);
    expect(b.notifications('notifications/tasks/status')).toEqual([]);
  });

  test('are asked for where they run, when a caller has several connections', async () => {
    await using t = setUp({ a: { tools: [{ name: 'x' }] } });
    const same = { caller: { id: 'same' } };
    await using one = await t.caller(capabilities, same);
    await using two = await t.caller(capabilities, same);
    await one.result('tools/call', { name: 'a__x' });
    one.onRequest = (method) => (method === 'tasks/get' ? task('mine') : { task: task('mine') });
    const { only } = t.server('a');
    await only.ask(1, 'sampling/createMessage', { task: {} });
    await two.result('tools/call', { name: 'a__x' });
    expect(await only.ask(2, 'tasks/get', { taskId: 'mine' })).toMatchObject({ result: { taskId: 'mine' } });
    expect(two.received.filter((message) => 'method' in message && 'id' in message)).toEqual([]);
    await one.close();
    expect(await only.ask(3, 'tasks/get', { taskId: 'mine' })).toMatchObject({ error: { code: -32602 } });
  });

  test('may have the id of one that a server runs', async () => {
    await using t = setUp({ a: taskServer('1'), b: { tools: [{ name: 'x' }] } });
    await using caller = await t.caller(capabilities);
    await caller.result('tools/call', { name: 'a__x', task: {} });
    await caller.result('tools/call', { name: 'b__x' });
    caller.onRequest = (method) => (method === 'tasks/get' ? task('1') : { task: task('1') });
    const b = t.server('b').only;
    await b.ask(1, 'sampling/createMessage', { task: {} });
    expect(await b.ask(2, 'tasks/get', { taskId: '1' })).toMatchObject({ result: { taskId: '1' } });
    expect(await caller.result('tasks/get', { taskId: '1' })).toMatchObject({ statusMessage: 'a' });
  });

  test('end with the server that asked, and those of others go on', async () => {
    await using t = setUp({ a: { tools: [{ name: 'x' }] }, b: { tools: [{ name: 'x' }] } });
    await using caller = await t.caller(capabilities);
    caller.onRequest = (method, params) =>
      method === 'tasks/get' ? task(String(params?.taskId)) : { task: task(String(params?.own)) };
    for (const server of ['a', 'b']) {
      await caller.result('tools/call', { name: `${server}__x` });
      await t.server(server).only.ask(1, 'sampling/createMessage', { own: `of ${server}`, task: {} });
    }
    t.server('a').only.die();
    await t.clock.advance(60_000);
    await caller.result('tools/call', { name: 'a__x' });
    // Another start is another server.
    expect(await t.server('a').only.ask(2, 'tasks/get', { taskId: 'of a' })).toMatchObject({ error: { code: -32602 } });
    expect(await t.server('b').only.ask(2, 'tasks/get', { taskId: 'of b' })).toMatchObject({
      result: { taskId: 'of b' },
    });
  });
});
