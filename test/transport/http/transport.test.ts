import { describe, expect, test } from 'vitest';
import { type AuthInfo, GatewayError } from '../../../src/errors.js';
import type { TransportSendOptions } from '../../../src/sdk.js';
import { Peer } from '../../../src/testing/peer.js';
import { Connections } from '../../../src/transport/http/connections.js';
import { HttpTransport, type HttpTransportOptions } from '../../../src/transport/http-transport.js';
import { event, sendJson, startEvents, textResult } from '../../fixtures/http/listen.js';
import {
  type Asked,
  listenScripted,
  type Script,
  type ScriptedHost,
  sessionId,
} from '../../fixtures/http/scripted-host.js';
import { FakeClock, settle } from '../../support/fake-clock.js';

/** A transport to a scripted server, on a clock that stands still. */
async function connect(url: string, more: Partial<HttpTransportOptions> = {}) {
  const clock = new FakeClock();
  const connections = await Connections.create({
    proxy: false,
    tls: undefined,
    connectTimeoutMs: 20_000,
    maxConnections: undefined,
    clock,
  });
  const transport = new HttpTransport({
    server: 'vendor',
    url: new URL(url),
    mode: 'streamable-http',
    dispatcher: connections.dispatcher,
    headers: () => ({}),
    authorizer: undefined,
    maxMessageBytes: 1024 * 1024,
    clock,
    random: () => 0,
    headersTimeoutMs: 20_000,
    ...more,
  });
  const peer = new Peer(transport, 60_000);
  return {
    clock,
    transport,
    peer,
    async [Symbol.asyncDispose]() {
      await transport.close();
      await connections.close();
    },
  };
}

/** Lets what the server is asked wait for the test. */
function held(wanted: (asked: Asked) => boolean) {
  const came: Asked[] = [];
  const script: Script = (asked) => (wanted(asked) ? came.push(asked) : false);
  const next = async (): Promise<Asked> => {
    while (came.length === 0) await settle();
    return came.shift() as Asked;
  };
  return { script, next, came };
}

const isA = (method: string) => (asked: Asked) => asked.message?.method === method;
const isGet = ({ method }: Asked) => method === 'GET';
const call = (id: number | string, name = 'search') =>
  ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name } }) as const;
const notification = { jsonrpc: '2.0', method: 'notifications/x' } as const;
const initialize = {
  jsonrpc: '2.0',
  id: 'hello',
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
} as const;
const initialized = { jsonrpc: '2.0', method: 'notifications/initialized' } as const;
const outcome = (promise: Promise<unknown>) =>
  promise.then(
    () => 'sent',
    (error: GatewayError) => error,
  );
/** Polls: what comes over a socket takes turns that nobody can count. */
const until = async (came: () => boolean) => {
  while (!came()) await settle();
};

/** Has no token, and gets none. */
const refusing = (code: 'AUTH_REQUIRED' | 'AUTH_FAILED', auth?: AuthInfo) => ({
  token: async () => undefined,
  refused: async () => {
    throw new GatewayError(code, 'who is it?', { server: 'vendor', auth });
  },
});

/** Lets time pass until the server is asked again. */
async function passUntil(clock: FakeClock, asked: Promise<Asked>): Promise<Asked> {
  let came: Asked | undefined;
  void asked.then((value) => {
    came = value;
  });
  while (came === undefined) await (clock.waiting > 0 ? clock.advance(50) : settle());
  return came;
}

/** A server that speaks HTTP+SSE, and refuses the first POST. */
function legacy(): { script: Script; stream: Promise<Asked>; posts: Asked[] } {
  const stream = Promise.withResolvers<Asked>();
  const posts: Asked[] = [];
  const script: Script = (asked) => {
    if (asked.path !== '/mcp') {
      posts.push(asked);
      asked.response.writeHead(202).end();
    } else if (asked.method === 'GET') {
      startEvents(asked.response);
      asked.response.write(event('/messages', { type: 'endpoint' }));
      stream.resolve(asked);
    } else asked.response.writeHead(405).end();
  };
  return { script, stream: stream.promise, posts };
}

describe('what ties a transport to one server', () => {
  test('is nothing before a session, and then the session, whose id shows with the answer', async () => {
    await using host = await listenScripted();
    await using t = await connect(host.url);
    await t.transport.connect();
    expect([t.transport.tie, t.transport.sessionId]).toEqual([undefined, undefined]);
    await t.peer.begin();
    expect([t.transport.tie, t.transport.sessionId]).toEqual(['session', sessionId]);
  });

  test('is nothing where the server makes no session', async () => {
    await using host = await listenScripted(() => false, { withSession: false });
    await using t = await connect(host.url);
    await t.peer.begin();
    expect([t.transport.tie, t.transport.sessionId]).toEqual([undefined, undefined]);
  });

  test.each(['sse', 'auto'] as const)('is the stream over HTTP+SSE (%s)', async (mode) => {
    const { script } = legacy();
    await using host = await listenScripted(script);
    await using t = await connect(host.url, { mode });
    await t.transport.connect();
    await t.peer.start();
    await t.transport.send(call(1));
    expect(t.transport.tie).toBe('stream');
  });
});

