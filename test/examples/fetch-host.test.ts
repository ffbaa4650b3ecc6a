import { StreamableHTTPClientTransport as HttpV2 } from '@modelcontextprotocol/client';
import { StreamableHTTPClientTransport as HttpV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { expect, test } from 'vitest';
import type { Transport } from '../../src/sdk.js';
import { type ClientKind, EraPeer } from '../endpoint/era-peer.js';
import { startHost } from './start-host.js';

test('docs/examples/hosts/fetch-node-http.ts serves clients of both eras, refuses others, and ends in order', async () => {
  await using host = await startHost('fetch-node-http');
  const requestInit = { headers: { authorization: 'Bearer token of ada' } };
  for (const kind of ['v1', 'v2 legacy', 'v2 modern'] satisfies ClientKind[]) {
    const Http = kind === 'v1' ? HttpV1 : HttpV2;
    await using peer = await EraPeer.open(kind, new Http(new URL(host.url), { requestInit }) as Transport);
    expect((await peer.client.listTools()).tools).toHaveLength(6);
    expect(await peer.text('fast__echo', { text: kind })).toBe(JSON.stringify({ text: kind }));
  }
  expect((await fetch(host.url, { method: 'POST', body: '{}' })).status).toBe(401);
  expect(await host.stop()).toBe(0);
  expect(host.processes()).toEqual([]);
  expect(host.stderr()).toBe('');
});
