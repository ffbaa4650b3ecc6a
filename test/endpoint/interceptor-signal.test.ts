import { getEventListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { InterceptedRequest, Interceptor } from '../../src/index.js';
import { settle } from '../support/fake-clock.js';
import { settledHeap } from '../support/heap.js';
import { envelope, ModernTestCaller } from './modern-caller.js';
import { hold, type Json, type Script } from './scripted-server.js';
import { type Setup, setUp } from './setup.js';
import { TestCaller } from './test-caller.js';

type Next = Parameters<Interceptor>[1];
type Code = string | undefined;

/** What a signal was aborted with; undefined while it is not. */
const codeOf = ({ aborted, reason }: AbortSignal): Code => (aborted ? reason.code : undefined);

/** Keeps the signals of requests of one method; `then` is what the interceptor does with them, and others pass. */
function watching(method: string, then: (request: InterceptedRequest, next: Next) => Promise<Json>) {
  const signals: AbortSignal[] = [];
  const entered = Promise.withResolvers<AbortSignal>();
  const intercept: Interceptor = (request, next) => {
    if (request.method !== method) {
      return next();
    }
    signals.push(request.signal);
    entered.resolve(request.signal);
    return then(request, next);
  };
  return { intercept, signals, entered: entered.promise };
}

const never = () => new Promise<Json>(() => {});
const server = (more: Partial<Script> = {}): Script => ({ tools: [{ name: 'go', call: () => hold }], ...more });

/** The ways to a server, and what ends the signal of an interceptor that thinks on them. */
const ways = {
  'a raw connection': {
    open: (t: Setup) => TestCaller.open(t.gateway.connect('one')),
    tool: 'go',
    stopped: 'SERVER_STOPPED',
    exited: 'SERVER_EXITED',
    removed: 'SERVER_STOPPED',
    closed: 'SERVER_STOPPED',
  },
  'a raw connection of era legacy': {
    open: (t: Setup) => TestCaller.open(t.gateway.connect('one', { era: 'legacy' })),
    tool: 'go',
    stopped: 'SERVER_STOPPED',
    exited: 'SERVER_EXITED',
    removed: 'SERVER_STOPPED',
    closed: 'SERVER_STOPPED',
  },
  'a raw connection of era modern': {
    open: (t: Setup) => ModernTestCaller.open(t.gateway.connect('one', { era: 'modern' })),
    tool: 'go',
    stopped: 'SERVER_STOPPED',
    exited: 'SERVER_EXITED',
    removed: 'SERVER_STOPPED',
    closed: 'SERVER_STOPPED',
  },
  'the merged peer': {
    open: (t: Setup) => t.caller(),
    tool: 'one__go',
    stopped: undefined,
    exited: undefined,
    removed: 'SERVER_UNKNOWN',
    closed: 'GATEWAY_CLOSED',
  },
  'the merged peer of the stateless era': {
    open: (t: Setup) => ModernTestCaller.open(t.gateway.connect()),
    tool: 'one__go',
    stopped: undefined,
    exited: undefined,
    removed: 'SERVER_UNKNOWN',
    closed: 'GATEWAY_CLOSED',
  },
};

describe.each(Object.entries(ways))('the signal of an interceptor, on %s,', (_, way) => {
  /** A call whose interceptor thinks, of a server that runs. */
  async function thinking(then: (request: InterceptedRequest, next: Next) => Promise<Json> = never, entry: Json = {}) {
    const { intercept, entered, signals } = watching('tools/call', then);
    const t = setUp({ one: server() }, { intercept, entry });
    const caller = await way.open(t);
    const names = await caller.result('tools/list');
    expect(names.tools).toHaveLength(1);
    const answer = caller.request('tools/call', { name: way.tool }, 7);
    answer.catch(() => {});
    return { t, caller, signal: await entered, signals, answer, [Symbol.asyncDispose]: () => t[Symbol.asyncDispose]() };
  }

  test('aborts when the caller cancels', async () => {
    await using call = await thinking();
    expect(call.signal.aborted).toBe(false);
    await call.caller.send({ method: 'notifications/cancelled', params: { requestId: 7 } });
    await settle();
    expect(codeOf(call.signal)).toBe('REQUEST_CANCELLED');
  });

  test('aborts when the caller closes its transport, before the server is gone', async () => {
    await using call = await thinking();
    const closing = call.caller.close();
    expect(codeOf(call.signal)).toBe('TRANSPORT_CLOSED');
    await closing;
  });

  test('aborts when gateway.close() has answered in its place', async () => {
    await using call = await thinking();
    await call.t.gateway.close({ graceMs: 0 });
    await settle();
    expect(codeOf(call.signal)).toBe(way.closed);
    expect(await call.answer).toHaveProperty('error');
  });

  test('aborts at a stop where that ends the connection, and else its call reaches the next start', async () => {
    const decided = Promise.withResolvers<void>();
    await using call = await thinking((_request, next) => decided.promise.then(() => next()));
    await call.t.gateway.stop('one');
    await settle();
    expect(codeOf(call.signal)).toBe(way.stopped);
    decided.resolve();
    if (way.stopped === undefined) {
      const { instance, request } = await call.t.server('one').request('tools/call');
      instance.answer(request, { content: [] });
      expect(await call.answer).toHaveProperty('result');
      expect(call.t.server('one').opens).toBe(2);
      expect(call.signal.aborted).toBe(false);
    } else {
      expect(await call.answer).toMatchObject({ error: { data: { code: 'TRANSPORT_CLOSED', delivered: false } } });
      await settle();
      expect(call.t.server('one').opens).toBe(1);
    }
  });

  test('aborts at the end of the server where that ends the connection', async () => {
    await using call = await thinking();
    call.t.server('one').only.die();
    await settle();
    expect(codeOf(call.signal)).toBe(way.exited);
  });

  test('aborts at a reload that takes the server, and the call is answered', async () => {
    await using call = await thinking();
    await call.t.gateway.reload({ servers: [] });
    await settle();
    expect(codeOf(call.signal)).toBe(way.removed);
    expect(await call.answer).toHaveProperty('error');
  });

  test('aborts at no time-out or stop of what next() has sent: its answer counts', async () => {
    for (const [end, code] of [
      [(t: Setup) => t.clock.advance(5_000), 'REQUEST_TIMEOUT'],
      [(t: Setup) => Promise.all([t.gateway.stop('one', { graceMs: 0 }), t.clock.advance(0)]), 'SERVER_STOPPED'],
    ] as const) {
      const told: unknown[] = [];
      const catching = (_: unknown, next: Next) =>
        next().catch(({ error }) => {
          told.push(error.data.code);
          return { content: [], own: true };
        });
      await using call = await thinking(catching, { request_timeout: '5s' });
      await call.t.server('one').request('tools/call');
      await end(call.t);
      expect(await call.answer).toMatchObject({ result: { own: true } });
      expect(told).toEqual([code]);
      expect(call.signal.aborted).toBe(false);
    }
  });

  test('does not outlive the call, and nothing listens to it', async () => {
    const kept: WeakRef<AbortSignal>[] = [];
    const listeners: number[] = [];
    const answering = async ({ signal }: InterceptedRequest) => {
      kept.push(new WeakRef(signal));
      listeners.push(getEventListeners(signal, 'abort').length);
      return { content: [] };
    };
    const call = await thinking(answering);
    const { caller, t, signals } = call;
    for (let id = 100; id < 120; id += 1) {
      await caller.request('tools/call', { name: way.tool }, id);
    }
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 110 } });
    await t.gateway.stop('one');
    await caller.close();
    await call[Symbol.asyncDispose]();
    expect(signals.map(codeOf)).toEqual(Array(21).fill(undefined));
    expect(listeners).toEqual(Array(21).fill(0));
    signals.length = 0;
    await settledHeap();
    // The last one the test holds itself.
    expect(kept.filter((signal) => signal.deref() !== undefined).length).toBeLessThanOrEqual(1);
  });

  test('comes through an interceptor that hands on a copy of the request', async () => {
    const same: boolean[] = [];
    await using call = await thinking(async (request) => {
      const copy = { ...request, params: {} };
      same.push(copy.signal === request.signal);
      return { content: [] };
    });
    await call.answer;
    expect(same).toEqual([true]);
  });
});