describe('the start and the end of a transport', () => {
  test('starts once, and not after its end', async () => {
    await using host = await listenScripted();
    await using t = await connect(host.url);
    await t.transport.start();
    await expect(t.transport.start()).rejects.toThrow('the transport was started before');
    await t.transport.close();
    await expect(t.transport.start()).rejects.toThrow('the transport is closed');
  });

  test('is told once, with the first reason, however often the session is lost', async () => {
    await using host = await listenScripted();
    await using t = await connect(host.url);
    await t.peer.begin();
    const open = outcome(t.transport.send({ ...call(1), method: 'notifications/never' }));
    for (const why of ['its pod is gone', 'and again']) {
      // Whose it is stands nowhere: then nothing is taken away from the message.
      t.transport.lose(new GatewayError('SESSION_LOST', why, { exit: { stderrTail: '' } }));
    }
    await until(() => t.peer.closes > 0);
    expect(await open).toMatchObject({ code: 'SESSION_LOST', message: '"vendor": its pod is gone' });
    expect(t.peer.errors).toMatchObject([{ message: 'its pod is gone' }]);
    expect(t.peer.closes).toBe(1);
    expect(await outcome(t.transport.send(call(2)))).toMatchObject({ code: 'TRANSPORT_CLOSED', delivered: false });
  });

  test('what waits behind a notification that is under way is not sent any more', async () => {
    const { script, next } = held(isA('notifications/x'));
    await using host = await listenScripted(script);
    await using t = await connect(host.url);
    await t.peer.begin();
    const first = outcome(t.transport.send(notification));
    const { response } = await next();
    const behind = outcome(t.transport.send(call(1)));
    const closing = t.transport.close();
    response.writeHead(202).end();
    expect(await behind).toMatchObject({ code: 'TRANSPORT_CLOSED', delivered: false });
    expect(await first).toBe('sent');
    await closing;
    expect(host.count('tools/call')).toBe(0);
  });

  const modern = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' };

  test.each([
    ['in a session', 'streamable-http', {}],
    ['in the stateless era', 'streamable-http', { _meta: modern }],
    ['over HTTP+SSE', 'sse', {}],
  ] as const)('a request that is cancelled before it could leave, %s, never leaves', async (_where, mode, params) => {
    const { script, next } = held(isA('notifications/x'));
    const old = legacy();
    await using host = await listenScripted((asked) => {
      const isHeld = script(asked);
      return isHeld === false && mode === 'sse' ? old.script(asked) : isHeld;
    });
    await using t = await connect(host.url, { mode });
    await t.transport.connect();
    await (mode === 'sse' ? t.peer.start() : t.peer.begin());
    const first = outcome(t.transport.send(notification));
    const { response } = await next();
    const behind = outcome(t.transport.send({ ...call(5), params: { name: 'delete_everything', ...params } }));
    await t.transport.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 5 } });
    expect(await behind).toBe('sent');
    const later = outcome(t.transport.send({ ...call(6), params: { name: 'search', ...params } }));
    response.writeHead(202).end();
    expect([await first, await later]).toEqual(['sent', 'sent']);
    const sent = host.seen.filter(({ message }) => isA('tools/call')({ message } as Asked));
    expect(sent.map(({ message }) => message?.id)).toEqual([6]);
    expect(host.count('notifications/cancelled')).toBe(0);
  });

  test.each(['streamable-http', 'sse'] as const)(
    'an answer does not wait for a notification that its server acknowledges once it has it (%s)',
    async (mode) => {
      const changed = { jsonrpc: '2.0', method: 'notifications/roots/list_changed' } as const;
      const question = { jsonrpc: '2.0', id: 'whose', method: 'roots/list' };
      const { script, next } = held(isA(changed.method));
      const stream = Promise.withResolvers<Asked>();
      const old = legacy();
      await using host = await listenScripted((asked) => {
        if (script(asked) !== false) return true;
        if (mode === 'sse') return old.script(asked);
        if (asked.method !== 'GET') return false;
        startEvents(asked.response);
        return stream.resolve(asked);
      });
      await using t = await connect(host.url, { mode });
      await t.transport.connect();
      await (mode === 'sse' ? t.peer.start() : t.peer.begin());
      const { response } = await (mode === 'sse' ? old.stream : stream.promise);
      const sent = outcome(t.transport.send(changed));
      const notified = await next();
      response.write(event(question));
      await until(() => t.peer.messages.length > 0);
      expect(await outcome(t.transport.send({ jsonrpc: '2.0', id: 'whose', result: { roots: [] } }))).toBe('sent');
      notified.response.writeHead(202).end();
      expect(await sent).toBe('sent');
    },
  );

  test('an answer comes behind the progress that was told of it', async () => {
    const { script, next } = held(isA('notifications/progress'));
    await using host = await listenScripted(script);
    await using t = await connect(host.url);
    await t.peer.begin();
    const params = { progressToken: 1, progress: 1 };
    const told = outcome(t.transport.send({ jsonrpc: '2.0', method: 'notifications/progress', params }));
    const { response } = await next();
    const answered = outcome(t.transport.send({ jsonrpc: '2.0', id: 1, result: {} }));
    for (let turn = 0; turn < 10; turn += 1) await settle();
    expect(host.count('answer')).toBe(0);
    response.writeHead(202).end();
    expect([await told, await answered]).toEqual(['sent', 'sent']);
    expect(host.steps.slice(-2)).toEqual(['notifications/progress', 'answer']);
  });

  test('a request whose signal ends before it could leave never leaves', async () => {
    const { script, next } = held(isA('notifications/x'));
    await using host = await listenScripted(script);
    await using t = await connect(host.url);
    await t.peer.begin();
    const first = outcome(t.transport.send(notification));
    const { response } = await next();
    const abort = new AbortController();
    const behind = outcome(t.transport.send(call(5), { requestSignal: abort.signal } as object));
    abort.abort();
    response.writeHead(202).end();
    expect([await first, await behind]).toEqual(['sent', 'sent']);
    await t.transport.send(call(6));
    expect(host.count('tools/call')).toBe(1);
  });

  test.each(['close()', 'its signal'])(
    'a request that is ended by %s while its refusal is read asks nobody for access, and settles',
    async (how) => {
      const { script, next } = held(isA('tools/call'));
      await using host = await listenScripted(script);
      let asked = 0;
      const refused = () => {
        asked += 1;
        return new Promise<never>(() => {});
      };
      await using t = await connect(host.url, { authorizer: { token: async () => 'Bearer old', refused } });
      await t.peer.begin();
      await until(() => t.clock.waiting === 0);
      const abort = new AbortController();
      const sent = outcome(t.transport.send(call(1), { requestSignal: abort.signal } as object));
      const { response, closed } = await next();
      response.writeHead(401).write('Session ');
      await until(() => t.clock.waiting > 0);
      if (how === 'close()') await t.transport.close();
      else abort.abort();
      await closed;
      expect(await sent).toEqual(how === 'close()' ? expect.objectContaining({ code: 'TRANSPORT_CLOSED' }) : 'sent');
      expect(asked).toBe(0);
    },
  );

  test('a session that is ended while its client begins asks for no messages any more', async () => {
    const { script, next } = held(isA('notifications/initialized'));
    await using host = await listenScripted(script);
    await using t = await connect(host.url);
    await t.peer.start();
    await t.transport.send(initialize);
    const sent = outcome(t.transport.send(initialized));
    const { response } = await next();
    const closing = t.transport.close();
    response.writeHead(202).end();
    expect(await sent).toBe('sent');
    await closing;
    expect(host.count('GET')).toBe(0);
  });

  test.each(['number', 'text'])('health: asks under numbers of 31 bits, which may come back as a %s', async (form) => {
    const ids: unknown[] = [];
    await using host = await listenScripted(({ message, response }) => {
      if (message?.method !== 'ping') return false;
      ids.push(message.id);
      return sendJson(response, { jsonrpc: '2.0', id: form === 'text' ? String(message.id) : message.id, result: {} });
    });
    await using t = await connect(host.url);
    await t.peer.begin();
    await t.transport.health(new AbortController().signal);
    await t.transport.health(new AbortController().signal);
    const [first, second] = ids as [number, number];
    expect(first & 0x7f_ff_ff_ff).toBe(first);
    expect(second).toBe(first + 1);
    expect(t.peer.messages).toEqual([]);
  });

  test('health: a server that says to a ping that it has forgotten the session has lost it', async () => {
    await using host = await listenScripted(
      (asked) =>
        isA('ping')(asked) &&
        sendJson(
          asked.response,
          { jsonrpc: '2.0', id: asked.message?.id, error: { code: -32001, message: 'Session not found' } },
          404,
        ),
    );
    await using t = await connect(host.url);
    await t.peer.begin();
    expect(await outcome(t.transport.health(new AbortController().signal))).toMatchObject({ code: 'SESSION_LOST' });
    expect(await t.peer.ended()).toMatchObject({ code: 'SESSION_LOST', exit: { reason: 'session-lost' } });
  });

  test.each([
    [200, undefined],
    [405, undefined],
    [503, { code: 'HTTP_STATUS', status: 503, message: expect.stringContaining('OPTIONS (health)') }],
  ])('health before initialize: HTTP %i', async (status, error) => {
    await using host = await listenScripted(({ response }) => response.writeHead(status).end());
    await using t = await connect(host.url);
    const health = outcome(t.transport.health(new AbortController().signal));
    if (error === undefined) expect(await health).toBe('sent');
    else expect(await health).toMatchObject(error);
  });
});

