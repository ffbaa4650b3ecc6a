import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { describe, expect, test } from 'vitest';
import { createGateway, type GatewayOptions, type Interceptor, type ServerInput } from '../../src/index.js';
import type { Transport } from '../../src/sdk.js';
import { settle } from '../support/fake-clock.js';
import { settledHeap } from '../support/heap.js';
import { ScriptedRuntime } from '../support/scripted-runtime.js';
import { ModernTestCaller } from './modern-caller.js';
import { statelessServer } from './modern-servers.js';
import { hold, type Json, RpcError } from './scripted-server.js';
import { setUp } from './setup.js';
import { TestCaller } from './test-caller.js';

function createServer(): McpServer {
  const server = new McpServer({ name: 'files', version: '1' });
  for (const name of ['read_file', 'drop_table']) {
    server.registerTool(name, {}, () => ({ content: [{ type: 'text', text: name }] }));
  }
  server.registerTool('wait', {}, ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', reject)));
  return server;
}

/** Both ways to reach the server, and the name of a tool on each. */
const ways = {
  raw: {
    connect: (gateway: ReturnType<typeof createGateway>): Transport => gateway.connect('files'),
    tool: (name: string) => name,
  },
  merged: {
    connect: (gateway: ReturnType<typeof createGateway>): Transport => gateway.connect(),
    tool: (name: string) => `files__${name}`,
  },
};

async function connect(way: keyof typeof ways, tools: ServerInput['tools'], options: GatewayOptions = {}) {
  const gateway = createGateway(
    { servers: [{ id: 'files', tools, runtime: { type: 'in-process', server: createServer } }] },
    options,
  );
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(ways[way].connect(gateway));
  return {
    client,
    call: (name: string, signal?: AbortSignal) =>
      client.callTool({ name: ways[way].tool(name) }, undefined, signal && { signal }),
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await gateway.close({ graceMs: 0 });
    },
  };
}

