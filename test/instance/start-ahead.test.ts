import { describe, expect, test } from 'vitest';
import { createGateway, GatewayError } from '../../src/index.js';
import { hold, type Script } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { ScriptedRuntime } from '../support/scripted-runtime.js';
import { serverPath } from '../support/trees.js';

const script: Script = { tools: [{ name: 'x' }] };
const call = ['tools/call', { name: 'a__x' }] as const;

describe('a server that was started ahead', () => {
  test.each(['caller', 'shared'])('serves the next connection of the merged peer, isolation: %s', async (isolation) => {
    await using t = setUp({ a: script }, { entry: { isolation } });
    await t.gateway.start('a');
    await using caller = await t.caller();
    await caller.result(...call);
    expect(t.server('a').opens).toBe(1);
  });

  test('serves the next raw connection, and no second one', async () => {
    await using t = setUp({ a: script });
    await t.gateway.start('a');
    await t.gateway.connect('a').start();
    expect(t.server('a').opens).toBe(1);
    await t.gateway.connect('a').start();
    expect(t.server('a').opens).toBe(2);
  });

  test.each([{ id: 'ada' }, { principal: 'ada' }, { authInfo: { token: 't' } }, { data: 1 }])(
    'is not for a caller of whom the host has said something: %o',
    async (caller) => {
      await using t = setUp({ a: script });
      await t.gateway.start('a');
      await using peer = await t.caller({}, { caller });
      await peer.result(...call);
      expect(t.server('a').opens).toBe(2);
    },
  );

  test('rests when nobody has come for idle_timeout, and leaves no timer when somebody has', async () => {
    await using t = setUp({ a: script }, { entry: { idle_timeout: '1m', health: { interval: 0 } } });
    await t.gateway.start('a');
    expect(t.clock.waiting).toBe(1);
    await t.clock.advance(60_000);
    expect(t.gateway.status('a').phase).toBe('idle');
    await t.gateway.start('a');
    const transport = t.gateway.connect('a');
    await transport.start();
    expect(t.clock.waiting).toBe(0);
    await t.clock.advance(120_000);
    expect(t.server('a').live).toHaveLength(1);
  });

  test('lives no longer than max_lifetime, waiting or in use', async () => {
    const entry = { idle_timeout: 0, max_lifetime: '1h', health: { interval: 0 } };
    await using t = setUp({ a: script }, { entry });
    await t.gateway.start('a');
    await t.clock.advance(60 * 60_000);
    expect(t.server('a').live).toEqual([]);
    await t.gateway.start('a');
    await t.clock.advance(50 * 60_000);
    await using caller = await t.caller();
    await caller.result(...call);
    expect(t.server('a').opens).toBe(2);
    await t.clock.advance(10 * 60_000);
    expect(t.server('a').live).toEqual([]);
    // The next one has a whole life again.
    await caller.result(...call);
    await t.clock.advance(59 * 60_000);
    expect(t.server('a').live).toHaveLength(1);
  });

  test('does not rest in the hands of the next one, whenever the one before has given up', async () => {
    for (let turns = 0; turns < 60; turns += 1) {
      const opening = Promise.withResolvers<void>();
      await using t = setUp(
        { a: { ...script, open: () => opening.promise } },
        { entry: { idle_timeout: '1m', health: { interval: 0 } } },
      );
      const starting = t.gateway.start('a');
      await using impatient = await t.caller();
      await impatient.send({ id: 1, method: call[0], params: call[1] });
      await settle();
      opening.resolve();
      for (let turn = 0; turn < turns; turn += 1) {
        await Promise.resolve();
      }
      await impatient.transport.close();
      await starting;
      await t.gateway.connect('a').start();
      expect(t.clock.waiting, `after ${turns} turns`).toBe(0);
      await t.clock.advance(120_000);
      expect(t.server('a').live, `after ${turns} turns`).toHaveLength(1);
    }
  });

  test('is shared by all who restart it after a stop, though what the stop has ended comes to its end meanwhile', async () => {
    const opening = Promise.withResolvers<void>();
    await using t = setUp({ a: { ...script, open: () => opening.promise } });
    const ended = t.gateway.restart('a').catch((error: unknown) => error);
    await settle();
    const stopping = t.gateway.stop('a');
    const restarting = t.gateway.restart('a');
    expect(await ended).toMatchObject({ code: 'SERVER_STOPPED' });
    const another = t.gateway.restart('a');
    await settle();
    opening.resolve();
    await Promise.all([stopping, restarting, another]);
    expect(t.server('a').live).toHaveLength(1);
  });

  test('leaves no timer when it is stopped, or the gateway closed', async () => {
    await using t = setUp({ a: script });
    await t.gateway.start('a');
    await t.gateway.stop('a');
    expect(t.clock.waiting).toBe(0);
    await t.gateway.start('a');
    await t.gateway.close();
    await settle();
    expect(t.clock.waiting).toBe(0);
  });

  test('tells of its end at once, and gives its place back', async () => {
    await using t = setUp(
      { a: script, b: script },
      { entry: { idle_timeout: 0, restart: { backoff: '1s' } }, limits: { instances: 1 } },
    );
    await t.gateway.start('a');
    t.server('a').only.die(3);
    await settle();
    expect(t.gateway.status('a')).toMatchObject({
      phase: 'failed',
      lastExit: { code: 3 },
      lastError: { code: 'SERVER_EXITED' },
      instances: [],
    });
    expect(t.events.flatMap((event) => (event.type === 'phase' ? [[event.to, event.reason?.code]] : []))).toEqual([
      ['starting', undefined],
      ['ready', undefined],
      ['stopping', 'SERVER_EXITED'],
      ['failed', 'SERVER_EXITED'],
    ]);
    await t.gateway.start('b');
    await t.gateway.stop('b');
    // A failure as any other: the next start comes later.
    const starting = t.gateway.connect('a').start();
    await settle();
    expect(t.server('a').opens).toBe(1);
    await t.clock.advance(2_000);
    await starting;
    expect(t.gateway.status('a')).toMatchObject({ phase: 'ready', restarts: 1 });
    // That the next one is stopped says nothing of how the last one ended that ended by itself.
    await t.gateway.stop('a');
    expect(t.gateway.status('a')).toMatchObject({ phase: 'idle', lastExit: { code: 3 } });
  });

  test('that finds no place makes nobody who waits beside it wait for twice the time', async () => {
    await using t = setUp({ a: script, b: script }, { entry: { start_timeout: '30s' }, limits: { instances: 1 } });
    await t.gateway.connect('a').start();
    const started = t.gateway.start('b').catch((error: GatewayError) => error);
    await settle();
    await t.clock.advance(10_000);
    const connected = t.gateway
      .connect('b')
      .start()
      .catch((error: GatewayError) => error);
    await settle();
    await t.clock.advance(20_000);
    expect(await started).toMatchObject({ code: 'LIMIT_REACHED' });
    await settle();
    await t.clock.advance(10_000);
    const message = '"b": no place within start_timeout (30000 ms): limits.instances allows 1';
    expect(await Promise.race([connected, settle()])).toMatchObject({ code: 'LIMIT_REACHED', message });
    await t.clock.advance(30_000);
  });

  test('that finds a place late leaves who waits beside it the whole time for a turn', async () => {
    const opening = Promise.withResolvers<void>();
    await using t = setUp(
      { a: script, b: script, slow: { ...script, open: () => opening.promise } },
      {
        entry: { start_timeout: '30s' },
        entries: { slow: { start_timeout: '5m' } },
        limits: { instances: 3, starting: 1 },
      },
    );
    const running = [t.gateway.connect('a'), t.gateway.connect('a')];
    await Promise.all(running.map((transport) => transport.start()));
    const slow = t.gateway.connect('slow').start();
    await settle();
    const starts = [t.gateway.start('b')];
    await settle();
    starts.push(t.gateway.connect('b').start(), t.gateway.connect('b').start());
    const started = Promise.allSettled(starts);
    await settle();
    await t.clock.advance(20_000);
    await Promise.all(running.map((transport) => transport.close()));
    await t.clock.advance(25_000);
    opening.resolve();
    await slow;
    expect((await started).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
  });

  test('tells of the end of its process', async () => {
    const failed = Promise.withResolvers<void>();
    await using gateway = createGateway(
      {
        servers: [
          { id: 'a', runtime: { type: 'local-process', command: process.execPath, args: [serverPath('echo')] } },
        ],
      },
      { onEvent: (event) => event.type === 'phase' && event.to === 'failed' && failed.resolve() },
    );
    await gateway.start('a');
    process.kill(gateway.status('a').instances[0]?.pid as number, 'SIGKILL');
    await failed.promise;
    expect(gateway.status('a')).toMatchObject({ phase: 'failed', lastExit: { signal: 'SIGKILL' }, instances: [] });
  });

  test('tells of the end of its output when it lives on, also when it has said something', async () => {
    const failed = Promise.withResolvers<void>();
    const said = JSON.stringify({ jsonrpc: '2.0', method: 'notifications/message', params: { data: 'hello' } });
    const code = `process.stdin.resume(); process.stdout.write(process.argv[1] + '\\n', () => require('fs').closeSync(1))`;
    await using gateway = createGateway(
      {
        servers: [{ id: 'a', runtime: { type: 'local-process', command: process.execPath, args: ['-e', code, said] } }],
      },
      { onEvent: (event) => event.type === 'phase' && event.to === 'failed' && failed.resolve() },
    );
    await gateway.start('a');
    await failed.promise;
    expect(gateway.status('a')).toMatchObject({ lastExit: { reason: 'stdout-closed' }, instances: [] });
  });

  test('loses nothing of 20,000 messages that nobody takes at first', async () => {
    const heard = Promise.withResolvers<void>();
    const code = `
      const line = (n) => JSON.stringify({ jsonrpc: '2.0', method: 'notifications/message', params: { data: n } }) + '\\n';
      process.stdin.resume();
      process.stdout.write('no message\\n' + Array.from({ length: 20000 }, (_, n) => line(n)).join(''));
    `;
    await using gateway = createGateway(
      { servers: [{ id: 'a', runtime: { type: 'local-process', command: process.execPath, args: ['-e', code] } }] },
      { onEvent: (event) => event.type === 'trouble' && heard.resolve() },
    );
    await gateway.start('a');
    await heard.promise;
    const transport = gateway.connect('a');
    const got: unknown[] = [];
    const all = Promise.withResolvers<void>();
    transport.onmessage = (message) => {
      got.push((message as { params?: { data?: unknown } }).params?.data);
      if (got.length === 20_000) all.resolve();
    };
    await transport.start();
    await all.promise;
    expect(got).toEqual(Array.from({ length: 20_000 }, (_, index) => index));
    await transport.close();
  });

  test('is started by whoever comes last: a start or a restart before a stop is none, and one after it is', async () => {
    const kinds = ['start', 'restart'] as const;
    for (const [first, last] of kinds.flatMap((one) => kinds.map((other) => [one, other] as const))) {
      for (let turns = 0; turns < 20; turns += 1) {
        // As long as the host takes to allow it, nothing is there that could be stopped.
        const allowed = Promise.withResolvers<boolean>();
        await using t = setUp({ a: script }, { ...(turns > 10 && { authorize: () => allowed.promise }) });
        const given = t.gateway[first]('a').then(
          () => 'started',
          (error: GatewayError) => error.code,
        );
        for (let turn = 0; turn < turns % 10; turn += 1) {
          await Promise.resolve();
        }
        const stopped = t.gateway.stop('a');
        const again = turns % 2 === 0 ? t.gateway[last]('a') : undefined;
        allowed.resolve(true);
        expect(await given).toBe('SERVER_STOPPED');
        await Promise.all([stopped, again]);
        await settle();
        expect(t.server('a').live).toHaveLength(again === undefined ? 0 : 1);
      }
    }
  });

  test.each([
    ['shared', 'a call that is open'],
    ['shared', 'a call that waits for the stop'],
    ['caller', 'a call that waits for the stop'],
    ['shared', 'a call that comes with it'],
  ])('is the one that a restart begins, for %s and %s', async (isolation, what) => {
    const on: Script['on'] = { 'tools/call': ({ params }) => (params?.hold ? hold : {}) };
    await using t = setUp({ a: { ...script, on } }, { entry: { isolation, idle_timeout: 0 } });
    await using caller = await t.caller();
    await caller.result(...call);
    const open = caller.request(call[0], { ...call[1], hold: true });
    const { instance, request } = await t.server('a').request('tools/call', 1);
    const ended = Promise.withResolvers<void>();
    const close = instance.close.bind(instance);
    Object.assign(instance, { close: () => ended.promise.then(close) });
    const restarting = t.gateway.restart('a');
    const early = what === 'a call that comes with it' ? caller.request(...call) : undefined;
    await settle();
    instance.answer(request, {});
    expect(await open).toMatchObject({ result: {} });
    await settle();
    const next = what === 'a call that waits for the stop' ? caller.result(...call) : undefined;
    await settle();
    ended.resolve();
    await Promise.all([restarting, next, early]);
    expect(await caller.result(...call)).toEqual({});
    expect(t.server('a').opens).toBe(2);
  });

  test.each([
    ['stop', 'before'],
    ['stop', 'with'],
    ['stop', 'after'],
    ['nothing', 'with'],
    ['nothing', 'after'],
  ])('is the one of the shared call that waits for %s, and comes %s start()', async (what, when) => {
    await using t = setUp({ a: script }, { entry: { isolation: 'shared', idle_timeout: 0 } });
    await using caller = await t.caller();
    await caller.result(...call);
    const [instance] = t.server('a').live;
    const ended = Promise.withResolvers<void>();
    const close = instance?.close.bind(instance);
    Object.assign(instance as object, { close: () => ended.promise.then(close) });
    const stopping = t.gateway.stop('a');
    if (what === 'nothing') {
      ended.resolve();
      await stopping;
    }
    await settle();
    const before = when === 'before' ? caller.result(...call) : undefined;
    await settle();
    const starting = t.gateway.start('a');
    when === 'after' && (await Promise.resolve());
    const answer = before ?? caller.result(...call);
    await settle();
    ended.resolve();
    await Promise.all([starting, answer]);
    expect(t.server('a').opens).toBe(2);
  });

  test('has not failed when it is stopped', async () => {
    await using t = setUp({ a: script });
    await t.gateway.start('a');
    await t.gateway.stop('a');
    expect(t.events.map((event) => event.type === 'phase' && [event.to, event.reason?.code])).toEqual([
      ['starting', undefined],
      ['ready', undefined],
      ['stopping', undefined],
      ['idle', undefined],
    ]);
    expect(t.gateway.status('a')).toMatchObject({ phase: 'idle', lastError: undefined });
  });

  test('tells whoever takes it while it ends of that, once, or makes way for another', async () => {
    const outcomes = new Set<string>();
    for (let turns = 0; turns < 30; turns += 1) {
      await using t = setUp({ a: script }, { entry: { restart: { backoff: '1s' } } });
      await t.gateway.start('a');
      const transport = t.gateway.connect('a');
      const log: string[] = [];
      transport.onclose = () => log.push('closed');
      const starting = transport.start().then(
        () => log.unshift('started'),
        (error: GatewayError) => log.push(error.code),
      );
      for (let turn = 0; turn < turns; turn += 1) {
        await Promise.resolve();
      }
      t.server('a').only.die();
      await t.clock.advance(2_000);
      await starting;
      outcomes.add(`${t.server('a').opens}: ${log}`);
      const failures = t.events.filter((event) => event.type === 'phase' && event.to === 'failed');
      expect(failures, `after ${turns} turns`).toHaveLength(1);
    }
    expect([...outcomes]).toEqual(['2: started', '1: closed,SERVER_EXITED', '1: started,closed']);
  });

  test.each(['by itself', 'as nobody came'])('is waited for by the next start while it ends %s', async (how) => {
    const runtime = new ScriptedRuntime();
    const clock = new FakeClock();
    const servers = [{ id: 'a', idle_timeout: '1m', runtime: { type: 'scripted' as const } }];
    await using gateway = createGateway({ servers }, { clock, runtimes: [runtime] });
    await gateway.start('a');
    const gone = Promise.withResolvers<void>();
    runtime.last.close = () => gone.promise;
    if (how === 'by itself') {
      const exit = { code: 1, stderrTail: '' };
      runtime.last.onerror?.(new GatewayError('SERVER_EXITED', 'gone', { server: 'a', exit }));
    } else {
      await clock.advance(60_000);
    }
    expect(gateway.status('a').phase).toBe('stopping');
    const next = gateway.start('a');
    await settle();
    expect(runtime.opened).toHaveLength(1);
    gone.resolve();
    await next;
    expect(runtime.opened).toHaveLength(2);
  });

  test.each(['a connection', 'the merged peer'])(
    'has its answer to what it has asked before anybody took it, from %s',
    async (from) => {
      const runtime = new ScriptedRuntime();
      runtime.onopen = async (_context, transport) => {
        transport.onstart = async () => transport.say({ jsonrpc: '2.0', id: 'early', method: 'ping' });
      };
      const servers = [{ id: 'a', runtime: { type: 'scripted' as const } }];
      await using gateway = createGateway({ servers }, { runtimes: [runtime] });
      await gateway.start('a');
      const caller = new TestCaller(from === 'a connection' ? gateway.connect('a') : gateway.connect());
      caller.onRequest = () => ({});
      await caller.transport.start();
      await caller.send({ id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {} } });
      await caller.send({ id: 2, method: 'tools/call', params: { name: 'a__x' } });
      await settle();
      expect(runtime.last.sent[0]).toEqual({ jsonrpc: '2.0', id: 'early', result: {} });
      await gateway.close({ graceMs: 0 });
    },
  );

  test('has failed when nothing can be delivered from it', async () => {
    const runtime = new ScriptedRuntime();
    runtime.onopen = async (_context, transport) => {
      transport.onstart = () => Promise.reject(new Error('no connection'));
    };
    const servers = [{ id: 'a', runtime: { type: 'scripted' as const } }];
    await using gateway = createGateway({ servers }, { runtimes: [runtime] });
    await gateway.start('a');
    await settle();
    expect(gateway.status('a')).toMatchObject({ phase: 'failed', lastError: { code: 'START_FAILED' }, instances: [] });
  });

  test.each(['start', 'connection'])(
    'does not keep the next %s waiting when nothing says that it lives',
    async (next) => {
      const runtime = new ScriptedRuntime();
      const clock = new FakeClock();
      const servers = [{ id: 'a', health: { timeout: '2s' }, runtime: { type: 'scripted' as const } }];
      await using gateway = createGateway({ servers }, { clock, runtimes: [runtime] });
      await gateway.start('a');
      const asked: AbortSignal[] = [];
      Object.assign(runtime.last, {
        health: (signal: AbortSignal) => {
          asked.push(signal);
          return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
        },
      });
      const deaf = runtime.last;
      const ready = next === 'start' ? gateway.start('a') : gateway.connect('a').start();
      await clock.advance(1_999);
      expect([asked.length, runtime.opened.length]).toEqual([1, 1]);
      await clock.advance(1);
      await ready;
      expect([deaf.closes, runtime.opened.length, asked[0]?.aborted]).toEqual([1, 2, true]);
    },
  );

  test('rests in its time, also after somebody who waited for it to say that it lives has left', async () => {
    const runtime = new ScriptedRuntime();
    const clock = new FakeClock();
    const servers = [{ id: 'a', idle_timeout: '1m', runtime: { type: 'scripted' as const } }];
    await using gateway = createGateway({ servers }, { runtimes: [runtime], clock });
    await gateway.start('a');
    Object.assign(runtime.last, { health: () => new Promise(() => {}) });
    const impatient = gateway.connect('a');
    const starting = impatient.start().catch(() => {});
    await settle();
    await impatient.close();
    await starting;
    expect(runtime.last.closes).toBe(0);
    await clock.advance(60_000);
    expect(runtime.last.closes).toBe(1);
  });

  test('lets go who waits for it to say that it lives when the gateway closes', async () => {
    const runtime = new ScriptedRuntime();
    const clock = new FakeClock();
    const servers = [{ id: 'a', runtime: { type: 'scripted' as const } }];
    await using gateway = createGateway({ servers }, { runtimes: [runtime], clock });
    await gateway.start('a');
    const asked = Promise.withResolvers<void>();
    Object.assign(runtime.last, {
      health: () => {
        asked.resolve();
        return new Promise<void>(() => {});
      },
    });
    const starting = gateway
      .connect('a')
      .start()
      .catch((error: unknown) => error);
    await asked.promise;
    await gateway.close();
    expect(await Promise.race([starting, settle()])).toMatchObject({ code: 'GATEWAY_CLOSED' });
    expect(clock.waiting).toBe(0);
  });

  test('that does not live leaves who has taken it to wait for a place, which a cancelled call gives up', async () => {
    const runtime = new ScriptedRuntime();
    const servers = ['a', 'b'].map((id) => ({ id, runtime: { type: 'scripted' as const } }));
    await using gateway = createGateway({ servers }, { runtimes: [runtime], limits: { instances: 1 } });
    await gateway.start('a');
    Object.assign(runtime.last, { health: () => Promise.reject(new Error('it is stuck')) });
    await using caller = await TestCaller.open(gateway.connect());
    const other = gateway.connect('b');
    const waiting = other.start();
    await settle();
    await caller.send({ id: 1, method: call[0], params: call[1] });
    await waiting;
    await settle();
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 1 } });
    await other.close();
    await settle();
    expect(runtime.contexts.map(({ server }) => server)).toEqual(['a', 'b']);
  });
});
