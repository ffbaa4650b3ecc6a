import { getEventListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { CallToolRequestSchema, type JSONRPCRequest } from '@modelcontextprotocol/sdk/types.js';
import { McpServer as McpServerV2, Server as ServerV2 } from '@modelcontextprotocol/server';
import { describe, expect, test } from 'vitest';
import { GatewayError } from '../../src/errors.js';
import { systemClock } from '../../src/options.js';
import { InProcessRuntime, type InProcessSpec } from '../../src/runtimes/in-process.js';
import { createReferenceServer, createRuntimeContext, runtimeContract } from '../../src/testing/index.js';

const info = { name: 'a', version: '1' };

function open(server: unknown, overrides: Parameters<typeof createRuntimeContext>[0] = {}) {
  const spec = { server } as InProcessSpec;
  return new InProcessRuntime().open(spec, createRuntimeContext({ server: 'notes', ...overrides }));
}

function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((its) => {
    resolve = its;
  });
  return { promise, resolve };
}

/** A server that says what was done to it. */
function recordingServer(overrides: Record<string, unknown> = {}) {
  const log: string[] = [];
  const server = {
    connect: async () => void log.push('connect'),
    close: async () => void log.push('close'),
    ...overrides,
  };
  return { log, server };
}

describe('in-process', () => {
  runtimeContract(test, {
    create: () => new InProcessRuntime(),
    working: (args) => ({
      server: async (context) => {
        await setImmediate();
        return createReferenceServer(args, context.env);
      },
    }),
    broken: () => ({ server: () => Promise.reject(new Error('no such database')) }),
  });

  test('what is no message is skipped, and said, and what comes behind it is heard', async () => {
    const sent = [undefined, null, 5, [], {}, { method: 5 }, { jsonrpc: '2.0', method: 5 }];
    const [near, far] = InMemoryTransport.createLinkedPair();
    const transport = await open(() => near);
    const heard: unknown[] = [];
    transport.onmessage = (message) => heard.push(message);
    transport.onerror = (error) => heard.push(error);
    await transport.start();
    const next = { jsonrpc: '2.0', method: 'x' } as const;
    for (const message of sent) {
      await far.send(message as never);
      await far.send(next);
      await setImmediate();
      const trouble = { code: 'MESSAGE_INVALID', server: 'notes' };
      expect(heard.splice(0), JSON.stringify(message)).toEqual([expect.objectContaining(trouble), next]);
    }
    await transport.close();
  });

  const rubbish = [undefined, null, 7, 'server', {}, { connect: 1 }, { start() {}, close() {} }, () => {}];
  test.each(rubbish)('does not take %o for a server', async (made) => {
    await expect(open(() => made)).rejects.toMatchObject({
      code: 'START_FAILED',
      server: 'notes',
      message: expect.stringMatching(/^"notes": the server function returned \w+, not a server or a transport$/),
    });
  });

  test('says why the server function failed, at once or later', async () => {
    const cause = new Error('no such database');
    const throwing = () => {
      throw cause;
    };
    for (const server of [throwing, async () => throwing()]) {
      const error = await open(server).catch((thrown) => thrown);
      expect(error).toMatchObject({ code: 'START_FAILED', cause });
      expect(error.message).toBe('"notes": the server function failed: no such database');
    }
  });

  test('closes a server that cannot be connected', async () => {
    const { log, server } = recordingServer({ connect: () => Promise.reject(new Error('already connected')) });
    await expect(open(() => server)).rejects.toThrow('"notes": the server could not be connected: already connected');
    expect(log).toEqual(['close']);
  });

  test('closes a server that comes after open() was aborted', async () => {
    const abort = new AbortController();
    const { log, server } = recordingServer();
    const late = deferred<unknown>();
    const closed = deferred<void>();
    const opening = open(() => late.promise, { signal: abort.signal });
    abort.abort('enough');
    await expect(opening).rejects.toBe('enough');
    late.resolve({ ...server, close: async () => closed.resolve() });
    await closed.promise;
    expect(log).toEqual([]);
    expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  });

  test('closes a server that is being connected when open() is aborted', async () => {
    const abort = new AbortController();
    const connecting = deferred<void>();
    const { log, server } = recordingServer({
      connect: () => {
        connecting.resolve();
        return new Promise(() => {});
      },
    });
    const opening = open(() => server, { signal: abort.signal });
    await connecting.promise;
    abort.abort('enough');
    await expect(opening).rejects.toBe('enough');
    expect(log).toEqual(['close']);
  });

  test('gives up a server whose close() hangs, and says so', async () => {
    const { server } = recordingServer({ close: () => new Promise(() => {}) });
    const waits: number[] = [];
    const clock = {
      ...systemClock,
      setTimeout: (run: () => void, ms: number) => {
        waits.push(ms);
        return systemClock.setTimeout(run, 0);
      },
    };
    const transport = await open(() => server, { clock });
    let closes = 0;
    transport.onclose = () => closes++;
    await expect(transport.close()).rejects.toMatchObject({ code: 'STOP_FAILED', server: 'notes' });
    expect({ closes, waits }).toEqual({ closes: 1, waits: [5000] });
  });

  test('says so when the close() of a transport throws at once', async () => {
    const cause = new Error('disk full');
    const inner = {
      start: async () => {},
      send: async () => {},
      close() {
        throw cause;
      },
    };
    const transport = await open(() => inner);
    let closes = 0;
    transport.onclose = () => closes++;
    await expect(transport.close()).rejects.toMatchObject({ code: 'STOP_FAILED', cause });
    expect(closes).toBe(1);
  });

  test('reports a close() that fails after the server ended by itself', async () => {
    const cause = new Error('disk full');
    let end = async () => {};
    const { server } = recordingServer({
      connect: async (far: { close(): Promise<void> }) => {
        end = () => far.close();
      },
      close: () => Promise.reject(cause),
    });
    const transport = await open(() => server);
    const codes: string[] = [];
    const closed = new Promise<void>((resolve) => {
      transport.onclose = resolve;
    });
    transport.onerror = (error) => codes.push(GatewayError.is(error) ? error.code : 'untyped');
    await transport.start();
    await end();
    await closed;
    expect(codes).toEqual(['STOP_FAILED', 'SERVER_EXITED']);
    await expect(transport.close()).rejects.toMatchObject({ code: 'STOP_FAILED', cause });
  });

  test('hands the context to the function', async () => {
    let seen: unknown;
    const context = createRuntimeContext({ env: { TOKEN: 'x' }, caller: { id: 'ada' } });
    const spec: InProcessSpec = {
      server: (its) => {
        seen = its;
        return new McpServer(info);
      },
    };
    const transport = await new InProcessRuntime().open(spec, context);
    await transport.close();
    expect(seen).toBe(context);
  });

  test('takes servers of SDK v1 and v2, and speaks with clients of both', async () => {
    const tools = (server: McpServer | McpServerV2) => {
      (server as McpServer).registerTool('hello', {}, () => ({ content: [{ type: 'text', text: 'hi' }] }));
      return server;
    };
    const makers: InProcessSpec['server'][] = [
      () => tools(new McpServer(info)),
      async () => tools(new McpServerV2(info)),
    ];
    for (const server of makers) {
      for (const client of [new Client(info), new ClientV2(info)]) {
        await client.connect(await open(server));
        const { content } = await client.callTool({ name: 'hello', arguments: {} });
        expect(content).toEqual([{ type: 'text', text: 'hi' }]);
        await client.close();
      }
    }
  });

  test('takes low-level servers of both SDKs', async () => {
    const makers: InProcessSpec['server'][] = [() => new Server(info), () => new ServerV2(info)];
    for (const server of makers) {
      const client = new Client(info);
      await client.connect(await open(server));
      expect(client.getServerVersion()).toMatchObject(info);
      await client.close();
    }
  });

  const endless: Record<string, unknown> = {};
  endless.self = endless;
  const answers = [
    ['a bigint', { big: 1n }, 'a bigint cannot be written as JSON'],
    ['what holds itself', endless, 'it holds itself, or is nested too deeply'],
  ] as const;

  describe.each(answers)('a call that is answered with %s', (_, structuredContent, why) => {
    test.each([
      [
        'v1',
        (result: () => never) => {
          const server = new Server(info, { capabilities: { tools: {} } });
          server.setRequestHandler(CallToolRequestSchema, result);
          return server;
        },
      ],
      [
        'v2',
        (result: () => never) => {
          const server = new ServerV2(info, { capabilities: { tools: {} } });
          server.setRequestHandler('tools/call', result);
          return server;
        },
      ],
    ])('by a server of %s fails at once', async (_, create) => {
      const client = new Client(info);
      await client.connect(await open(() => create(() => ({ content: [], structuredContent }) as never)));
      await expect(client.callTool({ name: 'x' })).rejects.toMatchObject({
        message: expect.stringContaining(`"notes": the answer of the server cannot be written as JSON: ${why}`),
        data: { code: 'MESSAGE_INVALID', server: 'notes', delivered: true },
      });
      await client.close();
    });
  });

  test('a message that cannot be written is refused in the name of the entry, and was not delivered', async () => {
    const transport = await open(() => new Server(info));
    await transport.start();
    await expect(transport.send({ jsonrpc: '2.0', method: 'a', params: { big: 1n } })).rejects.toMatchObject({
      code: 'MESSAGE_INVALID',
      message: '"notes": the message cannot be written as JSON',
      server: 'notes',
      delivered: false,
      cause: expect.any(TypeError),
    });
    await transport.close();
  });

  test('takes the client end of a transport, and passes everything through', async () => {
    const [near, far] = InMemoryTransport.createLinkedPair();
    const versions: string[] = [];
    const sent: unknown[] = [];
    near.sessionId = 'session-1';
    Object.assign(near, { setProtocolVersion: (version: string) => versions.push(version) });
    const send = near.send.bind(near);
    near.send = (message, options) => {
      sent.push(options);
      return send(message, options);
    };
    const transport = await open(() => near);
    const extras: unknown[] = [];
    transport.onmessage = (_message, extra) => extras.push(extra);
    await transport.start();
    transport.setProtocolVersion?.('2025-11-25');
    await transport.send({ jsonrpc: '2.0', method: 'a' }, { relatedRequestId: 7 });
    await far.send({ jsonrpc: '2.0', method: 'b' }, { authInfo: { token: 't', clientId: 'c', scopes: [] } });
    await setImmediate();
    expect(transport.sessionId).toBe('session-1');
    expect(versions).toEqual(['2025-11-25']);
    expect(sent).toEqual([{ relatedRequestId: 7 }]);
    expect(extras).toEqual([{ authInfo: { token: 't', clientId: 'c', scopes: [] } }]);
    await transport.close();
    await expect(far.send({ jsonrpc: '2.0', method: 'c' })).rejects.toThrow('Not connected');
  });

  test('hands progress on before the answer that came with it', async () => {
    const [ours, theirs] = InMemoryTransport.createLinkedPair();
    theirs.onmessage = (message) => {
      const { id, method, params } = message as JSONRPCRequest;
      const answer = (result: Record<string, unknown>) => theirs.send({ jsonrpc: '2.0', id, result });
      if (method === 'initialize') {
        void answer({ protocolVersion: params?.protocolVersion, capabilities: { tools: {} }, serverInfo: info });
      } else if (id !== undefined) {
        const { progressToken = 0 } = params?._meta ?? {};
        for (const progress of [1, 2]) {
          void theirs.send({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken, progress } });
        }
        void answer({ content: [] });
      }
    };
    await theirs.start();
    const client = new Client(info);
    const errors: Error[] = [];
    client.onerror = (error) => errors.push(error);
    await client.connect(await open(() => ours));
    const seen: number[] = [];
    await client.callTool({ name: 'go' }, undefined, { onprogress: ({ progress }) => seen.push(progress) });
    await setImmediate();
    expect({ seen, errors }).toEqual({ seen: [1, 2], errors: [] });
    await client.close();
  });

  test('rejects sends that wait when the connection ends', async () => {
    const [near] = InMemoryTransport.createLinkedPair();
    near.send = () => new Promise(() => {});
    const transport = await open(() => near);
    await transport.start();
    const sending = transport.send({ jsonrpc: '2.0', method: 'a' });
    await near.close();
    await expect(sending).rejects.toMatchObject({ code: 'SERVER_EXITED', server: 'notes' });
  });

  test('rejects a spec without a function, and one with more', () => {
    const { validate } = new InProcessRuntime().spec['~standard'];
    expect(validate({ server: 'notes.js' })).toMatchObject({ issues: [{ message: expect.stringMatching(/in code/) }] });
    expect(validate({ server: () => {}, command: 'x' })).toHaveProperty('issues');
    expect(validate({ server: () => {} })).not.toHaveProperty('issues');
  });

  test('describes the function by its name', () => {
    const notes = () => new McpServer(info);
    expect(new InProcessRuntime().describe({ server: notes })).toEqual({ server: 'function notes' });
    expect(new InProcessRuntime().describe({ server: (() => notes)() })).toEqual({ server: 'function notes' });
  });
});
