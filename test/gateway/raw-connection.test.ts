import { channel } from 'node:diagnostics_channel';
import { existsSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import * as v from 'valibot';
import { describe, expect, test, vi } from 'vitest';
import { Authorizer } from '../../src/authorize.js';
import {
  createGateway,
  type Gateway,
  GatewayError,
  type GatewayEvent,
  type GatewayOptions,
  type RuntimeFactory,
} from '../../src/index.js';
import type { JSONRPCMessage } from '../../src/sdk.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { createTag, livingWithTag, tagVariable } from '../support/processes.js';
import { ScriptedRuntime } from '../support/scripted-runtime.js';
import { serverPath } from '../support/trees.js';

type Raw = ReturnType<Gateway['connect']>;
type Answer = {
  id: unknown;
  result?: unknown;
  error?: { code: number; message: string; data: Record<string, unknown> };
};

/** Writes down what a connection tells. */
function listen(transport: Raw) {
  const log: string[] = [];
  const answers: Answer[] = [];
  const errors: GatewayError[] = [];
  const closed = Promise.withResolvers<void>();
  transport.onmessage = (message) => {
    log.push('message');
    answers.push(message as Answer);
  };
  transport.onerror = (error) => {
    log.push('error');
    errors.push(error as GatewayError);
  };
  transport.onclose = () => {
    log.push('close');
    closed.resolve();
  };
  return { log, answers, errors, closed: closed.promise };
}

function scripted(entry: Record<string, unknown> = {}, options: GatewayOptions = {}) {
  const runtime = new ScriptedRuntime();
  const gateway = createGateway({ servers: [{ id: 'a', runtime: { type: 'scripted' }, ...entry }] } as never, {
    ...options,
    runtimes: [runtime],
  });
  return { runtime, gateway };
}

const request = (id: number | string, method = 'tools/call', params: Record<string, unknown> = {}): JSONRPCMessage => ({
  jsonrpc: '2.0',
  id,
  method,
  params,
});
const result = (id: number | string): JSONRPCMessage => ({ jsonrpc: '2.0', id, result: {} });
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error as GatewayError,
  );

