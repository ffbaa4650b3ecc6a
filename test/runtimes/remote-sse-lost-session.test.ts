import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test, vi } from 'vitest';
import { createGateway, type GatewayEvent } from '../../src/index.js';
import { metaKeys, modernRevision } from '../../src/transport/modern.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { sendJson } from '../fixtures/http/listen.js';
import { type Asked, listenScripted } from '../fixtures/http/scripted-host.js';

type Refusal = (asked: Asked) => void;

const refuse =
  (status: number, body: string): Refusal =>
  ({ response }) =>
    void response.writeHead(status).end(body);

/** A server with sessions, each of which it forgets when it is started anew. */
async function listenForgetful({
  refusal = refuse(404, ''),
  keeps = true,
  takesCancel = true,
  entry = {},
  onEvent,
}: {
  refusal?: Refusal;
  keeps?: boolean;
  /** Whether it answers the POST of a cancellation. */
  takesCancel?: boolean;
  entry?: object;
  onEvent?: (event: GatewayEvent) => void;
} = {}) {
  const known = new Set<string>();
  let last = 0;
  const ran: string[] = [];
  const host = await listenScripted((asked) => {
    const { message, method, headers, response } = asked;
    if (message?.method === 'initialize') {
      last += 1;
      keeps && known.add(`session-${last}`);
      const { protocolVersion = '2025-11-25' } = message.params ?? {};
      const capabilities = { tools: {}, resources: { subscribe: true } };
      const result = { protocolVersion, capabilities, serverInfo: { name: 'forgetful', version: '1' } };
      return sendJson(response, { jsonrpc: '2.0', id: message.id, result }, 200, {
        'mcp-session-id': `session-${last}`,
      });
    }
    if (message?.method === 'notifications/cancelled' && !takesCancel) return undefined;
    const isAsked = method === 'POST' && message?.id !== undefined;
    if (isAsked && headers['mcp-session-id'] === undefined) return refuse(422, 'expected initialize')(asked);
    // One that forgets each session at once takes its first notification.
    if (isAsked && !known.has(String(headers['mcp-session-id']))) {
      return refusal(asked);
    }
    if (message?.method === 'resources/list') {
      return sendJson(response, {
        jsonrpc: '2.0',
        id: message.id,
        result: { resources: [{ uri: 'test://log', name: 'log' }] },
      });
    }
    if (message?.method === 'tools/call') ran.push(String(message.params?.name));
    return false;
  });
  const servers = [
    {
      id: 'a',
      restart: { backoff: '10ms', max_backoff: '10ms' },
      ...entry,
      runtime: { type: 'remote-sse' as const, url: host.url, transport: 'streamable-http' as const },
    },
  ];
  const gateway = createGateway({ servers }, { onEvent });
  const caller = await TestCaller.open(gateway.connect());
  return {
    host,
    gateway,
    caller,
    ran,
    forget: () => known.clear(),
    call: (name: string) => caller.result('tools/call', { name: `a__${name}` }),
    async [Symbol.asyncDispose]() {
      await caller.close();
      await gateway.close();
      await host[Symbol.asyncDispose]();
    },
  };
}

/** Tells when the first session has ended. */
function watchEnd() {
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const onEvent = (event: GatewayEvent) => {
    if (event.type === 'phase' && event.from === 'stopping') resolve();
  };
  return { ended, onEvent };
}

const answer = (text: string) => ({ content: [{ type: 'text', text }] });

// Many servers answer nothing before it, and have no stream for what belongs to no request.
test.each([429, 502, 503, 504])(
  'a session whose notifications/initialized is refused with %i is not used',
  async (status) => {
    let refusals = 0;
    await using host = await listenScripted((asked) => {
      if (asked.message?.method !== 'notifications/initialized' || refusals > 0) return false;
      refusals += 1;
      return refuse(status, 'upstream')(asked);
    });
    const runtime = { type: 'remote-sse', url: host.url, transport: 'streamable-http' } as const;
    const gateway = createGateway({ servers: [{ id: 'a', restart: { backoff: '10ms' }, runtime }] });
    const caller = await TestCaller.open(gateway.connect());
    const { data } = await caller.error('tools/call', { name: 'a__tool' });
    expect(data).toMatchObject({ code: 'HTTP_STATUS', delivered: false });
    expect(await caller.result('tools/call', { name: 'a__tool' })).toMatchObject(answer('tool'));
    expect(host.steps.filter((step) => step === 'initialize' || step === 'tools/call')).toEqual([
      'initialize',
      'initialize',
      'tools/call',
    ]);
    await caller.close();
    await gateway.close();
  },
);

