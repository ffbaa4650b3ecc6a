import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { describe, expect, test } from 'vitest';
import type { Caller, InterceptedRequest, Interceptor } from '../../src/index.js';
import type { Transport } from '../../src/sdk.js';
import { envelope } from '../endpoint/modern-caller.js';
import { hold, type Json, type Script } from '../endpoint/scripted-server.js';
import { type Setup, setUp } from '../endpoint/setup.js';
import { settle } from '../support/fake-clock.js';
import { createFetchHost } from './fetch-host.js';
import { createHttpHost } from './http-host.js';
import { initialize } from './raw-client.js';

const accept = 'application/json, text/event-stream';

function teamsOf({ data }: Caller): readonly string[] {
  return (data as { teams?: string[] } | undefined)?.teams ?? [];
}

/** Only team ops may do anything but initialize, and see the tools of others. */
const onlyOps: Interceptor = ({ caller }, next) => {
  if (!teamsOf(caller).includes('ops')) {
    throw Object.assign(new Error('only team ops may do this'), { code: 4003 });
  }
  return next();
};

const ada = (...teams: string[]): Caller => ({ id: 'ada', authInfo: { token: teams.join() }, data: { teams } });

/** Sends a request of the stateless era. */
async function fetch({ gateway }: Setup, caller: Caller, method: string, params: Json, capabilities: Json = {}) {
  const name = params.name ?? params.uri ?? params.taskId;
  const response = await gateway.fetch(
    new Request('http://localhost/mcp', {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept,
        'mcp-protocol-version': '2026-07-28',
        'mcp-method': method,
        ...(typeof name === 'string' && { 'mcp-name': name }),
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: { ...params, _meta: envelope(capabilities) } }),
    }),
    { caller },
  );
  return response;
}

async function ask(...given: Parameters<typeof fetch>): Promise<{ result?: Json; error?: { code: number } }> {
  return (await (await fetch(...given)).json()) as { result?: Json; error?: { code: number } };
}

const call = (setup: Setup, caller: Caller) => ask(setup, caller, 'tools/call', { name: 'one__a' });
const allowed = { result: { resultType: 'complete' } };
const refused = { error: { code: 4003 } };

