import { AsyncLocalStorage } from 'node:async_hooks';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { createGateway, type Gateway } from '../../src/index.js';
import type { JSONRPCMessage, Transport } from '../../src/sdk.js';
import { referenceServerPath } from '../../src/testing/index.js';

/** What hosts keep of whoever they serve, such as a name, or a trace. */
const user = new AsyncLocalStorage<string>();
const callers = ['ada', 'bob', 'eve'] as const;

const ways = {
  merged: (gateway: Gateway, id: string) => gateway.connect({ caller: { id } }),
  raw: (gateway: Gateway, id: string) => gateway.connect('s', { caller: { id } }),
  'with sessions': (gateway: Gateway, id: string) => gateway.connect('s', { caller: { id }, era: 'legacy' }),
};

const shared = { id: 's', isolation: 'shared' } as const;
const reference = { type: 'local-process', command: process.execPath, args: [referenceServerPath()] } as const;

for (const [way, connect] of Object.entries(ways)) {
  test(`${way}: what a shared process says reaches each caller in its own async context`, async () => {
    await using gateway = createGateway({ servers: [{ ...shared, runtime: reference }] });
    const seen: string[] = [];
    const clients = await Promise.all(
      callers.map((id) =>
        user.run(id, async () => {
          const client = new Client({ name: id, version: '1' });
          await client.connect(connect(gateway, id));
          client.onclose = () => seen.push(`close of ${id} by ${user.getStore()}`);
          return { id, client };
        }),
      ),
    );
    const name = way === 'merged' ? 's__progress' : 'progress';
    const call = ({ id, client }: (typeof clients)[number]) => {
      const onprogress = () => seen.push(`progress of ${id} by ${user.getStore()}`);
      return client.callTool({ name, arguments: { steps: 2 } }, undefined, { onprogress });
    };

    await Promise.all(clients.map(call));
    await gateway.close();

    const expected = callers.flatMap((id) => [`progress of ${id} by ${id}`, `close of ${id} by ${id}`]);
    expect(new Set(seen)).toEqual(new Set(expected));
  });

  test(`${way}: calls of a shared server in this process run in the async context of who calls`, async () => {
    const seen: string[] = [];
    const runtime = {
      type: 'in-process' as const,
      server: () => {
        const server = new McpServer({ name: 's', version: '1' });
        server.registerTool('note', { inputSchema: { of: z.string() } }, ({ of }) => {
          seen.push(`call of ${of} by ${user.getStore()}`);
          return { content: [] };
        });
        return server;
      },
    };
    await using gateway = createGateway(
      { servers: [{ ...shared, runtime }] },
      {
        intercept({ method, params }, next) {
          const { of } = Object(params.arguments);
          method === 'tools/call' && seen.push(`interceptor of ${of} by ${user.getStore()}`);
          return next();
        },
      },
    );
    const client = new Client({ name: 'pool', version: '1' });
    const others = new Client({ name: 'others', version: '1' });
    await user.run('whoever came first', async () => {
      await client.connect(connect(gateway, 'pool'));
      await others.connect(connect(gateway, 'others'));
    });
    const name = way === 'merged' ? 's__note' : 'note';

    for (const round of [1, 2]) {
      const calls = callers.map((id) =>
        user.run(`${id} ${round}`, () =>
          (id === 'bob' ? others : client).callTool({ name, arguments: { of: `${id} ${round}` } }),
        ),
      );
      await Promise.all(calls);
    }

    expect(seen.sort()).toEqual(
      ['call', 'interceptor'].flatMap((what) =>
        callers.flatMap((id) => [1, 2].map((round) => `${what} of ${id} ${round} by ${id} ${round}`)),
      ),
    );
  });
}

test('a call that waits for a shared server runs in the async context of who calls, though a reload replaces the server', async () => {
  const seen: unknown[] = [];
  const begun = Promise.withResolvers<void>();
  const runtimeAfter = (start: Promise<void>) => ({
    type: 'in-process' as const,
    server: async () => {
      begun.resolve();
      await start;
      const server = new McpServer({ name: 's', version: '1' });
      server.registerTool('note', {}, () => {
        seen.push(user.getStore());
        return { content: [] };
      });
      return server;
    },
  });
  await using gateway = createGateway({ servers: [{ ...shared, runtime: runtimeAfter(new Promise(() => {})) }] });
  const connection = gateway.connect('s');
  const answered = new Promise<JSONRPCMessage>((resolve) => {
    connection.onmessage = resolve;
  });
  await connection.start();
  await user.run('ada', () =>
    connection.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'note' } }),
  );
  await begun.promise;
  await user.run('the operator', () =>
    gateway.reload({ servers: [{ ...shared, runtime: runtimeAfter(Promise.resolve()) }] }),
  );

  expect(await answered).toMatchObject({ id: 1, result: { content: [] } });
  expect(seen).toEqual(['ada']);
});

test('serve(): what a shared process says is sent in the async context of each session', async () => {
  await using gateway = createGateway({ servers: [{ ...shared, runtime: reference }] });
  const seen: string[] = [];
  const sessions = await Promise.all(
    callers.map((id) =>
      user.run(id, async () => {
        const waiting = new Map<unknown, () => void>();
        const transport: Transport = {
          start: async () => {},
          close: async () => transport.onclose?.(),
          send: async (message: JSONRPCMessage) => {
            seen.push(`sent to ${id} by ${user.getStore()}`);
            'id' in message && waiting.get(message.id)?.();
          },
        };
        await gateway.serve(transport, { caller: { id } });
        return (number: number, method: string, params: Record<string, unknown>) => {
          const { promise, resolve } = Promise.withResolvers<void>();
          waiting.set(number, resolve);
          transport.onmessage?.({ jsonrpc: '2.0', id: number, method, params });
          return promise;
        };
      }),
    ),
  );
  const hello = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'c', version: '1' } };
  await Promise.all(sessions.map((request) => request(1, 'initialize', hello)));
  const params = { name: 's__progress', arguments: { steps: 2 }, _meta: { progressToken: 'p' } };

  await Promise.all(sessions.map((request) => request(2, 'tools/call', params)));

  expect(new Set(seen)).toEqual(new Set(callers.map((id) => `sent to ${id} by ${id}`)));
});
