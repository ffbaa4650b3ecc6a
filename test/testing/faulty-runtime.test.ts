import { describe, expect, test } from 'vitest';
import { InProcessRuntime, LocalProcessRuntime } from '../../src/index.js';
import {
  createReferenceServer,
  createTestGateway,
  type FaultPlan,
  FaultyRuntime,
  runtimeContract,
} from '../../src/testing/index.js';

const echo = { tools: [{ name: 'echo', call: ({ text }: Record<string, unknown>) => String(text) }] };

function setUp(plan: FaultPlan) {
  const runtime = new FaultyRuntime(new InProcessRuntime(), plan);
  const t = createTestGateway({ a: echo }, { runtimes: [runtime] });
  return { t, runtime };
}

async function call(t: ReturnType<typeof setUp>['t'], calls: number) {
  const line = t.connect('a');
  await line.start();
  for (let id = 1; id <= calls; id += 1) {
    await line.send({
      jsonrpc: '2.0',
      id,
      method: 'tools/call',
      params: { name: 'echo', arguments: { text: `${id}` } },
    });
  }
  await t.clock.advance(2_000);
  return line;
}

describe('a faulty runtime', () => {
  test('drops messages to the server', async () => {
    const { t, runtime } = setUp({ seed: 1, drop: 1, direction: 'to-server' });
    await using _ = t;
    const line = await call(t, 3);
    expect(t.server('a').only.received).toEqual([]);
    line.notReceived({ jsonrpc: '2.0' });
    expect(runtime.injected).toHaveLength(3);
    expect(runtime.injected[0]).toMatchObject({
      fault: 'drop',
      direction: 'to-server',
      server: 'a',
      method: 'tools/call',
    });
  });

  test('a dropped answer is answered by the gateway when its time is up', async () => {
    const { t } = setUp({ seed: 1, drop: 1, direction: 'from-server' });
    await using _ = t;
    const line = await call(t, 1);
    await t.clock.advance(601_000);
    expect(await line.received({ id: 1 })).toMatchObject({ error: { data: { delivered: true } } });
    line.answeredOnce();
  });

  test('delays messages on the clock of the gateway', async () => {
    const { t } = setUp({ seed: 2, delay: 1, delayMs: 500, direction: 'from-server' });
    await using _ = t;
    const line = t.connect('a');
    await line.start();
    await line.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
    await t.server('a').request('ping');
    await t.clock.advance(0);
    line.notReceived({ id: 1 });
    await t.clock.advance(500);
    expect(await line.received({ id: 1 })).toMatchObject({ result: {} });
  });

  test('a doubled answer reaches the caller once', async () => {
    const { t, runtime } = setUp({ seed: 3, duplicate: 1, direction: 'from-server' });
    await using _ = t;
    const line = await call(t, 5);
    expect(runtime.injected.map(({ fault }) => fault)).toContain('duplicate');
    line.answeredOnce();
  });

  test('a cut ends the connection, and what is open is answered', async () => {
    const { t } = setUp({ seed: 4, cut: 1, direction: 'from-server' });
    await using _ = t;
    const line = await call(t, 2);
    expect(await line.received({ id: 1 })).toMatchObject({ error: { data: { code: 'SERVER_EXITED' } } });
    await line.received({ id: 2 });
    line.answeredOnce();
    expect(line.closes).toBe(1);
    expect(t.server('a').live).toEqual([]);
  });

  test('corrupt messages harm nobody else', async () => {
    const { t, runtime } = setUp({ seed: 5, corrupt: 0.5, direction: 'from-server' });
    await using _ = t;
    const line = await call(t, 20);
    expect(runtime.injected.length).toBeGreaterThan(3);
    expect(runtime.injected.length).toBeLessThan(17);
    await t.clock.advance(601_000);
    line.answeredOnce();
  });

  test('a script goes on after what is no message', async () => {
    const { t, runtime } = setUp({ seed: 5, corrupt: 1, direction: 'to-server' });
    await using _ = t;
    const line = t.connect('a');
    await line.start();
    for (let id = 1; id <= 30; id += 1) {
      await line.send({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'echo' } }).catch(() => {});
    }
    expect(runtime.injected).toHaveLength(30);
    expect((await t.server('a').request('tools/call')).request.method).toBe('tools/call');
    expect(t.server('a').only.answers('nobody')).toEqual([]);
  });

  test('has the access rules of the runtime that it wraps', async () => {
    const rule = { context: undefined, namespace: 'n', apiGroup: '', resource: 'pods', verbs: ['get'] };
    const runtime = new FaultyRuntime(Object.assign(new InProcessRuntime(), { rbac: () => [rule] }), { seed: 1 });
    await using t = createTestGateway({ a: echo }, { runtimes: [runtime] });
    expect(t.gateway.rbac()).toHaveLength(1);
  });

  test('a server that never answers is ended with what it wrote to stderr, as without the faults', async () => {
    const script = "console.error('waiting for the database'); process.stdin.resume();";
    const runtime = { type: 'local-process', command: process.execPath, args: ['-e', script] };
    const sick = new FaultyRuntime(new LocalProcessRuntime(), { seed: 1 });
    await using t = createTestGateway(
      { a: { protocol: 'legacy', start_timeout: '1s', runtime } },
      { runtimes: [sick], time: 'real' },
    );
    const line = t.connect();
    await line.start();
    const clientInfo = { name: 'test', version: '1' };
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo };
    await line.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params });
    await line.received({ id: 1 });
    await line.send({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'a__x' } });
    expect(await line.received({ id: 2 })).toMatchObject({
      error: { data: { code: 'START_TIMEOUT', exit: { stderrTail: 'waiting for the database\n' } } },
    });
    await line.close();
  });

  test('the same seed gives the same faults', async () => {
    const runs: unknown[] = [];
    for (let run = 0; run < 2; run += 1) {
      const { t, runtime } = setUp({ seed: 6, drop: 0.2, delay: 0.2, duplicate: 0.2, corrupt: 0.2 });
      await using _ = t;
      await call(t, 20);
      runs.push(runtime.injected.map(({ fault, direction }) => `${direction} ${fault}`));
    }
    expect(runs[0]).toEqual(runs[1]);
    expect(new Set(runs[0] as string[]).size).toBeGreaterThan(4);
  });

  describe('without faults keeps the contract', () => {
    runtimeContract(test, {
      create: () => new FaultyRuntime(new InProcessRuntime(), { seed: 1 }),
      working: (args) => ({ server: ({ env }) => createReferenceServer(args, env) }),
      broken: () => ({
        server: () => {
          throw new Error('broken');
        },
      }),
    });
  });
});