describe('start and send', () => {
  test('nothing starts before start(); send() before it and after close() rejects', async () => {
    const { runtime, gateway } = scripted();
    const transport = gateway.connect('a');
    expect(await failure(transport.send(request(1)))).toMatchObject({
      code: 'TRANSPORT_NOT_STARTED',
      delivered: false,
    });
    expect(runtime.contexts).toEqual([]);
    await transport.start();
    expect(await failure(transport.start())).toMatchObject({ code: 'TRANSPORT_CLOSED' });
    await transport.send(request(1));
    await transport.close();
    expect(await failure(transport.send(request(2)))).toMatchObject({ code: 'TRANSPORT_CLOSED', delivered: false });
    expect(await failure(transport.start())).toMatchObject({ code: 'TRANSPORT_CLOSED' });
    await gateway.close();
  });

  test('close() without start() fires onclose once, and starts nothing', async () => {
    const { runtime, gateway } = scripted();
    const transport = gateway.connect('a');
    const { log } = listen(transport);
    await Promise.all([transport.close(), transport.close()]);
    expect(log).toEqual(['close']);
    expect(runtime.contexts).toEqual([]);
    await gateway.close();
  });

  test.each([
    ['the policy is asked', 'authorize'],
    ['the runtime opens it', 'open'],
    ['the runtime opens it, and does not look at its signal', 'deaf open'],
    ['its transport starts', 'start'],
  ])('close() while %s ends the start, and fires onclose once, alone', async (_name, step) => {
    const never = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    const hang = () => {
      reached.resolve();
      return never.promise;
    };
    const { runtime, gateway } = scripted(
      {},
      { authorize: () => (step === 'authorize' ? hang().then(() => true) : true) },
    );
    runtime.onopen = async (context, transport) => {
      if (step === 'start') transport.onstart = hang;
      if (step === 'deaf open') await hang();
      if (step === 'open') {
        const aborted = new Promise((_resolve, reject) => {
          context.signal.addEventListener('abort', () => reject(context.signal.reason));
        });
        await Promise.race([hang(), aborted]);
      }
    };
    const transport = gateway.connect('a');
    const { log } = listen(transport);
    const starting = failure(transport.start());
    await reached.promise;
    const closing = transport.close();
    if (step === 'deaf open') never.resolve();
    await closing;
    expect(await starting).toMatchObject({ code: 'TRANSPORT_CLOSED' });
    expect(log).toEqual(['close']);
    expect(runtime.opened.every(({ closes }) => closes > 0)).toBe(true);
    expect(gateway.status('a')).toMatchObject({ phase: 'idle', lastError: undefined, instances: [] });
    never.resolve();
    await gateway.close();
  });

  test('an id that is in use is refused; 0 and texts are ids; what is no message is refused', async () => {
    const { runtime, gateway } = scripted();
    const transport = gateway.connect('a');
    const { answers } = listen(transport);
    await transport.start();
    await transport.send(request(0));
    await transport.send(request('0'));
    expect(await failure(transport.send(request(0)))).toMatchObject({ code: 'MESSAGE_INVALID' });
    for (const bad of [
      {},
      { jsonrpc: '2.0', id: undefined, method: 'x' },
      { jsonrpc: '2.0', id: null, method: 'x' },
      1,
    ]) {
      expect(await failure(transport.send(bad as never))).toMatchObject({ code: 'MESSAGE_INVALID', delivered: false });
    }
    expect(runtime.last.sent.length).toBe(2);
    runtime.last.say(result('0'));
    runtime.last.say(result(0));
    runtime.last.say(result(0));
    runtime.last.say(result(7));
    expect(answers.map(({ id }) => id)).toEqual(['0', 0]);
    await transport.send(request(0));
    await gateway.close();
  });

  test('a server may write the number of a request as a text, unless that names another one', async () => {
    const { runtime, gateway } = scripted();
    const transport = gateway.connect('a');
    const { answers } = listen(transport);
    await transport.start();
    for (const id of [0, 7, '7', 8]) {
      await transport.send(request(id));
    }
    for (const id of ['7', '7', '7', '', ' ', 'x']) {
      runtime.last.say(result(id));
    }
    expect(answers.map(({ id }) => id)).toEqual(['7', 7]);
    runtime.last.say(result('0'));
    runtime.last.say(result('8'));
    expect(answers.map(({ id }) => id)).toEqual(['7', 7, 0, 8]);
    await gateway.close();
  });

  test('what the runtime refuses as no message is refused, and its id is free', async () => {
    const { runtime, gateway } = scripted();
    const transport = gateway.connect('a');
    const { answers, errors } = listen(transport);
    await transport.start();
    runtime.last.onsend = async () => {
      throw new GatewayError('MESSAGE_INVALID', 'cannot be written as JSON', { server: 'a', delivered: false });
    };
    const notification: JSONRPCMessage = { jsonrpc: '2.0', method: 'notifications/x' };
    for (const message of [request(1), request(1), notification]) {
      expect(await failure(transport.send(message))).toMatchObject({ code: 'MESSAGE_INVALID' });
    }
    expect([answers, errors]).toEqual([[], []]);
    expect(gateway.status('a').inFlight).toBe(0);
    await gateway.close();
  });

  test('a stop does not wait for what the runtime then refuses as no message', async () => {
    const { runtime, gateway } = scripted({}, { clock: new FakeClock() });
    const transport = gateway.connect('a');
    await transport.start();
    const refused = Promise.withResolvers<void>();
    runtime.last.onsend = () => refused.promise;
    const sent = failure(transport.send(request(1)));
    const stopping = gateway.stop('a', { graceMs: 1_000 });
    await turn();
    expect(runtime.last.closes).toBe(0);
    refused.reject(new GatewayError('MESSAGE_INVALID', 'cannot be written as JSON', { server: 'a', delivered: false }));
    // The clock stands still: it would wait for ever.
    await stopping;
    expect(await sent).toMatchObject({ code: 'MESSAGE_INVALID' });
    await gateway.close();
  });

  test.each(['CONNECTION_FAILED', 'MESSAGE_INVALID'] as const)(
    'a request that fails with %s after it was cancelled takes no other of its id with it',
    async (code) => {
      const { runtime, gateway } = scripted();
      const transport = gateway.connect('a');
      const { answers } = listen(transport);
      await transport.start();
      const failed = Promise.withResolvers<void>();
      runtime.last.onsend = (message) => ('id' in message ? failed.promise : Promise.resolve());
      const first = transport.send(request(1)).catch(() => {});
      await transport.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
      runtime.last.onsend = async () => {};
      await transport.send(request(1));
      failed.reject(new GatewayError(code, 'cut', { server: 'a', delivered: false }));
      await first;
      runtime.last.say(result(1));
      expect(answers).toEqual([result(1)]);
      await gateway.close();
    },
  );

  test('a notification that cannot be sent is reported, and none but it', async () => {
    const { runtime, gateway } = scripted();
    const transport = gateway.connect('a');
    const { errors } = listen(transport);
    await transport.start();
    runtime.last.onsend = async () => {
      throw new GatewayError('CONNECTION_FAILED', 'cut', { server: 'a' });
    };
    await transport.send({ jsonrpc: '2.0', method: 'notifications/x' });
    expect(errors).toMatchObject([{ code: 'CONNECTION_FAILED' }]);
    await gateway.close();
  });

  test('the id of a session shows once initialize is answered', async () => {
    const { runtime, gateway } = scripted();
    const transport = gateway.connect('a');
    await transport.start();
    Object.assign(runtime.last, { sessionId: 'of the server' });
    await transport.send(request(1, 'initialize'));
    expect(transport.sessionId).toBeUndefined();
    runtime.last.say(result(1));
    expect(transport.sessionId).toBe('of the server');
    await gateway.close();
  });

  test('a server over byte streams shows its process and its stderr once it has them', async () => {
    const gateway = createGateway({
      servers: [{ id: 'a', runtime: { type: 'local-process', command: process.execPath, args: [serverPath('echo')] } }],
    });
    const transport = gateway.connect('a') as Raw & { pid: unknown; stderr: unknown };
    expect([transport.pid, transport.stderr]).toEqual([null, null]);
    await transport.start();
    expect(transport.pid).toBe(gateway.status('a').instances[0]?.pid);
    expect(transport.stderr).toHaveProperty('pipe');
    await gateway.close();
  });
});

