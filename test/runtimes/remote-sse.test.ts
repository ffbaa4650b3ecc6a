import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { describe, expect, test } from 'vitest';
import { createGateway } from '../../src/index.js';

/** An HTTP server of the test on loopback, which answers as it likes. */
async function listen(answer: RequestListener) {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function createRemoteGateway(runtime: { url: string; headers?: Record<string, string>; transport?: 'sse' }, env = {}) {
  return createGateway({ servers: [{ id: 'remote', runtime: { type: 'remote-sse', ...runtime } }] }, { env });
}

describe('a server that misbehaves is told by its failure', () => {
  test.each([
    [401, 'AUTH_REQUIRED'],
    [403, 'HTTP_STATUS'],
    [500, 'HTTP_STATUS'],
    [503, 'HTTP_STATUS'],
  ])('status %i', async (status, code) => {
    await using server = await listen((request, response) => {
      request.resume();
      response.writeHead(status, { 'content-type': 'text/html' }).end('<h1>no</h1>');
    });
    await using gateway = createRemoteGateway({ url: server.url });
    const client = new Client({ name: 'test', version: '1' });
    const failure = await client.connect(gateway.connect('remote')).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ message: expect.stringContaining('"remote"') });
    expect(String(failure)).toContain(String(status));
    expect(failure).toMatchObject({ data: { server: 'remote', status, code } });
  });

  test('nobody listens', async () => {
    const { url } = await (async () => {
      await using server = await listen(() => {});
      return server;
    })();
    await using gateway = createRemoteGateway({ url });
    await expect(gateway.connect('remote').start()).rejects.toMatchObject({
      code: 'START_FAILED',
      message: expect.stringMatching(/refused/i),
    });
  });

  test('a secret in a header reaches the server and no error', async () => {
    const seen: unknown[] = [];
    await using server = await listen((request, response) => {
      seen.push(request.headers.authorization);
      request.resume();
      response.writeHead(500, { 'content-type': 'text/plain' }).end(String(request.headers.authorization));
    });
    await using gateway = createRemoteGateway(
      { url: server.url, headers: { Authorization: `Bearer $${'{TOKEN}'}` } },
      { TOKEN: 'canary-7d1f' },
    );
    const client = new Client({ name: 'test', version: '1' });
    const failure = await client.connect(gateway.connect('remote')).catch((error: unknown) => error);
    expect(seen).toContain('Bearer canary-7d1f');
    expect(`${String(failure)} ${JSON.stringify(failure)} ${JSON.stringify(gateway.status())}`).not.toContain('canary');
  });
});