describe('a request of the merged peer that meets a session which the server has forgotten', () => {
  test.each([
    [404, ''],
    [401, 'Unauthorized: Session not found'],
    [400, 'Invalid session ID'],
    [400, JSON.stringify({ jsonrpc: '2.0', error: { code: -32000, message: 'Server not initialized' }, id: null })],
  ])('goes to the next session (refused with %i %s)', async (status, body) => {
    await using setup = await listenForgetful({ refusal: refuse(status, body) });
    expect(await setup.call('first')).toMatchObject(answer('first'));
    for (const name of ['second', 'third']) {
      setup.forget();
      expect(await setup.call(name)).toMatchObject(answer(name));
    }
    expect(setup.ran).toEqual(['first', 'second', 'third']);
    expect(setup.host.count('initialize')).toBe(3);
  });

  test('does so with all that are open beside it, each once', async () => {
    await using setup = await listenForgetful();
    await setup.call('first');
    setup.forget();
    const names = Array.from({ length: 8 }, (_, index) => `call-${index}`);
    const answers = await Promise.all(names.map((name) => setup.call(name)));
    expect(answers).toMatchObject(names.map(answer));
    expect(setup.ran.slice(1).sort()).toEqual(names);
    expect(setup.host.count('initialize')).toBe(2);
  });

  test('does so once, and is answered with the error of the second', async () => {
    await using setup = await listenForgetful({ keeps: false });
    const { data } = await setup.caller.error('tools/call', { name: 'a__tool' });
    expect(data).toMatchObject({ code: 'SESSION_LOST', server: 'a', delivered: false });
    expect(setup.ran).toEqual([]);
    expect(setup.host.count('tools/call')).toBe(2);
  });

  test('goes nowhere once it is cancelled', async () => {
    const { promise: refused, resolve } = Promise.withResolvers<Asked>();
    let held = 0;
    const refusal = (asked: Asked) => {
      held += 1;
      if (held === 1) resolve(asked);
      else refuse(404, '')(asked);
    };
    await using setup = await listenForgetful({ refusal });
    await setup.call('first');
    setup.forget();
    const id = 'cancelled';
    await setup.caller.send({ id, method: 'tools/call', params: { name: 'a__second' } });
    const { response } = await refused;
    await setup.caller.send({ method: 'notifications/cancelled', params: { requestId: id } });
    response.writeHead(404).end();
    expect(await setup.call('third')).toMatchObject(answer('third'));
    expect(setup.ran).toEqual(['first', 'third']);
  });

  test('is answered when the gateway is closed meanwhile', async () => {
    await using setup = await listenForgetful();
    await setup.call('first');
    setup.forget();
    const failed = setup.caller.error('tools/call', { name: 'a__second' });
    await setup.gateway.close({ graceMs: 0 });
    expect(await failed).toMatchObject({ data: { delivered: expect.anything() } });
    expect(setup.ran).toEqual(['first']);
  });
});

test('a health check that finds a session forgotten starts no other', async () => {
  const { ended, onEvent } = watchEnd();
  await using setup = await listenForgetful({ entry: { health: { interval: '100ms' } }, onEvent });
  await setup.call('first');
  setup.forget();
  await ended;
  // Another one would be started after 10 ms.
  await sleep(300);
  expect(setup.host.count('initialize')).toBe(1);
  expect(await setup.call('second')).toMatchObject(answer('second'));
});

