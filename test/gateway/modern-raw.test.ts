import { fileURLToPath } from 'node:url';
import { Client, InMemoryTransport } from '@modelcontextprotocol/client';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { describe, expect, test } from 'vitest';
import { createGateway } from '../../src/index.js';
import type { JSONRPCMessage, Transport } from '../../src/sdk.js';
import { envelope, ModernTestCaller } from '../endpoint/modern-caller.js';
import { statelessServer } from '../endpoint/modern-servers.js';
import type { Json } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { listenToEra } from '../fixtures/eras/http.js';
import { createModernServer } from '../fixtures/eras/modern-server.js';
import { settle } from '../support/fake-clock.js';

const stdio = fileURLToPath(new URL('../fixtures/eras/stdio.ts', import.meta.url));

const runtimes = {
  'local-process': async () => ({
    runtime: { type: 'local-process', command: process.execPath, args: [stdio, 'modern'] } as const,
    close: async () => {},
  }),
  'remote-sse': async () => {
    const host = await listenToEra('modern');
    return {
      runtime: { type: 'remote-sse', url: host.url } as const,
      close: () => host[Symbol.asyncDispose](),
    };
  },
  'in-process': async () => ({
    runtime: {
      type: 'in-process',
      server: (): Transport => {
        const [near, far] = InMemoryTransport.createLinkedPair();
        serveStdio(() => createModernServer(), { transport: far, legacy: 'reject' });
        return near;
      },
    } as const,
    close: async () => {},
  }),
};

async function connect(type: keyof typeof runtimes, mode: 'auto' | { pin: string }) {
  const { runtime, close } = await runtimes[type]();
  const gateway = createGateway({ servers: [{ id: 'one', runtime }] });
  const transport = gateway.connect('one');
  const sent: JSONRPCMessage[] = [];
  const send = transport.send.bind(transport);
  transport.send = (message, options) => {
    sent.push(message);
    return send(message, options);
  };
  const client = new Client(
    { name: 'test', version: '1' },
    { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } },
  );
  client.setRequestHandler('elicitation/create', async ({ params }) => ({
    action: 'accept',
    content: /name/.test(params.message) ? { name: 'Ada' } : { age: 36 },
  }));
  await client.connect(transport);
  const text = async (name: string, signal?: AbortSignal) => {
    const { content } = await client.callTool({ name, arguments: { text: 'hello' } }, { ...(signal && { signal }) });
    return (content as { text: string }[])[0]?.text;
  };
  return {
    client,
    gateway,
    sent,
    text,
    async [Symbol.asyncDispose]() {
      await client.close();
      await gateway.close({ graceMs: 0 });
      await close();
    },
  };
}

describe.each(Object.keys(runtimes) as (keyof typeof runtimes)[])(
  'connect(id) over %s, in the stateless era',
  (type) => {
    test('passes calls, input rounds, streams and cancels as they are', async () => {
      await using connection = await connect(type, { pin: '2026-07-28' });
      const { client, text, sent, gateway } = connection;
      expect(await text('echo')).toBe('hello');
      expect(await text('interview')).toBe('Ada is 36');
      const calls = sent.filter((message) => 'method' in message && message.method === 'tools/call');
      expect(calls.at(-1)).toMatchObject({ params: { requestState: 'Ada', inputResponses: { age: {} } } });

      const changed: string[] = [];
      const heard = Promise.withResolvers<void>();
      client.fallbackNotificationHandler = async ({ method }) => {
        changed.push(method);
        changed.length === 2 && heard.resolve();
      };
      const listening = await client.listen({ toolsListChanged: true, resourceSubscriptions: ['fixture://watched'] });
      // A stream that stays open is no request that somebody waits for.
      expect(gateway.status('one').inFlight).toBe(0);
      await text('grow');
      await text('touch');
      await heard.promise;
      expect(changed).toEqual(['notifications/tools/list_changed', 'notifications/resources/updated']);
      await listening.close();

      const abort = new AbortController();
      const before = Number(await text('cancelled'));
      const waiting = text('wait', abort.signal);
      for (let count: string | undefined = '0'; count === '0'; ) count = await text('waiting');
      abort.abort(new Error('enough'));
      await expect(waiting).rejects.toThrow('enough');
      for (let count = before; count === before; ) count = Number(await text('cancelled'));
    });

    test('lets a client find out the era', async () => {
      await using connection = await connect(type, 'auto');
      expect(await connection.text('echo')).toBe('hello');
      expect(connection.client.getNegotiatedProtocolVersion()).toBe('2026-07-28');
    });
  },
);

