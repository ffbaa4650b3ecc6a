import { describe, expect, test } from 'vitest';
import type { RemoteSseOptions, RemoteSseSpec } from '../../src/index.js';
import { event, listen, sendJson, startEvents, textResult } from '../fixtures/http/listen.js';
import { MemoryProvider } from '../fixtures/http/oauth-host.js';
import { type Asked, listenScripted, type Script, sessionId } from '../fixtures/http/scripted-host.js';
import { Session } from '../fixtures/http/session.js';

type Transport = NonNullable<RemoteSseSpec['transport']>;

/** Says what the answer to a request of a client is that begins, or goes on to call a tool, with a server that misbehaves. */
async function fail(
  script: Script,
  {
    transport = 'streamable-http',
    runtime,
    entry = {},
  }: { transport?: Transport; runtime?: RemoteSseOptions; entry?: object } = {},
) {
  await using host = await listenScripted(script);
  await using session = new Session(
    { url: `${host.url}?key=canary`, transport },
    { runtime: runtime ?? {}, entry: { ...entry } },
  );
  const first = await session.begin();
  const answer = first.error === undefined ? await session.call('search') : first;
  const { error } = answer;
  const whole = JSON.stringify(answer);
  expect(whole).not.toContain('canary');
  // A failed request ends only itself, unless the session is gone.
  if (error?.data?.code !== 'SESSION_LOST') expect(session.closes).toBe(0);
  else await session.until('onclose', () => session.closes > 0);
  return { error, data: error?.data, message: error?.message ?? whole, host, errors: session.errors };
}

const refuse =
  (status: number, headers: Record<string, string> = {}, body = ''): ((asked: Asked) => void) =>
  ({ response }) =>
    void response.writeHead(status, headers).end(body);

/** Does so only with what begins a session, or only with the calls of a tool. */
const on =
  (step: string, run: (asked: Asked) => unknown): Script =>
  (asked) =>
    asked.message?.method === step || asked.method === step ? run(asked) : false;

const statuses = [
  [400, 'HTTP_STATUS', /HTTP 400; the server did not understand the request/, false],
  [
    401,
    'AUTH_REQUIRED',
    /asks for authorization \(HTTP 401\); set headers\.Authorization, or give an authProvider/,
    false,
  ],
  [402, 'HTTP_STATUS', /HTTP 402/, false],
  [403, 'HTTP_STATUS', /HTTP 403; access is denied: check the credentials/, false],
  [404, 'HTTP_STATUS', /HTTP 404; nothing is there: check the path in url/, false],
  [405, 'HTTP_STATUS', /HTTP 405; the path takes no such requests: check the path in url, and transport/, false],
  [
    406,
    'HTTP_STATUS',
    /HTTP 406; the server cannot answer with JSON or an event stream: is this an MCP endpoint\?/,
    false,
  ],
  [408, 'HTTP_STATUS', /HTTP 408/, 'unknown'],
  [413, 'HTTP_STATUS', /HTTP 413; the request is too large/, false],
  [415, 'HTTP_STATUS', /HTTP 415; the server does not take JSON: is this an MCP endpoint\?/, false],
  [429, 'HTTP_STATUS', /HTTP 429; too many requests/, false],
  [500, 'HTTP_STATUS', /HTTP 500; the server failed/, 'unknown'],
  [502, 'HTTP_STATUS', /HTTP 502; a proxy before the server could not reach it/, 'unknown'],
  [503, 'HTTP_STATUS', /HTTP 503; the server is not available now/, 'unknown'],
  [504, 'HTTP_STATUS', /HTTP 504; a proxy before the server waited too long for it/, 'unknown'],
  [599, 'HTTP_STATUS', /HTTP 599; the server failed/, 'unknown'],
] as const;

