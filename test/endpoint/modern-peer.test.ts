import { describe, expect, test } from 'vitest';
import { ModernPeer } from '../../src/endpoint/modern/modern-peer.js';
import { RequestStates } from '../../src/endpoint/modern/request-states.js';
import type { PeerFactory, SessionPeer } from '../../src/endpoint/peer.js';
import { GatewayError, type Interceptor, type MergedOptions } from '../../src/index.js';
import { systemClock } from '../../src/options.js';
import type { JSONRPCRequest, RequestId } from '../../src/sdk.js';
import { settle } from '../support/fake-clock.js';
import { envelope, ModernTestCaller } from './modern-caller.js';
import { hold, type Json, RpcError, type Script, type ScriptedInstance } from './scripted-server.js';
import { setUp } from './setup.js';

const prefix = 'io.modelcontextprotocol/';

const discovery = {
  resultType: 'complete',
  supportedVersions: ['2026-07-28'],
  capabilities: { tools: {}, resources: { subscribe: true } },
  ttlMs: 0,
  cacheScope: 'private',
};

const modern = (on: NonNullable<Script['on']> = {}, more: Script = {}): Script => ({
  tools: [{ name: 'go', inputSchema: { type: 'object' } }],
  ...more,
  on: { 'server/discover': () => discovery, ...on },
});

/** A server with sessions that asks its client for `questions` in each call, and answers with what it got. */
const asking = (...questions: Json[]): Script => ({
  tools: [{ name: 'go' }],
  on: {
    'tools/call': async (request, instance) => {
      const answers: Json[] = [];
      for (const [index, question] of questions.entries()) {
        const { result, error } = await instance.ask(
          `${request.id}.${index}`,
          String(question.method),
          question.params as Json,
        );
        answers.push((result ?? error) as Json);
      }
      return { content: [], structuredContent: { answers } };
    },
  },
});

const form = (message: string): Json => ({ method: 'elicitation/create', params: { message, requestedSchema: {} } });
const accept = (value: string): Json => ({ action: 'accept', content: { value } });

const open = (setup: ReturnType<typeof setUp>, capabilities: Json = {}, options: MergedOptions = {}) =>
  ModernTestCaller.open(setup.gateway.connect(options), capabilities);

test('the end of many open calls looks at none of the others', () => {
  const servers: string[] = [];
  const ids: RequestId[] = [];
  const replies: unknown[] = [];
  const createSession: PeerFactory<SessionPeer> = (send) => ({
    receive(message) {
      const { id, method } = message as JSONRPCRequest;
      method === 'initialize' ? send({ jsonrpc: '2.0', id, result: { capabilities: {} } }) : ids.push(id);
      return true;
    },
    serverOf: (id) => `${servers.push(String(id))}`,
    failAll() {
      for (const id of ids) send({ jsonrpc: '2.0', id, result: { content: [] } });
    },
    close: async () => {},
  });
  const states = new RequestStates(systemClock);
  const peer = new ModernPeer({ clock: systemClock, states, caller: 'ada', isForAll: true, createSession });
  for (let id = 1; id <= 100; id += 1) {
    const params = { name: 'x', _meta: envelope() };
    peer.request({ jsonrpc: '2.0', id, method: 'tools/call', params }, undefined, (reply) => replies.push(reply));
  }
  peer.failAll(new GatewayError('GATEWAY_CLOSED', 'closed'));
  expect(ids).toHaveLength(100);
  expect(replies).toHaveLength(100);
  expect(servers).toEqual([]);
});