describe.each(Object.keys(ways) as (keyof typeof ways)[])('a %s connection', (way) => {
  test('hides a denied tool from the list and refuses its call', async () => {
    await using session = await connect(way, { deny: ['drop_*'] });
    const { tools } = await session.client.listTools();
    expect(tools.map(({ name }) => name)).toEqual(['read_file', 'wait'].map(ways[way].tool));
    await expect(session.call('drop_table')).rejects.toMatchObject({ code: -32602 });
    expect(await session.call('read_file')).toMatchObject({ content: [{ text: 'read_file' }] });
  });

  test('shows only allowed tools', async () => {
    await using session = await connect(way, { allow: ['*_table'] });
    const { tools } = await session.client.listTools();
    expect(tools.map(({ name }) => name)).toEqual([ways[way].tool('drop_table')]);
    await expect(session.call('read_file')).rejects.toMatchObject({ code: -32602 });
  });

  test('lets an interceptor see, change and refuse what passes', async () => {
    const seen: string[] = [];
    const intercept: Interceptor = async ({ method, params, server }, next) => {
      seen.push(`${server} ${method} ${String(params.name ?? '')}`.trim());
      if (params.name === 'drop_table') {
        throw Object.assign(new Error('ask an administrator'), { code: 4001 });
      }
      const result = await next();
      return params.name === 'read_file' ? { ...result, content: [{ type: 'text', text: 'filtered' }] } : result;
    };
    await using session = await connect(way, undefined, { intercept });
    await session.client.listTools();
    expect(await session.call('read_file')).toMatchObject({ content: [{ text: 'filtered' }] });
    await expect(session.call('drop_table')).rejects.toMatchObject({
      code: 4001,
      message: expect.stringContaining('ask an'),
    });
    expect(seen).toEqual(['files tools/list', 'files tools/call read_file', 'files tools/call drop_table']);
  });

  test('passes on what the server answered when an interceptor lets it through', async () => {
    await using session = await connect(way, undefined, { intercept: (_, next) => next() });
    expect(await session.call('nobody')).toMatchObject({ isError: true });
  });

  test('answers with INTERCEPTED what an interceptor throws without a code', async () => {
    const intercept: Interceptor = async ({ method }, next) => {
      if (method === 'tools/call') {
        throw new Error('out of budget');
      }
      return next();
    };
    await using session = await connect(way, undefined, { intercept });
    await expect(session.call('read_file')).rejects.toMatchObject({
      code: 1501,
      data: { code: 'INTERCEPTED', server: 'files' },
    });
  });

  test.each<[string, unknown, object, string]>([
    ['a text', 'no budget', { code: 1501, data: { code: 'INTERCEPTED' } }, 'no budget'],
    ['nothing', null, { code: 1501 }, 'null'],
    [
      'a code with data',
      { code: 4002, message: 'ask', data: { whom: 'ada' } },
      { code: 4002, data: { whom: 'ada' } },
      'ask',
    ],
    ['a code without a message', { code: 4003, message: 7 }, { code: 4003 }, ''],
    ['a code that is no integer', { code: 1.5, message: 'half' }, { code: 1501 }, 'half'],
    ['what has no text', Object.create(null), { code: 1501 }, '[object Object]'],
  ])('answers when an interceptor throws %s', async (_, thrown, error, message) => {
    const intercept: Interceptor = ({ method }, next) => (method === 'tools/call' ? Promise.reject(thrown) : next());
    await using session = await connect(way, undefined, { intercept });
    await expect(session.call('read_file')).rejects.toMatchObject({
      ...error,
      message: expect.stringContaining(message),
    });
  });

  test('answers a list when an interceptor throws an object without a prototype', async () => {
    const intercept: Interceptor = ({ method }, next) =>
      method === 'tools/list' ? Promise.reject(Object.create(null)) : next();
    await using session = await connect(way, undefined, { intercept });
    await session.client.listTools().catch(({ message }) => expect(message).toContain('object Object'));
  });

  test('ends an interceptor whose request was cancelled', async () => {
    const inside = Promise.withResolvers<void>();
    const left = Promise.withResolvers<unknown>();
    const intercept: Interceptor = async ({ params }, next) => {
      if (params.name !== 'wait') {
        return next();
      }
      inside.resolve();
      return next().catch((error) => {
        left.resolve(error);
        throw error;
      });
    };
    await using session = await connect(way, undefined, { intercept });
    const abort = new AbortController();
    const call = session.call('wait', abort.signal);
    await inside.promise;
    abort.abort('enough');
    await expect(call).rejects.toThrow('enough');
    expect(await left.promise).toMatchObject({ error: { data: { code: 'REQUEST_CANCELLED' } } });
  });

  test('keeps nothing of calls that were cancelled, although their interceptor never ends', async () => {
    const seen: WeakRef<object>[] = [];
    const inside = Promise.withResolvers<void>();
    const intercept: Interceptor = ({ method, params }, next) => {
      if (method !== 'tools/call') {
        return next();
      }
      seen.push(new WeakRef(params));
      inside.resolve();
      return new Promise(() => {});
    };
    await using session = await connect(way, undefined, { intercept });
    // The SDK leaves its listener on the signal.
    const cancelled = async () => {
      const abort = new AbortController();
      const call = session.call('wait', abort.signal);
      await inside.promise;
      abort.abort('enough');
      await call.catch(() => {});
    };
    await cancelled();
    await settledHeap();
    expect(seen.map((params) => params.deref())).toEqual([undefined]);
  });

  test('answers with INTERCEPTED when an interceptor returns no result', async () => {
    const intercept = (async () => undefined) as unknown as Interceptor;
    await using session = await connect(way, undefined, { intercept });
    const { tools } = await session.client.listTools().catch(() => ({ tools: [] }));
    expect(tools).toEqual([]);
    await expect(session.call('read_file')).rejects.toMatchObject({
      code: 1501,
      message: expect.stringContaining('"files": the interceptor returned no result for tools/call'),
    });
  });

  test('ends an interceptor whose caller has left', async () => {
    const inside = Promise.withResolvers<void>();
    const left = Promise.withResolvers<unknown>();
    const intercept: Interceptor = (_, next) => {
      const answer = next();
      answer.catch(left.resolve);
      inside.resolve();
      return answer;
    };
    await using session = await connect(way, undefined, { intercept });
    const call = session.call('wait');
    await inside.promise;
    await Promise.all([expect(call).rejects.toThrow('closed'), session.client.close()]);
    expect(await left.promise).toBeInstanceOf(Error);
  });
});