describe('what is sent', () => {
  test('is refused when it is larger than max_message, in bytes', async () => {
    await using host = await listenScripted();
    await using t = await connect(host.url, { maxMessageBytes: 300 });
    await t.peer.begin();
    expect(await outcome(t.transport.send(call(1, 'x'.repeat(200))))).toBe('sent');
    for (const name of ['é'.repeat(150), 'x'.repeat(300)]) {
      expect(await outcome(t.transport.send(call(2, name)))).toMatchObject({
        code: 'MESSAGE_TOO_LARGE',
        delivered: false,
      });
    }
    expect(host.count('tools/call')).toBe(1);
  });

  test('a notification that the server refuses has failed', async () => {
    await using host = await listenScripted(
      (asked) => isA('notifications/x')(asked) && asked.response.writeHead(500).end('not today'),
    );
    await using t = await connect(host.url);
    await t.peer.begin();
    expect(await outcome(t.transport.send(notification))).toMatchObject({ code: 'HTTP_STATUS', status: 500 });
  });

  test.each([
    ['with an id that is null', { id: null }],
    ['without an id', {}],
  ])('a notification that is refused with 404 and an error %s finds out that the session is lost', async (_, id) => {
    const body = { jsonrpc: '2.0', error: { code: -32000, message: 'Not found' }, ...id };
    await using host = await listenScripted(
      (asked) => isA('notifications/x')(asked) && sendJson(asked.response, body, 404),
    );
    await using t = await connect(host.url);
    await t.peer.begin();
    expect(await outcome(t.transport.send(notification))).toMatchObject({ code: 'SESSION_LOST' });
    expect(await t.peer.ended()).toMatchObject({ code: 'SESSION_LOST' });
  });

  test.each(['a stream', 'JSON'])(
    'a request gets its answer once, though the server sends it twice in %s',
    async (how) => {
      const answers = (id: unknown) => ['first', 'second'].map((text) => textResult(id as number, text));
      await using host = await listenScripted((asked) => {
        if (!isA('tools/call')(asked)) return false;
        const [first, second] = answers(asked.message?.id);
        if (how === 'JSON') {
          sendJson(asked.response, [first, second]);
        } else {
          startEvents(asked.response);
          asked.response.end(event(first) + event(second) + event({ ...notification, params: { number: 7 } }));
        }
      });
      await using t = await connect(host.url);
      await t.peer.begin();
      expect(await outcome(t.transport.send(call('twice')))).toBe('sent');
      // What belongs to no answer still comes.
      if (how === 'a stream') await t.peer.until('the notification', () => t.peer.numbers.includes(7));
      expect(await t.peer.call('search')).toBe('first');
      expect(t.peer.messages.filter((message) => 'id' in message && message.id === 'twice')).toMatchObject([
        { result: { content: [{ text: 'first' }] } },
      ]);
    },
  );

  test.each(['text/event-stream', 'application/json'])(
    'an answer whose content type comes twice is one of %s',
    async (type) => {
      await using host = await listenScripted((asked) => {
        if (!isA('tools/call')(asked)) return false;
        const answer = textResult(asked.message?.id, 'found');
        // As by a proxy that adds a header which the server has set already.
        asked.response.writeHead(200, ['content-type', type, 'content-type', type]);
        asked.response.end(type === 'application/json' ? JSON.stringify(answer) : event(answer));
      });
      await using t = await connect(host.url);
      await t.peer.begin();
      expect(await outcome(t.transport.send(call(1)))).toBe('sent');
      await until(() => t.peer.messages.length > 0);
      expect(t.peer.messages).toMatchObject([{ id: 1, result: { content: [{ text: 'found' }] } }]);
    },
  );

  test('an error that comes with its status and a byte order mark reaches its caller', async () => {
    await using host = await listenScripted((asked) => {
      if (!isA('tools/call')(asked)) return false;
      const answer = { jsonrpc: '2.0', id: asked.message?.id, error: { code: -32602, message: 'no such tool' } };
      asked.response.writeHead(400, { 'content-type': 'application/json' }).end(`\ufeff${JSON.stringify(answer)}`);
    });
    await using t = await connect(host.url);
    await t.peer.begin();
    expect(await outcome(t.transport.send(call(1)))).toBe('sent');
    await until(() => t.peer.messages.length > 0);
    expect(t.peer.messages).toMatchObject([{ id: 1, error: { code: -32602 } }]);
  });

  test('progress is looked at before the answer behind it, and the end of its stream comes last', async () => {
    await using host = await listenScripted((asked) => {
      if (asked.message?.method !== 'tools/call') return false;
      const progress = (n: number) =>
        event({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 1, progress: n } });
      startEvents(asked.response);
      asked.response.end(progress(1) + progress(2) + event(textResult(asked.message.id, 'found')));
    });
    await using t = await connect(host.url);
    await t.peer.begin();
    const seen: unknown[] = [];
    const { onmessage } = t.transport;
    t.transport.onmessage = (message, extra) => {
      // As the clients of both SDKs do it.
      if ('method' in message) queueMicrotask(() => seen.push(message.params?.progress));
      else seen.push('answer');
      onmessage?.(message, extra);
    };
    await t.transport.send(call(1), { onRequestStreamEnd: () => seen.push('end') } as TransportSendOptions);
    await until(() => seen.includes('end'));
    expect(seen).toEqual([1, 2, 'answer', 'end']);
  });

  test('the failure of a request comes behind all the progress before it', async () => {
    await using host = await listenScripted((asked) => {
      if (asked.message?.method !== 'tools/call') return false;
      const progress = (n: number) =>
        event({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 1, progress: n } });
      startEvents(asked.response);
      asked.response.end(Array.from({ length: 100 }, (_, n) => progress(n)).join(''));
    });
    await using t = await connect(host.url);
    await t.peer.begin();
    let progress = 0;
    t.transport.onmessage = () => {
      progress += 1;
    };
    await expect(t.transport.send(call(1))).rejects.toMatchObject({ code: 'ANSWER_INVALID' });
    expect(progress).toBe(100);
  });

  test('a cancellation that names no request cancels none', async () => {
    const { script, next } = held(isA('tools/call'));
    await using host = await listenScripted(script);
    await using t = await connect(host.url);
    await t.peer.begin();
    const sent = outcome(t.transport.send(call(1)));
    const { response, message } = await next();
    await t.transport.send({ jsonrpc: '2.0', method: 'notifications/cancelled' } as never);
    sendJson(response, textResult(message?.id, 'done'));
    expect(await sent).toBe('sent');
    await until(() => t.peer.messages.length > 0);
    expect(t.peer.messages).toMatchObject([{ id: 1, result: { content: [{ text: 'done' }] } }]);
  });

  test('a request whose signal is over already waits for nothing', async () => {
    await using host = await listenScripted();
    await using t = await connect(host.url);
    await t.peer.begin();
    const options = { requestSignal: AbortSignal.abort() };
    expect(await outcome(t.transport.send(call(1), options as object))).toBe('sent');
    expect(t.peer.messages).toEqual([]);
  });

  test('an id that is used again at once is that of the later request', async () => {
    const { script, next, came } = held(isA('tools/call'));
    await using host = await listenScripted(script);
    await using t = await connect(host.url);
    await t.peer.begin();
    const abort = new AbortController();
    const first = outcome(t.transport.send(call(1), { requestSignal: abort.signal } as object));
    await next();
    abort.abort();
    const second = outcome(t.transport.send(call(1)));
    expect(await first).toBe('sent');
    const later = await next();
    await t.transport.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
    expect(await second).toBe('sent');
    await later.closed;
    expect([came, t.peer.messages]).toEqual([[], []]);
  });

  test('a cancellation that is not acknowledged holds up nothing but a request of the same id', async () => {
    const { script, next } = held(
      (asked) => isA('notifications/cancelled')(asked) || asked.message?.params?.name === 'silent',
    );
    await using host = await listenScripted(script);
    await using t = await connect(host.url);
    await t.peer.begin();
    const first = outcome(t.transport.send(call(1, 'silent')));
    await next();
    const cancelled = outcome(
      t.transport.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } }),
    );
    const { response } = await next();
    expect(await outcome(t.transport.send(call(2)))).toBe('sent');
    const again = outcome(t.transport.send(call(1)));
    for (let turn = 0; turn < 20; turn += 1) await settle();
    expect(host.count('tools/call')).toBe(2);
    response.writeHead(202).end();
    expect(await Promise.all([first, cancelled, again])).toEqual(['sent', 'sent', 'sent']);
    expect(host.count('tools/call')).toBe(3);
  });

  test.each(['streamable-http', 'sse'] as const)(
    'a request that is cancelled gives up its connection though its cancellation gets no answer (%s)',
    async (mode) => {
      const { script, next } = held((asked) => isA('notifications/cancelled')(asked) || isA('tools/call')(asked));
      const old = legacy();
      await using host = await listenScripted((asked) => script(asked) || (mode === 'sse' && old.script(asked)));
      await using t = await connect(host.url, { mode });
      if (mode === 'sse') await t.transport.connect();
      await t.transport.start();
      const sent = outcome(t.transport.send(call(1)));
      const { closed } = await next();
      let isOver = false;
      const cancelled = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } } as const;
      const told = outcome(t.transport.send(cancelled)).finally(() => {
        isOver = true;
      });
      const { response } = await next();
      let isClosed = false;
      void closed.then(() => {
        isClosed = true;
      });
      while (!isClosed) await (t.clock.waiting > 0 ? t.clock.advance(100) : settle());
      expect([await sent, isOver]).toEqual(['sent', false]);
      response.writeHead(202).end();
      expect(await told).toBe('sent');
    },
  );
});

