import { FastMCP, type Logger } from 'fastmcp';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { createGateway, type RemoteSseSpec } from '../../src/index.js';
import { type Sdk, SdkPeer, sdks } from '../endpoint/sdk-clients.js';
import { createConformanceServer } from '../fixtures/conformance/server.js';
import { type Everything, startEverything } from '../fixtures/http/everything.js';
import { createHttpHost, transportKinds } from '../hosts/http-host.js';
import { freePort } from '../support/free-port.js';

/** A client of the SDK at a server over HTTP, through a gateway. */
async function connect(sdk: Sdk, spec: RemoteSseSpec) {
  const gateway = createGateway({ servers: [{ id: 'remote', runtime: { type: 'remote-sse', ...spec } }] });
  expect(await gateway.check()).toEqual([{ server: 'remote', ok: true, problems: [] }]);
  const peer = await SdkPeer.open(sdk, gateway.connect('remote'));
  return {
    peer,
    gateway,
    async [Symbol.asyncDispose]() {
      // Before the end: what a server asks then, nobody can answer any more.
      const strays = peer.strays();
      await peer.close();
      await gateway.close();
      expect(strays).toEqual([]);
    },
  };
}

const progressOf = (peer: SdkPeer) => [...peer.progress.values()].flat().map(({ progress }) => progress);

const clients = sdks.map((sdk) => ({ sdk }));

describe.each(transportKinds)("the SDK's server transport %s", (kind) => {
  test.each(clients)('serves a client of SDK $sdk with all that a session has', async ({ sdk }) => {
    await using host = await createHttpHost((transport) => createConformanceServer().connect(transport), { kind });
    {
      await using opened = await connect(sdk, { url: host.url });
      const { peer } = opened;
      expect(host.sessionCount).toBe(1);
      expect((await peer.client.listTools()).tools.length).toBeGreaterThan(5);
      expect(await peer.text('test_simple_text')).toBe('This is a simple text response for testing.');
      expect(await peer.text('test_tool_with_progress', {}, { onprogress() {} })).not.toBe('');
      expect(progressOf(peer)).toEqual([50, 100]);
      expect(await peer.text('test_sampling', { prompt: 'say' })).toContain('sampled');
      expect(await peer.text('test_elicitation', { message: 'who?' })).toContain('decline');
      await peer.text('test_tool_with_logging');
      await peer.until(() => peer.heard('notifications/message').length >= 3 || undefined);
      expect(await peer.call('test_error_handling')).toMatchObject({ isError: true });
      const many = await Promise.all(Array.from({ length: 40 }, () => peer.text('test_simple_text')));
      expect(new Set(many)).toEqual(new Set(['This is a simple text response for testing.']));
    }
    // It was told that the session is over.
    expect(host.sessionCount).toBe(0);
  });

  test('a session that it has closed is told as lost, and the next connection is a new one', async () => {
    const sessions: { close(): Promise<void> }[] = [];
    await using host = await createHttpHost(
      async (transport) => {
        sessions.push(transport);
        await createConformanceServer().connect(transport);
      },
      { kind },
    );
    await using gateway = createGateway({
      servers: [{ id: 'remote', runtime: { type: 'remote-sse', url: host.url } }],
    });
    const peer = await SdkPeer.open('v1', gateway.connect('remote'));
    await peer.text('test_simple_text');
    await sessions[0]?.close();
    await expect(peer.text('test_simple_text')).rejects.toMatchObject({
      data: { code: 'SESSION_LOST', server: 'remote' },
    });
    const again = await SdkPeer.open('v1', gateway.connect('remote'));
    expect(await again.text('test_simple_text')).toBe('This is a simple text response for testing.');
    await again.close();
  });
});

describe.each([
  ['streamableHttp', undefined],
  ['sse', 'sse'],
  ['sse', undefined],
] as const)('server-everything over %s, transport: %s', (mode, transport) => {
  let server: Everything;
  beforeAll(async () => {
    server = await startEverything(mode);
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test.each(clients)('for a client of SDK $sdk', async ({ sdk }) => {
    await using opened = await connect(sdk, { url: server.url, ...(transport && { transport }) });
    const { peer } = opened;
    expect((await peer.client.listTools()).tools.length).toBeGreaterThan(5);
    expect((await peer.client.listPrompts()).prompts.length).toBeGreaterThan(0);
    expect((await peer.client.listResources()).resources.length).toBeGreaterThan(0);
    expect(await peer.text('echo', { message: 'hi' })).toBe('Echo: hi');
    await peer.text('trigger-long-running-operation', { duration: 0.2, steps: 2 }, { onprogress() {} });
    expect(progressOf(peer)).toEqual([1, 2]);
    expect(await peer.text('trigger-sampling-request', { prompt: 'say', maxTokens: 5 })).toContain('sampled');
    const uri = 'demo://resource/dynamic/text/1';
    expect((await peer.client.readResource({ uri })).contents).toHaveLength(1);
  });
});

const silent: Logger = { debug() {}, error() {}, info() {}, log() {}, warn() {} };

/** A server of FastMCP on loopback. */
async function startFastMcp(stateless: boolean) {
  const server = new FastMCP({ name: 'fast', version: '1.0.0', logger: silent });
  server.addTool({
    name: 'shout',
    parameters: z.object({ text: z.string() }),
    execute: async ({ text }) => text.toUpperCase(),
  });
  server.addTool({
    name: 'steps',
    parameters: z.object({}),
    execute: async (_args, { reportProgress, log }) => {
      log.info('begun');
      await reportProgress({ progress: 1, total: 2 });
      await reportProgress({ progress: 2, total: 2 });
      return 'done';
    },
  });
  server.addResource({ uri: 'fast://note', name: 'note', load: async () => ({ text: 'a note' }) });
  const port = await freePort();
  await server.start({ transportType: 'httpStream', httpStream: { host: '127.0.0.1', port, stateless } });
  return { origin: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => server.stop() };
}

describe.each([
  ['/mcp', false, undefined],
  ['/mcp', true, undefined],
  ['/sse', false, 'sse'],
  ['/sse', false, undefined],
] as const)('FastMCP at %s, stateless: %s, transport: %s', (path, stateless, transport) => {
  beforeAll(() => {
    // What it is built on writes there, whatever logger it has.
    for (const level of ['log', 'error'] as const) vi.spyOn(console, level).mockImplementation(() => {});
  });
  afterAll(() => void vi.restoreAllMocks());

  test.each(clients)('for a client of SDK $sdk', async ({ sdk }) => {
    await using server = await startFastMcp(stateless);
    await using opened = await connect(sdk, { url: server.origin + path, ...(transport && { transport }) });
    const { peer } = opened;
    expect((await peer.client.listTools()).tools.map(({ name }) => name).sort()).toEqual(['shout', 'steps']);
    expect(await peer.text('shout', { text: 'grüße' })).toBe('GRÜSSE');
    expect(await peer.text('steps', {}, { onprogress() {} })).toBe('done');
    expect(progressOf(peer)).toEqual([1, 2]);
    expect((await peer.client.readResource({ uri: 'fast://note' })).contents).toMatchObject([{ text: 'a note' }]);
    const many = await Promise.all(Array.from({ length: 40 }, (_, index) => peer.text('shout', { text: `a${index}` })));
    expect(many).toEqual(Array.from({ length: 40 }, (_, index) => `A${index}`));
  });
});
