import { once } from 'node:events';
import { createServer } from 'node:http';
import { describe, expect, test } from 'vitest';
import { createGateway, RemoteSseRuntime, type RemoteSseSpec } from '../../src/index.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { listen } from '../fixtures/http/listen.js';
import { listenOAuth, MemoryProvider } from '../fixtures/http/oauth-host.js';
import { listenScripted } from '../fixtures/http/scripted-host.js';

async function check(spec: RemoteSseSpec) {
  await using gateway = createGateway({ servers: [{ id: 'vendor', runtime: { type: 'remote-sse', ...spec } }] });
  const [checked] = await gateway.check();
  return { ok: checked?.ok, problem: checked?.problems.join() ?? '' };
}

/** At one of the ports that fetch() refuses, whichever nobody has. */
async function listenAtForbiddenPort() {
  for (const port of [10080, 6665, 6666, 6667, 6668, 6669, 6697, 6566]) {
    const server = createServer((_, response) => response.writeHead(405).end()).listen(port, '127.0.0.1');
    if (await once(server, 'listening').catch(() => false)) {
      return { origin: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
    }
  }
  throw new Error('no port is free');
}

describe('check()', () => {
  test.each([200, 204, 301, 307, 400, 404, 405, 406, 415, 429])(
    'status %i: the server can be reached',
    async (status) => {
      await using host = await listenScripted(({ response }) => response.writeHead(status).end());
      expect(await check({ url: host.url })).toEqual({ ok: true, problem: '' });
      // Nothing is begun, and asked once.
      expect(host.steps).toEqual(['GET']);
    },
  );

  test.each([401, 403])('status %i is a state of its own', async (status) => {
    await using host = await listenScripted(({ response }) => response.writeHead(status).end());
    const { ok, problem } = await check({ url: `${host.url}?key=canary` });
    expect(ok).toBe(false);
    expect(problem).toMatch(/is reachable but asks for authorization \(HTTP 40[13]\); set headers\.Authorization/);
    expect(problem).not.toContain('canary');
  });

  test.each([500, 502, 503, 504])('status %i is asked again, twice', async (status) => {
    await using host = await listenScripted(({ response }) => response.writeHead(status).end());
    const { ok, problem } = await check({ url: host.url });
    expect({ ok, problem }).toEqual({ ok: false, problem: expect.stringContaining(`answers HTTP ${status}`) });
    expect(host.steps).toEqual(['GET', 'GET', 'GET']);
  });

  test('a port that browsers do not go to is one like any other', async () => {
    await using host = await listenAtForbiddenPort();
    expect(await check({ url: `${host.origin}/mcp` })).toEqual({ ok: true, problem: '' });
  });

  test('a failure that passes is none', async () => {
    let tries = 0;
    await using host = await listenScripted(({ response }) => {
      tries += 1;
      response.writeHead(tries === 1 ? 503 : 200).end();
    });
    expect(await check({ url: host.url })).toEqual({ ok: true, problem: '' });
    expect(tries).toBe(2);
  });

  test('a stream that the server opens for it is closed', async () => {
    const closed = Promise.withResolvers<void>();
    await using host = await listen((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hello\n\n');
      response.once('close', () => closed.resolve());
    });
    expect(await check({ url: `${host.origin}/mcp` })).toEqual({ ok: true, problem: '' });
    await closed.promise;
  });

  test('over HTTP+SSE no session is begun for it', async () => {
    await using host = await listenScripted(({ response }) => response.writeHead(204).end());
    expect(await check({ url: host.url, transport: 'sse' })).toEqual({ ok: true, problem: '' });
    expect(host.steps).toEqual(['OPTIONS']);
  });

  test('it brings the headers of the catalog, and the token of the host', async () => {
    await using host = await listenScripted(({ response }) => response.writeHead(405).end());
    await check({ url: host.url, headers: { 'X-Tenant': 'a', Authorization: 'Bearer b' } });
    expect(host.seen[0]?.headers).toMatchObject({ 'x-tenant': 'a', authorization: 'Bearer b' });
  });

  test('a server that wants a token, and a host that has none yet', async () => {
    await using host = await listenOAuth();
    const runtime = new RemoteSseRuntime({ authProvider: () => new MemoryProvider() });
    const checked = await runtime.check({ url: host.url }, createRuntimeContext({ server: 'vendor' }));
    expect(checked).toMatchObject({
      ok: false,
      problems: [expect.stringContaining('asks for authorization (HTTP 401)')],
    });
    await runtime.close();
  });

  test('nobody listens', async () => {
    const host = await listen(() => {});
    await host.close();
    const { ok, problem } = await check({ url: `${host.origin}/mcp` });
    expect(ok).toBe(false);
    expect(problem).toMatch(/cannot be reached: nobody listens at/);
  });

  test('a server that does not answer: it ends with its signal', async () => {
    const asked = Promise.withResolvers<void>();
    await using host = await listen(() => asked.resolve());
    const runtime = new RemoteSseRuntime();
    const stop = new AbortController();
    const checked = runtime
      .check({ url: `${host.origin}/mcp` }, createRuntimeContext({ signal: stop.signal }))
      .catch((error: unknown) => error);
    await asked.promise;
    stop.abort('enough');
    expect(await checked).toBe('enough');
    await runtime.close();
  });

  test.each(['headers', 'tokens'])('%s that the host never gives: it ends with its signal', async (what) => {
    const asked = Promise.withResolvers<void>();
    const never = () => {
      asked.resolve();
      return new Promise<never>(() => {});
    };
    const runtime = new RemoteSseRuntime(
      what === 'headers' ? { headers: never } : { authProvider: () => ({ tokens: never }) as never },
    );
    const stop = new AbortController();
    const context = createRuntimeContext({ signal: stop.signal });
    const checked = runtime.check({ url: 'http://127.0.0.1:9/mcp' }, context).catch((error: unknown) => error);
    await asked.promise;
    stop.abort('enough');
    expect(await checked).toBe('enough');
    await runtime.close();
  });

  test('a server that does not answer: told after its time', { timeout: 120_000 }, async () => {
    await using host = await listen(() => {});
    const { ok, problem } = await check({ url: `${host.origin}/mcp` });
    expect({ ok, problem }).toEqual({ ok: false, problem: expect.stringMatching(/no answer within \d+ ms/) });
  });
});