describe('an interceptor on a raw connection', () => {
  test('sees the answer although another request came under its id', async () => {
    const intercept: Interceptor = async (_, next) => ({ ...(await next()), content: 'filtered' });
    await using setup = setUp({ one: { tools: [{ name: 'wait', call: () => hold }] } }, { intercept });
    await using caller = await TestCaller.open(setup.gateway.connect('one'));
    const answer = caller.request('tools/call', { name: 'wait' }, 1);
    const { instance, request } = await setup.server('one').request('tools/call');
    await expect(caller.send({ id: 1, method: 'tools/call', params: { name: 'wait' } })).rejects.toMatchObject({
      code: 'MESSAGE_INVALID',
    });
    instance.answer(request, { content: 'secret' });
    expect(await answer).toMatchObject({ result: { content: 'filtered' } });
  });

  test('passes nothing on once the caller has cancelled', async () => {
    const entered = Promise.withResolvers<void>();
    const allowed = Promise.withResolvers<void>();
    const refused = Promise.withResolvers<unknown>();
    const intercept: Interceptor = async ({ method }, next) => {
      if (method === 'tools/call') {
        entered.resolve();
        await allowed.promise;
      }
      return next().catch((error) => {
        refused.resolve(error);
        throw error;
      });
    };
    await using setup = setUp({ one: { tools: [{ name: 'tool' }] } }, { intercept });
    await using caller = await TestCaller.open(setup.gateway.connect('one'));
    const sent = caller.send({ id: 1, method: 'tools/call', params: { name: 'tool' } });
    await entered.promise;
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 1 } });
    allowed.resolve();
    expect(await refused.promise).toMatchObject({ error: { data: { code: 'REQUEST_CANCELLED' } } });
    await sent;
    await caller.request('tools/list');
    expect(setup.server('one').only.requests('tools/call')).toEqual([]);
    expect(caller.answers(1)).toEqual([]);
  });

  test('that never ends holds up no send of a request that was cancelled', async () => {
    const entered = Promise.withResolvers<void>();
    const intercept: Interceptor = ({ params }, next) => {
      if (params.name !== 'hangs') {
        return next();
      }
      entered.resolve();
      return new Promise(() => {});
    };
    await using setup = setUp({ one: { tools: [{ name: 'tool', call: () => ({ content: 'x' }) }] } }, { intercept });
    await using caller = await TestCaller.open(setup.gateway.connect('one'));
    const sent = caller.send({ id: 1, method: 'tools/call', params: { name: 'hangs' } });
    await entered.promise;
    await caller.send({ method: 'notifications/cancelled', params: { requestId: 1 } });
    await sent;
    expect(await caller.request('tools/call', { name: 'tool' }, 1)).toMatchObject({ result: { content: 'x' } });
  });

  test('that does not wait for the answer has it called off, and the caller gets one', async () => {
    const intercept: Interceptor = async (_, next) => {
      void next();
      throw Object.assign(new Error('too slow'), { code: 7 });
    };
    await using setup = setUp({ one: { tools: [{ name: 'tool', call: () => hold }] } }, { intercept });
    await using caller = await TestCaller.open(setup.gateway.connect('one'));
    expect(await caller.error('tools/call', { name: 'tool' })).toMatchObject({ code: 7 });
    const { instance, request } = await setup.server('one').request('tools/call');
    await setup.clock.advance(0);
    expect(instance.notifications('notifications/cancelled')).toMatchObject([{ params: { requestId: request.id } }]);
    instance.answer(request, { content: 'unfiltered' });
    await setup.clock.advance(0);
    expect(caller.answers(request.id)).toHaveLength(1);
    expect(setup.gateway.status('one').inFlight).toBe(0);
  });

  test('sends nothing any more once it has answered', async () => {
    const again = Promise.withResolvers<unknown>();
    const intercept: Interceptor = async (_, next) => {
      const result = await next();
      setImmediate(() => next().then(again.reject, again.resolve));
      return result;
    };
    await using setup = setUp({ one: { tools: [{ name: 'tool' }] } }, { intercept });
    await using caller = await TestCaller.open(setup.gateway.connect('one'));
    await caller.result('tools/call', { name: 'tool' });
    expect(await again.promise).toMatchObject({ error: { data: { code: 'REQUEST_CANCELLED' } } });
    expect(setup.server('one').only.requests('tools/call')).toHaveLength(1);
  });

  test('is told when its request is not taken, and so is the caller, whose request has no answer then', async () => {
    const refused = Promise.withResolvers<unknown>();
    const intercept: Interceptor = (_, next) =>
      next().catch((error) => {
        refused.resolve(error);
        throw error;
      });
    await using setup = setUp({ one: { tools: [{ name: 'tool' }], on: { initialize: () => hold } } }, { intercept });
    await using caller = new TestCaller(setup.gateway.connect('one'));
    await caller.transport.start();
    await caller.send({ id: 1, method: 'initialize' });
    const sent = caller.send({ id: 1, method: 'tools/call', params: { name: 'tool' } });
    await expect(sent).rejects.toMatchObject({ code: 'MESSAGE_INVALID', delivered: false });
    expect(await refused.promise).toMatchObject({ code: 'MESSAGE_INVALID' });
    expect(caller.answers(1)).toEqual([]);
  });

  test('answers with what a server said last before its connection ends', async () => {
    const runtime = new ScriptedRuntime();
    const servers = [{ id: 'one', runtime: { type: 'scripted' as const } }];
    const intercept: Interceptor = async (_, next) => ({ ...(await next()), seen: true });
    await using gateway = createGateway({ servers }, { runtimes: [runtime], intercept });
    const transport = gateway.connect('one');
    const order: unknown[] = [];
    const closed = Promise.withResolvers<void>();
    transport.onmessage = (message) => order.push(message);
    transport.onclose = () => {
      order.push('close');
      closed.resolve();
    };
    await transport.start();
    await transport.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'last' } });
    runtime.last.say({ jsonrpc: '2.0', id: 1, result: { content: [] } });
    await runtime.last.close();
    await closed.promise;
    expect(order).toEqual([{ jsonrpc: '2.0', id: 1, result: { content: [], seen: true } }, 'close']);
  });

  test.each([
    ['before it has passed the request on', false],
    ['after the server has answered', 'unknown'],
  ])('is not waited for when the connection ends %s', async (_, delivered) => {
    const released = Promise.withResolvers<void>();
    const ended: unknown[] = [];
    const intercept: Interceptor = async (_request, next) => {
      const result = delivered === false ? {} : await next();
      await released.promise;
      ended.push(1);
      return result;
    };
    await using setup = setUp({ one: { tools: [{ name: 'tool' }] } }, { intercept });
    await using caller = await TestCaller.open(setup.gateway.connect('one'));
    const answer = caller.error('tools/call', { name: 'tool' });
    await settle();
    setup.server('one').only.die();
    expect(await answer).toMatchObject({ data: { code: 'TRANSPORT_CLOSED', server: 'one', delivered } });
    await settle();
    expect(caller.closed).toBe(1);
    const before = caller.received.length;
    released.resolve();
    await settle();
    expect(ended).toHaveLength(1);
    expect(caller.received).toHaveLength(before);
  });

  test('does not hold up the end of its connection behind close()', async () => {
    const runtime = new ScriptedRuntime();
    const servers = [{ id: 'one', runtime: { type: 'scripted' as const } }];
    const intercept: Interceptor = () => new Promise(() => {});
    await using gateway = createGateway({ servers }, { runtimes: [runtime], intercept });
    const caller = new TestCaller(gateway.connect('one'));
    await caller.transport.start();
    void caller.send({ id: 1, method: 'tools/call', params: { name: 'any' } });
    await runtime.last.close();
    await caller.transport.close();
    expect(caller.closed).toBe(1);
  });

  test('is not asked about what comes before the start of its connection or after the end, nor is a filter', async () => {
    const asked: string[] = [];
    const intercept: Interceptor = async ({ method }) => {
      asked.push(method);
      return { content: [] };
    };
    for (const options of [{ intercept }, { entry: { tools: { deny: ['go'] } } }]) {
      await using setup = setUp({ one: { tools: [{ name: 'go' }] } }, options);
      const left = new TestCaller(setup.gateway.connect('one'));
      const call = { id: 1, method: 'tools/call', params: { name: 'go' } };
      await expect(left.send(call)).rejects.toMatchObject({ code: 'TRANSPORT_NOT_STARTED' });
      await left.transport.start();
      await left.close();
      await expect(left.send(call)).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
      const ended = await TestCaller.open(setup.gateway.connect('one'));
      setup.server('one').only.die();
      await ended.until(() => ended.closed || undefined);
      await expect(ended.send(call)).rejects.toMatchObject({ delivered: false });
      await settle();
      expect([...left.received, ...ended.answers(1)]).toEqual([]);
    }
    expect(asked).toEqual([]);
  });

  test('still answers when it asked twice at once', async () => {
    const refused: unknown[] = [];
    const intercept: Interceptor = (_, next) => {
      const first = next();
      return next().catch((error) => {
        refused.push(error);
        return first;
      });
    };
    await using setup = setUp({ one: { tools: [{ name: 'tool', call: () => 'done' }] } }, { intercept });
    await using caller = await TestCaller.open(setup.gateway.connect('one'));
    expect(await caller.result('tools/call', { name: 'tool' })).toEqual({ content: [{ type: 'text', text: 'done' }] });
    expect(refused).toMatchObject([{ code: 'MESSAGE_INVALID' }]);
  });
});

