import { describe, expect, test } from 'vitest';
import { settle } from '../support/fake-clock.js';
import { discovery, statelessServer as modern } from './modern-servers.js';
import { hold, type Json, RpcError, type Script } from './scripted-server.js';
import { setUp } from './setup.js';

const methods = (instance: { received: readonly object[] }) =>
  instance.received.flatMap((message) => ('method' in message ? [message.method] : []));

describe('the era of a server', () => {
  test('is asked for once, and a server with sessions then gets none of it', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'go' }] } });
    await using first = await setup.caller();
    await first.result('tools/call', { name: 'one__go' });
    await using second = await setup.caller();
    await second.result('tools/call', { name: 'one__go' });
    const [asked, known] = setup.server('one').live;
    expect(methods(asked as never).slice(0, 3)).toEqual(['server/discover', 'initialize', 'notifications/initialized']);
    expect(methods(known as never)[0]).toBe('initialize');
  });

  test('a server of the stateless era gets no initialize, and an envelope with each request', async () => {
    await using setup = setUp({ one: modern() });
    await using caller = await setup.caller({ sampling: {}, roots: { listChanged: true } });
    await caller.result('tools/call', { name: 'one__go', _meta: { other: 1 } });
    const { request } = await setup.server('one').request('tools/call');
    expect(request.params?._meta).toEqual({
      other: 1,
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': { sampling: {}, roots: {} },
      'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
    });
    expect(methods(setup.server('one').only)).not.toContain('initialize');
    expect(methods(setup.server('one').only)).not.toContain('notifications/initialized');
  });

  test('a server that reads no other ids than numbers is started once, and at once', async () => {
    const asked: unknown[] = [];
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'server/discover': ({ id }) => {
          asked.push(id);
          if (typeof id !== 'number') {
            // It has no word for it, and says nothing.
            return hold;
          }
          throw new RpcError(-32601, 'no such method');
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    await caller.result('tools/call', { name: 'one__go' });
    expect(setup.server('one').opens).toBe(1);
    const other = setup.server('one').only.requests('tools/call');
    expect(other.map(({ id }) => id)).not.toContain(asked[0]);
    expect(asked).toEqual([expect.toSatisfy((id: number) => Number.isInteger(id) && id < 2 ** 31)]);
  });

  test('a server that exits when it is asked is started afresh, which is no failure', async () => {
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'server/discover': (_, instance) => {
          instance.die(3);
          return hold;
        },
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    await caller.result('tools/call', { name: 'one__go' });
    expect(setup.server('one').opens).toBe(2);
    expect(setup.gateway.status('one')).toMatchObject({
      phase: 'ready',
      restarts: 0,
      lastError: undefined,
      lastExit: undefined,
    });
    expect(setup.events.filter((event) => event.type === 'phase' && event.reason !== undefined)).toEqual([]);
    await using other = await setup.caller();
    await other.result('tools/call', { name: 'one__go' });
    expect(setup.server('one').opens).toBe(3);
  });

  test('a server that exits when it is asked is started afresh within the same turn, also after it had failed', async () => {
    for (const restart of [{ backoff: '1m' }, { max: 0, cooldown: '1m' }]) {
      let works = false;
      const script: Script = {
        tools: [{ name: 'go' }],
        on: {
          'server/discover': (_, instance) => {
            instance.die(1);
            return hold;
          },
          initialize: (_, instance) => {
            works || instance.die(2);
            return works ? { protocolVersion: '2025-11-25', capabilities: { tools: {} } } : hold;
          },
        },
      };
      await using setup = setUp({ one: script }, { entry: { restart } });
      await using caller = await setup.caller();
      await caller.error('tools/call', { name: 'one__go' });
      works = true;
      await setup.clock.advance(75_000);
      const called = caller.request('tools/call', { name: 'one__go' });
      await setup.clock.advance(30_000);
      expect(await called).toHaveProperty('result');
      expect(setup.server('one').opens).toBe(4);
      expect(setup.gateway.status('one')).toMatchObject({ phase: 'ready', restarts: 1 });
    }
  });

  describe.each([{ instances: 1 }, { starting: 1 }])('%o', (limits) => {
    test('a server that is started afresh and finds no place is told so', async () => {
      const die: NonNullable<Script['on']>[string] = (_, instance) => {
        instance.die(3);
        return hold;
      };
      const slow = { open: () => new Promise<void>(() => {}) };
      await using t = setUp(
        { one: { tools: [{ name: 'x' }], on: { 'server/discover': die } }, two: slow },
        { limits, entries: { one: { start_timeout: '10s' } } },
      );
      await using caller = await t.caller();
      const gone = t.server('one').change();
      const calling = caller.error('tools/call', { name: 'one__x' });
      const starting = t.gateway.start('two').catch(() => {});
      await gone;
      await t.clock.advance(10_000);
      expect(await calling).toMatchObject({ data: { code: 'LIMIT_REACHED', server: 'one', delivered: false } });
      expect(t.server('one').opens).toBe(1);
      await t.gateway.stop('two');
      await starting;
    });
  });

  test('what a server has asked that is started afresh is taken back, and is answered to nobody', async () => {
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'server/discover': (_, instance) => {
          instance.say({ id: 'q', method: 'sampling/createMessage', params: {} });
          instance.die(3);
          return hold;
        },
        'tools/call': async (_, instance) => ({
          content: [],
          heard: await instance.ask('q', 'sampling/createMessage'),
        }),
      },
    };
    await using setup = setUp({ one: script });
    await using caller = await setup.caller({ sampling: {} });
    const called = caller.result('tools/call', { name: 'one__go' });
    const [first, second] = await caller.until(() => {
      const asked = caller.requests('sampling/createMessage');
      return asked.length > 1 ? asked : undefined;
    });
    expect(caller.notifications('notifications/cancelled')).toMatchObject([{ requestId: first?.id }]);
    await caller.send({ id: first?.id, result: { to: 'first' } });
    await caller.send({ id: second?.id, result: { to: 'second' } });
    expect(await called).toMatchObject({ heard: { result: { to: 'second' } } });
  });

  const handshake = { protocolVersion: '2025-11-25', capabilities: { tools: {} } };

  test.each<[string, (started: Promise<void>) => Script]>([
    [
      'with sessions',
      (started) => ({
        tools: [{ name: 'go' }],
        on: {
          'server/discover': async () => {
            await started;
            throw new RpcError(-32601, 'no such method');
          },
          initialize: () => started.then(() => handshake),
        },
      }),
    ],
    [
      'with sessions that does not answer before it is initialized',
      (started) => ({
        tools: [{ name: 'go' }],
        on: { 'server/discover': () => hold, initialize: () => started.then(() => handshake) },
      }),
    ],
    [
      'that is stateless',
      (started) =>
        modern({
          'server/discover': () => started.then(() => discovery()),
          initialize: async () => {
            await started;
            throw new RpcError(-32022, 'no such version', { supported: ['2026-07-28'] });
          },
        }),
    ],
    [
      'of both eras',
      (started) => ({
        tools: [{ name: 'go' }],
        on: {
          'server/discover': () => started.then(() => discovery()),
          initialize: () => started.then(() => handshake),
        },
      }),
    ],
  ])('a server %s that takes eight seconds to start is started once', async (_, script) => {
    const started = Promise.withResolvers<void>();
    await using setup = setUp({ one: script(started.promise) });
    await using caller = await setup.caller();
    const called = caller.result('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    await setup.clock.advance(8_000);
    started.resolve();
    await called;
    await caller.result('tools/call', { name: 'one__go' });
    expect(setup.server('one').opens).toBe(1);
  });

  test('a server with sessions that takes long for both is started once, and then has nothing left to answer', async () => {
    const [booted, initialized] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const script: Script = {
      tools: [{ name: 'go' }],
      on: {
        'server/discover': async () => {
          await booted.promise;
          throw new RpcError(-32601, 'no such method');
        },
        initialize: () => initialized.promise.then(() => handshake),
      },
    };
    await using setup = setUp({ one: script }, { entry: { start_timeout: '10s' } });
    await using caller = await setup.caller();
    const called = caller.result('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    await setup.clock.advance(3_000);
    booted.resolve();
    await setup.clock.advance(4_000);
    initialized.resolve();
    await called;
    expect(setup.server('one').opens).toBe(1);
  });

  test.each<[string, (slow: Promise<void>) => Script]>([
    ['of its era', (slow) => ({ on: { 'server/discover': () => hold, initialize: () => slow.then(() => handshake) } })],
    [
      'to initialize',
      (slow) => modern({ 'server/discover': () => slow.then(() => discovery()), initialize: () => hold }),
    ],
  ])('a server that never answers our question %s is not taken for one that is at work', async (_, script) => {
    const slow = Promise.withResolvers<void>();
    await using setup = setUp({ one: { tools: [{ name: 'go' }], ...script(slow.promise) } });
    await using caller = await setup.caller();
    const called = caller.result('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    await setup.clock.advance(6_000);
    slow.resolve();
    await setup.clock.advance(10_000);
    await called;
    expect(setup.server('one').opens).toBe(1);
    expect(setup.gateway.status('one')).toMatchObject({ phase: 'ready', inFlight: 0 });
    // The clock stands still: nothing is waited for.
    await setup.gateway.stop('one', { graceMs: 2_000 });
  });

  test('a stateless server that refuses initialize before it says its era is found out', async () => {
    const found = Promise.withResolvers<void>();
    const script = modern({ 'server/discover': () => found.promise.then(() => discovery()) });
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    const called = caller.result('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    await setup.clock.advance(5_000);
    found.resolve();
    await called;
    expect(setup.server('one').opens).toBe(1);
  });

  test.each(['stays', 'ends'])('a silent server that refuses initialize, and %s, has failed', async (what) => {
    const initialize: NonNullable<Script['on']>[string] = (_, instance) => {
      what === 'ends' && setImmediate(() => instance.die());
      throw new RpcError(-32001, 'no key');
    };
    const script: Script = { tools: [{ name: 'go' }], on: { 'server/discover': () => hold, initialize } };
    await using setup = setUp({ one: script }, { entry: { start_timeout: '2m' } });
    await using caller = await setup.caller();
    const failed = caller.error('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    await setup.clock.advance(10_000);
    expect(await failed).toMatchObject({ data: { server: 'one' } });
    expect(setup.gateway.status('one')).toMatchObject({ phase: 'failed', instances: [] });
    expect(setup.server('one').opens).toBe(1);
  });

  test('a handshake that fails before a silent server says its era is not made again in the same session', async () => {
    const found = Promise.withResolvers<never>();
    const initialize = () => {
      throw new RpcError(1601, 'the connection was cut', { code: 'CONNECTION_FAILED', delivered: 'unknown' });
    };
    const script: Script = { tools: [{ name: 'go' }], on: { 'server/discover': () => found.promise, initialize } };
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    const failed = caller.error('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    await setup.clock.advance(5_000);
    found.reject(new RpcError(-32601, 'no such method'));
    expect(await failed).toMatchObject({ data: { code: 'CONNECTION_FAILED', delivered: false } });
    const [first] = setup.server('one').instances;
    expect(methods(first as never)).toEqual(['server/discover', 'initialize']);
  });

  test('a server that keeps silent is started afresh after half of start_timeout', async () => {
    const initialize = () => (setup.server('one').opens === 1 ? hold : handshake);
    const script: Script = { tools: [{ name: 'go' }], on: { 'server/discover': () => hold, initialize } };
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    const called = caller.result('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    await setup.clock.advance(15_000);
    await called;
    expect(setup.server('one').instances.map(({ closed }) => closed)).toEqual([true, false]);
    expect(methods(setup.server('one').only)[0]).toBe('initialize');
    expect(setup.gateway.status('one')).toMatchObject({ restarts: 0, lastError: undefined });
  });

  test('a server that never says anything has failed when its start_timeout is over', async () => {
    const silent: Script = { on: { 'server/discover': () => hold, initialize: () => hold } };
    for (const start_timeout of ['3s', '30s']) {
      await using setup = setUp({ one: silent }, { entry: { start_timeout } });
      await using caller = await setup.caller();
      const failed = caller.error('tools/call', { name: 'one__go' });
      await setup.server('one').request('server/discover');
      await setup.clock.advance(30_000);
      expect(await failed).toMatchObject({ data: { code: 'START_TIMEOUT' } });
      expect(setup.gateway.status('one')).toMatchObject({ phase: 'failed', lastError: { code: 'START_TIMEOUT' } });
    }
  });

  test('a server that never says anything has failed when it is still started afresh at the end of its start_timeout', async () => {
    const open: Script['open'] = ({ signal }, opens) =>
      opens === 1
        ? undefined
        : new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const silent: Script = { on: { 'server/discover': () => hold, initialize: () => hold }, open };
    await using setup = setUp({ one: silent });
    await using caller = await setup.caller();
    const failed = caller.error('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    await setup.clock.advance(30_000);
    expect(await failed).toMatchObject({ data: { code: 'START_TIMEOUT' } });
    expect(setup.gateway.status('one')).toMatchObject({ phase: 'failed', lastError: { code: 'START_TIMEOUT' } });
  });

  test.each<['auto' | 'legacy' | 'modern', (slow: Promise<void>) => Script]>([
    ['auto', (slow) => ({ on: { 'server/discover': () => hold, initialize: () => slow.then(() => handshake) } })],
    ['legacy', (slow) => ({ on: { initialize: () => slow.then(() => handshake) } })],
    ['modern', (slow) => modern({ 'server/discover': () => slow.then(() => discovery()) })],
  ])(
    'a handshake may take longer than request_timeout, which is for calls (protocol: %s)',
    async (protocol, script) => {
      const slow = Promise.withResolvers<void>();
      const one = { tools: [{ name: 'go' }], ...script(slow.promise) };
      await using setup = setUp({ one }, { entry: { request_timeout: '1s', protocol } });
      await using caller = await setup.caller();
      const called = caller.result('tools/call', { name: 'one__go' });
      await setup.server('one').request(protocol === 'legacy' ? 'initialize' : 'server/discover');
      await setup.clock.advance(10_000);
      slow.resolve();
      await called;
      expect(setup.server('one').opens).toBe(1);
      expect(setup.gateway.status('one')).toMatchObject({ phase: 'ready', lastError: undefined });
    },
  );

  test('a server that is known to be stateless, and keeps silent, is not taken for another', async () => {
    const script = modern({ 'server/discover': () => hold });
    await using setup = setUp({ one: script }, { entry: { request_timeout: '1s', protocol: 'modern' } });
    await using caller = await setup.caller();
    const failed = caller.error('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    await setup.clock.advance(30_000);
    expect(await failed).toMatchObject({ data: { code: 'START_TIMEOUT' } });
    expect(setup.server('one').opens).toBe(1);
  });

  test('a server that crashes whatever it is asked has failed once', async () => {
    const die: NonNullable<Script['on']>[string] = (_, instance) => {
      instance.die(1);
      return hold;
    };
    await using setup = setUp({ one: { on: { 'server/discover': die, initialize: die } } });
    await using caller = await setup.caller();
    const error = await caller.error('tools/call', { name: 'one__go' });
    expect(error).toMatchObject({ data: { code: 'SERVER_EXITED', delivered: false } });
    expect(setup.gateway.status('one')).toMatchObject({ lastError: { code: 'SERVER_EXITED' } });
    const failures = setup.events.filter((event) => event.type === 'phase' && event.to === 'failed');
    expect(failures).toHaveLength(1);
  });

  test('a stateless server that was slow is found out by how it refuses initialize', async () => {
    let asked = 0;
    const script = modern({
      'server/discover': () => {
        asked += 1;
        return asked === 1 ? hold : discovery();
      },
    });
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    const called = caller.result('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    await setup.clock.advance(15_000);
    await called;
    expect(methods(setup.server('one').only).slice(0, 4)).toEqual([
      'server/discover',
      'initialize',
      'server/discover',
      'subscriptions/listen',
    ]);
  });

  test('is asked for again when a server is not what it was', async () => {
    const script: Script = { tools: [{ name: 'go' }] };
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    await caller.result('tools/call', { name: 'one__go' });
    script.on = {
      ...modern().on,
      initialize: () => {
        throw new RpcError(-32601, 'no such method');
      },
    };
    setup.server('one').only.die();
    await setup.clock.advance(60_000);
    expect((await caller.error('tools/call', { name: 'one__go' })).message).toContain('refused initialize');
    await setup.clock.advance(60_000);
    await caller.result('tools/call', { name: 'one__go' });
    expect(methods(setup.server('one').only)[0]).toBe('server/discover');
  });

  test('a stateless server that was of sessions, and ends when it is asked again, is said to have ended', async () => {
    const script: Script = { tools: [{ name: 'go' }] };
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    await caller.result('tools/call', { name: 'one__go' });
    script.on = {
      ...modern().on,
      'server/discover': (_, instance) => {
        instance.die(7);
        return hold;
      },
    };
    setup.server('one').only.die();
    await setup.clock.advance(60_000);
    const { opens } = setup.server('one');
    expect(await caller.error('tools/call', { name: 'one__go' })).toMatchObject({
      data: { code: 'SERVER_EXITED', delivered: false, exit: { code: 7 } },
    });
    expect(setup.server('one').opens).toBe(opens + 1);
    expect(setup.gateway.status('one')).toMatchObject({ lastError: { code: 'SERVER_EXITED' }, lastExit: { code: 7 } });
  });

  test.each(['stateless', 'of sessions'])(
    'is asked for again when a server that was %s keeps silent for the whole start_timeout',
    async (was) => {
      const stateless = modern();
      const sessions: Script = { tools: [{ name: 'go' }] };
      const [before, after] = was === 'stateless' ? [stateless, sessions] : [sessions, stateless];
      const script: Script = { ...before };
      await using setup = setUp({ one: script }, { entry: { request_timeout: '1s' } });
      await using caller = await setup.caller();
      await caller.result('tools/call', { name: 'one__go' });
      // It keeps silent on what it does not know.
      const unknown = was === 'stateless' ? 'server/discover' : 'initialize';
      script.on = { ...after.on, [unknown]: () => hold };
      setup.server('one').only.die();
      await setup.clock.advance(60_000);
      const failed = caller.error('tools/call', { name: 'one__go' });
      await setup.server('one').request(unknown, 1);
      await setup.clock.advance(30_000);
      expect(await failed).toMatchObject({ data: { code: 'START_TIMEOUT' } });
      await setup.clock.advance(60_000);
      const called = caller.result('tools/call', { name: 'one__go' });
      await setup.server('one').request('server/discover', was === 'stateless' ? 2 : 1);
      await setup.clock.advance(5_000);
      await called;
    },
  );

  test('the catalog may fix it', async () => {
    await using setup = setUp(
      { old: { tools: [{ name: 'go' }] }, new: modern(), wrong: { tools: [{ name: 'go' }] } },
      { entries: { old: { protocol: 'legacy' }, new: { protocol: 'modern' }, wrong: { protocol: 'modern' } } },
    );
    await using caller = await setup.caller();
    await caller.result('tools/call', { name: 'old__go' });
    expect(methods(setup.server('old').only)[0]).toBe('initialize');
    await caller.result('tools/call', { name: 'new__go' });
    expect(methods(setup.server('new').only)[0]).toBe('server/discover');
    const error = await caller.error('tools/call', { name: 'wrong__go' });
    expect(error).toMatchObject({
      data: { code: 'START_FAILED' },
      message: expect.stringContaining('protocol: modern'),
    });
  });

  test('a server whose era the catalog fixes, and that ends when it is asked, is said to have ended', async () => {
    await using setup = setUp({ one: modern({ 'server/discover': () => hold }) }, { entry: { protocol: 'modern' } });
    await using caller = await setup.caller();
    const called = caller.error('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    setup.server('one').only.die();
    expect(await called).toMatchObject({ data: { code: 'SERVER_EXITED', delivered: false, exit: { code: 1 } } });
    expect(setup.server('one').opens).toBe(1);
  });

  test('a stop while it is asked fails the start with what it was', async () => {
    await using setup = setUp({ one: { on: { 'server/discover': () => hold } } });
    await using caller = await setup.caller();
    const called = caller.error('tools/call', { name: 'one__go' });
    await setup.server('one').request('server/discover');
    const stopped = setup.gateway.stop('one', { graceMs: 0 });
    await setup.clock.advance(0);
    await stopped;
    expect(await called).toMatchObject({ data: { code: 'SERVER_STOPPED' } });
    expect(setup.server('one').opens).toBe(1);
  });

  test('a caller that leaves while it is asked leaves nothing behind', async () => {
    await using setup = setUp({ one: { on: { 'server/discover': () => hold } } });
    const caller = await setup.caller();
    void caller.send({ id: 'call', method: 'tools/call', params: { name: 'one__go' } });
    await setup.server('one').request('server/discover');
    await caller.close();
    expect(setup.server('one').live).toEqual([]);
  });
});

describe('a session with a stateless server', () => {
  test('learns its capabilities and instructions', async () => {
    await using setup = setUp({ one: modern() }, { entry: { isolation: 'shared' } });
    const transport = setup.gateway.connect('one');
    const answers: Json[] = [];
    const answered = new Promise<void>((resolve) => {
      transport.onmessage = (message) => {
        answers.push(message as unknown as Json);
        resolve();
      };
    });
    await transport.start();
    const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 't', version: '1' } };
    await transport.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params });
    await answered;
    expect(answers).toEqual([
      {
        jsonrpc: '2.0',
        id: 1,
        result: {
          protocolVersion: '2025-11-25',
          capabilities: discovery().capabilities,
          serverInfo: { name: 'modern', version: '7' },
          instructions: 'Be kind.',
        },
      },
    ]);
    await transport.close();
  });

  test('takes what is asked of the caller back when the call is cancelled', async () => {
    const script = modern({
      'tools/call': () => ({
        resultType: 'input_required',
        inputRequests: { a: { method: 'roots/list' }, b: { method: 'sampling/createMessage', params: { n: 1 } } },
        requestState: 'x',
      }),
    });
    await using setup = setUp({ one: script });
    await using caller = await setup.caller({ roots: {}, sampling: {} });
    void caller.send({ id: 'call', method: 'tools/call', params: { name: 'one__go' } });
    await caller.until(() => caller.requests('sampling/createMessage')[0]);
    const ids = ['roots/list', 'sampling/createMessage'].map((method) => caller.requests(method)[0]?.id);
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 'call' } });
    await caller.until(() => caller.notifications('notifications/cancelled')[1]);
    expect(caller.notifications('notifications/cancelled').map(({ requestId }) => requestId)).toEqual(ids);
  });

  test.each(['while the caller is asked', 'once it is asked again'])(
    'is told that a call is cancelled which has needed input %s: by the request that it works on, if it does',
    async (when) => {
      let round = 0;
      const script = modern({
        'tools/call': () => {
          round += 1;
          return round === 1 ? { resultType: 'input_required', inputRequests: { a: { method: 'roots/list' } } } : hold;
        },
      });
      await using setup = setUp({ one: script });
      await using caller = await setup.caller({ roots: {} });
      void caller.send({ id: 'call', method: 'tools/call', params: { name: 'one__go' } });
      const asked = await caller.until(() => caller.requests('roots/list')[0]);
      const working: unknown[] = [];
      if (when === 'once it is asked again') {
        await caller.send({ id: asked.id, result: { roots: [] } });
        const { request } = await setup.server('one').request('tools/call', 1);
        working.push(request.id);
      }
      await caller.send({ method: 'notifications/cancelled', params: { requestId: 'call' } });
      await settle();
      const told = setup.server('one').only.notifications('notifications/cancelled');
      expect(told.map(({ params }) => params?.requestId)).toEqual(working);
    },
  );

  test('sends answers back with the state, and asks for nothing where there is only a state', async () => {
    let round = 0;
    const script = modern({
      'tools/call': () => {
        round += 1;
        if (round === 1) return { resultType: 'input_required', inputRequests: { a: { method: 'roots/list' } } };
        if (round === 2) return { resultType: 'input_required', requestState: 'later' };
        return { resultType: 'complete', content: [] };
      },
    });
    await using setup = setUp({ one: script });
    await using caller = await setup.caller({ roots: {} });
    caller.onRequest = () => ({ roots: [] });
    const called = caller.result('tools/call', { name: 'one__go', arguments: { x: 1 } });
    await setup.server('one').request('tools/call', 1);
    await setup.clock.advance(1_000);
    expect(await called).toEqual({ content: [] });
    const params = setup
      .server('one')
      .only.requests('tools/call')
      .map(({ params }) => params);
    expect(params[1]).toMatchObject({ arguments: { x: 1 }, inputResponses: { a: { roots: [] } } });
    expect(params[1]).not.toHaveProperty('requestState');
    expect(params[2]).toMatchObject({ arguments: { x: 1 }, requestState: 'later' });
    expect(params[2]).not.toHaveProperty('inputResponses');
    const ids = setup
      .server('one')
      .only.requests('tools/call')
      .map(({ id }) => id);
    expect(new Set(ids).size).toBe(3);
  });

  test('a need for input without a question and a state fails the call, which is not made again', async () => {
    for (const more of [{}, { inputRequests: {} }, { requestState: null }]) {
      const script = modern({ 'tools/call': () => ({ resultType: 'input_required', ...more }) });
      await using setup = setUp({ one: script });
      await using caller = await setup.caller();
      const error = await caller.error('tools/call', { name: 'one__go' });
      expect(error).toMatchObject({ code: -32603, message: expect.stringContaining('needs input') });
      expect(setup.server('one').only.requests('tools/call')).toHaveLength(1);
    }
  });

  test('a question that the caller has not declared to answer fails the call, and says so', async () => {
    const script = modern({
      'tools/call': () => ({ resultType: 'input_required', inputRequests: { a: { method: 'roots/list' } } }),
    });
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    expect(await caller.error('tools/call', { name: 'one__go' })).toMatchObject({
      code: -32601,
      message: expect.stringContaining('roots/list'),
    });
  });

  test('a capability that is missing, and a result of an unknown type, are errors that say so', async () => {
    let count = 0;
    const script = modern({
      'tools/call': () => {
        count += 1;
        if (count === 1) return { resultType: 'task', taskId: 't' };
        throw new RpcError(-32021, 'missing', { requiredCapabilities: { sampling: {} } });
      },
    });
    await using setup = setUp({ one: script });
    await using caller = await setup.caller();
    expect(await caller.error('tools/call', { name: 'one__go' })).toMatchObject({
      code: -32603,
      message: expect.stringContaining('"task"'),
    });
    expect(await caller.error('tools/call', { name: 'one__go' })).toMatchObject({
      code: -32602,
      message: expect.stringContaining('sampling'),
    });
  });

  test('listens again when a stream breaks, and says that the list may have changed', async () => {
    await using setup = setUp({ one: modern() });
    await using caller = await setup.caller();
    await caller.result('tools/call', { name: 'one__go' });
    const { request, instance } = await setup.server('one').request('subscriptions/listen');
    instance.notify('notifications/cancelled', { requestId: request.id });
    await setup.clock.advance(500);
    await setup.server('one').request('subscriptions/listen', 1);
    await setup.clock.advance(100);
    await caller.notification('notifications/tools/list_changed');
  });

  test.each([
    ['refuses it', -32601, undefined, [15, 30]],
    ['has no access for it', 1001, { code: 'AUTH_REQUIRED', status: 401 }, [15, 30]],
    ['fails', 1001, { code: 'HTTP_STATUS', status: 503 }, [120, 130]],
  ])(
    'asks ever more rarely for a stream that was open when the server then %s',
    async (_, code, data, [least, most]) => {
      let isOpen = true;
      const script = modern();
      const listen = script.on?.['subscriptions/listen'] as NonNullable<Script['on']>[string];
      await using setup = setUp(
        {
          one: {
            ...script,
            on: {
              ...script.on,
              'subscriptions/listen': (...asked) => {
                if (isOpen) {
                  return listen(...asked);
                }
                throw new RpcError(code, 'no streams', data);
              },
            },
          },
        },
        { entry: { idle_timeout: '0' } },
      );
      await using caller = await setup.caller();
      await caller.result('tools/call', { name: 'one__go' });
      const { request, instance } = await setup.server('one').request('subscriptions/listen');
      isOpen = false;
      instance.notify('notifications/cancelled', { requestId: request.id });
      await setup.clock.advance(3_600_000);
      const tries = instance.requests('subscriptions/listen').length;
      expect(tries).toBeGreaterThan(least as number);
      expect(tries).toBeLessThan(most as number);
      isOpen = true;
      await setup.clock.advance(300_000);
      expect(instance.requests('subscriptions/listen').length).toBeGreaterThan(tries);
      expect(caller.notifications('notifications/tools/list_changed')).toHaveLength(1);
    },
  );

  test('asks soon again for a stream that is refused once after a long outage', async () => {
    const answers: RpcError[] = [];
    const script = modern();
    const listen = script.on?.['subscriptions/listen'] as NonNullable<Script['on']>[string];
    const on: Script['on'] = {
      ...script.on,
      'subscriptions/listen': (...asked) => {
        const answer = answers.pop();
        if (answer === undefined) {
          return listen(...asked);
        }
        throw answer;
      },
    };
    await using setup = setUp({ one: { ...script, on } }, { entry: { idle_timeout: '0' } });
    await using caller = await setup.caller();
    await caller.result('tools/call', { name: 'one__go' });
    const { request, instance } = await setup.server('one').request('subscriptions/listen');
    const failure = new RpcError(1001, 'bad gateway', { code: 'HTTP_STATUS', status: 502 });
    answers.push(new RpcError(-32603, 'the server is being started'), ...Array<RpcError>(20).fill(failure));
    instance.notify('notifications/cancelled', { requestId: request.id });
    await setup.clock.advance(600_000);
    expect(answers).toEqual([]);
    expect(instance.requests('subscriptions/listen')).toHaveLength(23);
  });

  test('a health check is a question that a stateless server knows', async () => {
    await using setup = setUp({ one: modern() }, { entry: { health: { interval: '10s' } } });
    await using caller = await setup.caller();
    await caller.result('tools/call', { name: 'one__go' });
    await setup.clock.advance(10_000);
    await setup.server('one').request('server/discover', 1);
    expect(methods(setup.server('one').only)).not.toContain('ping');
    expect(setup.gateway.status('one').phase).toBe('ready');
  });
});