describe('a request of the stateless era', () => {
  test.each([null, { toString: 1 }])('hears nothing of progress where it has %o for a token', async (progressToken) => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }], on: { 'tools/call': () => hold } } });
    await using caller = await open(setup);
    const called = caller.call('one__go', { _meta: { progressToken } });
    const { instance, request } = await setup.server('one').request('tools/call');
    instance.answer(request, { content: [] });
    expect(await called).toMatchObject({ resultType: 'complete' });
    expect(caller.notifications('notifications/progress')).toEqual([]);
  });

  test('needs an envelope that is whole', async () => {
    await using setup = setUp({ one: modern() });
    await using caller = await open(setup);
    const refuse = async (meta: Json) => (await caller.error('tools/list', { _meta: meta })).code;
    expect(await refuse({ [`${prefix}clientCapabilities`]: undefined })).toBe(-32602);
    expect(await refuse({ [`${prefix}clientCapabilities`]: [] })).toBe(-32602);
    expect(await refuse({ [`${prefix}clientInfo`]: 'me' })).toBe(-32602);
    expect(await refuse({ [`${prefix}logLevel`]: 'loud' })).toBe(-32602);
    expect(await refuse({ [`${prefix}protocolVersion`]: 7 })).toBe(-32602);
    expect(await caller.error('tools/list', { _meta: { [`${prefix}protocolVersion`]: '1900-01-01' } })).toMatchObject({
      code: -32022,
      data: { supported: ['2026-07-28'], requested: '1900-01-01' },
    });
    expect(setup.server('one').opens).toBe(0);
  });

  test.each([
    'initialize',
    'ping',
    'logging/setLevel',
    'resources/subscribe',
    'resources/unsubscribe',
    'tasks/list',
    'tasks/result',
    'no/such',
  ])('may not be %s', async (method) => {
    await using setup = setUp({ one: modern() });
    await using caller = await open(setup);
    expect((await caller.error(method)).code).toBe(-32601);
  });

  test('discovers without starting anything', async () => {
    await using setup = setUp({ one: modern() });
    await using caller = await open(setup);
    const { _meta, ...result } = await caller.result('server/discover');
    expect(_meta).toEqual({ [`${prefix}serverInfo`]: { name: 'open-mcp-gateway', version: expect.any(String) } });
    expect(result).toMatchObject({
      resultType: 'complete',
      supportedVersions: ['2026-07-28'],
      capabilities: { tools: { listChanged: true }, resources: { subscribe: true } },
      ttlMs: 0,
      cacheScope: 'private',
    });
    expect(setup.server('one').opens).toBe(0);
  });

  test('discovers what is known of its servers by now, also after a reload', async () => {
    const prompts: Script = { prompts: [{ name: 'p' }], instructions: 'Be brief.' };
    await using setup = setUp({ one: { tools: [{ name: 'go' }], instructions: 'Be kind.' }, two: prompts });
    const entry = (id: string) => ({ id, runtime: { type: 'scripted' as const, script: id } });
    await setup.gateway.reload({ servers: [entry('one')] });
    const transport = setup.gateway.connect({ caller: { id: 'ada' } });
    await using caller = await ModernTestCaller.open(transport);
    expect(await caller.result('server/discover')).not.toHaveProperty('instructions');
    await caller.list('tools');
    await settle();
    const known = await caller.result('server/discover');
    expect(known.instructions).toContain('Be kind.');
    expect(known.capabilities).not.toHaveProperty('prompts');
    await setup.gateway.reload({ servers: [entry('one'), entry('two')] });
    await caller.list('prompts');
    await settle();
    const both = await caller.result('server/discover');
    expect(both.instructions).toContain('Be brief.');
    expect(both.capabilities).toHaveProperty('prompts');
    // So is what it may listen to, besides what it was told first.
    await caller.send({
      id: 'listen',
      method: 'subscriptions/listen',
      params: { notifications: { promptsListChanged: true, resourcesListChanged: true }, _meta: envelope() },
    });
    const { notifications } = await caller.notification('notifications/subscriptions/acknowledged');
    expect(notifications).toEqual({ promptsListChanged: true, resourcesListChanged: true });
  });

  test('reaches a server of its era as it is, and the answer comes as it is', async () => {
    await using setup = setUp({
      one: modern({ 'tools/call': () => ({ resultType: 'complete', content: [], more: 1, _meta: { a: 1 } }) }),
    });
    await using caller = await open(setup, { sampling: {}, extensions: { 'x.y/z': {} } });
    const meta = { traceparent: '00-0', progressToken: 'mine', other: { deep: 1 } };
    const result = await caller.call('one__go', { _meta: meta, arguments: { a: 1 }, more: 2 });
    expect(result).toMatchObject({ resultType: 'complete', content: [], more: 1, _meta: { a: 1 } });
    const { request } = await setup.server('one').request('tools/call');
    const { progressToken, ...sent } = (request.params?._meta ?? {}) as Json;
    expect(sent).toEqual({
      ...envelope({ sampling: {}, extensions: { 'x.y/z': {} } }),
      traceparent: '00-0',
      other: { deep: 1 },
    });
    expect(progressToken).toBe(request.id);
    expect(request.params).toMatchObject({ name: 'go', arguments: { a: 1 }, more: 2 });
  });

  test('reaches a server with sessions without its envelope', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go', execution: { taskSupport: 'optional' } }] } });
    await using caller = await open(setup, { roots: {} });
    const result = await caller.call('one__go', { _meta: { keep: 1 }, inputResponses: {} });
    expect(result).toMatchObject({
      resultType: 'complete',
      structuredContent: { params: { name: 'go', _meta: { keep: 1 } } },
    });
    const { request } = await setup.server('one').request('initialize');
    expect(request.params).toMatchObject({ capabilities: { roots: {} }, clientInfo: { name: 'test' } });
    const { tools } = await caller.result('tools/list');
    expect(tools).toEqual([{ name: 'one__go', inputSchema: { type: 'object' } }]);
  });

  test('has a session of its own for each set of capabilities', async () => {
    await using setup = setUp({ one: asking(form('?')) });
    await using caller = await open(setup);
    const refused = await caller.call('one__go');
    expect(refused).toMatchObject({ structuredContent: { answers: [{ code: -32601 }] } });
    caller.capabilities = { elicitation: {} };
    expect(await caller.call('one__go')).toMatchObject({ resultType: 'input_required' });
    expect(setup.server('one').live).toHaveLength(2);
  });

  test('says to a server with sessions which extensions and experiments its client knows, but for tasks', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }] } });
    const tasks = { 'io.modelcontextprotocol/tasks': {} };
    const extensions = { 'io.modelcontextprotocol/ui': { mimeTypes: ['text/html;profile=mcp-app'] } };
    const experimental = { 'x/y': { z: 1 } };
    await using caller = await open(setup, { extensions: { ...tasks, ...extensions }, experimental });
    await caller.call('one__go');
    // A session has another word for tasks, and the gateway asks for them itself.
    caller.capabilities = { extensions: tasks };
    await caller.call('one__go');
    caller.capabilities = {};
    await caller.call('one__go');
    const declared = setup.server('one').live.map((each) => each.requests('initialize')[0]?.params?.capabilities);
    expect(declared).toEqual([{ extensions, experimental }, {}]);
  });

  test('gets the errors of its era', async () => {
    const errors = [
      new RpcError(-32002, 'gone'),
      new RpcError(-32042, 'look', { elicitations: [{ mode: 'url', url: 'https://a.example', elicitationId: 'e' }] }),
      new RpcError(7, 'own', { x: 1 }),
    ];
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': () => {
          throw errors.shift() ?? new Error('no more');
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await open(setup);
    expect(await caller.error('tools/call', { name: 'one__go' })).toEqual({ code: -32602, message: 'gone' });
    expect(await caller.error('tools/call', { name: 'one__go' })).toMatchObject({
      code: -32021,
      data: { requiredCapabilities: { elicitation: { url: {} } } },
    });
    expect(await caller.error('tools/call', { name: 'one__go' })).toEqual({ code: 7, message: 'own', data: { x: 1 } });
    expect((await caller.error('resources/read', { uri: 'no://where' })).code).toBe(-32602);
  });

  test('hears what a server says in the course of it, whatever that is', async () => {
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': (_, instance) => {
          instance.notify('notifications/vendor/thing', { any: [1] });
          return { content: [] };
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await open(setup);
    await caller.call('one__go');
    expect(caller.notifications('notifications/vendor/thing')).toEqual([{ any: [1] }]);
  });

  test('has an id of its own; a cancellation of none, or without params, changes nothing', async () => {
    await using setup = setUp({ one: modern({ 'tools/call': () => hold }) });
    await using caller = await open(setup);
    // Before anything was asked there is nothing to tell, either.
    await caller.send({ method: 'notifications/roots/list_changed' });
    const called = caller.request('tools/call', { name: 'one__go' }, 'x');
    const { instance, request } = await setup.server('one').request('tools/call');
    const again = caller.send({ id: 'x', method: 'tools/list', params: { _meta: envelope() } });
    await expect(again).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
    await caller.send({ method: 'notifications/cancelled' });
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'y' } });
    instance.answer(request, { resultType: 'complete', content: [] });
    expect(await called).toMatchObject({ id: 'x', result: { content: [] } });
    expect(instance.notifications('notifications/cancelled')).toEqual([]);
    expect(caller.answers('x')).toHaveLength(1);
  });

  test('has an id that no request of a session on the same connection has, while either is open', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }], on: { 'tools/call': () => hold } } });
    await using caller = await open(setup);
    const called = caller.request('tools/call', { name: 'one__go' }, 'x');
    const first = await setup.server('one').request('tools/call');
    await expect(caller.send({ id: 'x', method: 'ping' })).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
    first.instance.answer(first.request, { content: [] });
    await called;
    await caller.send({ id: 'y', method: 'tools/call', params: { name: 'one__go' } });
    const second = await setup.server('one').request('tools/call', 1);
    const again = caller.send({ id: 'y', method: 'tools/list', params: { _meta: envelope() } });
    await expect(again).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
    second.instance.answer(second.request, { content: [] });
    await caller.until(() => caller.answers('y')[0]);
    // Once it is answered, its id is free.
    await caller.request('tools/list', {}, 'y');
    expect([caller.answers('x').length, caller.answers('y').length]).toEqual([1, 2]);
  });

  test('is sent again after a person has seen the page that a server wants seen', async () => {
    let count = 0;
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': () => {
          count += 1;
          if (count > 1) return { content: [], structuredContent: { count } };
          const elicitations = [{ mode: 'url', url: 'https://a.example', message: 'Look', elicitationId: 'e' }];
          throw new RpcError(-32042, 'look', { elicitations });
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await open(setup, { elicitation: { url: {} } });
    const { requestState, ...asked } = await caller.call('one__go');
    expect(asked).toMatchObject({
      resultType: 'input_required',
      inputRequests: {
        page0: { method: 'elicitation/create', params: { mode: 'url', url: 'https://a.example', message: 'Look' } },
      },
    });
    expect(JSON.stringify(asked)).not.toContain('elicitationId');
    const done = await caller.call('one__go', { requestState, inputResponses: { page0: { action: 'accept' } } });
    expect(done).toMatchObject({ structuredContent: { count: 2 } });
  });

  test.each(['decline', 'cancel'])('is not sent again where a person answers %s to such a page', async (action) => {
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': () => {
          const elicitations = [{ mode: 'url', url: 'https://a.example', message: 'Look', elicitationId: 'e' }];
          throw new RpcError(-32042, 'look', { elicitations });
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await open(setup, { elicitation: { url: {} } });
    const { requestState } = await caller.call('one__go');
    const params = { name: 'one__go', requestState, inputResponses: { page0: { action } } };
    expect(await caller.error('tools/call', params)).toMatchObject({ code: -32603 });
    expect(setup.server('one').only.requests('tools/call')).toHaveLength(1);
  });

  test('is sent again after such a page in the whole time for that, also where the page was wanted while the caller was away', async () => {
    const away = Promise.withResolvers<void>();
    let count = 0;
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': async (_, instance) => {
          count += 1;
          if (count > 1) return { content: [], structuredContent: { count } };
          const { method, params } = form('who?');
          void instance.ask('q', String(method), params as Json);
          await away.promise;
          throw new RpcError(-32042, 'look', {
            elicitations: [{ mode: 'url', url: 'https://a.example', message: 'Look' }],
          });
        },
      },
    };
    await using setup = setUp({ one: script }, { entry: { request_timeout: '1h' } });
    await using caller = await open(setup, { elicitation: { form: {}, url: {} } });
    const asked = await caller.call('one__go');
    away.resolve();
    await setup.clock.advance(599_000);
    const { requestState, inputRequests } = await caller.call('one__go', { requestState: asked.requestState });
    expect(inputRequests).toMatchObject({ page0: { params: { mode: 'url' } } });
    await setup.clock.advance(599_000);
    const done = await caller.call('one__go', { requestState, inputResponses: { page0: { action: 'accept' } } });
    expect(done).toMatchObject({ structuredContent: { count: 2 } });
  });

  test('reads of the log what it asked for, and nothing without', async () => {
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': (_, instance) => {
          for (const level of ['debug', 'warning', 'error'])
            instance.notify('notifications/message', { level, data: level });
          return { content: [] };
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await open(setup);
    await caller.call('one__go');
    expect(caller.notifications('notifications/message')).toEqual([]);
    await caller.call('one__go', { _meta: { [`${prefix}logLevel`]: 'warning' } });
    expect(caller.notifications('notifications/message').map(({ data }) => data)).toEqual(['warning', 'error']);
    const { request } = await setup.server('one').request('logging/setLevel');
    expect(request.params).toEqual({ level: 'warning' });
  });

  test.each(['sessions', 'stateless'] as const)(
    'reads the log of a call that wants it while a later one does not, from a server of the era: %s',
    async (era) => {
      const on: NonNullable<Script['on']> = { 'tools/call': () => hold };
      const script: Script = era === 'stateless' ? modern(on) : { tools: [{ name: 'go' }], on };
      for (const merged of [true, false]) {
        await using setup = setUp({ one: script, two: script });
        const transport = merged ? setup.gateway.connect() : setup.gateway.connect('one', { era: 'modern' });
        await using caller = await ModernTestCaller.open(transport);
        const call = (level?: string, server = 'one') => {
          const _meta = level === undefined ? {} : { [`${prefix}logLevel`]: level };
          void caller.call(merged ? `${server}__go` : 'go', { _meta });
        };
        const log = (instance: ScriptedInstance, level: string, extra?: object) => {
          const params = { level, data: level };
          instance.onmessage?.({ jsonrpc: '2.0', method: 'notifications/message', params }, extra as never);
        };
        const heard = () => caller.notifications('notifications/message').map(({ data }) => data);

        call('warning');
        const { instance } = await setup.server('one').request('tools/call');
        call();
        const { request } = await setup.server('one').request('tools/call', 1);
        log(instance, 'error');
        log(instance, 'info');
        await settle();
        expect(heard()).toEqual(['error']);

        // As servers over HTTP do, which write on the stream of a request: whose it is, is known.
        log(instance, 'critical', { relatedRequestId: request.id });
        await settle();
        expect(heard()).toEqual(['error']);
        if (!merged) continue;

        // What one server writes is for no call to another one.
        call(undefined, 'two');
        const other = await setup.server('two').request('tools/call');
        log(other.instance, 'alert');
        await settle();
        expect(heard()).toEqual(['error']);
      }
    },
  );

  test.each(['merged', 'one server'])('reads the log of a call also while it subscribes: %s', async (way) => {
    const script: Script = {
      tools: [{ name: 'go' }],
      resources: [{ uri: 'test:r', name: 'r' }],
      on: { 'tools/call': () => hold, 'resources/subscribe': () => hold },
    };
    await using setup = setUp({ one: script });
    const merged = way === 'merged';
    const transport = merged ? setup.gateway.connect() : setup.gateway.connect('one', { era: 'modern' });
    await using caller = await ModernTestCaller.open(transport);
    void caller.call(merged ? 'one__go' : 'go', { _meta: { [`${prefix}logLevel`]: 'warning' } });
    const { instance } = await setup.server('one').request('tools/call');
    void caller.request('subscriptions/listen', { notifications: { resourceSubscriptions: ['test:r'] } });
    await setup.server('one').request('resources/subscribe');
    instance.onmessage?.({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'error', data: 'e' } });
    await settle();
    expect(caller.notifications('notifications/message')).toMatchObject([{ data: 'e' }]);
  });
});

