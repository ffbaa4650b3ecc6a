import { describe, expect, test } from 'vitest';
import { GatewayError } from '../../src/errors.js';
import { EraTransport } from '../../src/instance/era/era-transport.js';
import { judge, ServerEra } from '../../src/instance/era/server-era.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import { relatedTask, tasksExtension } from '../../src/transport/tasks.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { type Message, type Play, PlayedConnection } from './played-connection.js';

const subscriptionId = 'io.modelcontextprotocol/subscriptionId';
const acknowledged = 'notifications/subscriptions/acknowledged';
const tasks = { extensions: { [tasksExtension]: {} } };

function discovery(capabilities: Record<string, unknown> = {}) {
  return { result: { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities } };
}

interface SetUp {
  readonly play?: Play;
  readonly capabilities?: Record<string, unknown>;
  /** The params of `initialize`; null for none. */
  readonly params?: Record<string, unknown> | null;
  readonly protocol?: 'auto' | 'modern';
  /** Answers what the caller is asked, inside `onmessage`. */
  readonly onAsked?: (question: Message, answer: (message: Message) => void) => void;
}

/** A caller with a session, before a server that the test plays. */
async function begin({ play = {}, capabilities, params = {}, protocol = 'modern', onAsked }: SetUp = {}) {
  const clock = new FakeClock();
  const connections: PlayedConnection[] = [];
  const transport = new EraTransport({
    requestTimeoutMs: 60_000,
    server: 'played',
    era: new ServerEra(protocol),
    clock,
    probeTimeoutMs: 1_000,
    silenceTimeoutMs: 1_000,
    untilStopped: () => new AbortController().signal,
    connect() {
      const connection = new PlayedConnection({ 'server/discover': () => discovery(capabilities), ...play });
      connections.push(connection);
      return connection;
    },
  });
  const heard: Message[] = [];
  const extras: unknown[] = [];
  const errors: Error[] = [];
  let closes = 0;
  const send = (message: Message) => transport.send({ jsonrpc: '2.0', ...message } as JSONRPCMessage);
  transport.onmessage = (message, extra) => {
    heard.push(message as Message);
    extras.push(extra);
    if ('id' in message && 'method' in message) onAsked?.(message as Message, (answer) => void send(answer));
  };
  transport.onerror = (error) => errors.push(error);
  transport.onclose = () => {
    closes += 1;
  };
  await transport.start();
  const settled = { clock, transport, heard, extras, errors, connections, send };
  const all = {
    ...settled,
    get server() {
      return connections.at(-1) as PlayedConnection;
    },
    get closes() {
      return closes;
    },
    /** What the caller is answered, once everything has happened that waits for nothing else. */
    async answer(id: string | number) {
      await settle();
      return heard.find((message) => message.id === id && message.method === undefined);
    },
    async ask(method: string, more?: Record<string, unknown>, id: string | number = method) {
      await send({ id, method, ...(more && { params: more }) });
      return this.answer(id);
    },
    asked: (method: string) => heard.filter((message) => message.method === method && message.id !== undefined),
  };
  await all.send({ id: 'initialize', method: 'initialize', ...(params && { params }) });
  await settle();
  return all;
}