describe('stateless callers of one server that is shared, who listen', () => {
  const uri = 'x://1';
  const updated = 'notifications/resources/updated';
  const acknowledged = 'notifications/subscriptions/acknowledged';
  const subscriptionId = 'io.modelcontextprotocol/subscriptionId';

  /** Two of them have a stream for the same resource, of the same name. */
  async function open() {
    const t = setUp({ one: statelessServer() }, { entry: { isolation: 'shared', protocol: 'modern' } });
    const [one, two, deaf] = (await Promise.all(
      [1, 2, 3].map(() => ModernTestCaller.open(t.gateway.connect('one'))),
    )) as [ModernTestCaller, ModernTestCaller, ModernTestCaller];
    const listen = (notifications: Json) => ({
      id: 'mine',
      method: 'subscriptions/listen',
      params: { notifications, _meta: envelope() },
    });
    await one.send(listen({ resourceSubscriptions: [uri], taskIds: ['t'] }));
    await one.notification(acknowledged);
    await two.send(listen({ resourceSubscriptions: [uri], toolsListChanged: true }));
    await two.notification(acknowledged);
    const server = t.server('one').only;
    const ids = server
      .requests('subscriptions/listen')
      .slice(-2)
      .map(({ id }) => id) as [number, number];
    const say = (id: unknown, method: string, params: Json = {}) =>
      server.notify(method, { ...params, _meta: { [subscriptionId]: id } });
    return { t, one, two, deaf, server, ids, say };
  }
  const mine = { _meta: { [subscriptionId]: 'mine' } };

  test('each hears what its own stream brings, under its own name, and nobody else does', async () => {
    const { t, one, two, deaf, ids, say } = await open();
    await using _ = t;
    // Whose task it is, the server does not know.
    expect(one.notifications(acknowledged)).toEqual([{ notifications: { resourceSubscriptions: [uri] }, ...mine }]);
    expect(two.notifications(acknowledged)).toHaveLength(1);
    say(ids[0], updated, { uri });
    say(String(ids[1]), 'notifications/tools/list_changed');
    say('of nobody', updated, { uri });
    await settle();
    expect(one.received.slice(1)).toEqual([{ jsonrpc: '2.0', method: updated, params: { uri, ...mine } }]);
    expect(two.received.slice(1)).toEqual([
      { jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: mine },
    ]);
    expect(deaf.received).toEqual([]);
  });

  test('of a changed list hears who has a stream for it, or a session', async () => {
    const { t, one, two, deaf, server, ids, say } = await open();
    await using _ = t;
    const session = await TestCaller.open(t.gateway.connect('one'));
    const own = server.requests('subscriptions/listen').filter(({ id }) => !ids.includes(id as number));
    expect(own).toMatchObject([{ params: { notifications: { toolsListChanged: true } } }]);
    say(own[0]?.id, 'notifications/tools/list_changed');
    await session.notification('notifications/tools/list_changed');
    expect([one, two, deaf].flatMap(({ received }) => received.slice(1))).toEqual([]);
  });

  test.each(['closes', 'cancels'])('one that %s ends its own stream alone', async (how) => {
    const { t, one, two, server, ids, say } = await open();
    await using _ = t;
    await (how === 'closes'
      ? one.close()
      : one.send({ method: 'notifications/cancelled', params: { requestId: 'mine' } }));
    await settle();
    expect(server.notifications('notifications/cancelled').map(({ params }) => params?.requestId)).toEqual([ids[0]]);
    say(ids[0], updated, { uri });
    say(ids[1], updated, { uri });
    await two.notification(updated);
    expect(one.notifications(updated)).toEqual([]);
  });

  test.each(['answers', 'cancels'])('a stream ends with an answer when the server %s it', async (how) => {
    const { t, one, two, server, ids } = await open();
    await using _ = t;
    how === 'answers'
      ? server.say({ id: ids[0], result: { resultType: 'complete', _meta: { [subscriptionId]: ids[0] } } })
      : server.notify('notifications/cancelled', { requestId: ids[0] });
    await one.until(() => one.answers('mine')[0]);
    expect(one.answers('mine')).toEqual([{ jsonrpc: '2.0', id: 'mine', result: { resultType: 'complete', ...mine } }]);
    expect(two.answers('mine')).toEqual([]);
  });
});

describe('a stream of a raw connection that its server ends by a cancellation', () => {
  const listen = {
    id: 'mine',
    method: 'subscriptions/listen',
    params: { notifications: { toolsListChanged: true }, _meta: envelope() },
  };
  const open = async (options?: Parameters<typeof setUp>[1]) => {
    const t = setUp({ one: statelessServer() }, { entry: { protocol: 'modern' }, ...options });
    const caller = await ModernTestCaller.open(t.gateway.connect('one'));
    await caller.send(listen);
    await caller.notification('notifications/subscriptions/acknowledged');
    return { t, caller, cancel: () => t.server('one').only.notify('notifications/cancelled', { requestId: 'mine' }) };
  };

  test('is not kept: another one may have its id', async () => {
    const { t, caller, cancel } = await open();
    await using _ = t;
    cancel();
    expect(await caller.notification('notifications/cancelled')).toMatchObject({ requestId: 'mine' });
    await caller.send(listen);
    expect(t.server('one').only.requests('subscriptions/listen')).toHaveLength(2);
  });

  test('ends with an answer where an interceptor waits for one', async () => {
    const seen: unknown[] = [];
    const { t, caller, cancel } = await open({
      intercept: async (_, next) => {
        const result = await next();
        seen.push(result);
        return result;
      },
    });
    await using _ = t;
    cancel();
    const _meta = { 'io.modelcontextprotocol/subscriptionId': 'mine' };
    await caller.until(() => caller.answers('mine')[0]);
    expect(caller.answers('mine')).toMatchObject([{ result: { resultType: 'complete', _meta } }]);
    expect(seen).toMatchObject([{ resultType: 'complete', _meta }]);
    expect(caller.notifications('notifications/cancelled')).toEqual([]);
    await caller.send(listen);
    expect(t.server('one').only.requests('subscriptions/listen')).toHaveLength(2);
  });
});
