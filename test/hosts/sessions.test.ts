import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { describe, expect, test, vi } from 'vitest';
import {
  createGateway,
  createNodeSessions,
  createWebSessions,
  GatewayError,
  type SessionTransportSettings,
} from '../../src/index.js';
import type { Transport } from '../../src/sdk.js';
import { createConformanceServer } from '../fixtures/conformance/server.js';
import { listen } from '../fixtures/http/listen.js';
import { FakeClock, settle } from '../support/fake-clock.js';
import { createHttpHost, type HttpHost, type HttpHostOptions, type Serve, transportKinds } from './http-host.js';
import { answerTo, begin, initialize, open, send } from './raw-client.js';

const serveFixture: Serve = (transport) => createConformanceServer().connect(transport);
const ping = { jsonrpc: '2.0', id: 2, method: 'ping' };

/** Waits until `condition` holds: what a closed socket leads to has no event that a client could see. */
const until = (condition: () => boolean) => vi.waitFor(() => expect(condition()).toBe(true), { timeout: 60_000 });

/** Waits until all but so many requests have come to their end on the side of the host. */
async function quiet(host: HttpHost, but = 0): Promise<void> {
  await until(() => host.openRequests === but);
  await settle();
}

test.each([null, false, ''])('a host whose authenticate says %j knows nobody', async (nobody) => {
  const serve = vi.fn(serveFixture);
  await using host = await createHttpHost(serve, { authenticate: () => nobody as unknown as undefined });
  expect(await send(host.url, initialize)).toMatchObject({ status: 401, reason: 'unauthenticated' });
  expect(serve).not.toHaveBeenCalled();
});

test('sessions for the web answer a request whose body the host has read', async () => {
  const onError = vi.fn();
  const create = () => expect.unreachable();
  const sessions = createWebSessions(create, create, { onError });
  const headers = { 'content-type': 'application/json' };
  const request = new Request('http://localhost/mcp', { method: 'POST', headers, body: '{}' });
  await request.json();
  const response = await sessions.handle(request);
  expect([response.status, await response.json()]).toMatchObject([500, { error: { data: { reason: 'failed' } } }]);
  expect(onError).toHaveBeenCalledWith(
    expect.objectContaining({ message: expect.stringContaining('has read the body') }),
  );
});

test('sessions for node say that the host has read a body, and do not wait for one that was cut off', async () => {
  const onError = vi.fn();
  const admitted = Promise.withResolvers<void>();
  const clientLeft = Promise.withResolvers<void>();
  await using sessions = createNodeSessions(() => expect.unreachable(), {
    onError,
    authenticate: async (request) => {
      if (request.headers['x-wait'] !== undefined) {
        request.once('close', clientLeft.resolve);
        admitted.resolve();
        await clientLeft.promise;
      }
      return {};
    },
  });
  const handled: Promise<void>[] = [];
  const server = createServer(async (request, response) => {
    request.headers['x-wait'] === undefined && (await text(request));
    handled.push(sessions.handle(request, response));
  });
  await using listening = await listen(server);
  expect(await send(`${listening.origin}/mcp`, initialize)).toMatchObject({
    status: 500,
    message: expect.stringContaining('has read the body'),
  });
  expect(onError).toHaveBeenCalledOnce();
  const leaving = open(`${listening.origin}/mcp`, 'POST', { 'x-wait': '1', 'content-length': 10 });
  leaving.write('{');
  await admitted.promise;
  leaving.destroy();
  // Long before the time of the body is up.
  await handled[1];
  expect(onError).toHaveBeenCalledOnce();
});

test('a session is over with its transport although an onclose that the host had set on that throws', async () => {
  const create = (settings: SessionTransportSettings) =>
    Object.assign(new StreamableHTTPServerTransport(settings), {
      onclose() {
        throw new Error('the onclose of the host');
      },
    });
  await using gateway = createGateway({ servers: [] });
  await using sessions = createNodeSessions(create, (transport, caller) => gateway.serve(transport, { caller }));
  await using listening = await listen(createServer((request, response) => void sessions.handle(request, response)));
  const url = `${listening.origin}/mcp`;
  const id = await begin(url);
  expect(sessions.size).toBe(1);
  await send(url, undefined, { method: 'DELETE', 'mcp-session-id': id });
  expect(sessions.size).toBe(0);
});