describe('how a server is asked for its era', () => {
  const error = (code: number, data?: unknown) =>
    judge({ jsonrpc: '2.0', id: 1, error: { code, message: 'no', data } } as never).era;
  test.each<[string, number, unknown, string]>([
    ['an error of its own', -32601, undefined, 'legacy'],
    ['an error of its own with data', -32602, { code: 'X' }, 'legacy'],
    ['a status that refuses the request', 1, { code: 'HTTP_STATUS', status: 404 }, 'legacy'],
    ['content that is no answer', 1, { code: 'ANSWER_INVALID' }, 'legacy'],
    ['a status that asks who it is', 1, { code: 'HTTP_STATUS', status: 401 }, 'failed'],
    ['a status that asks to wait', 1, { code: 'HTTP_STATUS', status: 429 }, 'failed'],
    ['a status of a failure', 1, { code: 'HTTP_STATUS', status: 503 }, 'failed'],
    ['a status that is none', 1, { code: 'HTTP_STATUS', status: 302 }, 'failed'],
    ['no way to it', 1, { code: 'CONNECTION_FAILED' }, 'failed'],
    ['its end', 1, { code: 'SERVER_EXITED', exit: { code: 1 } }, 'ended'],
  ])('%s', (_what, code, data, era) => {
    expect(error(code, data)).toBe(era);
  });

  test('one that refuses initialize as stateless, and then does not say that it is, is answered with its refusal', async () => {
    const refusal = { error: { code: -32022, message: 'too old', data: { supported: ['2026-07-28'] } } };
    const t = await begin({
      protocol: 'auto',
      play: {
        'server/discover': () => ({ error: { code: -32601, message: 'what?' } }),
        initialize: () => refusal,
      },
    });
    expect(await t.answer('initialize')).toMatchObject({ id: 'initialize', ...refusal });
    expect(t.server.of('server/discover')).toHaveLength(2);
  });

  test.each([1, 2])(
    'one that refuses our revision and names it is asked once more, and no oftener (%i)',
    async (refusals) => {
      let asked = 0;
      const refusal = { error: { code: -32022, message: 'what?', data: { supported: ['2026-07-28'] } } };
      const t = await begin({
        protocol: 'auto',
        play: {
          'server/discover': () =>
            ++asked <= refusals ? refusal : { result: { supportedVersions: ['2026-07-28'], capabilities: {} } },
          initialize: () => ({ result: { protocolVersion: '2025-11-25', capabilities: {} } }),
        },
      });
      expect(await t.answer('initialize')).toHaveProperty('result');
      expect(asked).toBe(2);
      expect(t.server.of('initialize')).toHaveLength(refusals - 1);
    },
  );

  test('the end of a server that was replaced ends nothing, however late it is told', async () => {
    let ends = 0;
    const t = await begin({
      protocol: 'auto',
      play: {
        'server/discover': () => undefined,
        initialize: () =>
          t.connections.length === 1 ? undefined : { result: { protocolVersion: '2025-11-25', capabilities: {} } },
      },
    });
    const [first] = t.connections;
    const tell = first?.onclose;
    if (first !== undefined) {
      first.onclose = () => {
        ends += 1;
      };
    }
    await t.clock.advance(2_000);
    expect(t.connections).toHaveLength(2);
    expect(await t.answer('initialize')).toHaveProperty('result');
    expect(ends).toBe(1);
    tell?.();
    await settle();
    expect(t.closes).toBe(0);
    expect(await t.ask('anything')).toBeUndefined();
    expect(t.server.of('anything')).toHaveLength(1);
  });

  test('a caller that says nothing of itself can do nothing', async () => {
    const t = await begin({ params: null });
    expect(await t.answer('initialize')).toMatchObject({ result: { protocolVersion: '2025-11-25' } });
    const meta = { 'io.modelcontextprotocol/clientCapabilities': {} };
    expect(t.server.of('server/discover')[0]?.params?._meta).toMatchObject(meta);
    await t.ask('tools/list');
    expect(t.server.of('tools/list')[0]?.params?._meta).toMatchObject(meta);
  });

  test.each([
    ['2025-03-26', '2025-03-26'],
    ['2099-01-01', '2025-11-25'],
    [undefined, '2025-11-25'],
  ])('a caller that asks for revision %s gets %s', async (protocolVersion, given) => {
    const t = await begin({ params: { ...(protocolVersion && { protocolVersion }) } });
    expect(await t.answer('initialize')).toMatchObject({ result: { protocolVersion: given } });
  });
});

