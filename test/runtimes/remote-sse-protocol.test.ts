import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type RemoteSseOptions, RemoteSseRuntime } from '../../src/index.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { Peer } from '../../src/testing/peer.js';
import { event, initializeResult, type Message, sendJson, startEvents, textResult } from '../fixtures/http/listen.js';
import { type Asked, listenScripted, type Script, sessionId } from '../fixtures/http/scripted-host.js';
import { Session, textOf } from '../fixtures/http/session.js';
import { FakeClock, settle } from '../support/fake-clock.js';

/** A transport past any gateway, after the handshake. */
async function open(url: string, clock?: FakeClock, options: RemoteSseOptions = {}) {
  const runtime = new RemoteSseRuntime(options);
  const context = createRuntimeContext({ server: 'vendor', ...(clock && { clock }) });
  const transport = await runtime.open({ url, transport: 'streamable-http' }, context);
  const peer = new Peer(transport, 60_000);
  await peer.begin();
  return {
    peer,
    transport,
    async [Symbol.asyncDispose]() {
      await peer.close();
      await runtime.close();
    },
  };
}

/** Takes the calls of tools out of a script, one after the other. */
function calls() {
  const came: Asked[] = [];
  let wake = () => {};
  const script: Script = (asked) => {
    if (asked.message?.method !== 'tools/call') return false;
    came.push(asked);
    wake();
    return true;
  };
  const take = async (count: number): Promise<Asked[]> => {
    while (came.length < count) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return came.splice(0, count);
  };
  return { script, take };
}

describe('what comes on the answer to a request belongs to it', () => {
  const progress = (token: number) => ({
    jsonrpc: '2.0',
    method: 'notifications/progress',
    params: { progressToken: token, progress: 1 },
  });
  const question = (id: string) => ({ jsonrpc: '2.0', id, method: 'sampling/createMessage', params: { id } });

  test('progress and requests of the server, of two calls at once and of none', async () => {
    const { script, take } = calls();
    const listening = Promise.withResolvers<Asked>();
    await using host = await listenScripted((asked) =>
      asked.method === 'GET' ? listening.resolve(asked) : script(asked),
    );
    await using session = new Session({ url: host.url });
    await session.begin();
    const ids = [1, 2].map((token) => session.ask('tools/call', { name: 'search', _meta: { progressToken: token } }));
    const both = await take(2);
    for (const { response, message } of both) {
      const token = Number(message?.params?._meta?.progressToken);
      startEvents(response);
      response.write(event(progress(token)) + event(question(`question-${token}`)));
    }
    const { response: stream } = await listening.promise;
    startEvents(stream);
    stream.write(event(question('of none')));
    await session.until('all of it', () => session.received.length === 5);
    const of = (related: unknown) =>
      session.received
        .filter(({ extra }) => (extra as { relatedRequestId?: unknown } | undefined)?.relatedRequestId === related)
        .map(({ message }) => ('id' in message ? message.id : (message as Message).params?.progressToken));
    expect(of(ids[0])).toEqual([1, 'question-1']);
    expect(of(ids[1])).toEqual([2, 'question-2']);
    expect(of(undefined)).toEqual(['of none']);
    for (const { response, message } of both) response.end(event(textResult(message?.id, 'done')));
    for (const id of ids) expect(textOf(await session.answerOf(id))).toBe('done');
  });

  test('what the client answers is posted, with the session', async () => {
    const { script, take } = calls();
    await using host = await listenScripted(script);
    await using session = new Session({ url: host.url });
    await session.begin();
    const id = session.ask('tools/call', { name: 'search' });
    const [call] = await take(1);
    startEvents(call?.response as never);
    call?.response.write(event(question('q')));
    await session.until('the question', () => session.received.length === 1);
    await session.transport.send({ jsonrpc: '2.0', id: 'q', result: { role: 'assistant' } } as never);
    const answer = host.seen.at(-1);
    expect(answer?.message).toEqual({ jsonrpc: '2.0', id: 'q', result: { role: 'assistant' } });
    expect(answer?.headers['mcp-session-id']).toBe(sessionId);
    call?.response.end(event(textResult(call.message?.id, 'done')));
    await session.answerOf(id);
  });
});

