import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createGateway, GatewayError, type RemoteSseOptions } from '../../src/index.js';
import { type Certificates, createCertificates, createSecureServer } from '../fixtures/http/certificates.js';
import { listen, startEvents } from '../fixtures/http/listen.js';
import { listenProxy } from '../fixtures/http/proxy.js';
import { type Asked, listenScripted, type Script } from '../fixtures/http/scripted-host.js';
import { Session, textOf } from '../fixtures/http/session.js';

let certificates: Certificates;
beforeAll(async () => {
  certificates = await createCertificates();
});
afterAll(() => certificates[Symbol.asyncDispose]());

const listenSecure = (script?: Script) =>
  listenScripted(script, { server: createSecureServer(certificates.good) as never, scheme: 'https' });

describe('proxies', () => {
  const variables = ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy', 'NO_PROXY', 'no_proxy'];

  /** The environment of the process, with these variables about proxies and no others. */
  function environment(given: Record<string, string>) {
    for (const name of variables) vi.stubEnv(name, given[name]);
    return {
      [Symbol.dispose]: () => {
        vi.unstubAllEnvs();
      },
    };
  }

  async function call(url: string, runtime: RemoteSseOptions = {}) {
    await using session = new Session({ url }, { runtime: { tls: { ca: certificates.ca }, ...runtime } });
    await session.begin();
    expect(textOf(await session.call('search'))).toBe('search');
    expect(await session.gateway.check('vendor')).toMatchObject([{ ok: true }]);
  }

  test.each(['HTTPS_PROXY', 'https_proxy'])(
    '%s is followed for https, and sees nothing of what it carries',
    async (name) => {
      await using host = await listenSecure();
      await using proxy = await listenProxy();
      using _environment = environment({ [name]: proxy.origin });
      await call(host.url);
      expect(new Set(proxy.asked)).toEqual(new Set([`CONNECT 127.0.0.1:${host.port}`]));
      expect(host.steps.slice(0, 2)).toEqual(['initialize', 'notifications/initialized']);
    },
  );

  test.each(['HTTP_PROXY', 'http_proxy'])('%s is followed for http', async (name) => {
    await using host = await listenScripted();
    await using proxy = await listenProxy();
    using _environment = environment({ [name]: proxy.origin });
    await call(host.url);
    expect(proxy.asked.length).toBeGreaterThan(0);
    expect(proxy.asked.every((asked) => asked.includes(`127.0.0.1:${host.port}`))).toBe(true);
  });

  test('HTTP_PROXY alone is for https too', async () => {
    await using host = await listenSecure();
    await using proxy = await listenProxy();
    using _environment = environment({ HTTP_PROXY: proxy.origin });
    await call(host.url);
    expect(new Set(proxy.asked)).toEqual(new Set([`CONNECT 127.0.0.1:${host.port}`]));
  });

  test.each(['NO_PROXY', 'no_proxy'])('%s is left out', async (name) => {
    await using host = await listenSecure();
    await using proxy = await listenProxy();
    using _environment = environment({
      HTTPS_PROXY: proxy.origin,
      HTTP_PROXY: proxy.origin,
      [name]: 'example.com,127.0.0.1',
    });
    await call(host.url);
    expect(proxy.asked).toEqual([]);
  });

  test('false goes straight, whatever the environment says', async () => {
    await using host = await listenSecure();
    await using proxy = await listenProxy();
    using _environment = environment({ HTTPS_PROXY: proxy.origin, HTTP_PROXY: proxy.origin });
    await call(host.url, { proxy: false });
    expect(proxy.asked).toEqual([]);
  });

  test.each(['http', 'https'])('an address is taken instead of the environment, for %s', async (scheme) => {
    await using host = scheme === 'https' ? await listenSecure() : await listenScripted();
    await using proxy = await listenProxy();
    using _environment = environment({
      HTTPS_PROXY: 'http://127.0.0.1:1',
      HTTP_PROXY: 'http://127.0.0.1:1',
      NO_PROXY: '*',
    });
    await call(host.url, { proxy: proxy.origin });
    expect(proxy.asked.length).toBeGreaterThan(0);
  });

  test('credentials in the address of the proxy go to the proxy alone', async () => {
    await using host = await listenSecure();
    await using proxy = await listenProxy();
    await call(host.url, { proxy: proxy.origin.replace('//', '//me:secret@') });
    expect(new Set(proxy.credentials)).toEqual(new Set([`Basic ${btoa('me:secret')}`]));
    expect(host.seen.every(({ headers }) => headers['proxy-authorization'] === undefined)).toBe(true);
  });

  test("a proxy's own certificate is checked against tls.ca", async () => {
    await using host = await listenSecure();
    await using proxy = await listenProxy(undefined, createSecureServer(certificates.good) as never, 'https');
    await call(host.url, { proxy: proxy.origin });
    expect(proxy.asked.length).toBeGreaterThan(0);
  });

  test.each([
    [407, /the proxy asks for credentials \(407\): put them into the URL of the proxy/],
    [403, /the proxy refused the connection \(403\)/],
    [502, /the proxy refused the connection \(502\)/],
  ])('a proxy that answers %i is told from the server', async (status, told) => {
    await using proxy = await listenProxy(status);
    await using session = new Session(
      { url: 'https://vendor.example/mcp' },
      { runtime: { proxy: proxy.origin.replace('//', '//me:canary@') } },
    );
    const { error } = await session.begin();
    expect(error?.message).toMatch(told);
    expect(error?.message).not.toContain('canary');
    expect(error?.data).toMatchObject({ code: 'CONNECTION_FAILED', server: 'vendor', delivered: false });
    expect(proxy.asked.every((asked) => asked === 'CONNECT vendor.example:443')).toBe(true);
  });

  test('a proxy that is not there is told with its own address', async () => {
    const gone = await listenProxy();
    await gone.close();
    await using session = new Session({ url: 'https://vendor.example/mcp' }, { runtime: { proxy: gone.origin } });
    const { error } = await session.begin();
    expect(error?.message).toMatch(
      new RegExp(`the proxy cannot be reached: nobody listens at 127\\.0\\.0\\.1:${gone.port};`),
    );
    expect(error?.data).toMatchObject({ code: 'CONNECTION_FAILED', delivered: false });
  });

  test('an address that is no proxy is told at the start', async () => {
    await using session = new Session(
      { url: 'https://vendor.example/mcp' },
      { runtime: { proxy: 'proxy.example:3128' } },
    );
    await expect(session.transport.start()).rejects.toMatchObject({ code: 'START_FAILED', server: 'vendor' });
  });
});