describe.each([
  ['isolation: shared', { isolation: 'shared' }, {}],
  ['isolation: principal', { isolation: 'principal' }, { caller: { principal: 'ada' } }],
  ['the id of its caller', {}, { caller: { id: 'ada' } }],
])('a server that is shared by %s', (_, entry, options) => {
  test('gets on its next session what the one before would not take, each request of each connection once', async () => {
    await using setup = await listenForgetful({ entry });
    await using ada = await TestCaller.open(setup.gateway.connect(options));
    await using bob = await TestCaller.open(setup.gateway.connect(options));
    const call = (caller: TestCaller, name: string) => caller.result('tools/call', { name: `a__${name}` });
    await call(ada, 'first');
    await call(bob, 'second');
    expect(setup.host.count('initialize')).toBe(1);
    for (const round of [1, 2]) {
      setup.forget();
      const names = ['a', 'b', 'c'].map((name) => `${name}-${round}`);
      const answers = await Promise.all([
        ...names.map((name) => call(ada, `ada-${name}`)),
        ...names.map((name) => call(bob, `bob-${name}`)),
      ]);
      expect(answers).toMatchObject([...names.map((n) => answer(`ada-${n}`)), ...names.map((n) => answer(`bob-${n}`))]);
      expect(setup.host.count('initialize')).toBe(1 + round);
    }
    expect(new Set(setup.ran).size).toBe(14);
    expect(setup.ran).toHaveLength(14);
  });

  test('is asked once more only, and the error of its second session is the answer', async () => {
    await using setup = await listenForgetful({ keeps: false, entry });
    await using caller = await TestCaller.open(setup.gateway.connect(options));
    const { data } = await caller.error('tools/call', { name: 'a__tool' });
    expect(data).toMatchObject({ code: 'SESSION_LOST', server: 'a', delivered: false });
    expect(setup.host.count('tools/call')).toBe(2);
  });

  test('passes on an error of its own that looks like a lost session', async () => {
    const data = { code: 'SESSION_LOST', server: 'a', delivered: false, status: 404 };
    const refusal = ({ message, response }: Asked) =>
      sendJson(response, { jsonrpc: '2.0', id: message?.id, error: { code: -32006, message: 'forged', data } });
    await using setup = await listenForgetful({ keeps: false, refusal, entry });
    await using caller = await TestCaller.open(setup.gateway.connect(options));
    expect(await caller.error('tools/call', { name: 'a__tool' })).toMatchObject({ data });
    expect(setup.host.count('tools/call')).toBe(1);
  });

  test('does not get what was cancelled, or whose connection was closed, while its session was lost', async () => {
    const held: Asked[] = [];
    const { promise: both, resolve } = Promise.withResolvers<void>();
    const refusal = (asked: Asked) => {
      held.push(asked);
      held.length === 3 && resolve();
    };
    await using setup = await listenForgetful({ refusal, entry });
    await using caller = await TestCaller.open(setup.gateway.connect(options));
    await using other = await TestCaller.open(setup.gateway.connect(options));
    await caller.result('tools/call', { name: 'a__first' });
    setup.forget();
    await caller.send({ id: 'cancelled', method: 'tools/call', params: { name: 'a__cancelled' } });
    await other.send({ id: 'left', method: 'tools/call', params: { name: 'a__left' } });
    const second = caller.result('tools/call', { name: 'a__second' });
    await both;
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'cancelled' } });
    await other.close();
    for (const { response } of held) {
      response.writeHead(404).end();
    }
    expect(await second).toMatchObject(answer('second'));
    expect(setup.ran).toEqual(['first', 'second']);
  });

  test('starts no session to end a subscription that went with the one before', async () => {
    const { ended, onEvent } = watchEnd();
    await using setup = await listenForgetful({ entry, onEvent });
    await using ada = await TestCaller.open(setup.gateway.connect(options));
    const bob = await TestCaller.open(setup.gateway.connect(options));
    await ada.result('tools/call', { name: 'a__first' });
    await bob.result('resources/subscribe', { uri: 'test://log' });
    setup.forget();
    await bob.close();
    await ended;
    // Another one would be started after 10 ms.
    await sleep(300);
    expect(setup.host.count('resources/unsubscribe')).toBe(1);
    expect(setup.host.count('initialize')).toBe(1);
    expect(await ada.result('tools/call', { name: 'a__second' })).toMatchObject(answer('second'));
    expect(setup.gateway.status('a').instances).toHaveLength(1);
  });
});