test('an answer is 200 although a framework has set another status before, as Koa and NestJS do', async () => {
  await using sessions = createNodeSessions(serveFixture);
  await using listening = await listen(
    createServer((request, response) => {
      response.statusCode = 404;
      void sessions.handle(request, response);
    }),
  );
  const url = `${listening.origin}/mcp`;
  const session = await begin(url);
  expect(await send(url, ping, { 'mcp-session-id': session })).toMatchObject({ status: 200 });
});

test('a session goes on where a framework has put in place a writeHead that returns nothing, as restify does', async () => {
  await using sessions = createNodeSessions(serveFixture);
  await using listening = await listen(
    createServer((request, response) => {
      const { writeHead } = response;
      response.writeHead = (...head) => void writeHead.apply(response, head as never) as never;
      void sessions.handle(request, response);
    }),
  );
  const url = `${listening.origin}/mcp`;
  const session = { 'mcp-session-id': await begin(url) };
  const initialized = { jsonrpc: '2.0', method: 'notifications/initialized' };
  expect(await send(url, initialized, session)).toMatchObject({ status: 202 });
  const stream = open(url, 'GET', session).end();
  const [head] = (await once(stream, 'response')) as [IncomingMessage];
  expect(head.headers['content-type']).toBe('text/event-stream');
  expect(await send(url, undefined, { ...session, method: 'DELETE' })).toMatchObject({ status: 200 });
  expect(await text(head)).toBe('');
});

test('a request is handled when its response has ended, and not before: h3 ends it then', async () => {
  const handled: string[] = [];
  await using sessions = createNodeSessions(serveFixture);
  await using listening = await listen(
    createServer(async (request, response) => {
      await sessions.handle(request, response);
      handled.push(`${request.method} ${response.writableFinished}`);
      response.end();
    }),
  );
  const url = `${listening.origin}/mcp`;
  const session = { 'mcp-session-id': await begin(url) };
  const stream = open(url, 'GET', session).end();
  const [head] = (await once(stream, 'response')) as [IncomingMessage];
  expect(await send(url, ping, session)).toMatchObject({ status: 200 });
  expect(await send(url, undefined, { ...session, method: 'DELETE' })).toMatchObject({ status: 200 });
  await text(head);
  await until(() => handled.length === 4);
  expect(handled.toSorted()).toEqual(['DELETE true', 'GET true', 'POST true', 'POST true']);
});

test('what a host has set on a response comes with it: pages of other sites read nothing without', async () => {
  const origin = 'https://app.example.com';
  await using sessions = createNodeSessions(serveFixture, { origins: [origin] });
  await using listening = await listen(
    createServer((request, response) => {
      response.setHeader('access-control-allow-origin', origin);
      void sessions.handle(request, response);
    }),
  );
  const url = `${listening.origin}/mcp`;
  const session = { origin, 'mcp-session-id': await begin(url, { origin }) };
  const stream = open(url, 'GET', session).end();
  const [head] = (await once(stream, 'response')) as [IncomingMessage];
  const answers = [
    { status: head.statusCode, headers: head.headers },
    await send(url, ping, session),
    await send(url, { jsonrpc: '2.0', method: 'notifications/initialized' }, session),
    await send(url, ping, { ...session, 'mcp-session-id': 'unknown' }),
    await send(url, undefined, { ...session, method: 'DELETE' }),
  ];
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 202, 404, 200]);
  for (const { headers } of answers) expect(headers['access-control-allow-origin']).toBe(origin);
});