describe('what the server does not get', () => {
  test.each<[string, Error, unknown]>([
    ['of the gateway', new GatewayError('LIMIT_REACHED', 'full', { delivered: false }), 'LIMIT_REACHED'],
    ['that says nothing of it', new GatewayError('LIMIT_REACHED', 'full'), 'LIMIT_REACHED'],
    ['of somebody else', new Error('broken pipe'), 'TRANSPORT_CLOSED'],
  ])('a request that cannot be sent is answered with the error %s', async (_whose, error, code) => {
    const t = await begin();
    t.server.onsend = async () => {
      throw error;
    };
    const answer = await t.ask('tools/call', { name: 'go' });
    expect(answer?.error).toMatchObject({
      message: expect.stringContaining(error.message),
      data: { code, delivered: false },
    });
  });

  test('a notification that cannot be sent is nobody’s answer', async () => {
    const t = await begin();
    const before = t.heard.length;
    t.server.onsend = async () => {
      throw new Error('broken pipe');
    };
    await t.send({ method: 'notifications/cancelled', params: { requestId: 'never asked' } });
    await settle();
    expect(t.heard).toHaveLength(before);
  });

  test('a request that waits for its caller is answered when the server ends without a word', async () => {
    const t = await begin({
      play: { 'tools/call': () => ({ result: { resultType: 'input_required', inputRequests: { a: roots } } }) },
    });
    await t.ask('tools/call', { name: 'go' });
    t.server.onclose?.();
    expect(await t.answer('tools/call')).toMatchObject({
      error: { data: { code: 'SERVER_EXITED', server: 'played', delivered: 'unknown' } },
    });
    expect(t.closes).toBe(1);
  });
});

const roots = { method: 'roots/list' };
const needs = (inputRequests: Record<string, unknown>) => ({
  result: { resultType: 'input_required', inputRequests },
});