describe('a request that the client cancels', () => {
  test.each(['before its answer begins', 'while its stream is open'])(
    '%s: the server is told, and its stream is closed',
    async (when) => {
      const { script, take } = calls();
      await using host = await listenScripted(script);
      await using opened = await open(host.url);
      const { peer, transport } = opened;
      const sent = transport.send({ jsonrpc: '2.0', id: 40, method: 'tools/call', params: { name: 'search' } });
      const [call] = await take(1);
      if (when.startsWith('while')) startEvents(call?.response as never);
      await transport.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 40 } });
      // Over by itself: nobody waits for an answer.
      await sent;
      await call?.closed;
      expect(host.steps.at(-1)).toBe('notifications/cancelled');
      expect(host.seen.at(-1)?.headers['mcp-session-id']).toBe(sessionId);
      expect(await peer.request('ping')).toMatchObject({ result: {} });
      expect(peer.errors).toEqual([]);
    },
    30_000,
  );

  test('an answer that comes all the same comes once at most', async () => {
    const { script, take } = calls();
    await using host = await listenScripted((asked) => {
      if (asked.message?.method !== 'notifications/cancelled') return script(asked);
      void answerFirst(asked);
    });
    const answerFirst = async ({ response }: Asked) => {
      const [call] = await take(1);
      startEvents(call?.response as never);
      call?.response.end(event(textResult(call.message?.id, 'late')));
      response.writeHead(202).end();
    };
    await using opened = await open(host.url);
    const { peer, transport } = opened;
    const sent = transport.send({ jsonrpc: '2.0', id: 41, method: 'tools/call', params: { name: 'search' } });
    while (host.count('tools/call') === 0) await settle();
    await transport.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 41 } });
    await sent;
    // It may have come before the cancellation was acknowledged; never twice.
    expect(peer.messages.length).toBeLessThanOrEqual(1);
  });
});

describe('what a server forgets to end', () => {
  /** Begins its answers well, and never ends them. */
  const forgetful: Script = ({ message, response }) => {
    if (message?.method === 'notifications/initialized') {
      response.writeHead(202, { 'content-type': 'text/plain' }).write('Acc');
      return true;
    }
    if (message?.method !== 'tools/call') return false;
    startEvents(response);
    response.write(event(textResult(message.id, 'done')));
    return true;
  };

  async function begin(clock: FakeClock) {
    const closed: Promise<void>[] = [];
    const host = await listenScripted((asked) => {
      const taken = forgetful(asked);
      if (taken !== false) closed.push(asked.closed);
      return taken;
    });
    const opened = await open(host.url, clock);
    expect(await opened.peer.call('search')).toBe('done');
    expect(closed).toHaveLength(2);
    return { host, opened, closed };
  }

  test('is closed after a while', async () => {
    const clock = new FakeClock();
    const { host, opened, closed } = await begin(clock);
    await using _host = host;
    await using _opened = opened;
    expect(clock.waiting).toBe(2);
    await clock.advance(5_000);
    await Promise.all(closed);
    expect(clock.waiting).toBe(0);
    expect(await opened.peer.call('search')).toBe('done');
    expect(opened.peer.errors).toEqual([]);
  });

  test('is closed with the transport', async () => {
    const clock = new FakeClock();
    const { host, opened, closed } = await begin(clock);
    await using _host = host;
    await using _opened = opened;
    await opened.peer.close();
    await Promise.all(closed);
    expect(clock.waiting).toBe(0);
  });
});

describe('order', () => {
  test('a notification is acknowledged before what was sent after it goes out', async () => {
    const held = Promise.withResolvers<Asked>();
    await using host = await listenScripted((asked) =>
      asked.message?.method === 'notifications/roots/list_changed' ? held.resolve(asked) : false,
    );
    await using session = new Session({ url: host.url });
    await session.begin();
    const notified = session.notify('notifications/roots/list_changed');
    const id = session.ask('tools/call', { name: 'search' });
    const { response } = await held.promise;
    for (let turn = 0; turn < 20; turn += 1) await settle();
    expect(host.count('tools/call')).toBe(0);
    response.writeHead(202).end();
    await notified;
    expect(textOf(await session.answerOf(id))).toBe('search');
  });

  test('a refusal of a notification whose body never ends holds up what was sent after it for a few seconds', async () => {
    const refused = Promise.withResolvers<Asked>();
    await using host = await listenScripted((asked) => {
      if (asked.message?.method !== 'notifications/progress') return false;
      asked.response.writeHead(500).write('the beginning of');
      refused.resolve(asked);
      return true;
    });
    const clock = new FakeClock();
    await using opened = await open(host.url, clock);
    const { peer, transport } = opened;
    const params = { progressToken: 1, progress: 1 };
    const notified = transport.send({ jsonrpc: '2.0', method: 'notifications/progress', params });
    let isOver = false;
    const failure = notified
      .catch((error: unknown) => error)
      .finally(() => {
        isOver = true;
      });
    const called = peer.call('search');
    const { closed } = await refused.promise;
    while (!isOver) {
      await settle();
      await clock.advance(100);
    }
    expect(await failure).toMatchObject({ code: 'HTTP_STATUS', status: 500 });
    expect(await called).toBe('search');
    await closed;
  });
});