test('a response that the host begins or ends itself costs its request alone', async () => {
  const clock = new FakeClock();
  let session: Transport | undefined;
  await using sessions = createNodeSessions(
    async (transport, caller) => {
      await serveFixture(transport, caller);
      session = transport;
    },
    { clock },
  );
  const responses = new Map<unknown, ServerResponse>();
  await using listening = await listen(
    createServer((request, response) => {
      responses.set(request.headers['x-name'], response);
      void sessions.handle(request, response);
    }),
  );
  const url = `${listening.origin}/mcp`;
  const headers = { 'mcp-session-id': await begin(url) };
  const transport = session as unknown as Transport;
  const taken: unknown[] = [];
  transport.onmessage = (message) => void taken.push(message);
  const ask = async (id: string) => {
    const outgoing = open(url, 'POST', { ...headers, 'x-name': id });
    outgoing.on('response', (incoming) => incoming.resume());
    const ended = new Promise((resolve) => outgoing.on('close', resolve));
    outgoing.end(JSON.stringify({ ...ping, id }));
    const count = taken.length;
    await until(() => taken.length > count);
    return { response: responses.get(id) as ServerResponse, ended };
  };
  const progress = {
    jsonrpc: '2.0',
    method: 'notifications/progress',
    params: { progressToken: 1, progress: 1 },
  } as const;
  const answer = (id: string) => transport.send({ jsonrpc: '2.0', id, result: {} });

  const begun = await ask('begun');
  begun.response.write(' ');
  await answer('begun');
  await begun.ended;

  const late = await ask('late');
  late.response.write(' ');
  await clock.advance(5_000);
  await late.ended;

  const ended = await ask('ended');
  ended.response.end();
  await answer('ended');
  await ended.ended;

  const events = await ask('events');
  await transport.send(progress, { relatedRequestId: 'events' });
  events.response.end();
  await answer('events');
  await events.ended;
});

test('no session is left of an initialize whose response the host has begun itself', async () => {
  await using sessions = createNodeSessions(serveFixture, { onError: () => {} });
  await using listening = await listen(
    createServer((request, response) => {
      response.write(' ');
      void sessions.handle(request, response);
    }),
  );
  await expect(begin(`${listening.origin}/mcp`)).rejects.toThrow();
  await until(() => sessions.size === 0);
});

