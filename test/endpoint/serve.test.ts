import { PassThrough } from 'node:stream';
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { ListRootsRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { StdioServerTransport as StdioServerTransportV2 } from '@modelcontextprotocol/server/stdio';
import { describe, expect, test } from 'vitest';
import type { JSONRPCMessage, Transport } from '../../src/sdk.js';
import { settle } from '../support/fake-clock.js';
import { hold, type Json } from './scripted-server.js';
import { type Setup, setUp } from './setup.js';

const transports = {
  v1: (input: PassThrough, output: PassThrough): Transport => new StdioServerTransport(input, output),
  v2: (input: PassThrough, output: PassThrough): Transport => new StdioServerTransportV2(input, output),
};
const sdks = Object.keys(transports) as (keyof typeof transports)[];

/** The far end of a pair of streams, as lines of JSON. */
class LineTransport implements Transport {
  onclose?: () => void;
  onmessage?: NonNullable<Transport['onmessage']>;
  /** As they came. */
  readonly lines: string[] = [];
  readonly toHost = new PassThrough();
  readonly fromHost = new PassThrough();

  async start(): Promise<void> {
    let text = '';
    this.fromHost.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      const lines = text.split('\n');
      text = lines.pop() as string;
      for (const line of lines) {
        this.lines.push(line);
        this.onmessage?.(JSON.parse(line) as JSONRPCMessage);
      }
    });
  }

  async send(message: JSONRPCMessage): Promise<void> {
    this.toHost.write(`${JSON.stringify(message)}\n`);
  }

  async close(): Promise<void> {
    this.onclose?.();
  }
}

const script = { tools: [{ name: 'x', inputSchema: { type: 'object' } }] };

async function serve(t: Setup, sdk: keyof typeof transports, data: unknown) {
  const far = new LineTransport();
  const near = transports[sdk](far.toHost, far.fromHost);
  await t.gateway.serve(near, { caller: { data } });
  return { far, near };
}