describe('the end of a session', () => {
  test('is told to the server, with its id, and waits for no server that does not answer', async () => {
    const asked = Promise.withResolvers<Asked>();
    await using host = await listenScripted((given) => (given.method === 'DELETE' ? asked.resolve(given) : false));
    const clock = new FakeClock();
    await using opened = await open(host.url, clock);
    opened.transport.setProtocolVersion?.('2025-11-25');
    const closing = opened.peer.close();
    const { headers, closed } = await asked.promise;
    expect(headers).toMatchObject({ 'mcp-session-id': sessionId, 'mcp-protocol-version': '2025-11-25' });
    await clock.advance(2_000);
    await closing;
    // The request has gone with it.
    await closed;
    expect(opened.peer.closes).toBe(1);
    expect(clock.waiting).toBe(0);
  });

  /** Closes a transport while its server has yet to say whether it begins a session. */
  async function closeEarly(url: string, clock: FakeClock, asked: Promise<unknown>, options?: RemoteSseOptions) {
    const runtime = new RemoteSseRuntime(options);
    const transport = await runtime.open({ url, transport: 'streamable-http' }, createRuntimeContext({ clock }));
    await transport.start();
    const params = { protocolVersion: '2025-11-25', capabilities: {} };
    const sent = transport.send({ jsonrpc: '2.0', id: 1, method: 'initialize', params });
    const outcome = sent.catch((error: unknown) => error);
    await asked;
    return { runtime, closing: transport.close(), outcome };
  }

  test('is told of a session whose beginning is answered while the connection ends', async () => {
    const asked = Promise.withResolvers<Asked>();
    await using host = await listenScripted((given) => (given.message === undefined ? false : asked.resolve(given)));
    const { runtime, closing, outcome } = await closeEarly(host.url, new FakeClock(), asked.promise);
    const { response, message } = await asked.promise;
    sendJson(response, initializeResult(message as Message), 200, { 'mcp-session-id': sessionId });
    await closing;
    // Its answer is handed to nobody.
    expect(await outcome).toMatchObject({ code: 'TRANSPORT_CLOSED', delivered: 'unknown' });
    expect(host.seen.at(-1)).toMatchObject({ method: 'DELETE', headers: { 'mcp-session-id': sessionId } });
    await runtime.close();
  });

  test('waits for no server that does not say whether a session has begun', async () => {
    const asked = Promise.withResolvers<Asked>();
    await using host = await listenScripted((given) => asked.resolve(given));
    const clock = new FakeClock();
    const { runtime, closing } = await closeEarly(host.url, clock, asked.promise);
    await clock.advance(2_000);
    await closing;
    await (await asked.promise).closed;
    expect(host.steps).toEqual(['initialize']);
    await runtime.close();
  });

  test.each([
    ['an error', 400, {}],
    ['a refusal of access', 401, {}],
    ['a redirect', 307, { location: '/elsewhere' }],
  ])('asks for no session again after %s that comes while the connection ends', async (_what, status, headers) => {
    const asked = Promise.withResolvers<Asked>();
    await using host = await listenScripted((given) => asked.resolve(given));
    const authProvider = () => ({ tokens: () => undefined, clientMetadata: { redirect_uris: [] } }) as never;
    const early = await closeEarly(host.url, new FakeClock(), asked.promise, { authProvider });
    const error = { code: -32_000, message: 'no' };
    sendJson((await asked.promise).response, { jsonrpc: '2.0', id: 1, error }, status, headers);
    await early.closing;
    expect(await early.outcome).toMatchObject({ code: 'TRANSPORT_CLOSED' });
    expect(host.steps).toEqual(['initialize']);
    await early.runtime.close();
  });

  test('waits for no session that the server has not been asked for', async () => {
    const asked = Promise.withResolvers<void>();
    const given = Promise.withResolvers<Record<string, string>>();
    await using host = await listenScripted();
    const headers = () => {
      asked.resolve();
      return given.promise;
    };
    const { runtime, closing } = await closeEarly(host.url, new FakeClock(), asked.promise, { headers });
    await closing;
    given.resolve({});
    await runtime.close();
    expect(host.steps).toEqual([]);
  });

  test('cuts off a notification that is not acknowledged, and what waits behind it', async () => {
    const asked = Promise.withResolvers<Asked>();
    await using host = await listenScripted((given) =>
      given.message?.method === 'notifications/progress' ? asked.resolve(given) : false,
    );
    const clock = new FakeClock();
    await using opened = await open(host.url, clock);
    const { peer, transport } = opened;
    const params = { progressToken: 1, progress: 1 };
    const notified = transport.send({ jsonrpc: '2.0', method: 'notifications/progress', params });
    const called = transport.send({ jsonrpc: '2.0', id: 50, method: 'tools/call', params: { name: 'search' } });
    const outcomes = Promise.allSettled([notified, called]);
    const { closed } = await asked.promise;
    const closing = peer.close();
    while (host.count('DELETE') === 0) await settle();
    // It was given its time.
    await clock.advance(2_000);
    await closing;
    await closed;
    expect(await outcomes).toMatchObject([
      { reason: { code: 'TRANSPORT_CLOSED', delivered: 'unknown' } },
      { reason: { code: 'TRANSPORT_CLOSED', delivered: false } },
    ]);
    expect(host.count('tools/call')).toBe(0);
  });

  test.each(['headers', 'tokens'] as const)('does not wait for %s that the host never gives', async (what) => {
    await using host = await listenScripted(undefined, { withSession: false });
    let isSlow = false;
    const give = async <T>(value: T): Promise<T> => (isSlow ? new Promise<never>(() => {}) : value);
    const provider = { tokens: () => give({ access_token: 'token', token_type: 'Bearer' }) };
    await using opened = await open(
      host.url,
      undefined,
      what === 'headers' ? { headers: () => give({ 'x-key': 'value' }) } : { authProvider: () => provider as never },
    );
    isSlow = true;
    const { peer, transport } = opened;
    const called = transport.send({ jsonrpc: '2.0', id: 51, method: 'tools/call', params: { name: 'search' } });
    const outcome = Promise.allSettled([called]);
    await peer.close();
    expect(await outcome).toMatchObject([{ reason: { code: 'TRANSPORT_CLOSED', delivered: false } }]);
    expect(host.count('tools/call')).toBe(0);
  });

  test.each([404, 405, 500])('a server that refuses that, with %i, is no trouble', async (status) => {
    await using host = await listenScripted(({ method, response }) =>
      method === 'DELETE' ? response.writeHead(status).end() : false,
    );
    await using opened = await open(host.url);
    await opened.peer.close();
    expect(host.count('DELETE')).toBe(1);
    expect(opened.peer.errors).toEqual([]);
  });

  test('a server that cuts the connection then, as an idle one, is told once more', async () => {
    let isCut = false;
    await using host = await listenScripted(({ method, response }) => {
      if (method !== 'DELETE') return false;
      isCut ? response.writeHead(200).end() : response.socket?.destroy();
      isCut = true;
      return true;
    });
    await using opened = await open(host.url);
    await opened.peer.close();
    expect(host.count('DELETE')).toBe(2);
    expect(opened.peer.errors).toEqual([]);
  });

  test('a server that cuts it each time is told twice, and is no trouble', async () => {
    await using host = await listenScripted(({ method, response }) =>
      method === 'DELETE' ? response.socket?.destroy() : false,
    );
    await using opened = await open(host.url);
    await opened.peer.close();
    expect(host.count('DELETE')).toBe(2);
    expect(opened.peer.errors).toEqual([]);
  });

  test('without a session there is nothing to tell', async () => {
    await using host = await listenScripted(undefined, { withSession: false });
    await using opened = await open(host.url);
    await opened.peer.call('search');
    await opened.peer.close();
    expect(host.count('DELETE')).toBe(0);
  });

  test.each(['', 'two words', 'ünicode', 'x'.repeat(2_000)])(
    'an id that no header may hold is not used: %j',
    async (id) => {
      await using host = await listenScripted(({ message, response }) => {
        if (message?.method !== 'initialize') return false;
        const result = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'x', version: '1' } };
        sendJson(response, { jsonrpc: '2.0', id: message.id, result }, 200, {
          'mcp-session-id': Buffer.from(id).toString('latin1'),
        });
      });
      await using opened = await open(host.url);
      expect(await opened.peer.call('search')).toBe('search');
      expect(host.seen.every(({ headers }) => headers['mcp-session-id'] === undefined)).toBe(true);
      expect(opened.peer.errors).toMatchObject([{ code: 'ANSWER_INVALID' }]);
    },
  );
});