describe('a stateless caller with several sets of capabilities', () => {
  const script: Script = {
    tools: [{ name: 'go' }],
    on: { 'tools/call': ({ params }) => (Object(params?.arguments).wait === true ? hold : { content: [] }) },
  };
  const use = (caller: ModernTestCaller, index: number, wait = false) => {
    caller.capabilities = { roots: { index } };
    return caller.request('tools/call', { name: 'one__go', arguments: { wait } });
  };

  test('has eight at once: the oldest that nothing needs gives its place to another', async () => {
    await using setup = setUp({ one: script });
    await using caller = await open(setup);
    void use(caller, 0, true);
    await setup.server('one').request('tools/call');
    for (let index = 1; index <= 8; index += 1) {
      expect(await use(caller, index)).toHaveProperty('result');
    }
    await settle();
    expect(setup.server('one').instances.map(({ closed }) => closed)).toEqual([
      ...[false, true],
      ...Array.from({ length: 7 }, () => false),
    ]);
  });

  test('is refused one more while all are in use, and only then', async () => {
    await using setup = setUp({ one: script });
    await using caller = await open(setup);
    for (let index = 0; index < 8; index += 1) {
      void use(caller, index, true);
      await setup.server('one').request('tools/call', index);
    }
    expect((await use(caller, 8)).error).toMatchObject({
      code: -32603,
      message: expect.stringContaining('8 sets of capabilities'),
    });
    const [first] = setup.server('one').live;
    first?.answer(first.requests('tools/call')[0] as { id: number }, { content: [] });
    await settle();
    expect(await use(caller, 8)).toHaveProperty('result');
  });

  test('reads logs from the lowest level on that any request of one set wants', async () => {
    await using setup = setUp({ one: script });
    await using caller = await open(setup);
    for (const level of ['warning', 'error', 'debug', 'info']) {
      await caller.call('one__go', { _meta: { [`${prefix}logLevel`]: level } });
    }
    const levels = setup.server('one').only.requests('logging/setLevel');
    expect(levels.map(({ params }) => params)).toEqual([{ level: 'warning' }, { level: 'debug' }]);
  });
});