describe.each(sdks)('a server transport of SDK %s', (sdk) => {
  test('gets another answer for one that is nested too deeply to be written', async () => {
    const content = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000));
    await using t = setUp({ a: { ...script, on: { 'tools/call': () => ({ content }) } } });
    const { far } = await serve(t, sdk, undefined);
    const answered = new Promise<JSONRPCMessage>((resolve) => {
      far.onmessage = resolve;
    });
    await far.start();
    await far.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'a__x' } });
    expect(await answered).toMatchObject({ id: 1, error: { data: { code: 'MESSAGE_INVALID', delivered: true } } });
  });

  test('serves clients of both SDKs, each its own session, which ends with its transport', async () => {
    await using t = setUp({ a: script });
    const sessions = await Promise.all(
      [new Client({ name: 'one', version: '1' }), new ClientV2({ name: 'two', version: '1' })].map(
        async (client, index) => {
          const { far, near } = await serve(t, sdk, index);
          await client.connect(far);
          return { client, near };
        },
      ),
    );
    for (const [index, { client }] of sessions.entries()) {
      expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['a__x']);
      const { structuredContent } = await client.callTool({ name: 'a__x', arguments: { index } });
      expect(structuredContent).toEqual({ server: 'a', params: { name: 'x', arguments: { index } } });
    }
    const callers = () => t.server('a').live.map(({ context }) => context.caller?.data);
    expect(callers()).toEqual([0, 1]);
    await sessions[0]?.near.close();
    await settle();
    expect(callers()).toEqual([1]);
    expect(await sessions[1]?.client.ping()).toBeDefined();
  });

  test('carries what a server asks, and progress, to the one session', async () => {
    await using t = setUp({ a: { ...script, on: { 'tools/call': () => hold } } });
    const client = new Client({ name: 'one', version: '1' }, { capabilities: { roots: {} } });
    client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///r' }] }));
    const { far } = await serve(t, sdk, 0);
    const other = await serve(t, sdk, 1);
    await client.connect(far);
    const progress: unknown[] = [];
    const call = client.callTool({ name: 'a__x' }, undefined, { onprogress: (seen) => progress.push(seen) });
    const { instance, request } = await t.server('a').request('tools/call');
    expect(await instance.ask(1, 'roots/list')).toMatchObject({ id: 1, result: { roots: [{ uri: 'file:///r' }] } });
    instance.notify('notifications/progress', { progressToken: request.params?._meta?.progressToken, progress: 1 });
    await settle();
    instance.answer(request, { content: [] });
    await call;
    expect(progress).toEqual([{ progress: -1, message: 'starting' }, { progress: 1 }]);
    expect(other.far.fromHost.readableLength).toBe(0);
  });

  // Both sides of the gateway are texts here, so that the order of fields shows.
  test('passes results, errors and params on as the texts that they were, but for names and ids', async () => {
    const result =
      '{"z":1,"content":[{"text":"\\u2028ü\\u0000","type":"text"}],"a":{"10":1,"9":2},"n":[1.5,1e21,-0.1]}';
    const error = '{"message":"no","data":{"z":[null,{}],"a":""},"code":-32042,"more":1}';
    const args = '{"z":{"name":"x","y":[1,{"b":2,"a":1}]},"_meta":{"b":1,"a":2}}';
    await using t = setUp({ a: { ...script, on: { 'tools/call': () => hold } } });
    const { far } = await serve(t, sdk, 0);
    await far.start();
    const write = (text: string) => far.toHost.write(`${text}\n`);
    const answer = (id: number) =>
      far.lines.find((line) => {
        const message = JSON.parse(line) as Json;
        return message.id === id && !('method' in message);
      });
    const initialize = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'c', version: '1' } };
    write(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: initialize }));
    write('{"jsonrpc":"2.0","method":"notifications/initialized"}');
    for (const id of [2, 3]) {
      write(
        `{"method":"tools/call","params":{"z":0,"name":"a__x","arguments":${args},"a":0},"id":${id},"jsonrpc":"2.0"}`,
      );
    }
    const { instance, request } = await t.server('a').request('tools/call', 0);
    const second = (await t.server('a').request('tools/call', 1)).request;
    expect(JSON.stringify(request.params)).toBe(`{"z":0,"name":"x","arguments":${args},"a":0}`);
    instance.say({ id: request.id, result: JSON.parse(result) });
    instance.say({ id: second.id, error: JSON.parse(error) });
    while (answer(2) === undefined || answer(3) === undefined) {
      await settle();
    }
    expect(answer(2)).toContain(`"result":${JSON.stringify(JSON.parse(result))}`);
    expect(answer(3)).toContain(`"error":${error}`);
  });
});

test('what a transport takes for a message and is none is reported to it, and the session goes on', async () => {
  await using t = setUp({ a: script });
  const ping = { jsonrpc: '2.0', id: 1, method: 'ping' } as const;
  const seen: unknown[] = [];
  for (const onmessage of [undefined, (message: unknown) => seen.push(message)]) {
    const sent: unknown[] = [];
    const errors: unknown[] = [];
    const transport: Transport = {
      start: async () => {},
      send: async (message) => void sent.push(message),
      close: async () => transport.onclose?.(),
      onerror: (error) => errors.push(error),
      ...(onmessage && { onmessage }),
    };
    await t.gateway.serve(transport);
    const bad = [[ping], {}, { ...ping, id: null }, null, 'ping', undefined];
    for (const message of bad) {
      transport.onmessage?.(message as never);
    }
    transport.onmessage?.({ ...ping, id: 2, params: 'x' } as never);
    transport.onmessage?.(ping);
    await settle();
    expect(errors).toMatchObject([...bad, 2].map(() => ({ code: 'MESSAGE_INVALID', delivered: false })));
    // Only where an answer can be told to belong to it.
    expect(sent).toMatchObject([
      { id: 2, error: { code: 1302, data: { code: 'MESSAGE_INVALID', delivered: false } } },
      { id: 1, result: {} },
    ]);
    await transport.close();
  }
  expect(seen).toHaveLength(8);
});