test('a request that is cancelled ends all that its interceptor had sent for it', async () => {
  const ended = Promise.withResolvers<unknown>();
  const intercept: Interceptor = async ({ method }, next) => {
    if (method !== 'tools/call') {
      return next();
    }
    const sent = await Promise.allSettled([next({ name: 'tool', arguments: { n: 1 } }), next()]);
    ended.resolve(sent);
    return {};
  };
  await using setup = setUp({ one: { tools: [{ name: 'tool', call: () => hold }] } }, { intercept });
  await using caller = await setup.caller();
  await caller.send({ id: 1, method: 'tools/call', params: { name: 'one__tool' } });
  const { instance } = await setup.server('one').request('tools/call', 1);
  await caller.send({ method: 'notifications/cancelled', params: { requestId: 1 } });
  const cancelled = { status: 'rejected', reason: { error: { data: { code: 'REQUEST_CANCELLED' } } } };
  expect(await ended.promise).toMatchObject([cancelled, cancelled]);
  expect(instance.notifications('notifications/cancelled')).toHaveLength(2);
});

test('what an interceptor makes of a list that is none is no part of the merged one, and what it throws is told', async () => {
  const lists: Record<string, () => Promise<Json>> = {
    none: async () => ({ tools: 'rubbish' }),
    broken: () => Promise.reject('no budget'),
  };
  const tools = [{ name: 'x' }];
  await using setup = setUp(
    { none: { tools }, broken: { tools }, plain: { tools } },
    { intercept: ({ server, method }, next) => (method === 'tools/list' && lists[server]?.()) || next() },
  );
  await using caller = await setup.caller();
  expect(await caller.toolNames()).toEqual(['plain__x']);
  expect(setup.events.filter(({ type }) => type === 'list-incomplete')).toMatchObject([
    { server: 'broken', reason: { code: 'UNKNOWN', message: 'no budget' } },
  ]);
});