describe('the state of a request', () => {
  const stateful = () =>
    modern({
      'tools/call': (request) =>
        request.params?.requestState === undefined
          ? { resultType: 'input_required', requestState: 'the server’s own' }
          : { resultType: 'complete', content: [], structuredContent: { state: request.params.requestState } },
    });

  test('comes back to a server of the era as it was', async () => {
    await using setup = setUp({ one: stateful() });
    await using caller = await open(setup);
    const { requestState } = await caller.call('one__go', { arguments: { a: 1, b: 2 } });
    expect(requestState).not.toContain('own');
    const done = await caller.call('one__go', { arguments: { b: 2, a: 1 }, requestState });
    expect(done).toMatchObject({ structuredContent: { state: 'the server’s own' } });
  });

  test('is refused when it is changed, made up, late, or of another caller, request or gateway', async () => {
    await using setup = setUp({ one: stateful(), two: stateful() });
    await using other = setUp({ one: stateful() });
    await using caller = await open(setup, {}, { caller: { id: 'me' } });
    await using again = await open(setup, {}, { caller: { id: 'me' } });
    await using stranger = await open(setup, {}, { caller: { id: 'you' } });
    await using nobody = await open(setup);
    await using elsewhere = await open(other, {}, { caller: { id: 'me' } });
    const { requestState } = (await caller.call('one__go', { arguments: { a: 1 } })) as { requestState: string };
    const refused = async (by: ModernTestCaller, params: Json, name = 'one__go') => {
      const { code, message } = await by.error('tools/call', { name, requestState, ...params });
      expect(message).toContain('requestState is not good');
      expect(code).toBe(-32602);
    };
    const same = { arguments: { a: 1 } };
    await refused(stranger, same);
    await refused(nobody, same);
    await refused(elsewhere, same);
    await refused(caller, { arguments: { a: 2 } });
    await refused(caller, same, 'two__go');
    const [text = '', signature = ''] = requestState.split('.');
    const forged = Buffer.from(text, 'base64url').toString().replace('own', 'new');
    for (const state of [
      '',
      'x',
      `${text}.`,
      `.${signature}`,
      `${text}.${signature}.x`,
      `${Buffer.from(forged).toString('base64url')}.${signature}`,
      `${text}x.${signature}`,
      7,
    ]) {
      await refused(caller, { ...same, requestState: state });
    }
    expect(setup.server('one').instances.flatMap((instance) => instance.requests('tools/call'))).toHaveLength(1);
    // The same caller on another connection is the same caller.
    await again.call('one__go', { ...same, requestState });
    await setup.clock.advance(10 * 60_000);
    await refused(caller, same);
  });

  test('is nothing to another server, to which a reload has given what was asked for', async () => {
    const reading = (own: string) =>
      modern(
        {
          'resources/read': (request) =>
            request.params?.requestState === undefined
              ? { resultType: 'input_required', requestState: `the state of ${own}` }
              : { resultType: 'complete', contents: [], state: request.params.requestState },
        },
        { resources: [{ uri: 'x://1' }] },
      );
    await using setup = setUp({ one: reading('one'), two: reading('two') });
    await using caller = await open(setup);
    const read = (params: Json = {}) => caller.request('resources/read', { uri: 'x://1', ...params });
    const { requestState } = (await read()).result as Json;
    const entry = { id: 'two', runtime: { type: 'scripted', script: 'two' } } as const;
    const reloaded = setup.gateway.reload({ servers: [entry] }, { graceMs: 0 });
    await setup.clock.advance(0);
    await reloaded;
    expect(await read({ requestState })).toMatchObject({ error: { code: -32602 } });
    expect(setup.server('two').instances.flatMap((instance) => instance.requests('resources/read'))).toEqual([]);
    const own = ((await read()).result as Json).requestState;
    expect(await read({ requestState: own })).toMatchObject({ result: { state: 'the state of two' } });
  });

  test('is nothing that a request may have that cannot ask for input', async () => {
    await using setup = setUp({ one: stateful() });
    await using caller = await open(setup);
    expect((await caller.result('tools/list', { requestState: 'x' })).tools).toHaveLength(1);
  });
});