describe('a stream that is silent for an hour', () => {
  // The clock of everything below, undici's time-outs included, which keep one timer for all of them.
  beforeAll(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance', 'Date'] });
  });
  afterAll(() => void vi.useRealTimers());

  test.each(['of what belongs to no request', 'of an answer', 'of HTTP+SSE'])('%s stays open', async (which) => {
    const stream = Promise.withResolvers<Asked>();
    const { script, take } = calls();
    await using host = await listenScripted((asked) => {
      if (asked.method === 'GET') {
        startEvents(asked.response);
        if (which === 'of HTTP+SSE') asked.response.write(event('/messages', { type: 'endpoint' }));
        stream.resolve(asked);
        return true;
      }
      return script(asked);
    });
    const runtime = new RemoteSseRuntime();
    const transport = await runtime.open(
      { url: host.url, transport: which === 'of HTTP+SSE' ? 'sse' : 'streamable-http' },
      createRuntimeContext(),
    );
    const errors: unknown[] = [];
    const messages: unknown[] = [];
    let wake = () => {};
    transport.onerror = (error) => errors.push(error);
    transport.onclose = () => errors.push('closed');
    transport.onmessage = (message) => {
      messages.push(message);
      wake();
    };
    await transport.start();
    if (which !== 'of HTTP+SSE') {
      await transport.send({ jsonrpc: '2.0', id: 0, method: 'initialize', params: {} });
      await transport.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
    }
    let { response } = await stream.promise;
    let sent: Promise<void> | undefined;
    if (which === 'of an answer') {
      sent = transport.send({ jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name: 'slow' } });
      const [call] = await take(1);
      response = call?.response as never;
      startEvents(response);
    }
    messages.length = 0;
    for (let minute = 0; minute < 60; minute += 1) {
      for (let second = 0; second < 60; second += 1) vi.advanceTimersByTime(1_000);
      await settle();
    }
    expect(errors).toEqual([]);
    const came = new Promise<void>((resolve) => {
      wake = resolve;
    });
    response.write(
      event(which === 'of an answer' ? textResult(7, 'late') : { jsonrpc: '2.0', method: 'notifications/x' }),
    );
    await came;
    expect(messages).toHaveLength(1);
    await transport.close();
    await sent?.catch(() => {});
    await runtime.close();
  });
});