describe('a start', () => {
  test.each<[string, () => unknown, string]>([
    ['an error', () => new Error('no such socket'), 'no such socket'],
    ['what is no error', () => 'no such socket', 'no such socket'],
  ])('of a runtime that throws %s fails with it', async (_what, thrown, message) => {
    const { runtime, gateway } = scripted();
    const error = thrown();
    runtime.onopen = async () => {
      throw error;
    };
    expect(await failure(gateway.connect('a').start())).toMatchObject({
      code: 'START_FAILED',
      message: `"a": ${message}`,
      cause: error,
      delivered: false,
    });
    await gateway.close();
  });

  test.each<[string, 'START_FAILED' | 'SERVER_EXITED', boolean]>([
    ['does not start', 'START_FAILED', false],
    ['ends, and then throws too', 'SERVER_EXITED', true],
  ])('whose transport %s has failed once', async (_what, code, ends) => {
    const { runtime, gateway } = scripted();
    runtime.onopen = async (_context, opened) => {
      opened.onstart = () => {
        if (ends) opened.onclose?.();
        throw new Error('not today');
      };
    };
    const transport = gateway.connect('a');
    const { log } = listen(transport);
    expect(await failure(transport.start())).toMatchObject({ code: 'START_FAILED', delivered: false });
    expect(log).toEqual(ends ? ['error', 'close'] : ['close']);
    expect(gateway.status('a')).toMatchObject({ phase: 'failed', instances: [], lastError: { code } });
    await gateway.close();
  });

  describe('whose transport does not start within start_timeout', () => {
    const stuck = () => {
      const clock = new FakeClock();
      const { runtime, gateway } = scripted({ start_timeout: '10s' }, { clock });
      runtime.onopen = async (_context, opened) => {
        opened.onstart = () => new Promise(() => {});
      };
      return { runtime, gateway, clock };
    };

    test('has failed, and that is closed', async () => {
      const { runtime, gateway, clock } = stuck();
      const started = failure(gateway.connect('a').start());
      await clock.advance(10_000);
      const message = '"a": the start() of its transport took longer than start_timeout (10000 ms)';
      expect(await started).toMatchObject({ code: 'START_TIMEOUT', message, delivered: false });
      expect(runtime.last.closes).toBe(1);
      expect(clock.waiting).toBe(0);
      await gateway.close();
    });

    test('has failed, also when it was started ahead', async () => {
      const { runtime, gateway, clock } = stuck();
      await gateway.start('a');
      await clock.advance(10_000);
      expect(gateway.status('a')).toMatchObject({ phase: 'failed', lastError: { code: 'START_TIMEOUT' } });
      expect(runtime.last.closes).toBe(1);
      await gateway.close();
    });
  });

  test('that is over is over, whatever its runtime reports then', async () => {
    const clock = new FakeClock();
    const events: GatewayEvent[] = [];
    const { runtime, gateway } = scripted({}, { clock, onEvent: (event) => events.push(event) });
    const transport = gateway.connect('a');
    await transport.start();
    const [context] = runtime.contexts;
    const before = events.length;
    context?.report('pulling', { message: 'late' });
    expect(clock.waiting).toBe(0);
    await clock.advance(3_600_000);
    expect(context?.signal.aborted).toBe(false);
    expect(events.slice(before)).toEqual([]);
    expect(gateway.status('a').instances).toMatchObject([{ phase: 'ready', progress: undefined }]);
    await gateway.close();
  });

  test('tells how far it is, and nothing more once it was given up', async () => {
    const events: unknown[] = [];
    const { runtime, gateway } = scripted({}, { onEvent: (event) => event.type === 'progress' && events.push(event) });
    const hang = Promise.withResolvers<void>();
    runtime.onopen = async (context) => {
      context.report('pulling', { current: 1, total: 3 });
      await hang.promise;
      context.report('pulling', { current: 3, total: 3, message: 'late' });
    };
    const transport = gateway.connect('a');
    const starting = failure(transport.start());
    while (runtime.contexts.length === 0) await turn();
    expect(gateway.status('a').instances[0]).toMatchObject({
      phase: 'pulling',
      progress: { current: 1, total: 3, message: undefined },
    });
    const closing = transport.close();
    await starting;
    hang.resolve();
    await closing;
    expect(events).toMatchObject([{ phase: 'pulling', progress: { current: 1 } }]);
    await gateway.close();
  });

  test('that always fails is a crash loop, also between two tries', async () => {
    const clock = new FakeClock();
    const { runtime, gateway } = scripted({ restart: { max: 1, backoff: '1s' } }, { clock });
    runtime.onopen = async () => {
      throw new Error('never');
    };
    await failure(gateway.connect('a').start());
    expect(gateway.status('a').phase).toBe('failed');
    const second = failure(gateway.connect('a').start());
    await clock.advance(2_000);
    await second;
    expect(gateway.status('a')).toMatchObject({ phase: 'crash-loop', instances: [] });
    await gateway.close();
  });

  test.each([{ instances: 1 }, { starting: 1 }])('without room, %o, uses up no try of a crash loop', async (limits) => {
    const clock = new FakeClock();
    const runtime = new ScriptedRuntime();
    const servers = [
      { id: 'a', restart: { max: 0, cooldown: '5m' }, runtime: { type: 'scripted' as const } },
      { id: 'b', start_timeout: '1h', runtime: { type: 'scripted' as const } },
    ];
    await using gateway = createGateway({ servers }, { clock, limits, runtimes: [runtime] });
    runtime.onopen = () => Promise.reject(new Error('not today'));
    await failure(gateway.connect('a').start());
    await clock.advance(5 * 60_000);
    runtime.onopen = ({ signal }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const other = gateway.connect('b');
    const holding = failure(other.start());
    await settle();
    const refused = failure(gateway.connect('a').start());
    await clock.advance(30_000);
    expect(await refused).toMatchObject({ code: 'LIMIT_REACHED' });
    // Nor does one whose caller does not wait for its turn.
    const impatient = gateway.connect('a');
    const given = failure(impatient.start());
    await settle();
    await impatient.close();
    await given;
    expect(gateway.status('a')).toMatchObject({ phase: 'crash-loop', lastError: { code: 'START_FAILED' } });
    await other.close();
    await holding;
    runtime.onopen = async () => {};
    await gateway.connect('a').start();
    expect(gateway.status('a')).toMatchObject({ phase: 'ready', restarts: 1 });
  });
});

describe('request_timeout', () => {
  const setUp = async () => {
    const clock = new FakeClock();
    const { runtime, gateway } = scripted({ request_timeout: '10s' }, { clock });
    const transport = gateway.connect('a');
    const heard = listen(transport);
    await transport.start();
    return { clock, runtime, gateway, transport, ...heard };
  };

  test('answers the caller, cancels at the server, and drops the late answer', async () => {
    const { clock, runtime, gateway, transport, answers } = await setUp();
    await transport.send(request(1));
    await clock.advance(9_999);
    expect(answers).toEqual([]);
    await clock.advance(1);
    expect(answers[0]).toMatchObject({
      id: 1,
      error: { code: 1301, data: { code: 'REQUEST_TIMEOUT', server: 'a', delivered: true } },
    });
    expect(runtime.last.sent.at(-1)).toMatchObject({ method: 'notifications/cancelled', params: { requestId: 1 } });
    runtime.last.say(result(1));
    expect(answers.length).toBe(1);
    await gateway.close();
  });

  test('initialize has start_timeout where that is longer, which holds up no other, and is never cancelled', async () => {
    const { clock, runtime, gateway, transport, answers } = await setUp();
    await transport.send(request(1, 'initialize'));
    await transport.send(request(2));
    await clock.advance(10_000);
    expect(answers).toMatchObject([{ id: 2, error: { data: { code: 'REQUEST_TIMEOUT' } } }]);
    await clock.advance(20_000);
    const message = expect.stringContaining('no answer within start_timeout (30000 ms)');
    expect(answers.slice(1)).toMatchObject([{ id: 1, error: { data: { code: 'REQUEST_TIMEOUT' }, message } }]);
    const cancelled = runtime.last.sent.filter((sent) => 'method' in sent && sent.method === 'notifications/cancelled');
    expect(cancelled).toMatchObject([{ params: { requestId: 2 } }]);
    await gateway.close();
  });

  test('progress restarts it, ten times at most', async () => {
    const { clock, runtime, gateway, transport, answers } = await setUp();
    await transport.send(request(1, 'tools/call', { _meta: { progressToken: 0 } }));
    for (let step = 0; step < 10; step += 1) {
      await clock.advance(9_999);
      runtime.last.say({
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { progressToken: 0, progress: step },
      });
    }
    await clock.advance(9_999);
    expect(answers.filter((answer) => 'id' in answer)).toEqual([]);
    runtime.last.say({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 0, progress: 11 } });
    await clock.advance(1);
    expect(answers.at(-1)).toMatchObject({
      id: 1,
      error: {
        data: { code: 'REQUEST_TIMEOUT' },
        message: expect.stringContaining(
          'progress has restarted request_timeout (10000 ms) 10 times, which is as often',
        ),
      },
    });
    await gateway.close();
  });

  test('counts from delivery: what waits behind a server that does not read has its time still before it', async () => {
    const { clock, runtime, gateway, transport, answers } = await setUp();
    const taken = Promise.withResolvers<void>();
    runtime.last.onsend = () => taken.promise;
    const sending = transport.send(request(1));
    await clock.advance(9_000);
    taken.resolve();
    await sending;
    await clock.advance(9_999);
    expect(answers).toEqual([]);
    await clock.advance(1);
    expect(answers.length).toBe(1);
    await gateway.close();
  });

  test('each request has its own, and the caller may cancel before it', async () => {
    const { clock, runtime, gateway, transport, answers } = await setUp();
    await transport.send(request(1));
    await clock.advance(5_000);
    await transport.send(request(2));
    await transport.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
    await clock.advance(9_999);
    expect(answers).toEqual([]);
    runtime.last.say(result(1));
    expect(answers).toEqual([]);
    await clock.advance(1);
    expect(answers.map(({ id }) => id)).toEqual([2]);
    expect(clock.waiting).toBe(0);
    await gateway.close();
  });
});