describe('the rights of a caller of gateway.fetch', () => {
  const script: Script = { tools: [{ name: 'a' }] };

  test('are those of the request: what was taken away, or given, counts at once', async () => {
    await using setup = setUp({ one: script }, { intercept: onlyOps });
    expect(await call(setup, ada('ops'))).toMatchObject(allowed);
    expect(await call(setup, ada())).toMatchObject(refused);
    expect(await call(setup, ada('ops'))).toMatchObject(allowed);
  });

  test('are those of each of two requests at once, however long their interceptors think', async () => {
    const thought = Promise.withResolvers<void>();
    const seen: InterceptedRequest[] = [];
    const intercept: Interceptor = async (request, next) => {
      if (request.method === 'tools/call' && seen.push(request) === 2) {
        thought.resolve();
      }
      await thought.promise;
      return onlyOps(request, next);
    };
    await using setup = setUp({ one: script }, { intercept });
    const [mighty, weak] = [ada('ops'), ada()];
    const answers = await Promise.all([call(setup, mighty), call(setup, weak)]);
    expect(answers).toMatchObject([allowed, refused]);
    expect(seen.map(({ caller }) => caller)).toEqual([mighty, weak]);
    expect(seen.map(({ authInfo }) => authInfo)).toEqual([{ token: 'ops' }, { token: '' }]);
  });

  const onlyOwn: Interceptor = async (request, next) => {
    const result = await next();
    const mine = (result.tools as Json[] | undefined)?.filter(({ name }) =>
      teamsOf(request.caller).includes(String(name)),
    );
    return mine === undefined ? result : { ...result, tools: mine };
  };
  const list = async (setup: Setup, caller: Caller) =>
    ((await ask(setup, caller, 'tools/list', {})) as { result: { tools: Json[] } }).result.tools.map(
      ({ name }) => name,
    );

  test('decide what each list shows', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'a' }, { name: 'b' }] } }, { intercept: onlyOwn });
    expect(await list(setup, ada('a', 'b'))).toEqual(['one__a', 'one__b']);
    expect(await list(setup, ada('b'))).toEqual(['one__b']);
    expect(await Promise.all([list(setup, ada('a')), list(setup, ada())])).toEqual([['one__a'], []]);
  });

  test('decide what a list shows that came too late for somebody else', async () => {
    await using setup = setUp(
      { one: { ...script, on: { 'tools/list': () => hold } } },
      { intercept: onlyOwn, entry: { list_timeout: '1s' } },
    );
    const first = list(setup, ada('a', 'b'));
    // One of the two is for the snapshot.
    await setup.server('one').request('tools/list', 1);
    await setup.clock.advance(1_000);
    expect(await first).toEqual([]);
    const { only } = setup.server('one');
    for (const request of only.requests('tools/list')) only.answer(request, { tools: [{ name: 'a' }, { name: 'b' }] });
    await settle();
    expect(await list(setup, ada('b'))).toEqual(['one__b']);
    expect(only.requests('tools/list')).toHaveLength(2);
  });

  test('decide what each stream may listen to', async () => {
    await using setup = setUp({ one: { resources: [{ uri: 'x://1' }] } }, { intercept: onlyOps });
    const listen = async (caller: Caller) => {
      const response = await fetch(setup, caller, 'subscriptions/listen', {
        notifications: { resourceSubscriptions: ['x://1'] },
      });
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      const { value } = await reader.read();
      await reader.cancel();
      return new TextDecoder().decode(value);
    };
    expect(await listen(ada('ops'))).toContain('"resourceSubscriptions":["x://1"]');
    expect(await listen(ada())).toContain('"notifications":{}');
  });

  test('decide whether a task may be looked at, and its result', async () => {
    const task = { taskId: 't1', status: 'completed', createdAt: 'c', lastUpdatedAt: 'l', ttl: 60_000 };
    await using setup = setUp(
      {
        one: {
          tools: [{ name: 'a', execution: { taskSupport: 'required' } }],
          capabilities: { tools: {}, tasks: { requests: { tools: { call: {} } } } },
          on: {
            'tools/call': () => ({ task }),
            'tasks/get': () => task,
            'tasks/result': () => ({ content: [], secret: 42 }),
          },
        },
      },
      { intercept: (request, next) => (request.method === 'tasks/get' ? next() : onlyOps(request, next)) },
    );
    const tasks = { extensions: { 'io.modelcontextprotocol/tasks': {} } };
    await ask(setup, ada('ops'), 'tools/list', {}, tasks);
    expect(await ask(setup, ada('ops'), 'tools/call', { name: 'one__a' }, tasks)).toMatchObject({
      result: { resultType: 'task' },
    });
    const get = (caller: Caller) => ask(setup, caller, 'tasks/get', { taskId: 't1' }, tasks);
    expect(await get(ada('ops'))).toMatchObject({ result: { status: 'completed', result: { secret: 42 } } });
    // It has not failed: whoever may see its result still can.
    expect(await get(ada())).toMatchObject({ error: { code: 4003 } });
    expect(await get(ada('ops'))).toMatchObject({ result: { status: 'completed' } });
  });

  test('reach the servers that are started for it, and those that run', async () => {
    await using setup = setUp({ one: script, two: script });
    await call(setup, ada('ops'));
    const callerOf = (id: string) => setup.server(id).only.context.caller;
    expect(callerOf('one')).toEqual(ada('ops'));
    await ask(setup, ada('dev'), 'tools/call', { name: 'two__a' });
    expect([callerOf('two'), callerOf('one')]).toEqual([ada('dev'), ada('dev')]);
  });

  test('leave nothing that an earlier request had with its servers, whatever a host adds', async () => {
    await using setup = setUp({ one: script });
    const key = Symbol('key');
    await call(setup, { ...ada('ops'), tenant: 'big', [key]: 1 } as Caller);
    const { caller } = setup.server('one').only.context;
    expect(caller).toEqual({ ...ada('ops'), tenant: 'big', [key]: 1 });
    await call(setup, ada('dev'));
    expect(caller).toEqual({ ...ada('dev'), principal: undefined });
    expect(Reflect.ownKeys(caller as Caller).sort()).toEqual(['authInfo', 'data', 'id', 'principal']);
    await call(setup, { ...ada(), role: 'guest' } as Caller);
    expect(caller).toEqual({ ...ada(), role: 'guest' });
  });
});