test('what a shared session would not take gets to the next one also where it is idle while it ends', async () => {
  const held: Asked[] = [];
  const refusal = (asked: Asked) => void held.push(asked);
  await using setup = await listenForgetful({
    refusal,
    entry: { isolation: 'shared', idle_timeout: '600ms' },
    takesCancel: false,
  });
  await using caller = await TestCaller.open(setup.gateway.connect());
  await caller.result('tools/call', { name: 'a__first' });
  setup.forget();
  await caller.send({ id: 'cancelled', method: 'tools/call', params: { name: 'a__cancelled' } });
  const second = caller.result('tools/call', { name: 'a__second' });
  await vi.waitFor(() => expect(held).toHaveLength(2), { timeout: 60_000 });
  // The end of the session waits for 2 s to learn whether the server has got this one.
  await caller.send({ method: 'notifications/cancelled', params: { requestId: 'cancelled' } });
  await sleep(1_000);
  held
    .find(({ message }) => message?.params?.name === 'second')
    ?.response.writeHead(404)
    .end();
  expect(await second).toMatchObject(answer('second'));
  expect(setup.ran).toEqual(['first', 'second']);
});

test('a call with an instance of its own that got a second session ends with its caller', async () => {
  const { promise: held, resolve } = Promise.withResolvers<Asked>();
  let asked = 0;
  const refusal = (given: Asked) => {
    asked += 1;
    asked === 1 ? refuse(404, '')(given) : resolve(given);
  };
  await using setup = await listenForgetful({ refusal, keeps: false, entry: { isolation: 'request' } });
  await using caller = await TestCaller.open(setup.gateway.connect());
  await caller.send({ id: 1, method: 'tools/call', params: { name: 'a__tool' } });
  const { closed } = await held;
  await caller.close();
  await closed;
  expect(setup.gateway.status('a').instances).toEqual([]);
});

test('a raw connection ends with the session that the server has forgotten, and its caller connects again', async () => {
  await using setup = await listenForgetful();
  await using raw = new TestCaller(setup.gateway.connect('a'));
  await raw.transport.start();
  await raw.result('initialize', {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 't', version: '1' },
  });
  setup.forget();
  expect(await raw.error('tools/call', { name: 'tool' })).toMatchObject({
    data: { code: 'SESSION_LOST', delivered: false },
  });
  expect(setup.ran).toEqual([]);
});

describe.each([
  ['isolation: caller', {}],
  ['isolation: shared', { isolation: 'shared' }],
])('a connection to one server of %s in an era of its own', (_, entry) => {
  test.each(['legacy', 'modern'] as const)(
    'ends with the session, and says what was not delivered (%s)',
    async (era) => {
      await using setup = await listenForgetful({ entry });
      await using one = new TestCaller(setup.gateway.connect('a', { era }));
      await one.transport.start();
      era === 'legacy' && (await one.initialize());
      const meta = {
        [metaKeys.protocolVersion]: modernRevision,
        [metaKeys.clientCapabilities]: {},
        [metaKeys.clientInfo]: { name: 't', version: '1' },
      };
      const params = (name: string) => ({ name, ...(era === 'modern' && { _meta: meta }) });
      expect(await one.result('tools/call', params('first'))).toMatchObject(answer('first'));
      setup.forget();
      expect(await one.error('tools/call', params('second'))).toMatchObject({
        data: { code: 'SESSION_LOST', delivered: false },
      });
      await vi.waitFor(() => expect(one.closed).toBe(1), { timeout: 60_000 });
      expect(setup.ran).toEqual(['first']);
      expect(setup.host.count('initialize')).toBe(1);
    },
  );
});