describe('the end of the server', () => {
  test('answers each open request once, then tells the reason, then closes', async () => {
    const gateway = createGateway({
      servers: [{ id: 'a', runtime: { type: 'local-process', command: process.execPath, args: [serverPath('echo')] } }],
    });
    const transport = gateway.connect('a');
    const { log, answers, errors, closed } = listen(transport);
    await transport.start();
    for (const id of [1, 'two', 3]) await transport.send(request(id, 'never'));
    await transport.send(request(4, 'stderr', { text: 'oh no\n' }));
    await transport.send(request(5, 'exit', { code: 9 }));
    await closed;
    expect(log).toEqual(['message', 'message', 'message', 'message', 'message', 'error', 'close']);
    expect(answers.map(({ id }) => id)).toEqual([4, 1, 'two', 3, 5]);
    for (const { error } of answers.slice(1)) {
      expect(error?.code).toBe(1201);
      expect(error?.message).toMatch(/^"a": (never|exit) got no answer, outcome unknown: the server ended with code 9/);
      expect(error?.data).toEqual({
        code: 'SERVER_EXITED',
        server: 'a',
        delivered: true,
        exit: { code: 9, stderrTail: 'oh no\n' },
      });
    }
    expect(errors[0]).toMatchObject({ code: 'SERVER_EXITED', server: 'a', exit: { code: 9 } });
    expect(await failure(transport.send(request(6)))).toMatchObject({ code: 'SERVER_EXITED', delivered: false });
    expect(gateway.status('a')).toMatchObject({ phase: 'failed', lastExit: { code: 9 }, instances: [] });
    await gateway.close();
  });

  test('with 200 requests behind a full pipe: each is answered or was never accepted, not both', async () => {
    const script = 'process.on("SIGUSR2", () => process.exit(5)); console.log("{}"); setInterval(() => {}, 9e5)';
    const gateway = createGateway({
      servers: [{ id: 'a', runtime: { type: 'local-process', command: process.execPath, args: ['-e', script] } }],
    });
    const transport = gateway.connect('a') as Raw & { pid: number };
    const { answers, closed, log } = listen(transport);
    const ready = Promise.withResolvers<void>();
    const { onerror } = transport;
    transport.onerror = (error) => {
      ready.resolve();
      onerror?.(error);
    };
    await transport.start();
    await ready.promise;
    const text = 'x'.repeat(64 * 1024);
    const sends = Array.from({ length: 200 }, (_, id) => failure(transport.send(request(id, 'big', { text }))));
    await sends[0];
    process.kill(transport.pid, 'SIGUSR2');
    await closed;
    expect((await Promise.all(sends)).filter(Boolean)).toEqual([]);
    expect(answers.map(({ id }) => id).sort((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: 200 }, (_, id) => id),
    );
    const delivered = answers.map(({ error }) => error?.data.delivered);
    expect(delivered.filter((value) => value === 'unknown').length).toBeLessThanOrEqual(1);
    expect(delivered.filter((value) => value === false).length).toBeGreaterThan(150);
    expect(new Set(answers.map(({ error }) => JSON.stringify(error?.data.exit)))).toEqual(
      // What it said in place of a message.
      new Set(['{"code":5,"stderrTail":"{}\\n"}']),
    );
    expect(log.slice(-2)).toEqual(['error', 'close']);
    await gateway.close();
  });

  test('that closes its stdin and runs on has ended when it has answered what it heard before', async () => {
    const script = `
      const say = (message) => console.log(JSON.stringify({ jsonrpc: '2.0', ...message }));
      process.on('SIGUSR2', () => say({ id: 1, result: {} }));
      process.stdin.once('data', () => process.stdin.destroy()).once('close', () => {
        // Node leaves that to the system.
        fs.closeSync(0);
        say({ method: 'deaf' });
      });
      setInterval(() => {}, 9e5);`;
    await using gateway = createGateway({
      servers: [{ id: 'a', runtime: { type: 'local-process', command: process.execPath, args: ['-e', script] } }],
    });
    const transport = gateway.connect('a') as Raw & { pid: number };
    const { answers, errors, closed, log } = listen(transport);
    await transport.start();
    await transport.send(request(1));
    await vi.waitFor(() => expect(answers).toHaveLength(1), { timeout: 60_000 });
    await transport.send(request(2));
    await vi.waitFor(() => expect(answers).toHaveLength(2), { timeout: 60_000 });
    expect(answers[1]).toMatchObject({ id: 2, error: { data: { code: 'TRANSPORT_CLOSED', delivered: 'unknown' } } });
    expect(gateway.status('a').phase).toBe('ready');
    process.kill(transport.pid, 'SIGUSR2');
    await closed;
    expect(answers[2]).toMatchObject({ id: 1, result: {} });
    expect(errors).toMatchObject([{ code: 'SERVER_EXITED', exit: { reason: 'stdin-closed' } }]);
    expect(log.slice(-2)).toEqual(['error', 'close']);
    expect(gateway.status('a')).toMatchObject({ phase: 'failed', lastExit: { reason: 'stdin-closed' } });
  });

  test('a runtime that breaks its word: throws in send, ends in start, never closes', async () => {
    const { runtime, gateway } = scripted();
    const transport = gateway.connect('a');
    const { answers, log, closed } = listen(transport);
    await transport.start();
    runtime.last.onsend = () => {
      throw new Error('from send');
    };
    await transport.send(request(1));
    expect(answers[0]).toMatchObject({ id: 1, error: { data: { code: 'TRANSPORT_CLOSED' } } });
    runtime.last.onsend = async () => {};
    await transport.send(request(2));
    // It tells its end, without saying whose, and does nothing else: it is closed.
    runtime.last.onerror?.(new GatewayError('SERVER_EXITED', 'gone', { exit: { stderrTail: '' } }));
    await closed;
    expect(runtime.last.closes).toBe(1);
    expect(log).toEqual(['message', 'message', 'error', 'close']);
    expect(answers[1]?.error?.message).toBe('tools/call got no answer, outcome unknown: gone');

    runtime.onopen = async (_context, opened) => {
      opened.onstart = () => {
        opened.onclose?.();
        return new Promise(() => {});
      };
    };
    const second = gateway.connect('a');
    const heard = listen(second);
    expect(await failure(second.start())).toMatchObject({ code: 'SERVER_EXITED' });
    expect(heard.log.filter((entry) => entry === 'close')).toEqual(['close']);
    await gateway.close();
  });
});

