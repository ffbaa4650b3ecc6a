import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { describe, expect, test, vi } from 'vitest';
import { createClock } from '../../docs/examples/getting-started/clock.js';
import { InProcessRuntime, type InProcessSpec, type RuntimeContext } from '../../src/index.js';
import { createTestGateway, hold, ScriptedError, ScriptedServer } from '../../src/testing/index.js';
import { settle } from '../support/fake-clock.js';

function createClient(): Client {
  return new Client({ name: 'test', version: '1' }, { capabilities: { elicitation: { form: {} } } });
}

describe('a test gateway', () => {
  test('takes functions, scripts, scripted servers and whole entries', async () => {
    const scripted = new ScriptedServer({ tools: [{ name: 'd', inputSchema: { type: 'object' } }] });
    await using t = createTestGateway({
      clock: createClock,
      a: { tools: [{ name: 'b', inputSchema: { type: 'object' }, call: ({ to }) => `hello ${to}` }] },
      c: scripted,
      e: { display_name: 'An entry', runtime: { type: 'in-process', server: createClock } },
    });
    const client = createClient();
    await client.connect(t.connect());
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toEqual(['clock__year', 'a__b', 'c__d', 'e__year']);
    expect(await client.callTool({ name: 'a__b', arguments: { to: 'you' } })).toMatchObject({
      content: [{ type: 'text', text: 'hello you' }],
    });
    expect(t.server('a').only.requests('tools/call')).toHaveLength(1);
    expect(t.server('c')).toBe(scripted);
    expect(() => t.server('clock')).toThrow('"clock" is not a scripted server of this test gateway');
  });

  test('a bad entry is the error of createGateway', () => {
    expect(() =>
      createTestGateway({ a: { isolation: 'none', runtime: { type: 'in-process', server: createClock } } }),
    ).toThrow(expect.objectContaining({ code: 'CATALOG_INVALID' }));
    expect(() => createTestGateway({ a: undefined as never })).toThrow(
      expect.objectContaining({ code: 'CATALOG_INVALID', message: expect.stringContaining('servers[0].runtime') }),
    );
  });

  test('connect() takes the era that a caller speaks, as that of a gateway does', async () => {
    await using t = createTestGateway({ a: { tools: [{ name: 'go', inputSchema: { type: 'object' } }] } });
    const client = createClient();
    await client.connect(t.connect('a', { era: 'legacy' }));
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['go']);
    await client.close();
  });

  test('time stands still until the test moves it', async () => {
    await using t = createTestGateway({
      a: {
        tools: [
          {
            name: 'slow',
            call: async (_, instance) => {
              await instance.delay(60_000);
              return 'at last';
            },
          },
        ],
      },
    });
    const line = t.connect('a');
    await line.start();
    await line.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'slow' } });
    await t.server('a').request('tools/call');
    await t.clock.advance(59_000);
    line.notReceived({ id: 1 });
    await t.clock.advance(1_000);
    expect(await line.received({ id: 1 })).toMatchObject({ result: { content: [{ text: 'at last' }] } });
  });

  test.each(['dies', 'is closed with its gateway'])(
    'what a script waits for is over when its server %s',
    async (how) => {
      await using t = createTestGateway({
        a: {
          tools: [
            {
              name: 'tick',
              call: async (_, instance) => {
                for (;;) {
                  await instance.delay(60_000);
                  instance.notify('notifications/tick');
                }
              },
            },
          ],
        },
      });
      const line = t.connect('a');
      await line.start();
      await line.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'tick' } });
      const { instance } = await t.server('a').request('tools/call');
      await t.clock.advance(60_000);
      await line.received({ method: 'notifications/tick' });
      if (how === 'dies') {
        instance.die();
        const late = vi.fn();
        void instance.delay(1).then(late);
        await t.clock.advance(60_000);
        expect(late).not.toHaveBeenCalled();
        expect(t.clock.waiting).toBe(0);
      }
    },
  );

  test('fake timers of a runner neither stop its clock nor let the time of its guards go by', async () => {
    vi.useFakeTimers();
    try {
      await using t = createTestGateway({ a: { tools: [{ name: 'go', call: () => hold }] } });
      const line = t.connect('a');
      await line.start();
      await line.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'go' } });
      const { instance, request } = await t.server('a').request('tools/call');
      await t.clock.advance(1_000);
      const answer = line.received({ id: 1 });
      vi.advanceTimersByTime(60_000);
      instance.answer(request, { content: [] });
      expect(await answer).toMatchObject({ result: { content: [] } });
    } finally {
      vi.useRealTimers();
    }
  });

  test('real time has no clock to move', async () => {
    await using t = createTestGateway({ a: {} }, { time: 'real' });
    expect(() => t.clock).toThrow('there is no clock to move');
    const line = t.connect('a');
    await line.start();
    await line.close();
  });

  test('an error, an elicitation, a notification and a crash are what the script says', async () => {
    await using t = createTestGateway({
      a: {
        tools: [
          {
            name: 'ask',
            inputSchema: { type: 'object' },
            call: async (_, instance) => {
              const requestedSchema = { type: 'object', properties: {} };
              const { result } = await instance.ask('q', 'elicitation/create', { message: 'Sure?', requestedSchema });
              return `answered ${JSON.stringify(result)}`;
            },
          },
          {
            name: 'refuse',
            inputSchema: { type: 'object' },
            call: () => {
              throw new ScriptedError(-32099, 'not today', { until: 'tomorrow' });
            },
          },
          { name: 'never', inputSchema: { type: 'object' }, call: () => hold },
        ],
      },
    });
    const client = createClient();
    const { ElicitRequestSchema } = await import('@modelcontextprotocol/sdk/types.js');
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'decline' }));
    const line = t.connect();
    await client.connect(line);
    expect(await client.callTool({ name: 'a__ask' })).toMatchObject({
      content: [{ text: 'answered {"action":"decline"}' }],
    });
    await expect(client.callTool({ name: 'a__refuse' })).rejects.toMatchObject({
      code: -32099,
      data: { until: 'tomorrow' },
    });
    t.server('a').only.notify('notifications/message', { level: 'error', data: 'smoke' });
    expect(await line.received({ method: 'notifications/message' })).toMatchObject({ params: { data: 'smoke' } });
    const lost = client.callTool({ name: 'a__never' });
    await t.server('a').request('tools/call', 2);
    t.server('a').only.die(9);
    await expect(lost).rejects.toMatchObject({ data: { code: 'SERVER_EXITED', delivered: 'unknown' } });
    await settle();
    line.answeredOnce();
  });

  test('a listener whose promise rejects ends nothing', async () => {
    const unhandled: unknown[] = [];
    const listen = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', listen);
    try {
      await using t = createTestGateway({ a: {} }, { onEvent: () => Promise.reject(new Error('no')) });
      await t.connect('a').start();
      await settle();
    } finally {
      process.off('unhandledRejection', listen);
    }
    expect(unhandled).toEqual([]);
  });

  test('a request that never comes fails the wait for it', async () => {
    await using t = createTestGateway({ a: {} }, { guardMs: 2_000 });
    await expect(t.server('a').request('tools/call')).rejects.toThrow('tools/call: not within 2000 ms');
  });

  test('time never goes back, whoever moves it', async () => {
    await using t = createTestGateway({});
    await Promise.all([t.clock.advance(100), t.clock.advance(50)]);
    expect(t.clock.now()).toBe(100);
  });

  test('events are kept and handed on', async () => {
    const seen: unknown[] = [];
    await using t = createTestGateway({ a: {} }, { onEvent: (event) => seen.push(event) });
    const line = t.connect('a');
    await line.start();
    await line.close();
    expect(t.events.length).toBeGreaterThan(0);
    expect(seen).toEqual(t.events);
  });

  describe('its disposal fails', () => {
    test('when a script has failed', async () => {
      const t = createTestGateway({
        a: {
          on: {
            'x/y': () => {
              throw new Error('a mistake in the test');
            },
          },
        },
      });
      const line = t.connect('a');
      await line.start();
      await line.send({ jsonrpc: '2.0', id: 1, method: 'x/y' });
      expect(await line.received({ id: 1 })).toMatchObject({ error: { code: -32603 } });
      await expect(t[Symbol.asyncDispose]()).rejects.toThrow('a mistake in the test');
    });

    test('when a server is left open, naming it', async () => {
      const stubborn = new ScriptedServer();
      const t = createTestGateway({
        a: {
          runtime: { type: 'in-process', server: stubborn.runtime.server },
        },
        b: stubborn,
      });
      const line = t.connect('a');
      await line.start();
      const [instance] = stubborn.instances;
      // Closes for its gateway alone.
      Object.assign(instance as object, { close: async () => instance?.onclose?.() });
      await expect(t[Symbol.asyncDispose]()).rejects.toThrow('servers are open: 1 of "b"');
    });

    test('when a timer of a script still runs', async () => {
      const t = createTestGateway({ a: { open: (context) => void context.clock.setTimeout(() => {}, 1e9) } });
      // Time passes while the gateway closes, but not after it.
      const line = t.connect('a');
      await line.start();
      await expect(t[Symbol.asyncDispose]()).rejects.toThrow('left after the gateway has closed: 1 timers run');
    });

    test('when closing takes longer than the guard', async () => {
      const t = createTestGateway(
        {
          a: {
            runtime: {
              type: 'in-process',
              server: () => ({ connect: async () => {}, close: () => new Promise<void>(() => {}) }),
            },
          },
        },
        { time: 'real', guardMs: 200 },
      );
      const line = t.connect('a');
      await line.start();
      await expect(t[Symbol.asyncDispose]()).rejects.toThrow('the gateway did not close: not within 200 ms');
    });

    test('when closing takes longer than the guard while timers of a runtime go on', async () => {
      class Stuck extends InProcessRuntime {
        override open(spec: InProcessSpec, context: RuntimeContext) {
          const tick = () => context.clock.setTimeout(tick, 1_000);
          tick();
          return super.open(spec, context);
        }

        close(): Promise<void> {
          return new Promise(() => {});
        }
      }
      const t = createTestGateway({ a: {} }, { guardMs: 200, runtimes: [new Stuck()] });
      await t.connect('a').start();
      await expect(t[Symbol.asyncDispose]()).rejects.toThrow('the gateway did not close: not within 200 ms');
    });
  });
});