describe('NODE_EXTRA_CA_CERTS', () => {
  const programOf = (name: string) => fileURLToPath(new URL(`../fixtures/http/${name}.ts`, import.meta.url));
  const hook = fileURLToPath(new URL('../support/resolve-sources.mjs', import.meta.url));
  const run = (args: string[], env: Record<string, string>, program = programOf('connect-once')) =>
    promisify(execFile)(
      process.execPath,
      ['--no-warnings', '--experimental-transform-types', '--import', hook, program, ...args],
      { env: { ...process.env, ...env } },
    );

  test('is trusted, and still is beside tls.ca', async () => {
    await using host = await listenSecure();
    expect((await run([host.url], { NODE_EXTRA_CA_CERTS: '' })).stdout).toContain('START_FAILED');
    const env = { NODE_EXTRA_CA_CERTS: certificates.caPath };
    expect((await run([host.url], env)).stdout).toBe('connected\n');
    expect((await run([host.url, certificates.selfSigned.cert], env)).stdout).toBe('connected\n');
  });

  test('is trusted of a container engine and of an API server, whose configuration names no authority', async () => {
    await using host = await listenSecure(({ response }) => response.writeHead(418).end());
    const ask = async (path: string) => {
      const args = [host.origin, certificates.folder];
      const { stdout } = await run(args, { NODE_EXTRA_CA_CERTS: path }, programOf('check-once'));
      return stdout.trim().split('\n');
    };
    const [engine, apiServer] = [
      expect.stringContaining('unable to verify'),
      expect.stringContaining('is not trusted'),
    ];
    const answered = expect.stringContaining('418');
    expect(await Promise.all([ask(''), ask(certificates.caPath)])).toEqual([
      [engine, apiServer],
      [answered, answered],
    ]);
  });
});