test('an interceptor that changes a list in place changes it for its own caller, and once', async () => {
  const intercept: Interceptor = async ({ method, caller }, next) => {
    const result = await next();
    if (method === 'tools/list') {
      const tools = result.tools as Json[];
      (tools[0] as { inputSchema: Json }).inputSchema.title += '!';
      caller.id === 'admin' && tools.push({ name: 'drop', inputSchema: {} });
    }
    return result;
  };
  const tools = [{ name: 'x', inputSchema: { type: 'object', title: 'all' } }];
  await using t = setUp({ a: { tools } }, { intercept, entry: { isolation: 'shared', idle_timeout: '1s' } });
  await using admin = await t.caller({}, { caller: { id: 'admin' } });
  await using other = await t.caller({}, { caller: { id: 'other' } });
  for (const opens of [1, 0]) {
    expect(await admin.toolNames()).toEqual(['a__x', 'a__drop']);
    expect(await other.list('tools')).toEqual([{ name: 'a__x', inputSchema: { type: 'object', title: 'all!' } }]);
    expect(t.server('a').live).toHaveLength(opens);
    // The next time it has idled, and what is known of it is shown.
    await t.clock.advance(10_000);
  }
  expect(t.gateway.snapshot().a?.lists.tools).toEqual([{ name: 'x', inputSchema: { type: 'object', title: 'all' } }]);
});