describe('the fallback to HTTP+SSE', () => {
  test('takes the revision along that was agreed on', async () => {
    const { script, posts } = legacy();
    await using host = await listenScripted(script);
    await using t = await connect(host.url, { mode: 'auto' });
    await t.peer.start();
    t.transport.setProtocolVersion('2024-11-05');
    await t.transport.send(call(1));
    expect(posts[0]?.headers['mcp-protocol-version']).toBe('2024-11-05');
  });

  test('that wants access says so', async () => {
    await using host = await listenScripted(({ response, method }) =>
      response.writeHead(method === 'GET' ? 401 : 405).end(),
    );
    const auth = { serverUrl: 'https://login.example/' };
    await using t = await connect(host.url, { mode: 'auto', authorizer: refusing('AUTH_REQUIRED', auth) });
    await t.peer.start();
    expect(await outcome(t.transport.send(call(1)))).toMatchObject({
      code: 'AUTH_REQUIRED',
      message: expect.stringMatching(/neither Streamable HTTP nor HTTP\+SSE: POST tools\/call .*; then who is it\?/),
      auth,
    });
  });

  test('that is ended while it is tried ends its request', async () => {
    const { script, next } = held(isGet);
    await using host = await listenScripted((asked) =>
      asked.method === 'POST' ? asked.response.writeHead(405).end() : script(asked),
    );
    await using t = await connect(host.url, { mode: 'auto' });
    await t.peer.start();
    const sent = outcome(t.transport.send(call(1)));
    const stream = await next();
    startEvents(stream.response);
    stream.response.write(': wait\n\n');
    await t.transport.close();
    expect(await sent).toMatchObject({ code: 'TRANSPORT_CLOSED', server: 'vendor', delivered: false });
    expect(await outcome(t.transport.send(call(2)))).toMatchObject({ code: 'TRANSPORT_CLOSED', delivered: false });
    await stream.closed;
  });
});