describe('the gateway', () => {
  test('authorize is asked once for each fingerprint, refuses with NOT_AUTHORIZED, and nothing starts', async () => {
    const asked: string[] = [];
    let allowed = false;
    const { runtime, gateway } = scripted(
      {},
      {
        authorize: ({ fingerprint }) => {
          asked.push(fingerprint);
          return allowed;
        },
      },
    );
    expect(await failure(gateway.connect('a').start())).toMatchObject({ code: 'NOT_AUTHORIZED', server: 'a' });
    expect(runtime.contexts).toEqual([]);
    allowed = true;
    await Promise.all([1, 2, 3].map(() => gateway.connect('a').start()));
    await gateway.connect('a').start();
    expect(asked.length).toBe(2);
    expect(new Set(asked)).toEqual(new Set([gateway.describe('a').fingerprint]));
    await gateway.close();
  });

  test('authorize is asked again when a reload changes what would be started, and not for what callers see alone', async () => {
    const asked: string[] = [];
    const approved = new Set<string>();
    const runtime = new ScriptedRuntime();
    const catalog = (word: string, more: object = {}) =>
      ({ servers: [{ id: 'a', runtime: { type: 'scripted', word }, ...more }] }) as never;
    const gateway = createGateway(catalog('one'), {
      runtimes: [runtime],
      authorize: ({ fingerprint }) => {
        asked.push(fingerprint);
        return approved.has(fingerprint);
      },
    });
    approved.add(gateway.describe('a').fingerprint);
    await gateway.connect('a').start();
    await gateway.reload(catalog('one', { description: 'another text' }));
    await gateway.connect('a').start();
    expect(asked).toEqual([...approved]);
    await gateway.reload(catalog('two'));
    expect(await failure(gateway.connect('a').start())).toMatchObject({ code: 'NOT_AUTHORIZED' });
    expect(asked).toEqual([...approved, gateway.describe('a').fingerprint]);
    expect(runtime.contexts).toHaveLength(2);
    await gateway.close();
  });

  test('what authorize has let through is kept of so many, and longest of what starts', async () => {
    const asked: string[] = [];
    const authorizer = new Authorizer(({ id }) => {
      asked.push(id);
      return true;
    }, 2);
    const permit = (id: string) => {
      const definition = { id, env: {}, baseDir: '/', runtime: { type: 'scripted', spec: {} } };
      return authorizer.permit({ definition, factory: new ScriptedRuntime() } as never);
    };
    for (const id of ['a', 'b', 'a', 'c', 'a', 'b']) {
      await permit(id);
    }
    expect(asked).toEqual(['a', 'b', 'c', 'b']);
  });

  test('what cannot be described is not authorized, and the reason holds no secret', async () => {
    const odd = {
      type: 'odd' as const,
      spec: v.object({ password: v.string() }),
      describe: ({ password }: { password: string }) => {
        throw new Error(`no words for ${password}`);
      },
      open: () => expect.unreachable(),
    } satisfies RuntimeFactory<{ password: string }>;
    await using gateway = createGateway(
      { servers: [{ id: 'a', runtime: { type: 'odd', password: '${PASSWORD}' } }] },
      { runtimes: [odd], authorize: () => true, env: { PASSWORD: 'swordfish' } },
    );
    expect(await failure(gateway.connect('a').start())).toMatchObject({
      code: 'NOT_AUTHORIZED',
      message: '"a": the runtime "odd" cannot say what it would start: no words for ${PASSWORD}',
    });
  });

  test('listeners of the host that fail hide nothing from others, and do not end the process', async () => {
    const published = vi.fn();
    const diagnostics = channel('open-mcp-gateway');
    diagnostics.subscribe(published);
    const heard = vi
      .fn<(event: GatewayEvent) => unknown>()
      .mockImplementationOnce(() => {
        throw new Error('no');
      })
      .mockImplementation(() => Promise.reject(new Error('no, later')));
    const { gateway } = scripted({}, { onEvent: heard });
    await gateway.connect('a').start();
    await gateway.close();
    diagnostics.unsubscribe(published);
    expect(heard.mock.calls.length).toBeGreaterThan(1);
    // A method of the options finds them.
    expect(heard.mock.contexts).toEqual(heard.mock.calls.map(() => expect.objectContaining({ onEvent: heard })));
    expect(published.mock.calls.map(([event]) => event)).toEqual(heard.mock.calls.map(([event]) => event));
  });

  test('a disabled server, a closed gateway and an unknown id are refused', async () => {
    const { gateway } = scripted({ enabled: false });
    expect(await failure(gateway.connect('a').start())).toMatchObject({ code: 'SERVER_DISABLED' });
    expect(await failure(gateway.start('a'))).toMatchObject({ code: 'SERVER_DISABLED' });
    expect(await failure(gateway.start('b'))).toMatchObject({ code: 'SERVER_UNKNOWN' });
    expect(await failure(gateway.stop('b'))).toMatchObject({ code: 'SERVER_UNKNOWN' });
    await gateway.close();
    const transport = gateway.connect('a');
    const { log } = listen(transport);
    expect(await failure(transport.start())).toMatchObject({ code: 'GATEWAY_CLOSED' });
    expect(log).toEqual(['close']);
  });

  test.each([{ instances: 1 }, { starting: 1 }])(
    'a connection that waits for its turn, %o, is told that the gateway is closed',
    async (limits) => {
      const { runtime, gateway } = scripted({}, { limits });
      runtime.onopen = ({ signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      const holding = failure(gateway.connect('a').start());
      await settle();
      const waiting = failure(gateway.connect('a').start());
      await settle();
      await gateway.close();
      expect(await waiting).toMatchObject({ code: 'GATEWAY_CLOSED', server: 'a', delivered: false });
      expect(await holding).toMatchObject({ code: 'SERVER_STOPPED', delivered: false });
    },
  );

  test('check(), describe() and status() start nothing', async () => {
    const tag = createTag();
    const entry = {
      env: { [tagVariable]: tag },
      runtime: { type: 'local-process', command: process.execPath, args: ['-e', ''] },
    };
    const { gateway } = scripted(entry);
    expect(await gateway.check()).toEqual([{ server: 'a', ok: true, problems: [] }]);
    expect(gateway.describe('a').details).toMatchObject({ argv: [process.execPath, '-e', ''] });
    expect(gateway.status('a')).toMatchObject({ phase: 'idle', instances: [] });
    expect(livingWithTag(tag)).toEqual([]);
    await gateway.close();
  });

  test('stop() lets open requests end within their grace, refuses new ones, and answers the rest', async () => {
    const clock = new FakeClock();
    const { runtime, gateway } = scripted({}, { clock });
    const transport = gateway.connect('a');
    const { answers, errors, log } = listen(transport);
    await transport.start();
    await transport.send(request(1));
    await transport.send(request(2));
    const stopping = gateway.stop('a', { graceMs: 1_000 });
    await turn();
    await transport.send(request(3));
    expect(answers[0]).toMatchObject({ id: 3, error: { data: { code: 'SERVER_STOPPED', delivered: false } } });
    runtime.last.say(result(1));
    await clock.advance(999);
    expect(answers.map(({ id }) => id)).toEqual([3, 1]);
    expect(runtime.last.closes).toBe(0);
    await clock.advance(1);
    await stopping;
    expect(answers.at(-1)).toMatchObject({
      id: 2,
      error: { code: 1202, data: { code: 'SERVER_STOPPED', delivered: true } },
    });
    expect(errors.map(({ code }) => code)).toEqual(['SERVER_STOPPED']);
    expect(log.at(-1)).toBe('close');
    await gateway.connect('a').start();
    expect(runtime.opened.length).toBe(2);
    await gateway.close();
  });

  test('a stop in any turn of a start: a request is not delivered, or has its grace', async () => {
    const outcomes = new Set<string>();
    for (let turns = 0; turns < 60; turns += 1) {
      const { runtime, gateway } = scripted({}, { clock: new FakeClock() });
      const transport = gateway.connect('a');
      const { answers } = listen(transport);
      const sent = transport.start().then(() => transport.send(request(1)));
      for (let turn = 0; turn < turns; turn += 1) {
        await Promise.resolve();
      }
      const stopping = gateway.stop('a', { graceMs: 1_000 });
      const refusal = await failure(sent);
      await turn();
      const isSeen = runtime.opened.some(({ sent }) => sent.length > 0);
      if (isSeen) {
        runtime.last.say(result(1));
      }
      await stopping;
      await gateway.close();
      outcomes.add(isSeen ? 'served' : refusal === undefined ? 'not delivered' : 'not started');
      expect(answers, `after ${turns} turns`).toEqual(
        isSeen
          ? [result(1)]
          : refusal === undefined
            ? [
                expect.objectContaining({
                  error: expect.objectContaining({ data: expect.objectContaining({ delivered: false }) }),
                }),
              ]
            : [],
      );
    }
    expect([...outcomes].sort()).toEqual(['not delivered', 'not started', 'served']);
  });

  test.each([
    ['stop', (gateway: Pick<Gateway, 'stop'>) => gateway.stop('a')],
    ['restart', (gateway: Pick<Gateway, 'restart'>) => gateway.restart('a')],
    ['close', (gateway: Pick<Gateway, 'close'>) => gateway.close()],
  ] as const)(
    '%s() out of an event of a start waits until its runtime has cleared what it began',
    async (method, end) => {
      const log: string[] = [];
      const cleared = Promise.withResolvers<void>();
      let ending: Promise<unknown> | undefined;
      const { runtime, gateway } = scripted(
        {},
        {
          onEvent(event) {
            if (event.type === 'progress') {
              ending ??= end(gateway).finally(() => log.push('done'));
            }
          },
        },
      );
      runtime.onopen = async (context) => {
        if (ending !== undefined) {
          log.push('the next one');
          return;
        }
        context.report('pulling', { message: 'a layer' });
        await cleared.promise;
        log.push('cleared');
        context.signal.throwIfAborted();
      };
      const starting = failure(gateway.connect('a').start());
      await settle();
      expect(gateway.status('a').instances).toMatchObject([{ phase: 'stopping' }]);
      cleared.resolve();
      expect(await starting).toMatchObject({ code: 'SERVER_STOPPED', delivered: false });
      await ending;
      expect(log).toEqual(['cleared', ...(method === 'restart' ? ['the next one'] : []), 'done']);
      await gateway.close();
    },
  );

  test('stop() out of the first event of a start leaves its runtime alone', async () => {
    const stopping: Promise<void>[] = [];
    const { runtime, gateway } = scripted(
      {},
      {
        onEvent(event) {
          event.type === 'phase' && event.to === 'starting' && stopping.push(gateway.stop('a'));
        },
      },
    );
    expect(await failure(gateway.connect('a').start())).toMatchObject({ code: 'SERVER_STOPPED', delivered: false });
    await Promise.all(stopping);
    expect([stopping.length, runtime.contexts.length]).toEqual([1, 0]);
    await gateway.close();
  });

  test('start() starts one server ahead, however often it is called, and the next connection takes it', async () => {
    const { runtime, gateway } = scripted();
    await Promise.all([gateway.start('a'), gateway.start('a')]);
    await gateway.start('a');
    expect(gateway.status('a')).toMatchObject({ phase: 'ready', instances: [{ phase: 'ready' }] });
    await gateway.connect('a').start();
    expect(runtime.opened.length).toBe(1);
    await gateway.connect('a', { caller: { id: 'somebody' } }).start();
    expect(runtime.contexts.map(({ caller }) => caller?.id)).toEqual([undefined, 'somebody']);
    await gateway.close();
  });

  test('a server that was started ahead and died meanwhile is not given to anybody', async () => {
    const gateway = createGateway({
      servers: [{ id: 'a', runtime: { type: 'local-process', command: process.execPath, args: [serverPath('echo')] } }],
    });
    await gateway.start('a');
    const [{ pid } = { pid: undefined }] = gateway.status('a').instances;
    process.kill(pid as number, 'SIGKILL');
    const transport = gateway.connect('a') as Raw & { pid: number };
    const { answers } = listen(transport);
    // Gone from the table once this process has been told of the end.
    while (existsSync(`/proc/${pid}`)) await turn();
    await transport.start();
    expect(transport.pid).not.toBe(pid);
    await transport.send(request(1, 'ping'));
    while (answers.length === 0) await turn();
    expect(answers[0]).toMatchObject({ id: 1, result: { method: 'ping' } });
    await gateway.close();
  });

  test('close() ends 100 deaf servers side by side', async () => {
    const tag = createTag();
    const servers = Array.from({ length: 100 }, (_, n) => ({
      id: `s${n}`,
      env: { [tagVariable]: tag },
      runtime: {
        type: 'local-process' as const,
        command: '/bin/sh',
        args: ['-c', "trap '' TERM; while :; do sleep 60; done"],
        stop_timeout: { stdin: '500ms', sigterm: '500ms' },
      },
    }));
    const gateway = createGateway({ servers }, { limits: { starting: 100 } });
    await Promise.all(servers.map(({ id }) => gateway.connect(id).start()));
    expect(livingWithTag(tag).length).toBeGreaterThanOrEqual(100);
    const start = performance.now();
    await Promise.all([gateway.close(), gateway.close()]);
    // One after the other they would take 100 s.
    expect(performance.now() - start).toBeLessThan(60_000);
    expect(livingWithTag(tag)).toEqual([]);
  });

  test('stop() fails with all that could not be stopped', async () => {
    const { runtime, gateway } = scripted();
    for (const n of [1, 2]) {
      await gateway.connect('a').start();
      runtime.last.close = async () => {
        throw new GatewayError('STOP_FAILED', `still there: ${n}`);
      };
    }
    const error = (await failure(gateway.stop('a'))) as unknown as AggregateError;
    expect(error).toBeInstanceOf(AggregateError);
    expect(error.errors).toMatchObject([{ message: 'still there: 1' }, { message: 'still there: 2' }]);
    expect(error.message).toBe('several instances could not be stopped: still there: 1; still there: 2');
    await gateway.close();
  });

  test('check() tells what the runtime throws, error or not', async () => {
    const { runtime, gateway } = scripted();
    for (const thrown of [new Error('no engine'), 'no engine']) {
      Object.assign(runtime, { check: () => Promise.reject(thrown) });
      expect(await gateway.check('a')).toMatchObject([{ ok: false, problems: ['no engine'] }]);
    }
    await gateway.close();
  });

  test('check() ends with its signal, though a runtime does not', async () => {
    const { runtime, gateway } = scripted();
    const asked = Promise.withResolvers<void>();
    const check = () => {
      asked.resolve();
      return new Promise<never>(() => {});
    };
    Object.assign(runtime, { check });
    const stop = new AbortController();
    const checked = gateway.check('a', { signal: stop.signal }).catch((error: unknown) => error);
    await asked.promise;
    stop.abort('enough');
    expect(await checked).toBe('enough');
    await gateway.close();
  });

  test('check() with a signal that is aborted already rejects, whatever the runtime', async () => {
    const { runtime, gateway } = scripted();
    const checked = vi.fn();
    for (const check of [undefined, checked]) {
      Object.assign(runtime, { check });
      expect(await gateway.check('a', { signal: AbortSignal.abort('enough') }).catch((error) => error)).toBe('enough');
    }
    expect(checked).not.toHaveBeenCalled();
    await gateway.close();
  });

  test('close() fails with all that could not be stopped, and closes everything else', async () => {
    const { runtime, gateway } = scripted();
    const transport = gateway.connect('a');
    const { log } = listen(transport);
    await transport.start();
    runtime.last.close = async () => {
      throw new GatewayError('STOP_FAILED', 'still there');
    };
    const error = await failure(gateway.close());
    expect(error).toBeInstanceOf(AggregateError);
    expect((error as unknown as AggregateError).errors).toMatchObject([{ code: 'STOP_FAILED' }]);
    expect(log.at(-1)).toBe('close');
  });

  test('close() fails with what the close() of a runtime rejects with, also where that has no text', async () => {
    const { runtime, gateway } = scripted();
    const textless = Object.create(null);
    Object.assign(runtime, { close: () => Promise.reject(textless) });
    const error = await failure(gateway.close());
    expect(error).toMatchObject({ errors: [textless], message: 'closing the gateway failed: [object Object]' });
  });
});