describe('a call that needs input', () => {
  test.each<[string, Record<string, unknown>, string]>([
    ['a method that no client knows', { a: roots, b: { method: 'x/y' } }, 'x/y'],
    ['something that is no request', { a: 'please' }, 'string'],
  ])('of %s fails, and nobody is asked', async (_what, inputs, named) => {
    const t = await begin({ play: { 'tools/call': () => needs(inputs) } });
    const answer = await t.ask('tools/call', { name: 'go' });
    expect(answer?.error).toMatchObject({ code: -32603, message: expect.stringContaining(named) });
    expect(t.asked('roots/list')).toEqual([]);
  });

  test('again and again fails after 32 rounds', async () => {
    const t = await begin({
      play: { 'tools/call': () => needs({ a: roots }) },
      onAsked: ({ id }, answer) => answer({ id: id as string, result: { roots: [] } }),
    });
    const answer = await t.ask('tools/call', { name: 'go' });
    await settle();
    expect(answer ?? (await t.answer('tools/call'))).toMatchObject({
      error: { code: -32603, message: expect.stringContaining('32 times') },
    });
    expect(t.server.of('tools/call')).toHaveLength(33);
    expect(t.asked('roots/list')).toHaveLength(32);
  });

  test('goes on when all of it is answered, and not before', async () => {
    const t = await begin({
      play: {
        'tools/call': ({ params }) => (params?.inputResponses ? { result: { ok: 1 } } : needs({ a: roots, b: roots })),
      },
    });
    await t.ask('tools/call', { name: 'go' });
    const [first, second] = t.asked('roots/list');
    await t.send({ id: first?.id as string, result: { n: 1 } });
    // Once more, and to a question that nobody has asked: nobody waits for those.
    await t.send({ id: first?.id as string, result: { n: 9 } });
    await t.send({ id: 'input:99', result: { n: 9 } });
    expect(await t.answer('tools/call')).toBeUndefined();
    await t.send({ id: second?.id as string, result: { n: 2 } });
    expect(await t.answer('tools/call')).toMatchObject({ result: { ok: 1 } });
    expect(t.server.of('tools/call')[1]?.params?.inputResponses).toEqual({ a: { n: 1 }, b: { n: 2 } });
  });

  test('under a name that objects have a meaning for is answered under that', async () => {
    const inputs = JSON.parse('{"__proto__":{"method":"roots/list"}}');
    const t = await begin({
      play: { 'tools/call': ({ params }) => (params?.inputResponses ? { result: { ok: 1 } } : needs(inputs)) },
      onAsked: ({ id }, answer) => answer({ id: id as string, result: { roots: [] } }),
    });
    await t.ask('tools/call', { name: 'go' });
    expect(await t.answer('tools/call')).toMatchObject({ result: { ok: 1 } });
    expect(t.server.of('tools/call')).toHaveLength(2);
    expect(JSON.stringify(t.server.of('tools/call')[1]?.params?.inputResponses)).toBe('{"__proto__":{"roots":[]}}');
  });

  test('fails with what the caller refuses, which is then asked nothing else', async () => {
    const error = { code: -1, message: 'not you', data: { why: 'policy' } };
    const t = await begin({
      play: { 'tools/call': () => needs({ a: roots, b: roots }) },
      onAsked: ({ id }, answer) => answer({ id: id as string, error }),
    });
    expect(await t.ask('tools/call', { name: 'go' })).toMatchObject({
      error: { code: -1, message: expect.stringContaining('not you'), data: { why: 'policy' } },
    });
    expect(t.asked('roots/list')).toHaveLength(1);
  });

  test('of a person on a page gets an id for the page, unless it has one', async () => {
    const page = (params: Record<string, unknown>) => ({
      method: 'elicitation/create',
      params: { mode: 'url', url: 'https://example.com/', ...params },
    });
    const t = await begin({ play: { 'tools/call': () => needs({ a: page({}), b: page({ elicitationId: 'mine' }) }) } });
    await t.ask('tools/call', { name: 'go' });
    const [own, given] = t.asked('elicitation/create').map(({ params }) => params?.elicitationId);
    expect(own).toMatch(/^[0-9a-f-]{36}$/);
    expect(given).toBe('mine');
  });

  test('has the messages of its later rounds under the id that the caller knows', async () => {
    let round = 0;
    const t = await begin({
      play: { 'tools/call': () => (round++ === 0 ? needs({ a: roots }) : undefined) },
      onAsked: ({ id }, answer) => answer({ id: id as string, result: { roots: [] } }),
    });
    await t.ask('tools/call', { name: 'go' });
    await settle();
    const relatedRequestId = t.server.of('tools/call')[1]?.id;
    const message = { method: 'notifications/message', params: { level: 'info', data: 'x' } };
    t.server.say(message, { relatedRequestId });
    t.server.say(message, { relatedRequestId: 'another' });
    expect(relatedRequestId).not.toBe('tools/call');
    expect(t.extras.slice(-2)).toEqual([{ relatedRequestId: 'tools/call' }, { relatedRequestId: 'another' }]);
  });
});

test('a server gets numbers of 32 bits as ids, each once, where its caller has asked for nothing', async () => {
  const t = await begin({
    capabilities: { ...tasks, tools: { listChanged: true } },
    play: {
      'tools/call': ({ params }) =>
        params?.inputResponses
          ? { result: { resultType: 'task', taskId: 't', status: 'working' } }
          : needs({ a: roots }),
      'tasks/get': () => ({ result: { taskId: 't', status: 'completed', result: {} } }),
    },
    onAsked: ({ id }, answer) => answer({ id: id as string, result: { roots: [] } }),
  });
  await t.send({ method: 'notifications/initialized' });
  await t.ask('resources/subscribe', { uri: 'file:///a' });
  await t.ask('tools/call', { name: 'go' });
  await settle();
  await t.clock.advance(1_000);
  expect(await t.answer('tools/call')).toMatchObject({ result: {} });
  const ids = t.server.received.filter(({ id }) => id !== undefined && id !== 'tools/call').map(({ id }) => id);
  // It is asked for its era, for two streams, for the second round, and for its task.
  expect(new Set(ids).size).toBe(5);
  expect(ids.filter((id) => !(Number.isInteger(id) && Number(id) < 2 ** 31))).toEqual([]);
  await t.transport.close();
});