describe('the stream of HTTP+SSE', () => {
  test('ends with an event that is larger than max_message', async () => {
    const { script, stream } = legacy();
    await using host = await listenScripted(script);
    await using t = await connect(host.url, { mode: 'sse', maxMessageBytes: 1_000 });
    await t.transport.connect();
    await t.peer.start();
    (await stream).response.write(event('x'.repeat(2_000)));
    await until(() => t.peer.closes > 0);
    expect(t.peer.reason).toMatchObject({
      code: 'MESSAGE_TOO_LARGE',
      message: expect.stringContaining('larger than max_message; the session is over'),
      exit: { reason: 'message-too-large' },
    });
  });

  test('skips what is no message, and says so', async () => {
    const { script, stream } = legacy();
    await using host = await listenScripted(script);
    await using t = await connect(host.url, { mode: 'sse' });
    await t.transport.connect();
    await t.peer.start();
    (await stream).response.write(event('{') + event(notification));
    await until(() => t.peer.messages.length > 0);
    expect(t.peer.messages).toEqual([notification]);
    expect(t.peer.errors).toMatchObject([{ code: 'MESSAGE_INVALID' }]);
  });

  test('brings the late answer to a health check to nobody', async () => {
    const { script, stream, posts } = legacy();
    await using host = await listenScripted(script);
    await using t = await connect(host.url, { mode: 'sse' });
    await t.transport.connect();
    const begun = t.peer.begin();
    const { response } = await stream;
    await until(() => posts.length === 1);
    response.write(event({ jsonrpc: '2.0', id: posts[0]?.message?.id, result: {} }));
    await begun;
    const giveUp = new AbortController();
    const health = outcome(t.transport.health(giveUp.signal));
    await until(() => posts.length === 3);
    giveUp.abort(new Error('too late'));
    expect(await health).toMatchObject({ message: 'too late' });
    response.write(event({ jsonrpc: '2.0', id: posts[2]?.message?.id, result: {} }) + event(notification));
    await until(() => t.peer.messages.length > 0);
    expect(t.peer.messages).toEqual([notification]);
  });

  /** A session with a server that acknowledges calls, or other requests, when the test says so. */
  async function connectSlow(headersTimeoutMs: number, slow = 'tools/call') {
    const { script, stream } = legacy();
    const calls = held(({ message }) => message?.method === slow);
    const host = await listenScripted((asked) => (calls.script(asked) === false ? script(asked) : true));
    const connected = await connect(host.url, { mode: 'sse', headersTimeoutMs });
    await connected.transport.connect();
    await connected.peer.start();
    const { response } = await stream;
    const dispose = async () => {
      await connected[Symbol.asyncDispose]();
      await host.close();
    };
    return { ...connected, calls, stream: response, [Symbol.asyncDispose]: dispose };
  }

  test('may bring an answer before its request is acknowledged, however long that takes', async () => {
    await using t = await connectSlow(500);
    const sent = outcome(t.transport.send(call(1)));
    const { response } = await t.calls.next();
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    t.stream.write(event(textResult(1, 'found')));
    response.writeHead(200).end();
    expect(await sent).toBe('sent');
    await until(() => t.peer.messages.length > 0);
    expect(t.peer.messages).toMatchObject([{ id: 1, result: {} }]);
    expect(t.clock.waiting).toBe(0);
  });

  test.each(['answered', 'answered with its number as a text', 'cancelled'])(
    'lets go a request that is %s and never acknowledged',
    async (how) => {
      await using t = await connectSlow(20_000);
      const sent = outcome(t.transport.send(call(1)));
      const { closed } = await t.calls.next();
      if (how !== 'cancelled') t.stream.write(event(textResult(how === 'answered' ? 1 : '1', 'found')));
      else await t.transport.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } });
      expect(await sent).toBe('sent');
      await settle();
      await t.clock.advance(5_000);
      await closed;
    },
  );

  test.each(['initialize', 'ping'])('does not wait that %s is acknowledged once it is answered', async (method) => {
    await using t = await connectSlow(20_000, method);
    const sent = outcome(t.transport.send({ jsonrpc: '2.0', id: 1, method }));
    const { closed } = await t.calls.next();
    t.stream.write(event(textResult(1, 'here')));
    expect(await sent).toBe('sent');
    await settle();
    await t.clock.advance(5_000);
    await closed;
  });

  test('takes no messages before it is open', async () => {
    const { script } = legacy();
    await using host = await listenScripted(script);
    await using t = await connect(host.url, { mode: 'sse' });
    await t.peer.start();
    expect(await outcome(t.transport.send(call(1)))).not.toBe('sent');
  });
});