describe('what a server with sessions asks', () => {
  test('becomes a need for input, and the answer goes back to it', async () => {
    await using setup = setUp({ one: asking(form('first'), form('second')) });
    await using caller = await open(setup, { elicitation: {} });
    const first = await caller.call('one__go', { arguments: { x: 1 } });
    expect(first).toMatchObject({ resultType: 'input_required', requestState: expect.any(String) });
    const [[key, question] = []] = Object.entries(first.inputRequests as Json);
    expect(question).toEqual(form('first'));
    const answer = (result: Json, given: Json) =>
      caller.call('one__go', { arguments: { x: 1 }, requestState: result.requestState, inputResponses: given });
    const second = await answer(first, { [String(key)]: accept('one'), unasked: accept('no') });
    const [[next, asked] = []] = Object.entries(second.inputRequests as Json);
    expect(asked).toEqual(form('second'));
    const done = await answer(second, { [String(next)]: accept('two') });
    expect(done).toMatchObject({
      resultType: 'complete',
      structuredContent: { answers: [accept('one'), accept('two')] },
    });
    expect(setup.server('one').only.requests('tools/call')).toHaveLength(1);
  });

  test('is asked whatever the depth of the arguments', async () => {
    await using setup = setUp({ one: asking(form('first')) });
    await using caller = await open(setup, { elicitation: {} });
    const deep = (end: number) => ({ list: JSON.parse(`${'['.repeat(50_000)}${end}${']'.repeat(50_000)}`) });
    const { requestState, inputRequests } = await caller.call('one__go', { arguments: deep(1) });
    const again = { requestState, inputResponses: { [String(Object.keys(inputRequests as Json)[0])]: accept('one') } };
    const other = await caller.error('tools/call', { name: 'one__go', arguments: deep(2), ...again });
    expect(other).toMatchObject({ code: -32602, message: expect.stringContaining('requestState') });
    expect(await caller.call('one__go', { arguments: deep(1), ...again })).toMatchObject({ resultType: 'complete' });
  });

  test('is good for one round: a state that was used is refused', async () => {
    await using setup = setUp({ one: asking(form('first'), form('second')) });
    await using caller = await open(setup, { elicitation: {} });
    const { requestState, inputRequests } = await caller.call('one__go');
    const inputResponses = { [String(Object.keys(inputRequests as Json)[0])]: accept('one') };
    expect(await caller.call('one__go', { requestState, inputResponses })).toMatchObject({
      resultType: 'input_required',
    });
    const replayed = await caller.error('tools/call', { name: 'one__go', requestState, inputResponses });
    expect(replayed.code).toBe(-32602);
  });

  test('is of one connection of the caller: its state goes on with no call of another', async () => {
    await using setup = setUp({ one: asking(form('sure?')) });
    const me = { caller: { id: 'me' } };
    await using caller = await open(setup, { elicitation: {} }, me);
    await using again = await open(setup, { elicitation: {} }, me);
    const { requestState, inputRequests } = await caller.call('one__go', { arguments: { a: 1 } });
    const other = await again.call('one__go', { arguments: { a: 2 } });
    const inputResponses = { [String(Object.keys(inputRequests as Json)[0])]: accept('yes') };
    const resumed = { arguments: { a: 1 }, requestState, inputResponses };
    expect(await again.error('tools/call', { name: 'one__go', ...resumed })).toMatchObject({ code: -32602 });
    expect(await caller.call('one__go', resumed)).toMatchObject({ structuredContent: { answers: [accept('yes')] } });
    const { requestState: ownState } = other;
    expect(await again.call('one__go', { arguments: { a: 2 }, requestState: ownState, inputResponses })).toMatchObject({
      structuredContent: { answers: [accept('yes')] },
    });
  });

  test('is asked again as long as the answer is missing', async () => {
    await using setup = setUp({ one: asking(form('first')) });
    await using caller = await open(setup, { elicitation: {} });
    const { requestState, inputRequests } = await caller.call('one__go');
    for (const inputResponses of [
      undefined,
      {},
      { other: accept('x') },
      { [String(Object.keys(inputRequests as Json)[0])]: 7 },
    ]) {
      const again = await caller.call('one__go', {
        requestState: (await caller.call('one__go')).requestState,
        inputResponses,
      });
      expect(again).toMatchObject({ resultType: 'input_required', inputRequests: expect.any(Object) });
    }
    expect(requestState).toBeDefined();
  });

  test('is cancelled with its call, and refused when nobody comes back', async () => {
    await using setup = setUp({ one: asking(form('first')) });
    await using caller = await open(setup, { elicitation: {} });
    const { requestState } = await caller.call('one__go');
    const { request } = await setup.server('one').request('tools/call');
    await setup.clock.advance(10 * 60_000);
    const { only } = setup.server('one');
    expect(only.notifications('notifications/cancelled')).toMatchObject([{ params: { requestId: request.id } }]);
    expect(only.answers(`${request.id}.0`)).toMatchObject([{ error: { code: -32601 } }]);
    const late = await caller.error('tools/call', { name: 'one__go', requestState });
    expect(late.code).toBe(-32602);
  });

  test('ends with its server, which the caller hears when it comes back', async () => {
    await using setup = setUp({ one: asking(form('first')) });
    await using caller = await open(setup, { elicitation: {} });
    const { requestState } = await caller.call('one__go');
    setup.server('one').only.die();
    await settle();
    const error = await caller.error('tools/call', { name: 'one__go', requestState });
    expect(error).toMatchObject({ data: { code: 'SERVER_EXITED' } });
  });

  test('is refused where there is no request that may ask for input', async () => {
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/list': async (request, instance) => {
          const answer = await instance.ask(`${request.id}`, 'roots/list');
          return { tools: [{ name: JSON.stringify(answer.error) }] };
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await open(setup, { roots: {} });
    const { tools } = await caller.result('tools/list');
    expect(JSON.stringify(tools)).toContain('-32601');
  });

  test('is refused where no client could answer it', async () => {
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'tools/call': async (request, instance) => {
          const { error } = await instance.ask(`${request.id}`, 'custom/question', { a: 1 });
          return { content: [], structuredContent: { error } };
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await open(setup, { elicitation: {} });
    expect(await caller.call('one__go')).toMatchObject({ structuredContent: { error: { code: -32601 } } });
  });

  test('stays asked when a server takes back what it has asked in another session of the caller', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }], on: { 'tools/call': () => hold } } });
    await using caller = await open(setup, { elicitation: {} });
    const first = caller.call('one__go');
    const one = await setup.server('one').request('tools/call');
    caller.capabilities = { elicitation: {}, roots: {} };
    const second = caller.call('one__go');
    const two = await setup.server('one').request('tools/call', 1);
    for (const { instance } of [one, two]) instance.say({ id: 'q', ...form('?') });
    const { requestState } = await first;
    await second;
    two.instance.notify('notifications/cancelled', { requestId: 'q' });
    await settle();
    caller.capabilities = { elicitation: {} };
    const again = await caller.call('one__go', { requestState });
    expect(Object.values(again.inputRequests as Json)).toEqual([form('?')]);
  });

  test('keeps what it says of itself, but for what sessions alone know', async () => {
    const meta = { own: 1, progressToken: 'p', 'io.modelcontextprotocol/related-task': { taskId: 'gone' } };
    await using setup = setUp({
      one: asking({ method: 'elicitation/create', params: { message: '?', _meta: meta } }),
    });
    await using caller = await open(setup, { elicitation: {} });
    const { inputRequests } = await caller.call('one__go');
    expect(Object.values(inputRequests as Json)).toEqual([
      { method: 'elicitation/create', params: { message: '?', _meta: { own: 1 } } },
    ]);
  });

  test('comes with the next round when it comes between two, unless it is taken back before', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }], on: { 'tools/call': () => hold } } });
    await using caller = await open(setup, { elicitation: {} });
    const called = caller.call('one__go', { _meta: { progressToken: 'p' } });
    const { instance, request } = await setup.server('one').request('tools/call');
    instance.say({ id: 'q1', ...form('first') });
    const { requestState, inputRequests } = await called;
    for (const id of ['q2', 'q3', 'q4']) instance.say({ id, ...form(id) });
    instance.notify('notifications/cancelled', { requestId: 'q3' });
    await settle();
    const inputResponses = { [String(Object.keys(inputRequests as Json)[0])]: accept('one') };
    const next = await caller.call('one__go', { requestState, inputResponses });
    expect(Object.values(next.inputRequests as Json)).toEqual([form('q2'), form('q4')]);
    expect(instance.answers('q1')).toMatchObject([{ result: accept('one') }]);
    // The last round has no token: nothing of the server's progress is for it.
    const answers = Object.fromEntries(Object.keys(next.inputRequests as Json).map((key) => [key, accept(key)]));
    const last = caller.call('one__go', { requestState: next.requestState, inputResponses: answers });
    await settle();
    instance.notify('notifications/progress', { progressToken: request.params?._meta?.progressToken, progress: 1 });
    instance.answer(request, { content: [] });
    expect(await last).toMatchObject({ resultType: 'complete' });
    expect(caller.notifications('notifications/progress').filter(({ progress }) => Number(progress) > 0)).toEqual([]);
  });

  test('is asked in another call when its own ends, since nobody can tell whose question it was', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }], on: { 'tools/call': () => hold } } });
    await using caller = await open(setup, { elicitation: {} });
    const first = caller.call('one__go', { arguments: { n: 1 } });
    const { instance, request } = await setup.server('one').request('tools/call');
    const second = caller.call('one__go', { arguments: { n: 2 } });
    await setup.server('one').request('tools/call', 1);
    instance.say({ id: 'q', ...form('?') });
    const { requestState } = await first;
    // The call in which it was asked ends without it, so it is the other one that waits.
    instance.answer(request, { content: [] });
    await settle();
    const done = await caller.call('one__go', { arguments: { n: 1 }, requestState });
    expect(done).toMatchObject({ resultType: 'complete' });
    expect(Object.values((await second).inputRequests as Json)).toEqual([form('?')]);
    expect(instance.answers('q')).toEqual([]);
  });

  test.each(['says whose it is', 'asked before the other one was sent'])(
    'is refused and not asked in another call when its own ends, where the server %s',
    async (how) => {
      for (const ending of ['answered', 'given up']) {
        await using setup = setUp({ one: { tools: [{ name: 'go' }], on: { 'tools/call': () => hold } } });
        await using caller = await open(setup, { elicitation: {} });
        const first = caller.request('tools/call', { name: 'one__go', arguments: { n: 1 } }, 1);
        const { instance, request } = await setup.server('one').request('tools/call');
        const ask = () =>
          how === 'says whose it is'
            ? instance.onmessage?.(
                { jsonrpc: '2.0', id: 'q', ...form('?') } as never,
                { relatedRequestId: request.id } as never,
              )
            : instance.say({ id: 'q', ...form('?') });
        how === 'says whose it is' || ask();
        await settle();
        void caller.request('tools/call', { name: 'one__go', arguments: { n: 2 } }, 2);
        await setup.server('one').request('tools/call', 1);
        how === 'says whose it is' && ask();
        const { requestState } = (await first).result as Json;
        if (ending === 'answered') {
          instance.answer(request, { content: [] });
          await settle();
          const done = await caller.call('one__go', { arguments: { n: 1 }, requestState });
          expect(done).toMatchObject({ resultType: 'complete' });
        } else {
          await setup.clock.advance(10 * 60_000);
        }
        await settle();
        expect(instance.answers('q')).toMatchObject([{ error: { code: -32601 } }]);
        expect(JSON.stringify(caller.answers(2))).not.toContain('input_required');
      }
    },
  );

  test('is refused when a server asks without end, and where its own request can ask for nothing', async () => {
    await using setup = setUp({
      one: {
        tools: [{ name: 'go' }],
        prompts: [{ name: 'p' }],
        on: { 'tools/call': () => hold, 'completion/complete': () => hold },
      },
    });
    await using caller = await open(setup, { elicitation: {} });
    void caller.call('one__go');
    const { instance } = await setup.server('one').request('tools/call');
    for (let index = 0; index <= 100; index += 1) instance.say({ id: `q${index}`, ...form('?') });
    await settle();
    expect(instance.answers('q99')).toEqual([]);
    expect(instance.answers('q100')).toMatchObject([{ error: { message: expect.stringContaining('too much') } }]);
    void caller.result('completion/complete', { ref: { type: 'ref/prompt', name: 'one__p' } });
    const { request } = await setup.server('one').request('completion/complete');
    // As servers over HTTP do, whose questions come on the stream of a request.
    const related = { relatedRequestId: request.id } as never;
    instance.onmessage?.({ jsonrpc: '2.0', id: 'c', ...form('?') } as never, related);
    await settle();
    expect(instance.answers('c')).toMatchObject([
      { error: { message: expect.stringContaining('completion/complete') } },
    ]);
  });

  test('is withdrawn when the server no longer waits', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }], on: { 'tools/call': () => hold } } });
    await using caller = await open(setup, { elicitation: {} });
    const called = caller.call('one__go');
    const { instance, request } = await setup.server('one').request('tools/call');
    instance.say({ id: 'q1', ...form('never mind') });
    const { requestState } = await called;
    instance.notify('notifications/cancelled', { requestId: 'q1' });
    await settle();
    const again = caller.call('one__go', { requestState });
    instance.answer(request, { content: [], structuredContent: { done: true } });
    expect(await again).toMatchObject({ resultType: 'complete', structuredContent: { done: true } });
  });
});

