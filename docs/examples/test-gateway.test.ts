// #region scripted
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createTestGateway, hold } from 'open-mcp-gateway/testing';

test('a call whose server dies has an error, and the next call has an answer', async () => {
  await using t = createTestGateway({
    orders: {
      tools: [
        { name: 'count', inputSchema: { type: 'object' }, call: () => '7 orders' },
        { name: 'export', inputSchema: { type: 'object' }, call: () => hold },
      ],
    },
  });
  const client = new Client({ name: 'test', version: '1.0.0' });
  const line = t.connect();
  await client.connect(line);

  const exporting = client.callTool({ name: 'orders__export' });
  await t.server('orders').request('tools/call');
  t.server('orders').only.die();
  await assert.rejects(exporting, /exited with code 1/);

  const counting = client.callTool({ name: 'orders__count' });
  await t.clock.advance(2_000); // the back-off, without waiting for it
  assert.deepEqual((await counting).content, [{ type: 'text', text: '7 orders' }]);

  line.answeredOnce();
  await line.sent({ method: 'tools/call', params: { name: 'orders__count' } });
});

// #endregion scripted

// #region faulty
import { InProcessRuntime } from 'open-mcp-gateway';
import { FaultyRuntime } from 'open-mcp-gateway/testing';

test('however many messages get lost, every call has one outcome', async () => {
  const seed = Math.floor(Math.random() * 1e9);
  const sick = new FaultyRuntime(new InProcessRuntime(), { seed, drop: 0.1, duplicate: 0.1, corrupt: 0.1 });
  await using t = createTestGateway(
    { orders: { tools: [{ name: 'count', call: () => '7 orders' }] } },
    { runtimes: [sick] },
  );
  const line = t.connect('orders');
  await line.start();
  for (let id = 1; id <= 50; id += 1) {
    await line.send({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'count' } });
  }
  await t.clock.advance(11 * 60_000); // past the request time-out
  try {
    line.answeredOnce();
  } catch (cause) {
    throw new Error(`seed ${seed} injected ${JSON.stringify(sick.injected)}`, { cause });
  }
});
// #endregion faulty
