import { describe, expect, test } from 'vitest';
import { RecordingTransport } from '../../src/testing/index.js';
import { createLinkedPair } from '../../src/transport/linked-pair.js';

async function setUp(guardMs = 10_000) {
  const [near, far] = createLinkedPair();
  const line = new RecordingTransport(near, { guardMs });
  await line.start();
  await far.start();
  return { line, far };
}

describe('a recording transport', () => {
  test('finds messages by any part of them, before and after they come', async () => {
    const { line, far } = await setUp();
    const later = line.received({ method: 'n', params: { at: { deep: 2 } } });
    await far.send({ jsonrpc: '2.0', method: 'n', params: { at: { deep: 1, more: true } } });
    await far.send({ jsonrpc: '2.0', method: 'n', params: { at: { deep: 2, more: true } } });
    expect(await later).toMatchObject({ params: { at: { deep: 2 } } });
    expect(await line.received({ method: 'n' }, 1)).toEqual(await later);
    await line.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
    expect(await line.sent({ method: 'ping' })).toMatchObject({ id: 1 });
  });

  test('says what came instead when nothing matches', async () => {
    const { line, far } = await setUp(50);
    await far.send({ jsonrpc: '2.0', method: 'other' });
    await line.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
    await expect(line.received({ method: 'wanted' })).rejects.toThrow(
      /^no message was received like {"method":"wanted"}: not within 50 ms\n[\s\S]*→ {"jsonrpc":"2.0","id":1,"method":"ping"}/,
    );
    expect(line.transcript()).toContain('← {"jsonrpc":"2.0","method":"other"}');
  });

  test('waits no longer than the transport is open', async () => {
    const { line, far } = await setUp();
    const waiting = line.received({ id: 7 });
    await far.close();
    await expect(waiting).rejects.toThrow('no message was received like {"id":7}, and the transport is closed');
    expect(line.closes).toBe(1);
  });

  test('fails for what should not come', async () => {
    const { line, far } = await setUp();
    line.notReceived({ method: 'x' });
    await far.send({ jsonrpc: '2.0', method: 'x' });
    await line.received({ method: 'x' });
    expect(() => line.notReceived({ method: 'x' })).toThrow('received what should not come: {"method":"x"}');
  });

  test.each([
    [0, []],
    [2, [1, 1]],
  ])('fails for a request with %i answers', async (count, ids) => {
    const { line, far } = await setUp();
    await line.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
    for (const id of ids) {
      await far.send({ jsonrpc: '2.0', id, result: {} });
    }
    if (count > 0) {
      await line.received({ id: 1 }, count - 1);
    }
    expect(() => line.answeredOnce()).toThrow(`ping with id 1 has ${count} answers, not one`);
  });

  test('shows long messages shortened', async () => {
    const { line } = await setUp();
    expect(line.transcript()).toBe('nothing was sent or received');
    await line.send({ jsonrpc: '2.0', method: 'x', params: { long: 'y'.repeat(1000) } });
    expect(line.transcript()).toMatch(/^→ .{200}… \(1051\)$/);
  });
});