test('messages that an older server refuses at once lead to one stream of HTTP+SSE, and all are answered', async () => {
  let stream: Asked | undefined;
  const refused: Asked[] = [];
  await using host = await listenScripted((asked) => {
    const { method, path, response, message } = asked;
    if (method === 'GET') {
      stream = asked;
      startEvents(response);
      response.write(event('/messages', { type: 'endpoint' }));
    } else if (path === '/messages') {
      response.writeHead(202).end();
      stream?.response.write(event(textResult(message?.id, String(message?.params?.name)), { type: 'message' }));
    } else {
      refused.push(asked);
      // All at once, so that none finds the other way already taken.
      if (refused.length === 3) for (const each of refused) each.response.writeHead(405).end();
    }
  });
  const runtime = new RemoteSseRuntime();
  const transport = await runtime.open({ url: host.url }, createRuntimeContext({ server: 'vendor' }));
  const peer = new Peer(transport, 60_000);
  await peer.start();
  expect(await Promise.all(['a', 'b', 'c'].map((name) => peer.call(name)))).toEqual(['a', 'b', 'c']);
  expect(await peer.call('d')).toBe('d');
  expect(host.count('GET')).toBe(1);
  expect(host.count('tools/call')).toBe(7);
  await peer.close();
  await runtime.close();
});

describe('a server that writes the number of a request as a text', () => {
  const asText = ({ message }: Asked) => String(message?.id);

  test('is understood, as JSON and on a stream', async () => {
    await using host = await listenScripted((asked) => {
      const { message, response } = asked;
      if (message?.method !== 'tools/call') return false;
      const answer = textResult(asText(asked), String(message.params?.name));
      if (message.params?.name === 'json') {
        sendJson(response, answer);
      } else {
        startEvents(response);
        response.end(event(answer));
      }
      return true;
    });
    await using opened = await open(host.url);
    expect(await opened.peer.call('json')).toBe('json');
    expect(await opened.peer.call('stream')).toBe('stream');
  });

  test('has not forgotten the session when it refuses a request with 404', async () => {
    const error = { code: -32601, message: 'no such method' };
    await using host = await listenScripted((asked) => {
      if (asked.message?.method !== 'tools/call') return false;
      sendJson(asked.response, { jsonrpc: '2.0', id: asText(asked), error }, 404);
      return true;
    });
    await using opened = await open(host.url);
    await opened.transport.send({ jsonrpc: '2.0', id: 41, method: 'tools/call', params: { name: 'none' } });
    expect(opened.peer.messages.at(-1)).toEqual({ jsonrpc: '2.0', id: 41, error });
  });
});