describe('an error of the server', () => {
  test.each<[string, unknown, string]>([
    ['names what is missing', { requiredCapabilities: { sampling: {}, roots: {} } }, 'sampling, roots'],
    ['says what it says where it names nothing', { other: 1 }, 'no way'],
    ['says what it says without data', undefined, 'no way'],
  ])('for want of a capability %s', async (_what, data, named) => {
    const t = await begin({ play: { 'tools/call': () => ({ error: { code: -32021, message: 'no way', data } }) } });
    const answer = await t.ask('tools/call', { name: 'go' });
    expect(answer?.error).toMatchObject({ code: -32602, message: expect.stringContaining(named) });
    expect(answer?.error?.data).toEqual(data);
  });
});

describe('what a caller listens to', () => {
  /** Acknowledges each stream with what the test says. */
  const listening = (honored: (filter: Record<string, unknown>) => unknown, meta = {}) => {
    const connection: { current?: PlayedConnection } = {};
    const play: Play = {
      'subscriptions/listen': ({ id, params }) => {
        const notifications = honored(params?.notifications as Record<string, unknown>);
        connection.current?.say({
          method: acknowledged,
          params: { ...(notifications !== undefined && { notifications }), _meta: { [subscriptionId]: id, ...meta } },
        });
        return undefined;
      },
    };
    const start = async (capabilities?: Record<string, unknown>) => {
      const t = await begin({ play, ...(capabilities && { capabilities }) });
      connection.current = t.server;
      return t;
    };
    return start;
  };
  const uri = 'file:///a';

  test('a second subscription to the same is answered, and one stream is open', async () => {
    const t = await listening((filter) => filter)();
    expect(await t.ask('resources/subscribe', { uri }, 1)).toMatchObject({ result: {} });
    expect(await t.ask('resources/subscribe', { uri }, 2)).toMatchObject({ result: {} });
    expect(t.server.of('subscriptions/listen')).toHaveLength(1);
  });

  test('a second subscription that comes before the answer to the first gets the same answer', async () => {
    const t = await begin({ play: {} });
    const subscribe = async (...ids: number[]) => {
      for (const id of ids) expect(await t.ask('resources/subscribe', { uri }, id)).toBeUndefined();
      return t.server.of('subscriptions/listen').at(-1)?.id as number;
    };
    const error = { code: -32602, message: 'no such resource' };
    t.server.say({ id: await subscribe(1, 2), error });
    expect([await t.answer(1), await t.answer(2)]).toMatchObject([{ error }, { error }]);

    const _meta = { [subscriptionId]: await subscribe(3, 4) };
    t.server.say({ method: acknowledged, params: { notifications: { resourceSubscriptions: [uri] }, _meta } });
    expect([await t.answer(3), await t.answer(4)]).toMatchObject([{ result: {} }, { result: {} }]);
    expect(t.server.of('subscriptions/listen')).toHaveLength(2);
    expect(t.clock.waiting).toBe(0);
  });

  test('one that is ended, or is not acknowledged in time, is answered all the same', async () => {
    const t = await begin({ play: {} });
    expect(await t.ask('resources/subscribe', { uri }, 1)).toBeUndefined();
    expect(await t.ask('resources/unsubscribe', { uri }, 2)).toMatchObject({ result: {} });
    expect(await t.answer(1)).toMatchObject({ error: { code: 1304, data: { code: 'REQUEST_CANCELLED' } } });
    expect(t.clock.waiting).toBe(0);

    expect(await t.ask('resources/subscribe', { uri }, 3)).toBeUndefined();
    await t.clock.advance(60_000);
    expect(await t.answer(3)).toMatchObject({
      error: { code: 1301, data: { code: 'REQUEST_TIMEOUT', server: 'played', delivered: 'unknown' } },
    });
    expect(t.server.of('notifications/cancelled').map(({ params }) => params?.requestId)).toEqual(
      t.server.of('subscriptions/listen').map(({ id }) => id),
    );
    expect(t.clock.waiting).toBe(0);
    expect(t.heard.filter(({ id, method }) => id !== undefined && method === undefined)).toHaveLength(4);
  });

  test('an end of a subscription that there is none of is answered, and the server hears nothing', async () => {
    const t = await listening((filter) => filter)();
    expect(await t.ask('resources/unsubscribe', { uri })).toMatchObject({ result: {} });
    expect(t.server.of('notifications/cancelled')).toEqual([]);
  });

  test.each([[undefined], [{}], [{ resourceSubscriptions: [] }]])(
    'a stream that is acknowledged without a word of what it brings (%o) is a refusal, and is not kept open',
    async (honored) => {
      const t = await listening(() => honored)();
      expect(await t.ask('resources/subscribe', { uri })).toMatchObject({
        error: { code: -32602, message: expect.stringContaining(uri) },
      });
      const [listen] = t.server.of('subscriptions/listen');
      expect(t.server.of('notifications/cancelled').map(({ params }) => params?.requestId)).toEqual([listen?.id]);
    },
  );

  test('a stream that the server refuses is a refusal in its own words, and is not asked for again', async () => {
    const error = { code: -32603, message: 'not today' };
    const t = await begin({ play: { 'subscriptions/listen': () => ({ error }) } });
    expect(await t.ask('resources/subscribe', { uri })).toMatchObject({ error });
    expect(t.clock.waiting).toBe(0);
  });

  test('after a stream that broke the caller hears that what it watches may have changed', async () => {
    const t = await listening((filter) => filter)();
    await t.ask('resources/subscribe', { uri });
    const id = t.server.of('subscriptions/listen')[0]?.id as string;
    t.server.say({ id, error: { code: 1, message: 'cut', data: { code: 'CONNECTION_FAILED' } } });
    await t.clock.advance(500);
    expect(t.server.of('subscriptions/listen')).toHaveLength(2);
    expect(t.heard.at(-1)).toEqual({
      jsonrpc: '2.0',
      method: 'notifications/resources/updated',
      params: { uri },
    });
    await t.transport.close();
    expect(t.clock.waiting).toBe(0);
  });

  test('after such a stream the caller hears of nothing that it does not watch, whatever the server names', async () => {
    let more: string[] = [];
    const t = await listening(() => ({ resourceSubscriptions: [...more, uri] }))();
    await t.ask('resources/subscribe', { uri });
    const id = t.server.of('subscriptions/listen')[0]?.id as string;
    const before = t.heard.length;
    more = ['file:///b', 'file:///c'];
    t.server.say({ id, error: { code: 1, message: 'cut', data: { code: 'CONNECTION_FAILED' } } });
    await t.clock.advance(500);
    expect(t.heard.slice(before).map(({ params }) => params)).toEqual([{ uri }]);
    await t.transport.close();
  });

  test('a stream that the server refuses once it was open is asked for again, and what may have changed is told', async () => {
    const t = await listening((filter) => filter)();
    await t.ask('resources/subscribe', { uri });
    for (const wait of [500, 500]) {
      const id = t.server.of('subscriptions/listen').at(-1)?.id as string;
      t.server.say({ id, error: { code: -32603, message: 'the server is being started' } });
      await t.clock.advance(wait);
    }
    expect(t.server.of('subscriptions/listen')).toHaveLength(3);
    expect(t.heard.filter(({ method }) => method === 'notifications/resources/updated')).toHaveLength(2);
    await t.transport.close();
    expect(t.clock.waiting).toBe(0);
  });

  test('after the end is not asked for again and again', async () => {
    const t = await listening((filter) => filter)();
    await t.transport.close();
    t.server.onsend = async () => {
      throw new GatewayError('TRANSPORT_CLOSED', 'closed', { delivered: false });
    };
    await t.ask('resources/subscribe', { uri });
    expect(t.clock.waiting).toBe(0);
  });

  test.each([
    ['', (id: unknown) => id],
    [', which a server may write as a text', String],
  ])('reaches it without the mark of its stream%s, and with what else is said of it', async (_, write) => {
    const t = await listening((filter) => filter)();
    await t.ask('resources/subscribe', { uri });
    const mark = { [subscriptionId]: write(t.server.of('subscriptions/listen')[0]?.id) };
    const method = 'notifications/resources/updated';
    t.server.say({ method, params: { uri, _meta: { ...mark, trace: 1 } } });
    t.server.say({ method, params: { uri, _meta: mark } });
    t.server.say({ method, params: { _meta: mark } });
    expect(t.heard.slice(-3).map(({ params }) => params)).toEqual([{ uri, _meta: { trace: 1 } }, { uri }, undefined]);
  });
});