describe('the signal of an interceptor of a list', () => {
  test.each([
    [
      'cancels',
      'REQUEST_CANCELLED',
      (caller: TestCaller) => caller.send({ method: 'notifications/cancelled', params: { requestId: 7 } }),
    ],
    ['closes its transport', 'TRANSPORT_CLOSED', (caller: TestCaller) => caller.close()],
  ])('aborts when the caller %s; one that gives up then has no server tried for it', async (_, code, end) => {
    const { intercept, signals } = watching(
      'tools/list',
      ({ signal }) => new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    );
    await using t = setUp({ one: server(), two: server() }, { intercept });
    const caller = await t.caller();
    await caller.send({ id: 7, method: 'tools/list' });
    await settle();
    await end(caller);
    await settle();
    expect(signals.map(codeOf)).toEqual([code, code]);
    await t.clock.advance(3_600_000);
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toEqual([]);
    expect(t.server('one').opens + t.server('two').opens).toBe(0);
  });

  test('aborts what an interceptor waits for by it, whose own error is no word of the server', async () => {
    const { intercept, entered } = watching('tools/list', ({ signal }) => sleep(3_600_000, {}, { signal }));
    await using t = setUp({ one: server() }, { intercept });
    await using caller = await t.caller();
    await caller.send({ id: 7, method: 'tools/list' });
    await entered;
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 7 } });
    await settle();
    expect(t.events.filter(({ type }) => type === 'list-incomplete')).toEqual([]);
  });

  test('aborts at list_timeout, for the part that is missing alone', async () => {
    const { intercept, signals } = watching('tools/list', ({ server: id }, next) => (id === 'one' ? never() : next()));
    await using t = setUp(
      { one: server(), two: server(), three: server() },
      { intercept, entry: { list_timeout: '5s' } },
    );
    await using caller = await t.caller();
    const listing = caller.toolNames();
    await settle();
    expect(signals.map(codeOf)).toEqual([undefined, undefined, undefined]);
    await t.clock.advance(5_000);
    expect(await listing).toEqual(['two__go', 'three__go']);
    expect(signals.map(codeOf)).toEqual(['REQUEST_TIMEOUT', undefined, undefined]);
  });

  test('aborts at a reload that takes the server, and not where it changes it', async () => {
    const { intercept, signals } = watching('tools/list', never);
    await using t = setUp({ one: server(), two: server() }, { intercept });
    await using caller = await t.caller();
    await caller.send({ id: 7, method: 'tools/list' });
    // Of a name that says only whose it is, the list is asked for.
    await using other = setUp({ one: server(), two: server() });
    const name = other.gateway.names.tool('one', 'x'.repeat(70));
    await caller.send({ id: 8, method: 'tools/call', params: { name } });
    await settle();
    const two = { id: 'two', env: { A: 'b' }, runtime: { type: 'scripted' as const, script: 'two' } };
    await t.gateway.reload({ servers: [two] });
    await settle();
    expect(signals.map(codeOf)).toEqual(['SERVER_UNKNOWN', undefined, 'SERVER_UNKNOWN']);
  });
});