describe('limits', () => {
  test('no more connections than maxConnections, and no request is lost', async () => {
    let most = 0;
    const open = new Set<unknown>();
    await using host = await listenScripted();
    host.server.on('connection', (socket) => {
      open.add(socket);
      most = Math.max(most, open.size);
      socket.on('close', () => open.delete(socket));
    });
    await using session = new Session({ url: host.url }, { runtime: { maxConnections: 3 } });
    await session.begin();
    const answers = await Promise.all(Array.from({ length: 60 }, (_, number) => session.call(`tool-${number}`)));
    expect(answers.map(textOf)).toEqual(Array.from({ length: 60 }, (_, number) => `tool-${number}`));
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(3);
  });

  test('who waits for ever for connections and headers gets them', async () => {
    await using host = await listenScripted(() => false);
    const patient = { connectTimeoutMs: Number.POSITIVE_INFINITY, headersTimeoutMs: Number.POSITIVE_INFINITY };
    await using session = new Session({ url: host.url }, { runtime: patient });
    expect((await session.begin()).error).toBeUndefined();
    expect((await session.call('x')).error).toBeUndefined();
  });

  test('a request may wait longer for its headers than headersTimeoutMs', async () => {
    const asked = Promise.withResolvers<Asked>();
    await using host = await listenScripted((given) =>
      given.message?.method === 'tools/call' ? asked.resolve(given) : false,
    );
    await using session = new Session({ url: host.url }, { runtime: { headersTimeoutMs: 300 } });
    await session.begin();
    const id = session.ask('tools/call', { name: 'slow' });
    const { response, message } = await asked.promise;
    // Something that has that time-out runs into it meanwhile.
    await using other = await listen(() => {});
    await using second = new Session(
      { url: `${other.origin}/mcp`, transport: 'streamable-http' },
      { runtime: { headersTimeoutMs: 600 } },
    );
    expect((await second.begin()).error?.message).toContain('UND_ERR_HEADERS_TIMEOUT');
    startEvents(response);
    response.end(`data: ${JSON.stringify({ jsonrpc: '2.0', id: message?.id, result: { content: [] } })}\n\n`);
    expect(await session.answerOf(id)).toMatchObject({ result: { content: [] } });
  });
});

describe('redirects within the origin', () => {
  test.each([307, 308])('%i keeps the method, the body and the headers', async (status) => {
    await using host = await listenScripted(({ path, response }) =>
      path === '/mcp' ? response.writeHead(status, { location: '/v2/mcp' }).end() : false,
    );
    await using session = new Session({ url: host.url, headers: { 'X-Tenant': 'a' } });
    await session.begin();
    expect(textOf(await session.call('search'))).toBe('search');
    const [first, second] = host.seen;
    expect(second).toMatchObject({ method: 'POST', path: '/v2/mcp', body: first?.body, headers: { 'x-tenant': 'a' } });
  });

  test.each([301, 302, 303, 307, 308])('%i is followed by the stream of HTTP+SSE', async (status) => {
    await using host = await listenScripted(({ path, response }) => {
      if (path === '/mcp') return response.writeHead(status, { location: 'sse?a=1' }).end();
      startEvents(response);
      return response.write('event: endpoint\ndata: /messages\n\n');
    });
    await using session = new Session({ url: host.url, transport: 'sse' });
    await session.transport.start();
    expect(host.seen.map(({ method, path }) => `${method} ${path}`)).toEqual(['GET /mcp', 'GET /sse?a=1']);
  });
});

