import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { describe, expect, test } from 'vitest';
import { type RemoteSseOptions, RemoteSseRuntime } from '../../src/runtimes/remote-sse.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { Peer } from '../../src/testing/peer.js';
import { event, sendJson, startEvents, textResult } from '../fixtures/http/listen.js';
import {
  type Asked,
  listenScripted,
  type Script,
  type ScriptedHost,
  sessionId,
} from '../fixtures/http/scripted-host.js';
import { FakeClock, settle } from '../support/fake-clock.js';

/** A transport whose time stands still, after the handshake. */
async function connect(host: ScriptedHost, clock = new FakeClock(), options: RemoteSseOptions = {}) {
  const runtime = new RemoteSseRuntime(options);
  const context = createRuntimeContext({ server: 'vendor', clock });
  const transport = await runtime.open({ url: host.url, transport: 'streamable-http' }, context);
  const peer = new Peer(transport, 60_000);
  await peer.begin();
  return {
    clock,
    peer,
    transport,
    async [Symbol.asyncDispose]() {
      await peer.close();
      await runtime.close();
    },
  };
}

/** Hands what the server is asked to the test, one after the other. */
function scripted(wanted: (asked: Asked) => boolean) {
  const waiting: Asked[] = [];
  let wake = () => {};
  const script: Script = (asked) => {
    if (!wanted(asked)) return false;
    waiting.push(asked);
    wake();
    return true;
  };
  const next = async (): Promise<Asked> => {
    while (waiting.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return waiting.shift() as Asked;
  };
  return { script, next, waiting };
}

const isCall = ({ message }: Asked) => message?.method === 'tools/call';
const isGet = ({ method }: Asked) => method === 'GET';
const isRest = (asked: Asked) => isGet(asked) && asked.headers['last-event-id'] !== undefined;

/** Lets time pass until something that waits has come; tells how long that took. What is under way costs no time. */
async function passUntil<T>(clock: FakeClock, came: Promise<T>, stepMs = 50): Promise<{ value: T; ms: number }> {
  const start = clock.now();
  let done = false;
  const value = came.finally(() => {
    done = true;
  });
  value.catch(() => {});
  while (!done && clock.now() - start < 400_000) {
    await (clock.waiting > 0 ? clock.advance(stepMs) : settle());
  }
  return { value: await value, ms: clock.now() - start };
}

async function cut(response: ServerResponse, text: string, how: 'end' | 'destroy' = 'end'): Promise<void> {
  startEvents(response);
  const gone = once(response, 'close');
  if (how === 'end') response.end(text);
  else response.write(text, () => response.destroy());
  await gone;
}

describe('the answer to a request whose stream broke', () => {
  test.each(['end', 'destroy'] as const)(
    'is taken up from the last event, sent by GET and never by POST again (%s)',
    async (how) => {
      const { script, next } = scripted((asked) => isCall(asked) || isRest(asked));
      await using host = await listenScripted(script);
      await using session = await connect(host);
      const { peer, clock } = session;
      const called = peer.call('search');
      const call = await next();
      const progress = {
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { progressToken: 1, progress: 1, number: 1 },
      };
      await cut(call.response, event(progress, { id: 'one' }) + event('', { id: 'two' }), how);
      const { value: rest } = await passUntil(clock, next());
      expect(rest.headers).toMatchObject({
        'last-event-id': 'two',
        accept: 'text/event-stream',
        'mcp-session-id': sessionId,
      });
      startEvents(rest.response);
      rest.response.end(event(textResult(call.message?.id, 'the rest'), { id: 'three' }));
      expect(await called).toBe('the rest');
      expect(peer.numbers).toEqual([1]);
      expect(host.count('tools/call')).toBe(1);
    },
  );

  test('is not asked for where the server gave no event an id', async () => {
    const { script, next } = scripted((asked) => isCall(asked) || isRest(asked));
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const called = session.peer.call('search');
    called.catch(() => {});
    await cut((await next()).response, event({ jsonrpc: '2.0', method: 'notifications/message', params: {} }));
    await expect(called).rejects.toMatchObject({ code: 'ANSWER_INVALID', server: 'vendor', delivered: 'unknown' });
  });

  test.each([
    ['that are cut', 'CONNECTION_FAILED', /got no whole answer/],
    ['that are refused for now', 'ANSWER_INVALID', /ended the stream before it sent the answer to tools\/call/],
  ])('is given up after five tries in vain, %s', async (how, code, message) => {
    let tries = 0;
    const { script, next } = scripted(isCall);
    await using host = await listenScripted(async (asked) => {
      if (!isRest(asked)) return script(asked);
      tries += 1;
      if (how === 'that are cut') await cut(asked.response, ': hello\n\n', 'destroy');
      else asked.response.writeHead(503).end();
      return true;
    });
    await using session = await connect(host);
    const called = session.peer.call('search').then(
      () => undefined,
      (error: unknown) => error,
    );
    await cut((await next()).response, event('', { id: 'one' }));
    const { value } = await passUntil(session.clock, called, 1_000);
    expect(value).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(tries).toBe(5);
    expect(host.count('tools/call')).toBe(1);
  });

  test.each([
    ['and asks to wait', 'retry: 50\n', 1_300],
    ['and does not say how long to wait', '', 37_600],
  ])('is asked for until it comes where the server ends each stream in good order, %s', async (_how, retry, mostMs) => {
    const { script, next } = scripted((asked) => isCall(asked) || isRest(asked));
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const called = session.peer.call('search');
    const { response, message } = await next();
    await cut(response, `${retry}${event('', { id: 'one' })}`);
    for (let poll = 0; poll < 12; poll++) {
      const { value, ms } = await passUntil(session.clock, next());
      expect(value.headers['last-event-id']).toBe('one');
      expect(ms).toBeLessThanOrEqual(mostMs);
      await cut(value.response, '');
    }
    const { value: last } = await passUntil(session.clock, next());
    startEvents(last.response);
    last.response.end(event(textResult(message?.id, 'at last')));
    expect(await called).toBe('at last');
    expect(host.count('tools/call')).toBe(1);
  });

  test('is given up when the server refuses the rest', async () => {
    const { script, next } = scripted((asked) => isCall(asked) || isRest(asked));
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const called = session.peer.call('search');
    called.catch(() => {});
    await cut((await next()).response, event('', { id: 'one' }));
    const { value: rest } = await passUntil(session.clock, next());
    rest.response.writeHead(405).end();
    await expect(called).rejects.toMatchObject({
      code: 'ANSWER_INVALID',
      message: expect.stringMatching(/its stream ended before the answer, and the rest was refused with HTTP 405/),
    });
  });

  test('costs its request alone when the rest is refused as all that is asked for with GET is', async () => {
    const { script, next } = scripted((asked) => isCall(asked) || isGet(asked));
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const { peer, clock } = session;
    // The stream of the server, which it does not offer.
    sendJson((await next()).response, {}, 404);
    const called = peer.call('search');
    called.catch(() => {});
    await cut((await next()).response, event('', { id: 'one' }));
    const { value: rest } = await passUntil(clock, next());
    sendJson(rest.response, {}, 404);
    await expect(called).rejects.toMatchObject({ code: 'ANSWER_INVALID' });
    const other = peer.call('search');
    const { response, message } = await next();
    sendJson(response, textResult(message?.id, 'alive'));
    expect(await other).toBe('alive');
  });

  test.each([
    [404, 'Not Found'],
    [400, 'Bad Request: No valid session ID provided'],
    [401, 'Unauthorized: Session not found'],
  ])('was lost with the session when the rest is refused with %i "%s"', async (status, message) => {
    const { script, next } = scripted((asked) => isCall(asked) || isRest(asked));
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const { peer, clock } = session;
    const sent = peer.tell('search');
    await cut((await next()).response, event('', { id: 'one' }));
    const { value: rest } = await passUntil(clock, next());
    sendJson(rest.response, { jsonrpc: '2.0', error: { code: -32000, message }, id: null }, status);
    const lost = { code: 'SESSION_LOST', server: 'vendor', status, exit: { reason: 'session-lost' } };
    // The server has had the request itself.
    expect(await sent).toMatchObject({ status: 'rejected', reason: { ...lost, delivered: 'unknown' } });
    expect(await peer.ended()).toMatchObject(lost);
    expect(host.steps).not.toContain('DELETE');
  });

  test.each([
    [400, true, 'Invalid event ID format'],
    [404, false, 'Not Found'],
  ])('ends nothing else when its rest is refused with %i (a session: %s)', async (status, withSession, message) => {
    const { script, next } = scripted((asked) => (isCall(asked) && host.count('tools/call') === 1) || isRest(asked));
    await using host = await listenScripted(script, { withSession });
    await using session = await connect(host);
    const { peer, clock } = session;
    const sent = peer.tell('search');
    await cut((await next()).response, event('', { id: 'one' }));
    const { value: rest } = await passUntil(clock, next());
    sendJson(rest.response, { jsonrpc: '2.0', error: { code: -32000, message }, id: null }, status);
    expect(await sent).toMatchObject({ status: 'rejected', reason: { code: 'ANSWER_INVALID', delivered: 'unknown' } });
    expect(await peer.call('search')).toBe('search');
    expect(peer.errors).toEqual([]);
  });

  test.each([
    ['the server wants authorization for the rest', 'AUTH_REQUIRED'],
    ['the host has no headers for it', 'AUTH_FAILED'],
    ['the transport is closed while the host looks for headers', 'TRANSPORT_CLOSED'],
  ] as const)('may have come, though %s', async (_why, code) => {
    const { script, next } = scripted((asked) => isCall(asked) || isRest(asked));
    await using host = await listenScripted(script, { withSession: false });
    const asked = Promise.withResolvers<void>();
    let hasCalled = false;
    const headers = () => {
      if (!hasCalled || code === 'AUTH_REQUIRED') return {};
      if (code === 'AUTH_FAILED') throw new Error('none');
      asked.resolve();
      return new Promise<never>(() => {});
    };
    await using session = await connect(host, new FakeClock(), { headers });
    const { transport, peer, clock } = session;
    const sent = transport.send({ jsonrpc: '2.0', id: 75, method: 'tools/call', params: { name: 'search' } });
    const failure = sent.catch((error: unknown) => error);
    const call = await next();
    hasCalled = true;
    await cut(call.response, 'id: one\ndata:\n\n');
    if (code === 'AUTH_REQUIRED') {
      (await passUntil(clock, next())).value.response.writeHead(401).end();
    } else if (code === 'TRANSPORT_CLOSED') {
      await passUntil(clock, asked.promise);
      await peer.close();
    }
    // The server has had the request itself.
    expect((await passUntil(clock, failure)).value).toMatchObject({ code, delivered: 'unknown' });
  });

  test('is waited for as long as the server asks, within bounds', async () => {
    const { script, next } = scripted((asked) => isCall(asked) || isRest(asked));
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const called = session.peer.call('search');
    let { response, message } = await next();
    const waits: number[] = [];
    for (const [number, retry] of [5_000, 0, 9_999_999].entries()) {
      await cut(response, `retry: ${retry}\n${event('', { id: `event-${number}` })}`);
      const { value, ms } = await passUntil(session.clock, next(), retry > 5_000 ? 1_000 : 50);
      waits.push(ms);
      ({ response } = value);
      expect(value.headers['last-event-id']).toBe(`event-${number}`);
    }
    startEvents(response);
    response.end(event(textResult(message?.id, 'at last')));
    expect(await called).toBe('at last');
    const [asked, floor, cap] = waits as [number, number, number];
    // A quarter more at most, so that not all clients come at once.
    expect(asked).toBeGreaterThanOrEqual(5_000);
    expect(asked).toBeLessThanOrEqual(6_300);
    expect(floor).toBeGreaterThanOrEqual(200);
    expect(floor).toBeLessThanOrEqual(300);
    expect(cap).toBeGreaterThanOrEqual(300_000);
    expect(cap).toBeLessThanOrEqual(376_000);
  });

  test('is not asked for after the request was cancelled', async () => {
    const { script, next, waiting } = scripted((asked) => isCall(asked) || isRest(asked));
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const { peer, clock } = session;
    const sent = peer.tell('search');
    const call = await next();
    await cut(call.response, event('', { id: 'one' }));
    await peer.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: call.message?.id } });
    expect(await sent).toMatchObject({ status: 'fulfilled' });
    await clock.advance(60_000);
    expect(waiting).toEqual([]);
    expect(host.steps).toContain('notifications/cancelled');
  });

  test('is settled by close() while it waits', async () => {
    const { script, next } = scripted(isCall);
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const sent = session.peer.tell('search');
    await cut((await next()).response, event('', { id: 'one' }));
    await session.peer.close();
    expect(await sent).toMatchObject({
      status: 'rejected',
      reason: { code: 'TRANSPORT_CLOSED', delivered: 'unknown' },
    });
    expect(session.clock.waiting).toBe(0);
  });

  test('comes though what the caller hands in for tokens and for its end throws, which onerror is told', async () => {
    await using host = await listenScripted((asked) => {
      if (!isCall(asked)) return false;
      startEvents(asked.response);
      asked.response.end(event(textResult(asked.message?.id, 'found'), { id: 'one' }));
    });
    await using connected = await connect(host);
    const { peer, transport } = connected;
    const thrown = (what: string) => () => {
      throw new Error(what);
    };
    const options = { onresumptiontoken: thrown('no room for a token'), onRequestStreamEnd: thrown('no end') };
    await transport.send({ jsonrpc: '2.0', id: 60, method: 'tools/call', params: { name: 'search' } }, options);
    await peer.until('both errors', () => peer.errors.length === 2);
    expect(peer.errors.map(({ message }) => message)).toEqual(['no room for a token', 'no end']);
    expect(peer.messages).toMatchObject([{ id: 60, result: {} }]);
    expect(host.steps.filter((step) => step === 'tools/call')).toHaveLength(1);
  });

  test('goes on when the caller hands in a token of an earlier stream', async () => {
    const { script, next } = scripted((asked) => isCall(asked) || isRest(asked));
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const tokens: string[] = [];
    const { transport, peer } = session;
    const first = transport.send(
      { jsonrpc: '2.0', id: 71, method: 'tools/call', params: { name: 'search' } },
      { onresumptiontoken: (token) => tokens.push(token) },
    );
    startEvents((await next()).response);
    first.catch(() => {});
    const second = transport.send(
      { jsonrpc: '2.0', id: 72, method: 'tools/call', params: { name: 'search' } },
      { resumptionToken: 'kept' },
    );
    const rest = await next();
    expect(rest.headers['last-event-id']).toBe('kept');
    startEvents(rest.response);
    rest.response.end(event(textResult(70, 'replayed'), { id: 'later' }));
    await second;
    await peer.until('the answer', () => peer.messages.length > 0);
    // It comes with the id of the request that is waiting.
    expect(peer.messages).toMatchObject([{ id: 72, result: { content: [{ text: 'replayed' }] } }]);
    expect(host.count('tools/call')).toBe(1);
  });
});