describe('the signal of an interceptor of a request over gateway.fetch', () => {
  const fetch = async ({ gateway }: Setup, params: Json, signal?: AbortSignal, capabilities: Json = {}) => {
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      'mcp-method': 'tools/call',
      'mcp-name': 'one__go',
    };
    const message = { jsonrpc: '2.0', id: 1, method: 'tools/call' };
    const body = JSON.stringify({ ...message, params: { name: 'one__go', ...params, _meta: envelope(capabilities) } });
    const request = new Request('http://localhost/mcp', { method: 'POST', headers, body, ...(signal && { signal }) });
    return gateway.fetch(request, { caller: { id: 'ada' } });
  };

  test('aborts when the client leaves', async () => {
    const { intercept, entered } = watching('tools/call', never);
    await using t = setUp({ one: server() }, { intercept });
    const leaving = new AbortController();
    const response = fetch(t, {}, leaving.signal);
    const signal = await entered;
    leaving.abort();
    await response;
    await settle();
    expect(codeOf(signal)).toBe('REQUEST_CANCELLED');
  });

  test('aborts when gateway.close() has answered in its place', async () => {
    const { intercept, entered } = watching('tools/call', never);
    await using t = setUp({ one: server() }, { intercept });
    const response = fetch(t, {});
    const signal = await entered;
    await t.gateway.close({ graceMs: 0 });
    expect(await (await response).json()).toMatchObject({ error: { data: { code: 'GATEWAY_CLOSED' } } });
    expect(codeOf(signal)).toBe('GATEWAY_CLOSED');
  });

  const asking: Script = server({
    tools: [
      {
        name: 'go',
        call: async (_, instance) => {
          await instance.ask(1, 'elicitation/create', { message: '?', requestedSchema: {} });
          return { content: [] };
        },
      },
    ],
  });
  const capabilities = { elicitation: { form: {} } };

  test('goes on over the rounds of input, until the answer', async () => {
    const { intercept, signals } = watching('tools/call', (_, next) => next());
    await using t = setUp({ one: asking }, { intercept });
    const first = (await (await fetch(t, {}, undefined, capabilities)).json()) as { result: Json };
    const { requestState, inputRequests, resultType } = first.result;
    expect(resultType).toBe('input_required');
    await settle();
    expect(signals.map(codeOf)).toEqual([undefined]);
    const [key] = Object.keys(inputRequests as Json);
    const inputResponses = { [String(key)]: { action: 'accept', content: {} } };
    const second = await fetch(t, { requestState, inputResponses }, undefined, capabilities);
    expect(await second.json()).toMatchObject({ result: { resultType: 'complete' } });
    expect(signals.map(codeOf)).toEqual([undefined]);
  });

  test('aborts when the caller does not come back with its input in time', async () => {
    const { intercept, signals } = watching('tools/call', (_, next) => next());
    await using t = setUp({ one: asking }, { intercept, entry: { request_timeout: '1h' } });
    await fetch(t, {}, undefined, capabilities);
    await t.clock.advance(10 * 60_000);
    expect(signals.map(codeOf)).toEqual(['REQUEST_CANCELLED']);
  });
});

