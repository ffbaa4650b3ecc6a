import { fileURLToPath } from 'node:url';
import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler } from '@modelcontextprotocol/server';
import { describe, expect, test } from 'vitest';
import { createGateway } from '../../src/index.js';
import { EraPeer } from '../endpoint/era-peer.js';
import { createDualServer } from '../fixtures/eras/dual-server.js';
import { listen } from '../fixtures/http/listen.js';

const stdio = fileURLToPath(new URL('../fixtures/eras/dual-stdio.ts', import.meta.url));

const runtimes = {
  'local-process': async () => ({
    runtime: { type: 'local-process', command: process.execPath, args: [stdio] } as const,
    close: async () => {},
  }),
  'remote-sse': async () => {
    const node = toNodeHandler(createMcpHandler(() => createDualServer()));
    const listening = await listen((request, response) => node(request as never, response));
    return {
      runtime: { type: 'remote-sse', url: `${listening.origin}/mcp` } as const,
      close: () => listening.close(),
    };
  },
};

describe.each(Object.keys(runtimes) as (keyof typeof runtimes)[])('a server of both eras over %s', (type) => {
  test.each([
    ['v1', 'legacy'],
    ['v2 legacy', 'legacy'],
    ['v2 modern', 'modern'],
  ] as const)('is spoken to by a client of %s in the era of that client', async (kind, era) => {
    const { runtime, close } = await runtimes[type]();
    await using gateway = createGateway({ servers: [{ id: 'one', runtime }] });
    await using peer = await EraPeer.open(kind, gateway.connect('one'));
    expect(await peer.text('era')).toBe(era);
    await close();
  });

  test.each([
    ['auto', 'modern'],
    ['legacy', 'legacy'],
    ['modern', 'modern'],
  ] as const)('is spoken to by the gateway with protocol: %s as %s, whoever calls', async (protocol, era) => {
    const { runtime, close } = await runtimes[type]();
    await using gateway = createGateway({ servers: [{ id: 'one', protocol, runtime }] });
    for (const kind of ['v1', 'v2 modern'] as const) {
      const own = kind === 'v1' ? 'legacy' : 'modern';
      await using merged = await EraPeer.open(kind, gateway.connect());
      expect(await merged.text('one__era'), kind).toBe(era);
      await using alone = await EraPeer.open(kind, gateway.connect('one', { era: own }));
      expect(await alone.text('era'), kind).toBe(era);
    }
    await close();
  });

  test('is found out by a client of SDK v2', async () => {
    const { runtime, close } = await runtimes[type]();
    await using gateway = createGateway({ servers: [{ id: 'one', runtime }] });
    const client = new ClientV2({ name: 'test', version: '1' }, { versionNegotiation: { mode: 'auto' } });
    await client.connect(gateway.connect('one'));
    expect(client.getNegotiatedProtocolVersion()).toBe('2026-07-28');
    await client.close();
    await close();
  });
});
