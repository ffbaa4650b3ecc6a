import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { describe, expect, test } from 'vitest';
import { createGateway, type GatewayOptions, type Interceptor, type ServerInput } from '../../src/index.js';
import type { Transport } from '../../src/sdk.js';
import { hold } from './scripted-server.js';
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