describe('a stream of notifications', () => {
  const changing: Script = { tools: [{ name: 'go' }], resources: [{ uri: 'x://1' }, { uri: 'x://2' }] };
  const ack = 'notifications/subscriptions/acknowledged';
  const idOf = (params: Json) => (params._meta as Json)[`${prefix}subscriptionId`];
  const listen = async (caller: ModernTestCaller, id: string, notifications: Json) => {
    void caller.request('subscriptions/listen', { notifications }, id);
    return caller.until(() => caller.notifications(ack).find((params) => idOf(params) === id));
  };

  test('is acknowledged first, and each gets what it asked for under its own id', async () => {
    await using setup = setUp({ one: changing });
    await using caller = await open(setup);
    await caller.call('one__go');
    const tools = await listen(caller, 'tools', { toolsListChanged: true, promptsListChanged: false });
    expect(tools.notifications).toEqual({ toolsListChanged: true });
    const both = await listen(caller, 'both', {
      toolsListChanged: true,
      resourceSubscriptions: ['x://1', 'no://where'],
    });
    expect(both.notifications).toEqual({ toolsListChanged: true, resourceSubscriptions: ['x://1'] });
    const { only } = setup.server('one');
    // One that merely begins alike is another; a part of it is its own.
    for (const uri of ['x://1', 'x://12', 'x://1/part']) only.notify('notifications/resources/updated', { uri });
    only.notify('notifications/prompts/list_changed');
    only.notify('notifications/tools/list_changed');
    await setup.clock.advance(100);
    expect(caller.notifications('notifications/tools/list_changed').map(idOf)).toEqual(['tools', 'both']);
    expect(caller.notifications('notifications/resources/updated')).toEqual(
      ['x://1', 'x://1/part'].map((uri) => ({ uri, _meta: { [`${prefix}subscriptionId`]: 'both' } })),
    );
    expect(caller.notifications('notifications/prompts/list_changed')).toEqual([]);
  });

  test('ends when the caller cancels it, and with it what nobody else listens to', async () => {
    await using setup = setUp({ one: changing });
    await using caller = await open(setup);
    await caller.call('one__go');
    await listen(caller, 'a', { resourceSubscriptions: ['x://1', 'x://2'] });
    await listen(caller, 'b', { resourceSubscriptions: ['x://1'] });
    // Each asks for itself: one may be refused what the other has.
    expect(setup.server('one').only.requests('resources/subscribe')).toHaveLength(3);
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'a' } });
    const { request } = await setup.server('one').request('resources/unsubscribe');
    expect(request.params).toEqual({ uri: 'x://2' });
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'b' } });
    expect((await setup.server('one').request('resources/unsubscribe', 1)).request.params).toEqual({ uri: 'x://1' });
    expect(caller.answers('a')).toEqual([]);
  });

  test('is not acknowledged with what its server refuses, also when two ask for it at once', async () => {
    const refuse = Promise.withResolvers<Json>();
    await using setup = setUp({ one: { ...changing, on: { 'resources/subscribe': () => refuse.promise } } });
    await using caller = await open(setup);
    const notifications = { resourceSubscriptions: ['x://1'] };
    const listening = ['a', 'b'].map((id) => caller.request('subscriptions/listen', { notifications }, id));
    await setup.server('one').request('resources/subscribe', 1);
    refuse.reject(new RpcError(-32602, 'no'));
    expect(await Promise.all(listening)).toMatchObject([{ result: {} }, { result: {} }]);
    expect(caller.notifications(ack).map((params) => params.notifications)).toEqual([{}, {}]);
    expect(setup.server('one').only.requests('resources/unsubscribe')).toEqual([]);
  });

  test('ends a subscription that only one is left to want, who is then refused it', async () => {
    const [thinking, thought] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let asked = 0;
    const intercept: Interceptor = async ({ method }, next) => {
      if (method === 'resources/subscribe') {
        asked += 1;
        if (asked === 2) {
          thinking.resolve();
          await thought.promise;
          throw new Error('no');
        }
      }
      return next();
    };
    await using setup = setUp({ one: changing }, { intercept });
    await using caller = await open(setup);
    const notifications = { resourceSubscriptions: ['x://1'] };
    await listen(caller, 'a', notifications);
    const refused = caller.request('subscriptions/listen', { notifications }, 'b');
    await thinking.promise;
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'a' } });
    await settle();
    expect(setup.server('one').only.requests('resources/unsubscribe')).toEqual([]);
    thought.resolve();
    await refused;
    await setup.server('one').request('resources/unsubscribe');
  });

  test('ends a subscription that its server took as one left who wanted it, when the other one is refused it', async () => {
    const answers = [Promise.withResolvers<Json>(), Promise.withResolvers<Json>()];
    const waiting = answers.values();
    const subscribe = () => waiting.next().value?.promise ?? {};
    await using setup = setUp({ one: { ...changing, on: { 'resources/subscribe': subscribe } } });
    await using caller = await open(setup);
    const notifications = { resourceSubscriptions: ['x://1'] };
    const [, refused] = ['a', 'b'].map((id) => caller.request('subscriptions/listen', { notifications }, id));
    await setup.server('one').request('resources/subscribe', 1);
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'a' } });
    answers[0]?.resolve({});
    answers[1]?.reject(new RpcError(-32602, 'no'));
    await refused;
    await caller.call('one__go');
    const { only } = setup.server('one');
    expect(only.requests('resources/unsubscribe').map(({ params }) => params)).toEqual([{ uri: 'x://1' }]);
  });

  test('that is cancelled while its server takes the subscription is never acknowledged, and unsubscribed', async () => {
    await using setup = setUp({ one: { ...changing, on: { 'resources/subscribe': () => hold } } });
    await using caller = await open(setup);
    void caller.request('subscriptions/listen', { notifications: { resourceSubscriptions: ['x://1'] } }, 'a');
    const { instance, request } = await setup.server('one').request('resources/subscribe');
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'a' } });
    instance.answer(request, {});
    expect((await setup.server('one').request('resources/unsubscribe')).request.params).toEqual({ uri: 'x://1' });
    expect(caller.notifications(ack)).toEqual([]);
    expect(caller.answers('a')).toEqual([]);
  });

  test('is one of a hundred at most, and has a thousand URIs at most', async () => {
    await using setup = setUp({ one: changing });
    await using caller = await open(setup);
    const uris = (length: number) => Array.from({ length }, (_, index) => `no://where/${index}`);
    const wide = await caller.error('subscriptions/listen', { notifications: { resourceSubscriptions: uris(1_001) } });
    expect(wide).toMatchObject({ code: -32602, message: expect.stringContaining('1000 entries') });
    for (let index = 0; index < 100; index += 1) await listen(caller, `s${index}`, { toolsListChanged: true });
    const refused = await caller.error('subscriptions/listen', { notifications: { toolsListChanged: true } });
    expect(refused).toMatchObject({ code: -32603, message: expect.stringContaining('100 streams') });
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 's0' } });
    await listen(caller, 'again', { toolsListChanged: true });
  });

  test('is answered when the gateway closes, or when nothing would ever come', async () => {
    await using setup = setUp({ one: changing });
    const caller = await open(setup);
    await listen(caller, 'a', { toolsListChanged: true });
    await listen(caller, 'nothing', {});
    await caller.until(() => caller.answers('nothing')[0]);
    expect(caller.answers('a')).toEqual([]);
    await setup.gateway.close({ graceMs: 0 });
    const id = `${prefix}subscriptionId`;
    expect(caller.answers('a')).toMatchObject([{ result: { resultType: 'complete', _meta: { [id]: 'a' } } }]);
    expect(caller.closed).toBe(1);
  });

  test.each([
    [undefined],
    [{ toolsListChanged: 1 }],
    [{ resourceSubscriptions: 'x://1' }],
    [{ resourceSubscriptions: [1] }],
  ])('needs a filter, not %j', async (notifications) => {
    await using setup = setUp({ one: changing });
    await using caller = await open(setup);
    expect((await caller.error('subscriptions/listen', { notifications })).code).toBe(-32602);
  });
});
