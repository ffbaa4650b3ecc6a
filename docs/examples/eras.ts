import { Client } from '@modelcontextprotocol/client';
import { createGateway } from 'open-mcp-gateway';
import { createClock } from './getting-started/clock.ts';

await using gateway = createGateway({
  servers: [{ id: 'clock', runtime: { type: 'in-process', server: createClock } }],
});

// #region era
// A client of 2026-07-28 alone, and a server of SDK v1, which knows sessions alone.
const versionNegotiation = { mode: { pin: '2026-07-28' } };
const client = new Client({ name: 'my-agent', version: '1.0.0' }, { versionNegotiation });
await client.connect(gateway.connect('clock', { era: 'modern' }));
const answer = await client.callTool({ name: 'year', arguments: { date: '2026-07-28' } });
// #endregion era

console.log(client.getNegotiatedProtocolVersion(), answer.content);
await client.close();