describe('a raw connection with a filter', () => {
  const tools = [{ name: 'read' }, { name: 'drop' }];
  const entry = { tools: { deny: ['drop'] } };
  const open = (setup: ReturnType<typeof setUp>) => TestCaller.open(setup.gateway.connect('a'), { sampling: {} });

  test('passes on what is no list of tools, and what the server says and asks', async () => {
    let answer: () => Json = () => ({ tools: 'rubbish' });
    await using setup = setUp({ a: { tools, on: { 'tools/list': () => answer() } } }, { entry });
    await using caller = await open(setup);
    expect(await caller.result('tools/list')).toEqual({ tools: 'rubbish' });
    answer = () => {
      throw new RpcError(-32603, 'not now');
    };
    expect(await caller.error('tools/list')).toEqual({ code: -32603, message: 'not now' });
    answer = () => ({ tools: [...tools, null], more: 1 });
    expect(await caller.result('tools/list')).toEqual({ tools: [{ name: 'read' }, null], more: 1 });
    const { only } = setup.server('a');
    only.notify('notifications/vendor/thing', { any: 1 });
    expect(await caller.notification('notifications/vendor/thing')).toEqual({ any: 1 });
    caller.onRequest = () => ({ role: 'user' });
    expect(await only.ask('q', 'sampling/createMessage', {})).toMatchObject({ result: { role: 'user' } });
  });

  test('refuses and hides what has no text for a name, as any other that is not allowed', async () => {
    const name = { toString: 1 };
    const odd = { name, inputSchema: { type: 'object' } } as never;
    await using setup = setUp({ a: { tools: [...tools, odd] } }, { entry: { tools: { allow: ['read'] } } });
    await using caller = await open(setup);
    expect((await caller.result('tools/list')).tools).toMatchObject([{ name: 'read' }]);
    expect(await caller.error('tools/call', { name })).toMatchObject({ code: -32602 });
  });

  test('drops the list that nobody waits for any more, and passes on other cancellations', async () => {
    await using setup = setUp({ a: { tools, on: { 'tools/list': () => hold, 'tools/call': () => hold } } }, { entry });
    await using caller = await open(setup);
    void caller.request('tools/list', {}, 'list');
    void caller.request('tools/call', { name: 'read' }, 'call');
    const list = await setup.server('a').request('tools/list');
    await setup.server('a').request('tools/call');
    for (const requestId of ['list', 'call', 'nobody']) {
      await caller.send({ method: 'notifications/cancelled', params: { requestId } });
    }
    list.instance.answer(list.request, { tools });
    await caller.result('ping');
    expect(caller.answers('list')).toEqual([]);
    const told = list.instance.notifications('notifications/cancelled').map(({ params }) => params?.requestId);
    expect(told.slice(0, 2)).toEqual(['list', 'call']);
  });

  test('shows the process of its server, by which SDK v2 knows stdio', async () => {
    const runtime = {
      type: 'local-process' as const,
      command: process.execPath,
      args: ['-e', 'process.stdin.resume()'],
    };
    await using gateway = createGateway({
      servers: [
        { id: 'a', runtime, ...entry },
        { id: 'b', runtime },
      ],
    });
    const [filtered, plain] = [gateway.connect('a'), gateway.connect('b')];
    expect('pid' in filtered && 'stderr' in filtered).toBe('pid' in plain && 'stderr' in plain);
    await filtered.start();
    expect((filtered as { pid?: unknown }).pid).toEqual(expect.any(Number));
    await filtered.close();
  });
});

test.each([undefined, 'modern'] as const)(
  'what an interceptor answers itself is complete for a stateless client, era: %s',
  async (era) => {
    const intercept: Interceptor = async ({ method }) => (method === 'tools/list' ? { tools: [] } : { content: [] });
    await using t = setUp({ one: statelessServer() }, { intercept });
    await using caller = await ModernTestCaller.open(t.gateway.connect('one', { era }));
    // SDK v2 refuses a result without its type, and a list without how long it may be kept, and by whom.
    expect(await caller.call('go')).toEqual({ resultType: 'complete', content: [] });
    expect(await caller.result('tools/list')).toEqual({
      resultType: 'complete',
      tools: [],
      ttlMs: 0,
      cacheScope: 'private',
    });
  },
);

test.each([undefined, 'modern'] as const)(
  'what an interceptor makes of a list that all may keep is for its caller alone, era: %s',
  async (era) => {
    const list = { resultType: 'complete', tools: [{ name: 'go' }], ttlMs: 5_000, cacheScope: 'public' };
    const intercept: Interceptor = async (_, next) => ({ ...(await next()) });
    await using t = setUp({ one: statelessServer({ 'tools/list': () => list }) }, { intercept });
    await using caller = await ModernTestCaller.open(t.gateway.connect('one', { era }));
    expect(await caller.result('tools/list')).toMatchObject({ ttlMs: 5_000, cacheScope: 'private' });
  },
);