describe('headers and address of the catalog', () => {
  const problems = (runtime: Record<string, unknown>) => {
    try {
      createGateway(
        {
          servers: [{ id: 'vendor', runtime: { type: 'remote-sse', url: 'https://a.example/mcp', ...runtime } }],
        } as never,
        { env: { TOKEN: 'a\r\nX-Evil: canary' } },
      );
    } catch (error) {
      if (!GatewayError.is(error)) throw error;
      expect(error.code).toBe('CATALOG_INVALID');
      expect(error.message).not.toContain('canary');
      return error.issues?.map(({ path, message }) => `${path}: ${message}`).join('\n') ?? '';
    }
    return 'none';
  };

  test.each([
    'a\r\nX-Evil: canary',
    'a\nb',
    'a\rb',
    'a\u0000b',
    'a\u007fb',
    'snow ☃ canary',
    'ключ canary',
    'a\u2028b',
    '😀',
  ])('the header value %j is refused', (value) => {
    expect(problems({ headers: { 'X-Key': value } })).toMatch(
      /headers.*X-Key.*(?:holds a character that no HTTP header can have|NUL)/,
    );
  });

  test('a variable cannot bring a line break into a header', () => {
    expect(problems({ headers: { Authorization: `Bearer $${'{TOKEN}'}` } })).toMatch(
      /holds a character that no HTTP header can have/,
    );
  });

  test.each(['X Key', 'X-Key:', 'ключ', 'X\r\nY', ''])('the header name %j is refused', (name) => {
    expect(problems({ headers: { [name]: 'a' } })).toMatch(/is not a name that an HTTP header can have/);
  });

  test.each([
    'Host',
    'content-length',
    'Transfer-Encoding',
    'Connection',
    'Accept',
    'Content-Type',
    'Mcp-Session-Id',
    'MCP-Protocol-Version',
    'mcp-method',
    'Mcp-Name',
    'Mcp-Param-X',
    'Last-Event-ID',
    'Proxy-Authorization',
    'Upgrade',
  ])('the header %s belongs to the library', (name) => {
    expect(problems({ headers: { [name]: 'a' } })).toMatch(/is set by the library itself; leave it out/);
  });

  test.each(['https://me:canary@a.example/mcp', 'https://me@a.example/mcp', 'https://:canary@a.example/mcp'])(
    'credentials in %s are refused',
    (url) => {
      expect(problems({ url })).toMatch(/url: holds credentials; give them in headers\.Authorization instead/);
    },
  );

  test.each(['ftp://a.example', 'file:///etc/passwd', 'ws://a.example', 'a.example/mcp', '', 'https://'])(
    'the address %j is refused',
    (url) => {
      expect(problems({ url })).toMatch(/url: /);
    },
  );

  test('what Latin-1 has arrives as it is, and a header of the catalog on every request', async () => {
    await using host = await listenScripted();
    {
      await using session = new Session({ url: host.url, headers: { 'X-City': 'Köln\ttab' } });
      await session.begin();
      await session.call('search');
      await session.until('the stream for what belongs to no request', () => host.steps.includes('GET'));
    }
    expect(new Set(host.steps)).toEqual(
      new Set(['initialize', 'notifications/initialized', 'GET', 'tools/call', 'DELETE']),
    );
    expect(host.seen.map(({ headers }) => headers['x-city'])).toEqual(host.seen.map(() => 'Köln\ttab'));
  });

  test.each([
    ['a line break', { 'X-Key': 'a\r\nX-Evil: canary' }],
    ['a name of ours', { 'Mcp-Session-Id': 'canary' }],
    ['no text', { 'X-Key': 7 }],
    ['no headers', 'canary'],
  ])('a headers function that gives %s fails the request, and sends nothing', async (_name, given) => {
    await using host = await listenScripted();
    await using session = new Session({ url: host.url }, { runtime: { headers: () => given as never } });
    const { error } = await session.begin();
    expect(error?.data).toMatchObject({ code: 'AUTH_FAILED', server: 'vendor', delivered: false });
    expect(error?.message).toMatch(/the headers function of the host gave a header that cannot be sent/);
    expect(error?.message).not.toContain('canary');
    expect(host.seen).toEqual([]);
  });
});
