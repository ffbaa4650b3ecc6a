// #region test
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway } from 'open-mcp-gateway';
import { createClock } from './clock.ts';

test('the clock tells the year', async () => {
  await using gateway = createGateway({
    servers: [{ id: 'clock', runtime: { type: 'in-process', server: createClock } }],
  });
  const client = new Client({ name: 'test', version: '1.0.0' });
  await client.connect(gateway.connect('clock'));

  const answer = await client.callTool({ name: 'year', arguments: { date: '2026-07-28' } });

  assert.deepEqual(answer.content, [{ type: 'text', text: '2026' }]);
});
// #endregion test