describe('the stream for what belongs to no request', () => {
  async function listening(host: ScriptedHost, more?: Partial<HttpTransportOptions>) {
    const t = await connect(host.url, more);
    await t.peer.begin();
    return t;
  }

  test('skips what is no message, and what is larger than max_message, and goes on', async () => {
    const { script, next } = held(isGet);
    await using host = await listenScripted(script);
    await using t = await listening(host, { maxMessageBytes: 1_000 });
    const { response } = await next();
    startEvents(response);
    response.write(`${event('{')}${event([notification, 7], { id: 'a' })}`);
    await until(() => t.peer.errors.length === 2);
    response.write(event('x'.repeat(2_000), { id: 'b' }));
    const again = await passUntil(t.clock, next());
    // What comes after it.
    expect(again.headers['last-event-id']).toBe('b');
    startEvents(again.response);
    again.response.write(event({ ...notification, params: { n: 2 } }, { id: 'c' }));
    await until(() => t.peer.messages.length === 2);
    expect(t.peer.messages).toEqual([notification, { ...notification, params: { n: 2 } }]);
    expect(t.peer.errors.map((error) => (error as GatewayError).code)).toEqual(Array(3).fill('MESSAGE_INVALID'));
    expect(t.peer.closes).toBe(0);
  });

  test('begins anew after what is larger than max_message, where its id is not known or comes again', async () => {
    const { script, next } = held(isGet);
    await using host = await listenScripted(script);
    await using t = await listening(host, { maxMessageBytes: 1_000 });
    const asked: unknown[] = [];
    for (const id of ['a', 'a', undefined, 'b']) {
      const { headers, response } = await passUntil(t.clock, next());
      asked.push(headers['last-event-id']);
      startEvents(response);
      response.write(event('x'.repeat(2_000), id === undefined ? {} : { id }));
    }
    asked.push((await passUntil(t.clock, next())).headers['last-event-id']);
    expect(asked).toEqual([undefined, 'a', undefined, undefined, 'b']);
    expect(t.peer.closes).toBe(0);
  });

  test('that is refused later for good is reported, and not asked for again', async () => {
    const { script, next } = held(isGet);
    await using host = await listenScripted(script);
    await using t = await listening(host);
    const { response } = await next();
    startEvents(response);
    response.end(': hello\n\n');
    (await passUntil(t.clock, next())).response.writeHead(403).end();
    await until(() => t.peer.errors.length > 0);
    await t.clock.advance(120_000);
    expect(host.count('GET')).toBe(2);
    expect(t.peer.errors).toMatchObject([{ code: 'HTTP_STATUS', status: 403 }]);
    expect(t.peer.closes).toBe(0);
  });

  test.each([408, 409, 425])('that is refused for a while, with %i, is opened again', async (status) => {
    const { script, next } = held(isGet);
    await using host = await listenScripted(script);
    await using t = await listening(host);
    const { response } = await next();
    startEvents(response);
    response.end(': hello\n\n');
    // The server still holds the one that was cut.
    (await passUntil(t.clock, next())).response.writeHead(status).end();
    const again = await passUntil(t.clock, next());
    startEvents(again.response);
    again.response.write(event(notification));
    await until(() => t.peer.messages.length > 0);
    expect(t.peer.messages).toEqual([notification]);
    expect(t.peer.errors).toMatchObject([{ code: 'HTTP_STATUS', status }]);
  });

  test.each([
    ['mcp-go', 'Session registration failed: session already exists'],
    [
      'the C# SDK',
      JSON.stringify({
        error: {
          code: -32_000,
          message: 'Bad Request: This server does not support multiple GET requests. Start a new session or resume.',
        },
        id: '',
        jsonrpc: '2.0',
      }),
    ],
  ])(
    'that is refused with 400 while the server holds the old one, as %s words it, is opened again',
    async (_, words) => {
      const { script, next } = held(isGet);
      await using host = await listenScripted(script);
      await using t = await listening(host);
      const { response } = await next();
      startEvents(response);
      response.end(event(notification, { id: 'a' }));
      const refused = await passUntil(t.clock, next());
      expect(refused.headers['last-event-id']).toBe('a');
      refused.response.writeHead(400).end(words);
      const again = await passUntil(t.clock, next());
      expect(again.headers['last-event-id']).toBe('a');
      startEvents(again.response);
      again.response.write(event(notification));
      await until(() => t.peer.messages.length === 2);
      expect(t.peer.errors).toMatchObject([{ code: 'HTTP_STATUS', status: 400 }]);
      expect(t.peer.closes).toBe(0);
    },
  );

  test.each(['AUTH_REQUIRED', 'AUTH_FAILED'] as const)(
    'that is refused for want of access, with %s, is opened again once it was open',
    async (code) => {
      const { script, next } = held(isGet);
      await using host = await listenScripted(script);
      await using t = await listening(host, { authorizer: refusing(code) });
      const { response } = await next();
      startEvents(response);
      response.end(': hello\n\n');
      for (let refusal = 0; refusal < 2; refusal += 1) {
        (await passUntil(t.clock, next())).response.writeHead(401).end();
      }
      const again = await passUntil(t.clock, next());
      startEvents(again.response);
      again.response.write(event(notification));
      await until(() => t.peer.messages.length > 0);
      expect(t.peer.messages).toEqual([notification]);
      // Told once, however often it is tried.
      expect(t.peer.errors).toMatchObject([{ code }]);
    },
  );

  test.each([
    ['for want of access', 401, true],
    ['where there is no session', 404, false],
  ])('that is refused %s for an hour is asked for ever more rarely', async (_, status, withSession) => {
    const { script, next } = held(isGet);
    await using host = await listenScripted(script, { withSession });
    await using t = await listening(host, { authorizer: refusing('AUTH_REQUIRED') });
    const { response } = await next();
    startEvents(response);
    response.end(': hello\n\n');
    const asked: number[] = [];
    const begin = t.clock.now();
    while (t.clock.now() - begin < 3_600_000) {
      (await passUntil(t.clock, next())).response.writeHead(status).end();
      asked.push(t.clock.now());
    }
    expect(asked.length).toBeLessThan(40);
    expect((asked.at(-1) as number) - (asked.at(-2) as number)).toBeGreaterThanOrEqual(300_000);
    expect(t.peer.closes).toBe(0);
  });

  test('that was never open, and is refused for want of access, is not asked for again', async () => {
    const { script, next } = held(isGet);
    await using host = await listenScripted(script);
    await using t = await listening(host, { authorizer: refusing('AUTH_REQUIRED') });
    (await next()).response.writeHead(401).end();
    await until(() => t.peer.errors.length > 0);
    await t.clock.advance(120_000);
    expect(host.count('GET')).toBe(1);
  });

  test('is tried again when the host cannot give its headers', async () => {
    const { script, next } = held(isGet);
    await using host = await listenScripted(script);
    let fails = false;
    const headers = async () => {
      if (fails) throw new Error('the vault is sealed');
      return {};
    };
    await using t = await connect(host.url, { headers });
    await t.peer.start();
    await t.transport.send(initialize);
    const sent = t.transport.send(initialized);
    await until(() => host.count('notifications/initialized') > 0);
    fails = true;
    await sent;
    await until(() => t.peer.errors.length > 0);
    expect(t.peer.errors).toMatchObject([
      { code: 'CONNECTION_FAILED', message: expect.stringContaining('the vault is sealed') },
    ]);
    fails = false;
    startEvents((await passUntil(t.clock, next())).response);
  });
});