describe.each(['gateway.fetch', 'createNodeSessions'])('in a session of %s', (way) => {
  const callers = new Map([
    ['mighty', ada('ops')],
    ['weak', ada()],
  ]);

  async function openHost({ gateway, clock }: Setup) {
    const authenticate = (authorization: string | null | undefined) => callers.get(String(authorization)) as Caller;
    const host =
      way === 'gateway.fetch'
        ? await createFetchHost(gateway, authenticate)
        : await createHttpHost((transport, caller) => gateway.serve(transport, { caller }), { authenticate, clock });
    const send = (method: string, authorization: string, message: Json | undefined, session: string | undefined) =>
      globalThis.fetch(host.url, {
        method,
        headers: {
          'content-type': 'application/json',
          accept,
          authorization,
          ...(session !== undefined && { 'mcp-session-id': session }),
        },
        ...(message && { body: JSON.stringify({ jsonrpc: '2.0', ...message }) }),
      });
    return {
      async begin(authorization: string): Promise<string> {
        const begun = await send('POST', authorization, initialize, undefined);
        await begun.text();
        return begun.headers.get('mcp-session-id') as string;
      },
      async call(authorization: string, session: string, id: number): Promise<string> {
        const call = { id, method: 'tools/call', params: { name: 'one__a' } };
        return (await send('POST', authorization, call, session)).text();
      },
      async end(authorization: string, session: string): Promise<void> {
        await (await send('DELETE', authorization, undefined, session)).text();
      },
      [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
    };
  }

  test('each request is judged by the rights that came with it', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'a' }] } }, { intercept: onlyOps });
    await using host = await openHost(setup);
    const session = await host.begin('mighty');
    const answers = [];
    for (const [index, who] of ['mighty', 'weak', 'mighty'].entries()) {
      const text = await host.call(who, session, index + 2);
      answers.push(text.includes('"code":4003') ? 'refused' : text.includes('"result"') && 'allowed');
    }
    expect(answers).toEqual(['allowed', 'refused', 'allowed']);
    expect(setup.server('one').only.context.caller).toEqual(ada('ops'));
    await host.end('mighty', session);
  });

  test('a request reaches the server of another session of its caller with the rights that it came with', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'a' }] } });
    await using host = await openHost(setup);
    const [first, second] = [await host.begin('mighty'), await host.begin('weak')];
    const known = async (who: string, session: string, id: number) => {
      expect(await host.call(who, session, id)).toContain('"result"');
      return setup.server('one').only.context.caller;
    };
    expect(await known('mighty', first, 2)).toEqual(ada('ops'));
    expect(await known('weak', second, 2)).toEqual(ada());
    expect(await known('mighty', first, 3)).toEqual(ada('ops'));
    await host.end('mighty', first);
    // The server runs on, for the other one.
    expect(await known('weak', second, 3)).toEqual(ada());
    expect(setup.server('one').opens).toBe(1);
    await host.end('weak', second);
  });
});

describe('whom the host has given a connection to', () => {
  const host = (setup: Setup, served: Caller) =>
    createHttpHost((transport, caller) => setup.gateway.serve(transport, { caller: { ...caller, ...served } }), {
      authenticate: () => ({ id: 'session', data: { teams: ['ops'] } }),
      clock: setup.clock,
    });

  test('stays who it is, whatever comes with its requests', async () => {
    const seen: Caller[] = [];
    const intercept: Interceptor = ({ caller }, next) => {
      seen.push(caller);
      return onlyOps({ caller } as InterceptedRequest, next);
    };
    await using setup = setUp({ one: { tools: [{ name: 'a' }] } }, { intercept });
    await using sessions = await host(setup, { id: 'ada', principal: 'team' });
    for (const _ of ['first', 'second']) {
      const client = await connect(sessions.url);
      await client.callTool({ name: 'one__a' });
      await client.close();
    }
    expect(setup.server('one').opens).toBe(1);
    const known = { id: 'ada', principal: 'team', data: { teams: ['ops'] } };
    expect(setup.server('one').only.context.caller).toMatchObject(known);
    for (const caller of seen) expect(caller).toMatchObject(known);
  });

  test('is who its requests say where the host has not said it', async () => {
    await using setup = setUp({ one: { tools: [{ name: 'a' }] } });
    await using sessions = await host(setup, { id: undefined });
    const client = await connect(sessions.url);
    await client.callTool({ name: 'one__a' });
    expect(setup.server('one').only.context.caller).toMatchObject({ id: 'session' });
    await client.close();
  });

  test.each([null, ''])('is nobody else where its requests say %j', async (nobody) => {
    await using setup = setUp({ one: { tools: [{ name: 'a' }] } });
    const authenticate = () => ({ id: nobody, principal: nobody }) as never;
    const serve = (transport: Transport) => setup.gateway.serve(transport);
    await using sessions = await createHttpHost(serve, { authenticate, clock: setup.clock });
    await callByTwo(sessions.url);
    expect(setup.server('one').opens).toBe(2);
  });

  test.each([null, ''])(
    'is nobody else where authenticate says %j of who has the session, or nothing',
    async (nobody) => {
      await using setup = setUp({ one: { tools: [{ name: 'a' }] } });
      let requests = 0;
      const authenticate = () => (requests++ % 2 === 0 ? ({ id: nobody, principal: nobody } as never) : {});
      const serve = (transport: Transport, caller: Caller) => setup.gateway.serve(transport, { caller });
      await using sessions = await createHttpHost(serve, { authenticate, clock: setup.clock });
      await callByTwo(sessions.url);
      expect(setup.server('one').opens).toBe(2);
    },
  );
});

/** Two clients that are there at the same time call a tool. */
async function callByTwo(url: string): Promise<void> {
  const clients = [await connect(url), await connect(url)];
  for (const client of clients) {
    await client.callTool({ name: 'one__a' });
  }
  for (const client of clients) {
    await client.close();
  }
}

async function connect(url: string): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)) as Transport);
  return client;
}
