import { fileURLToPath } from 'node:url';
import { Client, InMemoryTransport } from '@modelcontextprotocol/client';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { describe, expect, test } from 'vitest';
import { createGateway } from '../../src/index.js';
import type { JSONRPCMessage, Transport } from '../../src/sdk.js';
import { listenToEra } from '../fixtures/eras/http.js';
import { createModernServer } from '../fixtures/eras/modern-server.js';

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