test.each(['at once', 'late'])(
  'a request that waits for its turn on a connection leaves with it, handed over %s',
  async (when) => {
    const clock = new FakeClock();
    await using sessions = createNodeSessions(serveFixture, { clock });
    const connectionEnded = Promise.withResolvers<void>();
    const queued = Promise.withResolvers<void>();
    const handled: Promise<void>[] = [];
    await using listening = await listen(
      createServer(async (request, response) => {
        request.socket.once('close', connectionEnded.resolve);
        if (response.socket === null) {
          // As older versions of Node have it: such a response is told of nothing.
          response.destroy = () => response;
          queued.resolve();
          if (when === 'late') await connectionEnded.promise;
        }
        handled.push(sessions.handle(request, response));
      }),
    );
    const session = await begin(`${listening.origin}/mcp`);
    const { port } = new URL(listening.origin);
    const client = connect(Number(port), '127.0.0.1');
    const head = (method: string) =>
      `${method} /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: ${session}\r\nAccept: application/json, text/event-stream\r\n`;
    const body = JSON.stringify(ping);
    client.write(`${head('GET')}\r\n`);
    client.write(`${head('POST')}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await queued.promise;
    if (when === 'at once') await until(() => handled.length === 3);
    await settle();
    client.destroy();
    await until(() => handled.length === 3);
    await connectionEnded.promise;
    await Promise.all(handled);
    await clock.advance(30_000);
    expect(sessions.size).toBe(0);
    expect(clock.waiting).toBe(0);
  },
);

test('a request that is given up while it waits for its turn leaves with its connection', async () => {
  const clock = new FakeClock();
  let flood = () => {};
  await using sessions = createNodeSessions(
    async (transport, caller) => {
      await serveFixture(transport as never, caller);
      flood = () => {
        for (let count = 0; count < 20; count += 1) {
          const params = { level: 'info', data: 'x'.repeat(1024 * 1024) };
          void transport.send({ jsonrpc: '2.0', method: 'notifications/message', params });
        }
      };
    },
    { clock },
  );
  const queued = Promise.withResolvers<ServerResponse>();
  await using listening = await listen(
    createServer((request, response) => {
      if (response.socket === null) {
        // As older versions of Node have it: nothing is told of it.
        response.destroy = () => Object.assign(response, { destroyed: true });
        queued.resolve(response);
      }
      request.url === '/mcp' && void sessions.handle(request, response);
    }),
  );
  const session = await begin(`${listening.origin}/mcp`);
  const client = connect(Number(new URL(listening.origin).port), '127.0.0.1');
  const head = `Host: localhost\r\nMcp-Session-Id: ${session}\r\nAccept: text/event-stream\r\n`;
  client.write(`GET /long HTTP/1.1\r\n${head}\r\nGET /mcp HTTP/1.1\r\n${head}\r\n`);
  const response = await queued.promise;
  await until(() => response.headersSent);
  flood();
  expect(response.destroyed).toBe(true);
  client.destroy();
  await once(response, 'close');
  await clock.advance(30_000);
  expect(sessions.size).toBe(0);
  expect(clock.waiting).toBe(0);
});

describe.each(transportKinds)('sessions with the transport %s', (kind) => {
  const createHost = (serve: Serve = serveFixture, options: HttpHostOptions = {}) =>
    createHttpHost(serve, { kind, ...options });

  test('one that cannot be served is a 500 without inner details, and is not kept', async () => {
    const onError = vi.fn();
    const errors = [
      new Error('password: swordfish'),
      new GatewayError('SERVER_UNKNOWN', 'there are: payroll'),
      new GatewayError('GATEWAY_CLOSED', 'the gateway is closed'),
    ];
    await using host = await createHost(() => Promise.reject(errors[onError.mock.calls.length]), { onError });

    for (const message of ['The host failed', 'The host failed', 'the gateway is closed']) {
      expect(await send(host.url, initialize)).toMatchObject({ status: 500, reason: 'failed', message });
    }
    expect(onError.mock.calls).toEqual(errors.map((error) => [error]));
    expect(host.sessionCount).toBe(0);
  });

  test.each([
    ['another host, as after DNS rebinding', { host: 'evil.example.com' }, 'host'],
    ['another host on our port', { host: 'evil.example.com:80' }, 'host'],
    ['a host whose name begins like ours', { host: 'localhost.evil.example.com' }, 'host'],
    ['another origin', { origin: 'http://evil.example.com' }, 'origin'],
    ['an origin on another port', { origin: 'http://127.0.0.1:1' }, 'origin'],
    ['an origin that is hidden', { origin: 'null' }, 'origin'],
  ])('refuses %s, whatever the method', async (_, headers, reason) => {
    const serve = vi.fn(serveFixture);
    const authenticate = vi.fn(() => ({}));
    await using host = await createHost(serve, { authenticate });
    const id = await begin(host.url);
    serve.mockClear();
    authenticate.mockClear();

    expect(await send(host.url, initialize, headers)).toMatchObject({ status: 403, reason });
    for (const method of ['POST', 'GET', 'DELETE', 'OPTIONS']) {
      const body = method === 'POST' ? ping : undefined;
      expect(await send(host.url, body, { method, 'mcp-session-id': id, ...headers })).toMatchObject({
        status: 403,
        reason,
      });
    }
    expect(serve).not.toHaveBeenCalled();
    expect(authenticate).not.toHaveBeenCalled();
    expect(host.sessionCount).toBe(1);
  });

  test('takes its own pages and the hosts and origins that were named', async () => {
    await using host = await createHost(serveFixture, {
      hosts: ['MCP.example.com', 'localhost'],
      origins: ['https://app.example.com'],
      authenticate: () => ({}),
    });
    const statuses = async (...all: Record<string, string>[]) =>
      Promise.all(all.map(async (headers) => (await send(host.url, initialize, headers)).status));
    expect(
      await statuses(
        { host: 'mcp.example.com' },
        { host: 'mcp.example.com:8443', origin: 'https://mcp.example.com:8443' },
        { host: 'localhost:1', origin: 'https://app.example.com' },
      ),
    ).toEqual([200, 200, 200]);
    expect(
      await statuses({ host: '127.0.0.1' }, { host: 'localhost', origin: 'https://app.example.com.evil.example' }),
    ).toEqual([403, 403]);
  });

  test('takes an empty header for one that is not there, as proxies write it', async () => {
    await using host = await createHost();
    const id = await begin(host.url, { origin: '', 'mcp-session-id': '' });
    expect(await send(host.url, ping, { origin: '', 'mcp-session-id': id })).toMatchObject({ status: 200 });
    const listen = { method: 'GET', 'mcp-session-id': '' };
    expect(await send(host.url, undefined, listen)).toMatchObject({ status: 400, reason: 'session-missing' });
  });

  test('a guessed session id is a 404, and nothing else happens', async () => {
    await using host = await createHost();
    const id = await begin(host.url);
    const guessed = `${id.slice(0, -1)}${id.endsWith('0') ? '1' : '0'}`;
    for (const method of ['POST', 'GET', 'DELETE']) {
      const body = method === 'POST' ? ping : undefined;
      expect(await send(host.url, body, { method, 'mcp-session-id': guessed })).toMatchObject({
        status: 404,
        reason: 'session-unknown',
      });
    }
    expect(await send(host.url, ping, { 'mcp-session-id': id })).toMatchObject({ status: 200 });
    expect(host.sessionCount).toBe(1);
  });

  test('a session belongs to who began it, and others cannot tell that it exists', async () => {
    const callers: Record<string, object> = {
      Ada: { principal: 'ada' },
      Bob: { principal: 'bob' },
      'Ada elsewhere': { principal: 'ada', id: 'phone' },
    };
    const served: unknown[] = [];
    await using host = await createHost(
      (transport, caller) => {
        served.push(caller);
        return serveFixture(transport, caller);
      },
      { authenticate: (authorization) => callers[authorization ?? ''], challenge: 'Bearer realm="test"' },
    );
    expect(await send(host.url, initialize)).toMatchObject({
      status: 401,
      reason: 'unauthenticated',
      headers: { 'www-authenticate': 'Bearer realm="test"' },
    });
    const id = await begin(host.url, { authorization: 'Ada' });
    expect(served).toEqual([{ principal: 'ada' }]);

    const unknown = await send(host.url, ping, { authorization: 'Ada', 'mcp-session-id': 'guessed' });
    for (const authorization of ['Bob', 'Ada elsewhere']) {
      const answer = await send(host.url, ping, { authorization, 'mcp-session-id': id });
      expect(answer).toMatchObject({ status: 404, message: unknown.message });
      const ended = await send(host.url, undefined, { method: 'DELETE', authorization, 'mcp-session-id': id });
      expect(ended).toMatchObject({ status: 404, reason: 'session-unknown' });
    }
    expect(await send(host.url, ping, { 'mcp-session-id': id })).toMatchObject({ status: 401 });
    expect(await send(host.url, ping, { authorization: 'Ada', 'mcp-session-id': id })).toMatchObject({ status: 200 });
  });

  test('an authentication that throws is a 500, and lets nobody in', async () => {
    const onError = vi.fn();
    await using host = await createHost(serveFixture, {
      onError,
      authenticate: () => {
        throw new Error('the directory is down');
      },
    });
    expect(await send(host.url, initialize)).toMatchObject({ status: 500, reason: 'failed' });
    expect(onError).toHaveBeenCalledOnce();
    expect(host.sessionCount).toBe(0);
  });

  test.each([
    ['a first request that is not initialize', ping, {}, 400, 'session-missing'],
    ['a first message that is a notification', { jsonrpc: '2.0', method: 'initialize' }, {}, 400, 'session-missing'],
    ['several messages at once as the first', [initialize], {}, 400, 'session-missing'],
    ['a stream without a session', undefined, { method: 'GET' }, 400, 'session-missing'],
    ['an end without a session', undefined, { method: 'DELETE' }, 400, 'session-missing'],
    ['another method', undefined, { method: 'PUT' }, 405, 'method'],
    ['an initialize request that accepts no stream', initialize, { accept: 'text/plain' }, 406, 'accept'],
    [
      'an initialize request that is no JSON by its type',
      initialize,
      { 'content-type': 'text/plain' },
      415,
      'content-type',
    ],
  ])('refuses %s and keeps no session', async (_, body, headers, status, reason) => {
    await using host = await createHost();
    // The SDK's transports say so in words of their own.
    const isTheirs = kind !== 'ours for node' && (status === 406 || status === 415);
    expect(await send(host.url, body, headers)).toMatchObject({ status, reason: isTheirs ? undefined : reason });
    await until(() => host.sessionCount === 0);
  });

  test.each([
    ['no JSON', '{"jsonrpc":'],
    ['an empty body', ''],
  ])('refuses %s', async (_, text) => {
    await using host = await createHost();
    const outgoing = open(host.url, 'POST');
    const answer = answerTo(outgoing);
    outgoing.end(text);
    expect(await answer).toMatchObject({ status: 400, reason: 'body' });
  });

  test('takes a body that begins with a mark of the order of its bytes, as files of Windows do', async () => {
    await using host = await createHost();
    const outgoing = open(host.url, 'POST');
    const answer = answerTo(outgoing);
    outgoing.end(`\ufeff${JSON.stringify(initialize)}`);
    expect(await answer).toMatchObject({ status: 200 });
  });

  test.each(['declared', 'in chunks'])('refuses a body of 100 MB, %s, holding none of it', async (how) => {
    await using host = await createHost();
    const id = await begin(host.url);
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    const size = 100_000_000;
    const outgoing = open(host.url, 'POST', {
      'mcp-session-id': id,
      ...(how === 'declared' ? { 'content-length': size } : { 'transfer-encoding': 'chunked' }),
    });
    const answer = answerTo(outgoing);
    const part = Buffer.alloc(1_000_000, ' ');
    let answered = false;
    const stop = new AbortController();
    const done = answer.finally(() => {
      answered = true;
      stop.abort();
    });
    // Node's client stops by itself when it has its answer.
    for (let sent = 0; sent < size && !answered; sent += part.length) {
      if (!outgoing.write(part)) {
        await once(outgoing, 'drain', { signal: stop.signal }).catch(() => done);
      }
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    outgoing.end();
    expect(await answer).toMatchObject({ status: 413, reason: 'body-too-large' });
    // 32 MiB are allowed, and were read before it was clear that there are more.
    expect(most).toBeLessThan(80_000_000);
    expect(await send(host.url, ping, { 'mcp-session-id': id })).toMatchObject({ status: 200 });
  });

  test('a body that comes in drops is given up', async () => {
    const clock = new FakeClock();
    await using host = await createHost(serveFixture, { clock, bodyTimeoutMs: 10_000 });
    const id = await begin(host.url);
    const waiting = clock.waiting;
    const outgoing = open(host.url, 'POST', { 'mcp-session-id': id, 'content-length': 1_000 });
    const answer = answerTo(outgoing);
    outgoing.write('{');
    await until(() => clock.waiting > waiting);
    await clock.advance(9_999);
    outgoing.write('"');
    await clock.advance(1);
    expect(await answer).toMatchObject({ status: 408, reason: 'body-timeout' });
    outgoing.destroy();
    expect(await send(host.url, ping, { 'mcp-session-id': id })).toMatchObject({ status: 200 });
  });

  test('a head that comes in drops is given up by the server', async () => {
    await using host = await createHost(serveFixture, {
      server: { headersTimeout: 200, connectionsCheckingInterval: 50 },
    });
    const outgoing = open(host.url, 'POST', { expect: '' });
    const { port } = new URL(host.url);
    const { connect } = await import('node:net');
    const socket = connect(Number(port), '127.0.0.1').setEncoding('latin1');
    socket.write(`POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`);
    const drops = setInterval(() => socket.writable && socket.write('X-Drop: 1\r\n'), 20);
    socket.on('error', () => {});
    const [answer] = await once(socket, 'data');
    clearInterval(drops);
    socket.destroy();
    outgoing.destroy();
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(await send(host.url, initialize)).toMatchObject({ status: 200 });
  });

  test('refuses one session too many, until another one ends', async () => {
    await using host = await createHost(serveFixture, { maxSessions: 2 });
    const [first] = await Promise.all([begin(host.url), begin(host.url)]);
    expect(await send(host.url, initialize)).toMatchObject({
      status: 503,
      reason: 'too-many-sessions',
      headers: { 'retry-after': expect.any(String) },
    });
    expect(await send(host.url, undefined, { method: 'DELETE', 'mcp-session-id': first })).toMatchObject({
      status: 200,
    });
    expect(await send(host.url, initialize)).toMatchObject({ status: 200 });
  });

  test('each initialize request begins one; DELETE ends it and closes its transport', async () => {
    const closed: number[] = [];
    let served = 0;
    await using host = await createHost(async (transport) => {
      const number = ++served;
      const server = createConformanceServer();
      server.onclose = () => closed.push(number);
      await server.connect(transport);
    });
    const transports = [1, 2].map(() => new StreamableHTTPClientTransport(new URL(host.url)));
    for (const transport of transports) await new Client({ name: 'test', version: '1' }).connect(transport);
    expect(host.sessionCount).toBe(2);

    await transports[0]?.terminateSession();
    expect(closed).toEqual([1]);
    expect(host.sessionCount).toBe(1);
    await Promise.all(transports.map((transport) => transport.close()));
  });

  test('the close of the transport by who serves it ends the session', async () => {
    const servers: Server[] = [];
    await using host = await createHost(async (transport) => {
      const server = createConformanceServer();
      servers.push(server);
      await server.connect(transport);
    });
    const id = await begin(host.url);
    await servers[0]?.close();
    expect(host.sessionCount).toBe(0);
    expect(await send(host.url, ping, { 'mcp-session-id': id })).toMatchObject({ status: 404 });
  });

  test('ends after the idle time, not while a stream or a request is open', async () => {
    const clock = new FakeClock();
    const slow = Promise.withResolvers<void>();
    await using host = await createHost(serveSlow(slow.promise), { clock, idleTimeoutMs: 60_000 });
    const id = await begin(host.url);
    await quiet(host);

    const stream = open(host.url, 'GET', { 'mcp-session-id': id });
    stream.on('error', () => {});
    stream.end();
    await once(stream, 'response');
    await clock.advance(600_000);
    expect(host.sessionCount).toBe(1);

    const call = send(host.url, callSlow, { 'mcp-session-id': id });
    await until(() => started > 0);
    stream.destroy();
    await quiet(host, 1);
    await clock.advance(600_000);
    expect(host.sessionCount).toBe(1);

    slow.resolve();
    expect(await call).toMatchObject({ status: 200 });
    await quiet(host);
    await clock.advance(59_999);
    expect(host.sessionCount).toBe(1);
    await clock.advance(1);
    expect(host.sessionCount).toBe(0);
    expect(clock.waiting).toBe(0);
  });

  test('ends some time after the client has gone, unless it comes back', async () => {
    const clock = new FakeClock();
    await using host = await createHost(serveFixture, { clock, disconnectTimeoutMs: 10_000 });
    const id = await begin(host.url);
    const leave = async () => {
      await quiet(host);
      const stream = open(host.url, 'GET', { 'mcp-session-id': id });
      stream.on('error', () => {});
      stream.end();
      const [incoming] = (await once(stream, 'response')) as [IncomingMessage];
      incoming.on('error', () => {});
      stream.destroy();
      await quiet(host);
    };
    await leave();
    await clock.advance(9_000);
    expect(await send(host.url, ping, { 'mcp-session-id': id })).toMatchObject({ status: 200 });
    await quiet(host);
    await clock.advance(200_000);
    expect(host.sessionCount).toBe(1);

    await leave();
    await clock.advance(10_000);
    expect(host.sessionCount).toBe(0);
  });

  test('close lets open requests end, and takes no new ones in the meantime', async () => {
    const slow = Promise.withResolvers<void>();
    await using host = await createHost(serveSlow(slow.promise));
    const id = await begin(host.url);
    const agent = open(host.url, 'POST', { 'mcp-session-id': id });
    const call = answerTo(agent);
    agent.end(JSON.stringify(callSlow));
    await until(() => started > 0);
    // Connections that were there before the server stopped to listen.
    const early = [initialize, ping, [{ jsonrpc: '2.0', method: 'notifications/initialized' }, ping]].map((body) => {
      const outgoing = open(host.url, 'POST', body === initialize ? {} : { 'mcp-session-id': id });
      outgoing.flushHeaders();
      return { outgoing, answer: answerTo(outgoing), body };
    });
    await until(() => host.openRequests === 4);
    const closed = host.close({ graceMs: 60_000 });
    for (const { outgoing, answer, body } of early) {
      outgoing.end(JSON.stringify(body));
      expect(await answer).toMatchObject({ status: 503, reason: 'closing' });
    }
    slow.resolve();
    expect(await call).toMatchObject({ status: 200 });
    await closed;
    expect(host.sessionCount).toBe(0);
  });

  test('close ends sessions whose streams are open, and may be called twice', async () => {
    const ended = vi.fn();
    await using host = await createHost(async (transport) => {
      const server = createConformanceServer();
      server.onclose = ended;
      await server.connect(transport);
    });
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(new StreamableHTTPClientTransport(new URL(host.url)));
    await client.listTools();

    await Promise.all([host.close(), host.close()]);
    expect(ended).toHaveBeenCalledOnce();
    expect(host.sessionCount).toBe(0);
    await expect(fetch(host.url)).rejects.toThrow();
    await client.close();
  });

  test('serves clients of both SDKs at once, each its own session', async () => {
    await using host = await createHost();
    const v1 = new Client({ name: 'test', version: '1' });
    const v2 = new ClientV2({ name: 'test', version: '1' });
    await Promise.all([
      v1.connect(new StreamableHTTPClientTransport(new URL(host.url))),
      v2.connect(new HttpV2(new URL(host.url))),
    ]);
    expect(host.sessionCount).toBe(2);
    const text = { content: [{ type: 'text', text: 'This is a simple text response for testing.' }] };
    expect(await v1.callTool({ name: 'test_simple_text' })).toMatchObject(text);
    expect(await v2.callTool({ name: 'test_simple_text' })).toMatchObject(text);
    await Promise.all([v1.close(), v2.close()]);
  });
});

test('hosts beyond this machine need authentication', () => {
  const create = (options: object) => () =>
    createNodeSessions(
      () => ({}) as never,
      async () => {},
      options,
    );
  expect(create({ hosts: ['localhost', 'mcp.example.com'] })).toThrow(
    expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringContaining('authenticate') }),
  );
  expect(create({ maxSessions: 0 })).toThrow(/maxSessions must be more than 0/);
  expect(create({ hosts: ['LOCALHOST:3000'] })).not.toThrow();
});

const callSlow = { jsonrpc: '2.0', id: 5, method: 'tools/call', params: { name: 'slow' } };
let started = 0;

/** A server whose only tool answers when it is told to. */
function serveSlow(done: Promise<void>): Serve {
  started = 0;
  return (transport) => {
    const server = new McpServer({ name: 'slow', version: '1' });
    server.registerTool('slow', {}, async () => {
      started += 1;
      await done;
      return { content: [] };
    });
    return server.connect(transport);
  };
}
