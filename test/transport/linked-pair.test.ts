import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { describe, expect, test } from 'vitest';
import type { JSONRPCMessage, Transport } from '../../src/sdk.js';
import { createLinkedPair } from '../../src/transport/linked-pair.js';

const note = (method: string, params: Record<string, unknown> = {}): JSONRPCMessage => ({
  jsonrpc: '2.0',
  method,
  params,
});

function record(transport: Transport): string[] {
  const log: string[] = [];
  transport.onmessage = (message) => log.push('method' in message ? message.method : 'answer');
  transport.onerror = (error) => log.push(`error: ${error.message}`);
  transport.onclose = () => log.push('close');
  return log;
}

async function startedPair(): Promise<[Transport, Transport]> {
  const [left, right] = createLinkedPair();
  await Promise.all([left.start(), right.start()]);
  return [left, right];
}

describe('a linked pair', () => {
  test('rejects send() before start()', async () => {
    const [left] = createLinkedPair();
    await expect(left.send(note('a'))).rejects.toMatchObject({ code: 'TRANSPORT_NOT_STARTED' });
  });

  test('rejects send() after either side was closed', async () => {
    const [left, right] = await startedPair();
    await left.close();
    await expect(left.send(note('a'))).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
    await expect(right.send(note('a'))).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
  });

  test('rejects start() after close()', async () => {
    const [left] = createLinkedPair();
    await left.close();
    await expect(left.start()).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
  });

  test('rejects a message that cannot be JSON, and delivers nothing of it', async () => {
    const [left, right] = await startedPair();
    const log = record(right);
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    await expect(left.send(note('bad', { big: 1n }))).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
    await expect(left.send(note('bad', circle))).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
    await left.send(note('good'));
    await Promise.resolve();
    expect(log).toEqual(['good']);
  });

  test('keeps messages until start(), and their order', async () => {
    const [left, right] = createLinkedPair();
    const log = record(right);
    await left.start();
    await left.send(note('a'));
    await left.send(note('b'));
    await left.close();
    expect(log).toEqual([]);
    await right.start();
    expect(log).toEqual(['a', 'b', 'close']);
  });

  test('delivers nothing inside send() or start()', async () => {
    const [left, right] = createLinkedPair();
    const log = record(right);
    await left.start();
    const waiting = left.send(note('a'));
    const starting = right.start();
    const sending = left.send(note('b'));
    expect(log).toEqual([]);
    await Promise.all([waiting, starting, sending]);
    expect(log).toEqual(['a', 'b']);
  });

  test('delivers what was sent before close(), and then the end', async () => {
    const [left, right] = await startedPair();
    const log = record(right);
    void left.send(note('last'));
    await left.close();
    await Promise.resolve();
    expect(log).toEqual(['last', 'close']);
  });

  test('delivers nothing to a side that was closed', async () => {
    const [left, right] = await startedPair();
    const log = record(right);
    void left.send(note('late'));
    await right.close();
    await Promise.resolve();
    expect(log).toEqual(['close']);
  });

  test('fires onclose once on each side, however often it is closed', async () => {
    const [left, right] = await startedPair();
    const logs = [record(left), record(right)];
    await Promise.all([left.close(), left.close(), right.close()]);
    await right.close();
    expect(logs).toEqual([['close'], ['close']]);
  });

  test('may be closed by a callback', async () => {
    const [left, right] = await startedPair();
    const logs = [record(left), record(right)];
    right.onmessage = () => void right.close();
    await left.send(note('a'));
    await left.send(note('b')).catch(() => {});
    await Promise.resolve();
    expect(logs).toEqual([['close'], ['close']]);
  });

  test('reports what onmessage throws beside it, and goes on', async () => {
    const [left, right] = await startedPair();
    const logs = [record(left), record(right)];
    const { onmessage } = right;
    right.onmessage = (message, extra) => {
      onmessage?.(message, extra);
      throw new Error('oh');
    };
    await left.send(note('a'));
    await left.send(note('b'));
    await Promise.resolve();
    expect(logs).toEqual([[], ['a', 'error: oh', 'b', 'error: oh']]);
  });

  test('survives an onerror and an onclose that throw', async () => {
    const [left, right] = await startedPair();
    const log = record(left);
    const fail = () => {
      throw new Error('oh');
    };
    Object.assign(right, { onmessage: fail, onerror: fail, onclose: fail });
    await left.send(note('a'));
    await right.close();
    await Promise.resolve();
    expect(log).toEqual(['close']);
  });

  test('gives each side a message of its own', async () => {
    const [left, right] = await startedPair();
    const received: JSONRPCMessage[] = [];
    right.onmessage = (message) => received.push(message);
    const params = JSON.parse('{"list":[1,{"a":null}],"__proto__":{"own":true}}');
    const sent = note('a', params);
    await left.send(sent);
    params.list.push('later');
    await Promise.resolve();
    expect(JSON.stringify(received)).toBe(
      '[{"jsonrpc":"2.0","method":"a","params":{"list":[1,{"a":null}],"__proto__":{"own":true}}}]',
    );
  });

  test('changes values as JSON does', async () => {
    const [left, right] = await startedPair();
    const received: JSONRPCMessage[] = [];
    right.onmessage = (message) => received.push(message);
    const sent = note('a', {
      gone: undefined,
      code: () => {},
      when: new Date(0),
      list: [undefined, () => {}, Number.NaN, -0],
      nested: { toJSON: (key: string) => ({ key, inner: new Date(1) }) },
      map: new Map([[1, 2]]),
    });
    await left.send(sent);
    await Promise.resolve();
    expect(received).toEqual([JSON.parse(JSON.stringify(sent))]);
  });

  test('connects an SDK client with a server that speaks at once', async () => {
    const [left, right] = createLinkedPair();
    const server = new McpServer({ name: 'a', version: '1' }, { capabilities: { logging: {} } });
    server.registerTool('hello', {}, () => ({ content: [{ type: 'text', text: 'hi' }] }));
    await server.connect(right);
    await server.server.sendLoggingMessage({ level: 'info', data: 'early' });
    const client = new Client({ name: 'b', version: '1' });
    const closed = new Promise<void>((resolve) => {
      server.server.onclose = resolve;
    });
    await client.connect(left);
    const { content } = await client.callTool({ name: 'hello' });
    expect(content).toEqual([{ type: 'text', text: 'hi' }]);
    await client.close();
    await closed;
  });
});