describe('the stream for what belongs to no request', () => {
  test('is opened again from its last event, and nothing comes twice', async () => {
    const { script, next } = scripted(isGet);
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const { peer, clock } = session;
    const note = (number: number) => ({ jsonrpc: '2.0', method: 'notifications/reference', params: { number } });
    const first = await next();
    expect(first.headers).toMatchObject({ 'mcp-session-id': sessionId, accept: 'text/event-stream' });
    expect(first.headers['last-event-id']).toBeUndefined();
    await cut(first.response, event(note(1), { id: 'a' }) + event(note(2), { id: 'b' }));
    const { value: second } = await passUntil(clock, next());
    expect(second.headers['last-event-id']).toBe('b');
    startEvents(second.response);
    second.response.write(event(note(3), { id: 'c' }));
    await peer.until('the third', () => peer.numbers.length === 3);
    expect(peer.numbers).toEqual([1, 2, 3]);
    // An empty id says that there is nothing to go on from.
    second.response.end('id:\ndata:\n\n');
    const { value: third } = await passUntil(clock, next());
    expect(third.headers['last-event-id']).toBeUndefined();
  });

  test('asks with the revision that was agreed on, like everything after initialize', async () => {
    const { script, next } = scripted(isGet);
    await using host = await listenScripted(script);
    await using session = await connect(host);
    await next();
    session.transport.setProtocolVersion?.('2025-11-25');
    await session.peer.call('search');
    await session.peer.close();
    const [initialize, ...later] = host.seen;
    expect(initialize?.headers).not.toHaveProperty('mcp-session-id');
    expect(initialize?.headers).not.toHaveProperty('mcp-protocol-version');
    expect(later.length).toBeGreaterThanOrEqual(4);
    for (const { headers } of later) {
      expect(headers).toMatchObject({ 'mcp-session-id': sessionId, 'mcp-protocol-version': '2025-11-25' });
    }
  });

  test.each([405, 404, 400, 501, 200])('need not be offered: %i', async (status) => {
    const { script, next } = scripted(isGet);
    await using host = await listenScripted(script);
    await using session = await connect(host);
    (await next()).response.writeHead(status, { 'content-type': 'text/plain' }).end();
    expect(await session.peer.call('search')).toBe('search');
    await session.clock.advance(120_000);
    expect(host.steps.filter((step) => step === 'GET')).toHaveLength(1);
    expect(session.peer.errors).toEqual([]);
  });

  test('that is gone with its session ends the transport', async () => {
    const { script, next } = scripted(isGet);
    await using host = await listenScripted(script);
    await using session = await connect(host);
    await cut((await next()).response, ': hello\n\n');
    const { value: second } = await passUntil(session.clock, next());
    second.response.writeHead(404).end();
    expect(await session.peer.ended()).toMatchObject({
      code: 'SESSION_LOST',
      server: 'vendor',
      exit: { reason: 'session-lost' },
    });
  });

  test('whose last event the server has forgotten is opened again without it, in the same session', async () => {
    const { script, next } = scripted(isGet);
    await using host = await listenScripted(script);
    await using session = await connect(host);
    const { peer, clock } = session;
    await cut((await next()).response, event({ jsonrpc: '2.0', method: 'notifications/reference' }, { id: 'a' }));
    const { value: second } = await passUntil(clock, next());
    expect(second.headers['last-event-id']).toBe('a');
    const error = { code: -32000, message: 'Invalid event ID format' };
    sendJson(second.response, { jsonrpc: '2.0', error, id: null }, 400);
    const { value: third } = await passUntil(clock, next());
    expect(third.headers['last-event-id']).toBeUndefined();
    startEvents(third.response);
    third.response.write(event({ jsonrpc: '2.0', method: 'notifications/reference', params: { number: 7 } }));
    await peer.until('a message', () => peer.numbers.includes(7));
    expect(peer.errors).toMatchObject([{ code: 'HTTP_STATUS', status: 400 }]);
    expect(peer.closes).toBe(0);
  });

  test.each([
    ['for its last event, and speaks of the session', event('', { id: 'a' }), 'No valid session ID provided'],
    ['and it had no last event', ': hello\n\n', 'Bad Request'],
  ])('that the server refuses with 400 %s ends the transport', async (_why, text, message) => {
    const { script, next } = scripted(isGet);
    await using host = await listenScripted(script);
    await using session = await connect(host);
    await cut((await next()).response, text);
    const { value: second } = await passUntil(session.clock, next());
    sendJson(second.response, { jsonrpc: '2.0', error: { code: -32000, message }, id: null }, 400);
    expect(await session.peer.ended()).toMatchObject({ code: 'SESSION_LOST', server: 'vendor', status: 400 });
  });

  test.each([404, 400])('that a server without sessions refuses for a while, with %i, ends nothing', async (status) => {
    const { script, next } = scripted(isGet);
    await using host = await listenScripted(script, { withSession: false });
    await using session = await connect(host);
    const { peer, clock } = session;
    await cut((await next()).response, event({ jsonrpc: '2.0', method: 'notifications/reference' }, { id: 'a' }));
    const { value: second } = await passUntil(clock, next());
    expect(second.headers['last-event-id']).toBe('a');
    second.response.writeHead(status).end();
    const { value: third } = await passUntil(clock, next());
    expect(third.headers['last-event-id']).toBeUndefined();
    startEvents(third.response);
    third.response.write(event({ jsonrpc: '2.0', method: 'notifications/reference', params: { number: 7 } }));
    await peer.until('a message', () => peer.numbers.includes(7));
    expect(await peer.call('search')).toBe('search');
    expect(peer.errors).toMatchObject([{ code: 'HTTP_STATUS', status }]);
    expect(peer.closes).toBe(0);
  });

  test('is tried again while the server cannot be reached, and told of once', async () => {
    const { script, next } = scripted(isGet);
    await using host = await listenScripted(script);
    await using session = await connect(host);
    await cut((await next()).response, ': hello\n\n');
    for (let failure = 0; failure < 4; failure++) {
      const { value } = await passUntil(session.clock, next(), 1_000);
      if (failure % 2 === 0) value.response.writeHead(503).end();
      else value.request.socket.destroy();
      await value.closed;
    }
    const { value } = await passUntil(session.clock, next(), 1_000);
    startEvents(value.response);
    value.response.write(event({ jsonrpc: '2.0', method: 'notifications/reference', params: { number: 7 } }));
    await session.peer.until('a message', () => session.peer.numbers.length > 0);
    expect(session.peer.errors).toMatchObject([{ code: 'HTTP_STATUS', status: 503 }]);
    expect(session.peer.closes).toBe(0);
  });

  test('is opened again no sooner than the server has asked on it, also after a refusal', async () => {
    const { script, next } = scripted(isGet);
    await using host = await listenScripted(script);
    await using session = await connect(host);
    await cut((await next()).response, 'retry: 60000\n\n');
    const { value: second, ms } = await passUntil(session.clock, next(), 1_000);
    expect(ms).toBeGreaterThanOrEqual(60_000);
    second.response.writeHead(503).end();
    await second.closed;
    const { ms: later } = await passUntil(session.clock, next(), 1_000);
    expect(later).toBeGreaterThanOrEqual(60_000);
  });

  test.each([503, 500, 429])('is asked for later when the server asks to wait with %i', async (status) => {
    const { script, next } = scripted(isGet);
    await using host = await listenScripted(script);
    await using session = await connect(host);
    await cut((await next()).response, ': hello\n\n');
    const { value: second } = await passUntil(session.clock, next());
    second.response.writeHead(status, { 'retry-after': '20' }).end();
    await second.closed;
    const { value: third, ms } = await passUntil(session.clock, next());
    expect(ms).toBeGreaterThanOrEqual(20_000);
    expect(ms).toBeLessThanOrEqual(25_100);
    // That was asked for one time.
    third.response.writeHead(503).end();
    await third.closed;
    const { ms: later } = await passUntil(session.clock, next());
    expect(later).toBeLessThanOrEqual(1_300);
  });
});