describe('a status', () => {
  test.each(statuses)('%i at the start', async (status, code, message, delivered) => {
    const failure = await fail(on('initialize', refuse(status)));
    expect(failure.message).toMatch(message);
    expect(failure.message).toMatch(/^"vendor": .*POST initialize/);
    expect(failure.data).toMatchObject({ code, server: 'vendor', status, delivered });
    expect(failure.host.count('initialize')).toBe(1);
  });

  test.each(statuses.filter(([status]) => status !== 404))('%i later', async (status, code, message, delivered) => {
    const failure = await fail(on('tools/call', refuse(status)));
    expect(failure.message).toMatch(message);
    expect(failure.message).toMatch(/^"vendor": .*POST tools\/call/);
    expect(failure.data).toMatchObject({ code, server: 'vendor', status, delivered });
    expect(failure.host.count('tools/call')).toBe(1);
  });

  test('404 within a session ends it, and says so', async () => {
    const { message, data, errors, host } = await fail(on('tools/call', refuse(404)));
    expect(message).toMatch(/no longer knows the session: it was restarted, or the session expired; connect again/);
    expect(data).toMatchObject({ code: 'SESSION_LOST', server: 'vendor', status: 404, delivered: false });
    expect(errors).toMatchObject([{ code: 'SESSION_LOST', server: 'vendor' }]);
    // A session that is gone needs no end.
    expect(host.steps).not.toContain('DELETE');
  });

  test.each([
    [404, -32001, 'Session not found'],
    [404, -32600, 'Unknown session id'],
    [400, -32000, 'Bad Request: No valid session ID provided'],
  ])('%i with error %i "%s" for the request itself ends the session', async (status, code, text) => {
    const { data, errors } = await fail(
      on('tools/call', ({ response, message }) =>
        sendJson(response, { jsonrpc: '2.0', id: message?.id, error: { code, message: text } }, status),
      ),
    );
    expect(data).toMatchObject({ code: 'SESSION_LOST', server: 'vendor', status, delivered: false });
    expect(errors).toMatchObject([{ code: 'SESSION_LOST', server: 'vendor' }]);
  });

  const noId = (message: string) => JSON.stringify({ jsonrpc: '2.0', error: { code: -32000, message }, id: null });

  test.each([
    [401, 'Unauthorized: Session not found'],
    [400, 'Invalid session ID'],
    [400, noId('Bad Request: Server not initialized')],
    [400, noId('Bad Request: No valid session ID provided')],
  ])('%i with the words %s ends the session, also where access could be asked for', async (status, body) => {
    for (const runtime of [{}, { authProvider: () => new MemoryProvider() }]) {
      const { data, errors, host } = await fail(on('tools/call', refuse(status, {}, body)), { runtime });
      expect(data).toMatchObject({ code: 'SESSION_LOST', server: 'vendor', status, delivered: false });
      expect(errors).toMatchObject([{ code: 'SESSION_LOST', server: 'vendor' }]);
      expect(host.count('tools/call')).toBe(1);
    }
  });

  test.each([
    [401, 'Unauthorized', {}, 'AUTH_REQUIRED'],
    [401, 'Unauthorized: Session not found', { 'www-authenticate': 'Bearer' }, 'AUTH_REQUIRED'],
    [400, `<html>${'x'.repeat(600)} your session`, { 'content-type': 'text/html' }, 'HTTP_STATUS'],
    [400, noId('the database is not initialized'), {}, 'HTTP_STATUS'],
  ])('%i with the words %.40s ends no session', async (status, body, headers, code) => {
    const { data } = await fail(on('tools/call', refuse(status, headers, body)));
    expect(data).toMatchObject({ code, server: 'vendor', status, delivered: false });
  });

  test.each([
    [404, -32601, 'Method not found'],
    [404, -32002, 'Resource not found'],
    [400, -32602, 'session_name is missing'],
    [400, -32000, 'no such table'],
    [404, -32603, 'no such document'],
    [404, -32001, 'task 7 not found'],
    [400, -32000, 'chat session 5 has ended'],
    [400, -32600, 'browser session missing'],
  ])('%i with error %i "%s" for the request itself is its answer', async (status, code, text) => {
    const { error } = await fail(
      on('tools/call', ({ response, message }) =>
        sendJson(response, { jsonrpc: '2.0', id: message?.id, error: { code, message: text } }, status),
      ),
    );
    expect(error).toEqual({ code, message: text });
  });

  test.each([
    ['429 with seconds', 429, '7', 7_000],
    ['503 with seconds', 503, '120', 120_000],
    ['503 with none', 503, '0', 0],
  ])('%s to wait', async (_name, status, header, ms) => {
    const { message, data, host } = await fail(on('tools/call', refuse(status, { 'retry-after': header })));
    expect(data).toMatchObject({ code: 'HTTP_STATUS', status, retryAfterMs: ms, delivered: false });
    expect(message).toContain(`it asks to wait ${ms / 1000} s`);
    expect(host.count('tools/call')).toBe(1);
  });

  test.each([429, 503])('%i with a date to wait for', async (status) => {
    const at = new Date(Date.now() + 3_600_000).toUTCString();
    const { data } = await fail(on('tools/call', refuse(status, { 'retry-after': at })));
    expect(data?.retryAfterMs).toBeGreaterThan(3_000_000);
    expect(data?.retryAfterMs).toBeLessThanOrEqual(3_600_000);
  });

  test.each(['soon', '-5', ''])('429 with a Retry-After of %j', async (header) => {
    const { data } = await fail(on('tools/call', refuse(429, { 'retry-after': header })));
    expect(data).toMatchObject({ code: 'HTTP_STATUS', status: 429 });
    expect(data).not.toHaveProperty('retryAfterMs');
  });

  test('202 for a request is no answer', async () => {
    const { message, data } = await fail(on('tools/call', refuse(202)));
    expect(message).toMatch(/^"vendor": .*POST tools\/call was answered by .* with HTTP 202 and no message/);
    expect(data).toMatchObject({ code: 'ANSWER_INVALID', delivered: 'unknown' });
  });
});