test.each([
  ['tasks/get', 'tasks/get', { taskId: 't' }],
  ['resources/subscribe', 'subscriptions/listen', { notifications: { resourceSubscriptions: ['r://1'] } }],
])('the signal of an interceptor of %s aborts when a stateless caller cancels its %s', async (method, sent, params) => {
  const task = { taskId: 't', status: 'working', ttl: 60_000 };
  const tasks: Script = {
    tools: [{ name: 'go', execution: { taskSupport: 'required' } }],
    resources: [{ uri: 'r://1', name: 'one' }],
    capabilities: { tools: {}, resources: { subscribe: true }, tasks: { requests: { tools: { call: {} } } } },
    on: { 'tools/call': () => ({ task }) },
  };
  const { intercept, entered } = watching(method, never);
  await using t = setUp({ one: tasks }, { intercept });
  const capabilities = { extensions: { 'io.modelcontextprotocol/tasks': {} } };
  await using caller = await ModernTestCaller.open(t.gateway.connect(), capabilities);
  await caller.result('tools/list');
  await caller.result('tools/call', { name: 'one__go' });
  await caller.send({ id: 'left', method: sent, params: { ...params, _meta: envelope(capabilities) } });
  const signal = await entered;
  await caller.send({ method: 'notifications/cancelled', params: { requestId: 'left' } });
  expect(codeOf(signal)).toBe('REQUEST_CANCELLED');
});

test('the signal of an interceptor of tasks/result aborts when the caller no longer waits for that, and the task goes on', async () => {
  const status = { taskId: 't', status: 'working', ttl: 60_000 };
  const tasks: Script = {
    tools: [{ name: 'go' }],
    capabilities: { tools: {}, tasks: { requests: { tools: { call: {} } } } },
    on: { 'tools/call': () => ({ task: status }), 'tasks/get': () => status, 'tasks/result': () => hold },
  };
  const { intercept, entered } = watching('tasks/result', (_, next) => next());
  await using t = setUp({ one: tasks }, { intercept });
  await using caller = await t.caller();
  const { task } = (await caller.result('tools/call', { name: 'one__go', task: {} })) as { task: Json };
  await caller.send({ id: 7, method: 'tasks/result', params: { taskId: task.taskId } });
  const signal = await entered;
  await caller.send({ method: 'notifications/cancelled', params: { requestId: 7 } });
  expect(codeOf(signal)).toBe('REQUEST_CANCELLED');
  expect(await caller.result('tasks/get', { taskId: task.taskId })).toMatchObject({ status: 'working' });
});