describe('an answer whose stream broke', () => {
  const isRest = (asked: Asked) => isGet(asked) && asked.headers['last-event-id'] !== undefined;

  /** A call whose stream has broken after an event, and waits to be taken up. */
  async function broken(id: string) {
    const { script, next } = held((asked) => isA('tools/call')(asked) || isRest(asked));
    const host = await listenScripted(script);
    const t = await connect(host.url);
    await t.peer.begin();
    const sent = outcome(t.transport.send(call(1)));
    const { response } = await next();
    startEvents(response);
    response.write(event('', { id: 'first' }));
    response.end(`id: ${id}\ndata:\n\n`);
    return {
      ...t,
      host,
      sent,
      next,
      /** Lets the time pass after which it is taken up. */
      takenUp: () => passUntil(t.clock, next()),
      async [Symbol.asyncDispose]() {
        await t[Symbol.asyncDispose]();
        await host.close();
      },
    };
  }

  test('is not taken up where the last event took the id back', async () => {
    await using t = await broken('');
    expect(await t.sent).toMatchObject({ code: 'ANSWER_INVALID', delivered: 'unknown' });
    expect(t.host.seen.filter(({ headers }) => headers['last-event-id'] !== undefined)).toEqual([]);
  });

  test('is taken up later when the server fails, or cannot be reached', async () => {
    await using t = await broken('one');
    (await t.takenUp()).response.writeHead(503).end();
    (await t.takenUp()).request.socket.destroy();
    const { response, headers } = await t.takenUp();
    expect(headers['last-event-id']).toBe('one');
    startEvents(response);
    response.end(event(textResult(1, 'at last')));
    expect(await t.sent).toBe('sent');
    expect(t.peer.messages).toMatchObject([{ result: { content: [{ text: 'at last' }] } }]);
  });

  test.each([408, 409, 425, 429])('is taken up later when the rest is refused for now, with %i', async (status) => {
    await using t = await broken('one');
    (await t.takenUp()).response.writeHead(status).end();
    const { response, headers } = await t.takenUp();
    expect(headers['last-event-id']).toBe('one');
    startEvents(response);
    response.end(event(textResult(1, 'at last')));
    expect(await t.sent).toBe('sent');
    expect(t.peer.messages).toMatchObject([{ result: { content: [{ text: 'at last' }] } }]);
  });

  test('is taken up as late as a refusal asks', async () => {
    await using t = await broken('one');
    (await t.takenUp()).response.writeHead(429, { 'retry-after': '20' }).end();
    const refusedAt = t.clock.now();
    const again = await t.takenUp();
    expect(t.clock.now() - refusedAt).toBeGreaterThanOrEqual(20_000);
    // That was asked for one time.
    again.response.writeHead(503).end();
    const refusedAgainAt = t.clock.now();
    const { response } = await t.takenUp();
    expect(t.clock.now() - refusedAgainAt).toBeLessThan(20_000);
    startEvents(response);
    response.end(event(textResult(1, 'at last')));
    expect(await t.sent).toBe('sent');
  });

  test('is not asked for again when it was larger than max_message', async () => {
    const { script, next } = held((asked) => isA('tools/call')(asked) || isRest(asked));
    await using host = await listenScripted(script);
    await using t = await connect(host.url, { maxMessageBytes: 1_000 });
    await t.peer.begin();
    const sent = outcome(t.transport.send(call(1)));
    const { response } = await next();
    startEvents(response);
    response.write(event('', { id: 'first' }) + event(textResult(1, 'x'.repeat(2_000)), { id: 'second' }));
    expect(await sent).toMatchObject({ code: 'MESSAGE_TOO_LARGE', delivered: 'unknown' });
    expect(host.seen.filter((asked) => isRest(asked as Asked))).toEqual([]);
  });

  test.each(['while it waits', 'while it is asked for'])('is settled by close() %s', async (when) => {
    await using t = await broken('one');
    if (when === 'while it is asked for') await t.takenUp();
    else await until(() => t.clock.waiting > 0);
    await t.transport.close();
    expect(await t.sent).toMatchObject({ code: 'TRANSPORT_CLOSED', delivered: 'unknown' });
    expect(t.clock.waiting).toBe(0);
  });
});