describe('a server with tasks', () => {
  const task = (more: Record<string, unknown> = {}) => ({ taskId: 't', status: 'working', ...more });
  const created = (more: Record<string, unknown> = {}) => ({ result: { resultType: 'task', ...task(more) } });

  test('shows its tools as what may run as a task, and what is no tool as it is', async () => {
    const t = await begin({
      capabilities: tasks,
      params: { capabilities: { extensions: { 'x/own': { n: 1 } } } },
      play: {
        'tools/list': () => ({ result: { tools: [{ name: 'go' }, 'rubbish'] } }),
        'prompts/get': () => ({ result: { messages: [] } }),
      },
    });
    expect((await t.ask('tools/list'))?.result?.tools).toEqual([
      { name: 'go', execution: { taskSupport: 'optional' } },
      'rubbish',
    ]);
    expect((await t.ask('prompts/get', { task: {} }))?.result).toEqual({ messages: [] });
    // What the caller can do besides is said too.
    expect(t.server.of('tools/list')[0]?.params?._meta).toMatchObject({
      'io.modelcontextprotocol/clientCapabilities': { extensions: { 'x/own': { n: 1 }, [tasksExtension]: {} } },
    });
  });

  test('asks and is cancelled as any other where there is no task', async () => {
    const t = await begin({
      capabilities: tasks,
      play: { 'tools/call': ({ params }) => (params?.inputResponses ? { result: { ok: 1 } } : needs({ a: roots })) },
    });
    await t.ask('tools/call', { name: 'go' }, 1);
    await t.send({ id: t.asked('roots/list')[0]?.id as string, result: { roots: [] } });
    expect(await t.answer(1)).toMatchObject({ result: { ok: 1 } });
    await t.ask('prompts/get', { name: 'p' }, 2);
    await t.send({ method: 'notifications/cancelled', params: { requestId: 2 } });
    expect(t.server.of('notifications/cancelled')[0]?.params?.requestId).toBe(2);
    expect(t.server.of('tasks/cancel')).toEqual([]);
  });

  test.each<[string, Record<string, unknown>, object]>([
    ['is complete without a result', { status: 'completed' }, { result: {} }],
    ['has failed without an error', { status: 'failed' }, { error: { code: -32603, message: 'the task has failed' } }],
    ['was cancelled', { status: 'cancelled' }, { error: { code: -32603, message: 'the task was cancelled' } }],
  ])('a call whose task %s is answered', async (_what, end, answer) => {
    const t = await begin({
      capabilities: tasks,
      play: {
        // How long to wait is no number: a second then.
        'tools/call': () => created({ pollIntervalMs: 'soon' }),
        'tasks/get': () => ({ result: task(end) }),
      },
    });
    await t.ask('tools/call', { name: 'go' });
    await t.clock.advance(999);
    expect(t.server.of('tasks/get')).toHaveLength(0);
    await t.clock.advance(1);
    expect(await t.answer('tools/call')).toMatchObject(answer);
    expect(t.clock.waiting).toBe(0);
  });

  test('a call that was cancelled is not answered by what was asked of its task before', async () => {
    const t = await begin({ capabilities: tasks, play: { 'tools/call': () => created() } });
    await t.ask('tools/call', { name: 'go' });
    await t.clock.advance(1_000);
    const [poll] = t.server.of('tasks/get');
    await t.send({ method: 'notifications/cancelled', params: { requestId: 'tools/call' } });
    t.server.say({ id: poll?.id as string, result: task({ status: 'completed', result: {} }) });
    expect(await t.answer('tools/call')).toBeUndefined();
    expect(t.server.of('tasks/cancel')).toHaveLength(1);
    expect(t.clock.waiting).toBe(0);
  });

  test('what a task asks of a caller that knows it bears its mark', async () => {
    const t = await begin({
      capabilities: tasks,
      play: { 'tasks/get': () => ({ result: task({ inputRequests: { a: { ...roots, params: { n: 1 } } } }) }) },
    });
    await t.ask('tasks/result', { taskId: 't' });
    expect(t.asked('roots/list')[0]?.params).toEqual({ n: 1, _meta: { [relatedTask]: { taskId: 't' } } });
    await t.transport.close();
  });

  test.each(['tasks/get', 'tasks/cancel', 'tasks/result'])('a refusal of %s is the answer to it', async (method) => {
    const error = { code: -32602, message: 'no such task' };
    const t = await begin({
      capabilities: tasks,
      play: { 'tasks/get': () => ({ error }), 'tasks/cancel': () => ({ error }) },
    });
    expect(await t.ask(method, { taskId: 't' })).toMatchObject({ id: method, error });
  });

  test('keeps the results of the last thousand calls that were over at once', async () => {
    const t = await begin({ capabilities: tasks, play: { 'tools/call': () => ({ result: { content: [] } }) } });
    for (let n = 0; n <= 1_000; n++) {
      await t.send({ id: n, method: 'tools/call', params: { name: 'go', task: {} } });
    }
    await settle();
    const ids = t.heard.slice(1).map(({ result }) => (result as { task: { taskId: string } }).task.taskId);
    expect(new Set(ids).size).toBe(1_001);
    expect(await t.ask('tasks/get', { taskId: ids[1] }, 'kept')).toMatchObject({ result: { status: 'completed' } });
    expect(t.server.of('tasks/get')).toHaveLength(0);
    await t.ask('tasks/get', { taskId: ids[0] }, 'forgotten');
    expect(t.server.of('tasks/get')).toHaveLength(1);
  });

  test('keeps of the results that their caller has got what is not too much', async () => {
    const text = 'x'.repeat(9 * 1024 * 1024);
    const t = await begin({ capabilities: tasks, play: { 'tools/call': () => ({ result: { content: [], text } }) } });
    const ids: string[] = [];
    for (const id of ['a', 'b', 'c']) {
      const { result } = (await t.ask('tools/call', { name: 'go', task: {} }, id)) ?? {};
      ids.push((result as { task: { taskId: string } }).task.taskId);
    }
    const isKept = async (taskId: string | undefined, name: string) => {
      await t.ask('tasks/get', { taskId }, name);
      return t.server.of('tasks/get').every(({ params }) => params?.taskId !== taskId);
    };
    // However much it is, what it has not got yet is all there.
    for (const id of ids.slice(0, 2)) {
      expect(await t.ask('tasks/result', { taskId: id }, `result of ${id}`)).toMatchObject({ result: { text } });
    }
    expect(await Promise.all(ids.map((id) => isKept(id, `still ${id}`)))).toEqual([false, true, true]);
  });
});