describe('a body that is no answer', () => {
  const page = '<html><head><title>502 Bad\nGateway</title></head><body><h1>x</h1></body></html>';

  test('an HTML page with status 200', async () => {
    const { message, data } = await fail(on('initialize', refuse(200, { 'content-type': 'text/html' }, page)));
    expect(message).toMatch(
      /POST initialize was answered by .* with content of type text\/html \(a page "502 Bad\s?Gateway"\) instead of JSON or an event stream; is that the MCP endpoint\?/,
    );
    expect(data).toMatchObject({ code: 'ANSWER_INVALID', status: 200 });
  });

  test.each(['initialize', 'tools/call'])(
    'an HTML page with status 200 that is said to be JSON, to %s',
    async (step) => {
      const { message, data } = await fail(on(step, refuse(200, { 'content-type': 'application/json' }, page)));
      expect(message).toMatch(
        /^"vendor": .*was answered by http:\S+ with broken JSON \(a page "502 Bad\s?Gateway"\); is that the MCP endpoint\?$/,
      );
      expect(data).toMatchObject({ code: 'ANSWER_INVALID', server: 'vendor', delivered: 'unknown' });
    },
  );

  test.each([
    [403, 'text/html'],
    [502, 'text/html; charset=utf-8'],
    [502, 'application/json'],
  ])('an HTML page with status %i and type %s is told in a line', async (status, type) => {
    const { message } = await fail(on('initialize', refuse(status, { 'content-type': type }, page)));
    expect(message).toContain('it sent an HTML page "502 Bad Gateway"');
    expect(message).not.toMatch(/[\n<>]/);
  });

  test.each(['text/plain', 'application/xml', 'application/octet-stream'])('content of type %s', async (type) => {
    const { message, data } = await fail(on('tools/call', refuse(200, { 'content-type': type }, 'hello')));
    expect(message).toContain(`with content of type ${type} instead of JSON or an event stream`);
    expect(data).toMatchObject({ code: 'ANSWER_INVALID', server: 'vendor' });
  });

  test('no content type', async () => {
    const { message, data } = await fail(on('tools/call', refuse(200)));
    expect(message).toContain('with HTTP 200 and no message');
    expect(data?.code).toBe('ANSWER_INVALID');
  });

  test.each([
    ['broken JSON', '{"jsonrpc":"2.0","id":2,"result"'],
    ['broken JSON', ''],
    ['JSON that is not its answer', '{"jsonrpc":"2.0","id":999,"result":{}}'],
    ['JSON that is not its answer', '{"hello":"world"}'],
    ['JSON that is not its answer', '[]'],
    ['JSON that is not its answer', 'null'],
  ])('%s: %s', async (what, body) => {
    const { message, data } = await fail(on('tools/call', refuse(200, { 'content-type': 'application/json' }, body)));
    expect(message).toMatch(
      new RegExp(`POST tools/call was answered by http:\\S+ with ${what}; is that the MCP endpoint\\?$`),
    );
    expect(data).toMatchObject({ code: 'ANSWER_INVALID', server: 'vendor' });
  });

  test.each([
    ['null', { id: null }],
    ['left out', {}],
  ])('an error with status 200 whose id is %s, as the server did not get that far, is the answer', async (_, id) => {
    const refusal = { code: -32600, message: 'arguments must not be empty' };
    const script = on('tools/call', ({ response }) => sendJson(response, { jsonrpc: '2.0', ...id, error: refusal }));
    expect((await fail(script)).error).toEqual(refusal);
  });

  test('a text is told in short, without its control characters', async () => {
    const text = `no\u0007 luck\r\n${'x'.repeat(5_000)}`;
    const { message } = await fail(on('initialize', refuse(500, { 'content-type': 'text/plain' }, text)));
    expect(message).toMatch(/it says: no luck x+…$/);
    expect(message.length).toBeLessThan(600);
  });

  test('the message of an error in JSON is told', async () => {
    const body = '{"error":{"message":"tenant is suspended"}}';
    const { message } = await fail(on('initialize', refuse(403, { 'content-type': 'application/json' }, body)));
    expect(message).toMatch(/it says: tenant is suspended$/);
  });

  test('an error for the request itself is its answer, however large it is', async () => {
    const error = { code: -32602, message: 'bad argument', data: 'z'.repeat(500_000) };
    const { error: found } = await fail(
      on('tools/call', ({ response, message }) => sendJson(response, { jsonrpc: '2.0', id: message?.id, error }, 400)),
    );
    expect(found).toEqual(error);
  });

  test.each([400, 404, 422])(
    'what may be the answer, with status %i, and breaks off: the outcome is unknown',
    async (status) => {
      const { data, host } = await fail(
        on('tools/call', ({ response }) => {
          response.writeHead(status, { 'content-type': 'application/json' });
          response.write('{"jsonrpc":"2.0","id":', () => response.destroy());
        }),
      );
      expect(data).toMatchObject({ code: 'HTTP_STATUS', status, delivered: 'unknown' });
      expect(host.count('tools/call')).toBe(1);
    },
  );

  test('an error over max_message is no answer, and its beginning is told', async () => {
    const error = { code: -32602, message: 'bad argument', data: 'z'.repeat(100_000) };
    const { message, data } = await fail(
      on('tools/call', ({ response, message }) => sendJson(response, { jsonrpc: '2.0', id: message?.id, error }, 400)),
      { entry: { max_message: '64KiB' } },
    );
    expect(message).toMatch(/it says: \{"jsonrpc":"2\.0".*bad argument/);
    expect(data).toMatchObject({ code: 'HTTP_STATUS', status: 400, delivered: 'unknown' });
  });

  test.each([
    [500, 'HTTP_STATUS', /it sent an HTML page "Gateway broke"$/],
    [200, 'ANSWER_INVALID', /content of type text\/html \(a page "Gateway broke"\) instead of/],
  ])('a page of more than 64 KiB with status %i is told by its title', async (status, code, text) => {
    const page = `<html><title>Gateway broke</title>${' '.repeat(70_000)}`;
    const { message, data } = await fail(on('tools/call', refuse(status, { 'content-type': 'text/html' }, page)));
    expect(message).toMatch(text);
    expect(data).toMatchObject({ code, status });
  });

  test('the beginning of a body that breaks off is told', async () => {
    const { message } = await fail(
      on('tools/call', ({ response }) => {
        response.writeHead(502, { 'content-type': 'text/plain' });
        response.write('no luck', () => response.destroy());
      }),
    );
    expect(message).toMatch(/it says: no luck$/);
  });

  test('more than max_message fails its request alone', async () => {
    const { message, data } = await fail(
      on('tools/call', ({ response, message }) => sendJson(response, textResult(message?.id, 'x'.repeat(100_000)))),
      { entry: { max_message: '64KiB' } },
    );
    expect(message).toMatch(/the answer to tools\/call holds more than 65536 bytes \(max_message\)/);
    expect(data).toMatchObject({ code: 'MESSAGE_TOO_LARGE', delivered: 'unknown' });
  });
});

describe('an answer that does not come', () => {
  test('no headers to initialize', async () => {
    const { message, data } = await fail(
      on('initialize', () => {}),
      { runtime: { headersTimeoutMs: 300 } },
    );
    expect(message).toMatch(
      /POST initialize got no whole answer from .*: .* sent no answer within the time allowed; .* \(UND_ERR_HEADERS_TIMEOUT\)/,
    );
    expect(data).toMatchObject({ code: 'CONNECTION_FAILED', server: 'vendor', delivered: 'unknown' });
  });

  test('no headers to a notification fail nothing but it', async () => {
    await using host = await listenScripted(on('notifications/progress', () => {}));
    await using session = new Session({ url: host.url }, { runtime: { headersTimeoutMs: 300 } });
    await session.begin();
    await session.notify('notifications/progress', { progressToken: 1, progress: 1 }).catch(() => {});
    expect(await session.call('search')).toMatchObject({ result: {} });
  });

  test.each([
    ['no headers', () => {}],
    ['a stream that stays silent', ({ response }: Asked) => startEvents(response)],
    [
      'half of a body',
      ({ response }: Asked) => {
        response.writeHead(200, { 'content-type': 'application/json' }).write('{"jsonrpc":');
      },
    ],
  ])('%s to a call ends with the time of the request, and the server is told', async (_name, stay) => {
    const hung = Promise.withResolvers<Promise<void>>();
    const cancelled = Promise.withResolvers<unknown>();
    const { message, data } = await fail(
      (asked) => {
        if (asked.message?.method === 'notifications/cancelled') cancelled.resolve(asked.message.params);
        if (asked.message?.method !== 'tools/call') return false;
        hung.resolve(asked.closed);
        return stay(asked);
      },
      { entry: { request_timeout: '300ms' } },
    );
    expect(data).toMatchObject({ code: 'REQUEST_TIMEOUT', server: 'vendor', delivered: 'unknown' });
    expect(message).toMatch(/"vendor".*tools\/call/);
    expect(await cancelled.promise).toMatchObject({ requestId: expect.anything() });
    await await hung.promise;
  });

  test('a connection that is cut before the headers', async () => {
    const { message, data, host } = await fail(on('tools/call', ({ request }) => request.socket.destroy()));
    expect(message).toMatch(/^"vendor": .*POST tools\/call got no whole answer from .*: .* cut the connection/);
    expect(data).toMatchObject({ code: 'CONNECTION_FAILED', server: 'vendor', delivered: 'unknown' });
    expect(host.count('tools/call')).toBe(1);
  });

  const whole = (id: unknown) => JSON.stringify(textResult(id as number, 'x'.repeat(1_000)));

  test.each([
    [
      'JSON',
      (asked: Asked) => {
        const body = whole(asked.message?.id);
        asked.response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
        asked.response.write(body.slice(0, 500), () => asked.request.socket.destroy());
      },
    ],
    [
      'JSON in chunks',
      (asked: Asked) => {
        asked.response.writeHead(200, { 'content-type': 'application/json' });
        asked.response.write(whole(asked.message?.id), () => asked.request.socket.destroy());
      },
    ],
    [
      'an event stream',
      (asked: Asked) => {
        startEvents(asked.response);
        asked.response.write(event(whole(asked.message?.id)).slice(0, 500), () => asked.request.socket.destroy());
      },
    ],
    [
      'an event whose end is missing',
      (asked: Asked) => {
        startEvents(asked.response);
        asked.response.write(event(whole(asked.message?.id)).slice(0, -1), () => asked.request.socket.destroy());
      },
    ],
    [
      'JSON with its length, the last answer of its connection,',
      (asked: Asked) => {
        const body = whole(asked.message?.id);
        asked.response.writeHead(200, {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          connection: 'close',
        });
        asked.response.write(body.slice(0, 500), () => asked.request.socket.destroy());
      },
    ],
    [
      'an event stream, the last answer of its connection,',
      (asked: Asked) => {
        asked.response.setHeader('connection', 'close');
        startEvents(asked.response);
        asked.response.write(event(whole(asked.message?.id)).slice(0, 500), () => asked.request.socket.destroy());
      },
    ],
  ])('%s cut in the middle', async (_name, cut) => {
    const { message, data, host } = await fail(on('tools/call', cut));
    expect(message).toMatch(/^"vendor": .*POST tools\/call got no whole answer from .*: .* cut the connection/);
    expect(data).toMatchObject({ code: 'CONNECTION_FAILED', server: 'vendor', delivered: 'unknown' });
    expect(host.count('tools/call')).toBe(1);
  });

  test.each([
    ['nothing in it', ''],
    ['a comment in it', ': wait\n\n'],
    ['a half event at its end', 'data: {"jsonrpc":"2.0","id":2,"result":{}}'],
  ])('a stream with %s that ends in good order', async (_name, text) => {
    const { message, data, host } = await fail(
      on('tools/call', ({ response }) => {
        startEvents(response);
        response.end(text);
      }),
    );
    expect(message).toMatch(
      /^"vendor": .*POST tools\/call: .* ended the stream before it sent the answer to tools\/call; does a proxy cut it\?/,
    );
    expect(data).toMatchObject({ code: 'ANSWER_INVALID', server: 'vendor', delivered: 'unknown' });
    expect(host.count('tools/call')).toBe(1);
  });

  test('an answer that comes twice is handed on once', async () => {
    await using host = await listenScripted(
      on('tools/call', ({ response, message }) => {
        startEvents(response);
        response.end(event(textResult(message?.id, 'first')) + event(textResult(message?.id, 'second')));
      }),
    );
    await using session = new Session({ url: host.url });
    await session.begin();
    expect(JSON.stringify(await session.call('search'))).toContain('first');
    await session.call('search');
  });
});

describe('a redirect', () => {
  test.each([301, 302, 303, 307, 308])('%i to another origin is not followed', async (status) => {
    let visits = 0;
    await using elsewhere = await listen((_request, response) => {
      visits += 1;
      response.end();
    });
    const { message, data } = await fail(on('initialize', refuse(status, { location: `${elsewhere.origin}/mcp` })));
    expect(message).toContain(
      `HTTP ${status}; it redirects to another origin, ${elsewhere.origin}, which is not followed: put the right address into url`,
    );
    // RFC 9110, 15.4: 307 and 308 ask for the same request elsewhere. After the others a POST becomes a GET, which may be for
    // what it has brought about.
    expect(data).toMatchObject({ code: 'HTTP_STATUS', status, delivered: status < 307 ? 'unknown' : false });
    expect(visits).toBe(0);
  });

  test.each([
    ['https instead of http', 'https://127.0.0.1:1/mcp', 'it redirects to another origin, https://127.0.0.1:1'],
    ['no address', 'http://[', 'it redirects to nowhere'],
    ['a file', 'file:///etc/passwd', 'it redirects to another origin, null'],
  ])('to %s is not followed', async (_name, location, message) => {
    expect((await fail(on('initialize', refuse(308, { location })))).message).toContain(message);
  });

  test('without a location', async () => {
    expect((await fail(on('initialize', refuse(307)))).message).toContain('it redirects to nowhere');
  });

  test.each([301, 302, 303])(
    '%i within the origin would turn a POST into something else, and is not followed',
    async (status) => {
      const { message, host } = await fail(on('initialize', refuse(status, { location: '/v2' })));
      expect(message).toContain('it redirects to /v2, which is not followed here: put the right address into url');
      expect(host.count('initialize')).toBe(1);
    },
  );

  test('in a circle comes to an end', async () => {
    const { message, data, host } = await fail(on('initialize', refuse(307, { location: '/mcp' })));
    expect(message).toContain('HTTP 307; it redirects to /mcp, which is not followed here');
    expect(data?.code).toBe('HTTP_STATUS');
    expect(host.count('initialize')).toBe(6);
  });
});

describe('transport: auto', () => {
  test.each([400, 404, 405])('names both answers when %i comes to both', async (status) => {
    const { message, data, host } = await fail(({ response }) => refuse(status)({ response } as Asked), {
      transport: 'auto',
    });
    expect(message).toMatch(
      new RegExp(
        `^"vendor": .*: the server speaks neither Streamable HTTP nor HTTP\\+SSE: POST initialize was .* HTTP ${status}.*; then GET \\(stream of HTTP\\+SSE\\) was .* HTTP ${status}`,
      ),
    );
    expect(data).toMatchObject({ code: 'HTTP_STATUS', status, delivered: false });
    expect(host.steps).toEqual(['initialize', 'GET']);
  });

  test.each([401, 403, 406, 415, 500, 503])('does not try HTTP+SSE after %i', async (status) => {
    const { host } = await fail(({ response }) => refuse(status)({ response } as Asked), { transport: 'auto' });
    expect(host.steps).toEqual(['initialize']);
  });

  test('does not try HTTP+SSE when the server answers 400 as MCP does', async () => {
    const error = { code: -32600, message: 'Bad Request: no such revision' };
    const { error: told, host } = await fail(
      ({ response, message }) => sendJson(response, { jsonrpc: '2.0', id: message?.id ?? null, error }, 400),
      { transport: 'auto' },
    );
    expect(told).toEqual(error);
    expect(host.steps).toEqual(['initialize']);
  });

  test('tries HTTP+SSE after 405, though an error of MCP says so', async () => {
    const error = { code: -32601, message: 'Method not allowed' };
    const stream = Promise.withResolvers<Asked['response']>();
    await using host = await listenScripted(async ({ method, path, message, response }) => {
      if (method === 'GET') {
        startEvents(response);
        response.write(event('/messages', { type: 'endpoint' }));
        stream.resolve(response);
      } else if (path === '/messages') {
        response.writeHead(202).end();
        (await stream.promise).write(event({ jsonrpc: '2.0', id: message?.id, result: { old: true } }));
      } else {
        sendJson(response, { jsonrpc: '2.0', error, id: null }, 405);
      }
    });
    await using session = new Session({ url: host.url, transport: 'auto' });
    await session.transport.start();
    const _meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' };
    expect(await session.request('server/discover', { _meta })).toMatchObject({ error });
    expect(await session.request('initialize')).toMatchObject({ result: { old: true } });
    expect(host.steps).toEqual(['server/discover', 'initialize', 'GET', 'initialize']);
  });

  test('does not try HTTP+SSE after a refusal of what comes later', async () => {
    const { host } = await fail(on('tools/call', refuse(405)), { transport: 'auto' });
    expect(host.steps.filter((step) => step === 'GET')).toHaveLength(1);
    expect(host.seen.find(({ method }) => method === 'GET')?.headers['mcp-session-id']).toBe(sessionId);
  });
});

test('a fallback to HTTP+SSE that is refused fails its request alone', async () => {
  let endpoint = 'http://127.0.0.2:9/messages';
  await using host = await listenScripted(({ method, response }) => {
    if (method !== 'GET') return refuse(405)({ response } as Asked);
    startEvents(response);
    response.write(event(endpoint, { type: 'endpoint' }));
  });
  await using session = new Session({ url: host.url });
  const refused = await session.begin();
  expect(refused.error?.message).toMatch(/which is not its own origin; refused/);
  expect(refused.error?.data).toMatchObject({ code: 'HTTP_STATUS', status: 405 });
  endpoint = '/messages';
  const again = await session.request('initialize');
  expect(again.error?.message).toMatch(/POST initialize was answered by .* with HTTP 405/);
  expect(session.errors).toEqual([]);
  expect(session.closes).toBe(0);
});

describe('HTTP+SSE', () => {
  const legacy = (url: string, runtime: RemoteSseOptions = {}) =>
    new Session({ url, transport: 'sse' }, { runtime }).transport.start();

  test.each([
    [
      '401',
      refuse(401),
      'AUTH_REQUIRED',
      /GET \(stream of HTTP\+SSE\): the server asks for authorization \(HTTP 401\)/,
    ],
    [
      '404',
      refuse(404),
      'START_FAILED',
      /GET \(stream of HTTP\+SSE\) was answered by .* with HTTP 404; nothing is there/,
    ],
    ['503', refuse(503, { 'retry-after': '3' }), 'START_FAILED', /HTTP 503; it asks to wait 3 s/],
    [
      'a page',
      refuse(200, { 'content-type': 'text/html' }, '<p>'),
      'START_FAILED',
      /answered with text\/html instead of an event stream/,
    ],
    ['no type', refuse(200), 'START_FAILED', /answered with no content type instead of an event stream/],
    [
      'an end at once',
      refuse(200, { 'content-type': 'text/event-stream' }),
      'START_FAILED',
      /ended its stream before it named the address for messages/,
    ],
    [
      'a cut',
      ({ response, request }: Asked) => {
        startEvents(response);
        response.write(': hello\n\n', () => request.socket.destroy());
      },
      'START_FAILED',
      /GET \(stream of HTTP\+SSE\) got no whole answer from .* cut the connection/,
    ],
    [
      'an address of another origin',
      ({ response }: Asked) => {
        startEvents(response);
        response.write(event('http://127.0.0.2:9/messages', { type: 'endpoint' }));
      },
      'START_FAILED',
      /messages to go to http:\/\/127\.0\.0\.2:9, which is not its own origin; refused/,
    ],
    [
      'an address of another scheme',
      ({ response }: Asked) => {
        startEvents(response);
        response.write(event('//127.0.0.1/messages', { type: 'endpoint' }));
      },
      'START_FAILED',
      /which is not its own origin; refused/,
    ],
    [
      'no address',
      ({ response }: Asked) => {
        startEvents(response);
        response.write(event('http://[', { type: 'endpoint' }));
      },
      'START_FAILED',
      /messages to go to no address/,
    ],
  ] as const)('%s at the start', async (_name, script, code, message) => {
    await using host = await listenScripted(script as Script);
    await expect(legacy(host.url)).rejects.toMatchObject({
      code,
      server: 'vendor',
      message: expect.stringMatching(message),
    });
  });

  test.each([
    ['no headers', () => {}],
    [
      'no endpoint event',
      ({ response }: Asked) => {
        startEvents(response);
        response.write(': nothing yet\n\n');
      },
    ],
  ])('%s at the start', async (_name, script) => {
    await using host = await listenScripted(script);
    await expect(legacy(host.url, { headersTimeoutMs: 300 })).rejects.toMatchObject({
      code: 'START_FAILED',
      server: 'vendor',
      message: expect.stringMatching(/within the time allowed/),
    });
  });
});

test.for([
  ['', (id?: string | number) => id],
  [', also with its number as a text', String],
] as const)(
  'an answer that comes on the stream of the server ends the connection of its request%s',
  async ([, idOf]) => {
    const listening = Promise.withResolvers<Asked>();
    const called = Promise.withResolvers<Asked>();
    await using host = await listenScripted((asked) => {
      const isCall = asked.message?.method === 'tools/call';
      if (!isCall && asked.method !== 'GET') return false;
      startEvents(asked.response);
      (isCall ? called : listening).resolve(asked);
      return true;
    });
    await using session = new Session({ url: host.url });
    await session.begin();
    const { response } = await listening.promise;
    const id = session.ask('tools/call', { name: 'search', arguments: {} });
    const { message, closed } = await called.promise;
    response.write(event(textResult(idOf(message?.id), 'found')));
    expect((await session.answerOf(id)).result).toMatchObject({ content: [{ text: 'found' }] });
    await closed;
    expect(session.countOf(id)).toBe(1);
  },
);
