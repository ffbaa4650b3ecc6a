import { spawn } from 'node:child_process';
import dns from 'node:dns';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { TLSSocket } from 'node:tls';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type RemoteSseOptions, RemoteSseRuntime, type RemoteSseSpec } from '../../src/index.js';
import { HeldConnections } from '../../src/runtimes/remote-sse/held-connections.js';
import type { Transport } from '../../src/sdk.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import type { Connections } from '../../src/transport/http/connections.js';
import { type Certificates, createCertificates, createSecureServer, type Pair } from '../fixtures/http/certificates.js';
import { startFullServer } from '../fixtures/http/full-server.js';
import { listen } from '../fixtures/http/listen.js';
import { listenScripted } from '../fixtures/http/scripted-host.js';
import { Session, textOf } from '../fixtures/http/session.js';
import { FakeClock, settle } from '../support/fake-clock.js';

/** Why a connection did not come about; over either transport, where the step may be another. */
async function failure(url: string, runtime: RemoteSseOptions = {}, transport: RemoteSseSpec['transport'] = 'auto') {
  await using session = new Session({ url, transport }, { runtime });
  const error = await session.transport.start().then(
    () => undefined,
    (thrown: Error) => thrown,
  );
  expect(error).toMatchObject({ code: 'START_FAILED', server: 'vendor', delivered: false, cause: expect.any(Error) });
  // check() tries several times, which is long where a try is.
  if (runtime.connectTimeoutMs !== undefined) return { message: error?.message ?? '', problem: '' };
  const [checked] = await session.gateway.check('vendor');
  expect(checked).toMatchObject({ ok: false, problems: [expect.any(String)] });
  return { message: error?.message ?? '', problem: checked?.problems[0] ?? '' };
}

/** A server that takes connections and does with them as it is told. */
async function listenRaw(run: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    run(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as { port: number }).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

describe.each(['auto', 'sse'] as const)('a connection that does not come about, transport %s', (transport) => {
  test('the name is not known', async () => {
    const { message, problem } = await failure('http://no-such-host.invalid/mcp', {}, transport);
    // Which of them, DNS decides: a machine may have none.
    const told =
      /the name no-such-host\.invalid (?:is not known; check the host in url, and DNS|could not be looked up; is DNS reachable\?) \((?:ENOTFOUND|EAI_AGAIN)\)/;
    expect(message).toMatch(told);
    expect(problem).toMatch(told);
  });

  test('nobody listens', async () => {
    const host = await listen(() => {});
    await host.close();
    const { message, problem } = await failure(`${host.origin}/mcp?key=canary`, {}, transport);
    const told = `nobody listens at 127.0.0.1:${host.port}; does the server run, is the port right? (ECONNREFUSED)`;
    expect(message).toMatch(/^"vendor": /);
    expect(message).toContain(told);
    expect(problem).toContain(told);
    expect(message + problem).not.toContain('canary');
  });

  test('nobody takes the connection', async () => {
    await using full = await startFullServer();
    const { message } = await failure(`http://127.0.0.1:${full.port}/mcp`, { connectTimeoutMs: 300 }, transport);
    expect(message).toMatch(
      /no connection to 127\.0\.0\.1:\d+ within the time allowed; is a firewall in between\? \(UND_ERR_CONNECT_TIMEOUT\)/,
    );
  });

  test('nobody speaks TLS on the connection', async () => {
    await using server = await listenRaw(() => {});
    const { message } = await failure(`https://127.0.0.1:${server.port}/mcp`, { connectTimeoutMs: 300 }, transport);
    expect(message).toContain('within the time allowed');
  });

  test('https, where the server speaks http', async () => {
    await using host = await listen((_request, response) => response.end());
    const { message } = await failure(`https://127.0.0.1:${host.port}/mcp`, {}, transport);
    expect(message).toMatch(/TLS: 127\.0\.0\.1:\d+ does not speak TLS.*; is it http instead of https\?/);
  });
});

test('a name whose first address answers late, and whose other one leads nowhere, is connected to', async () => {
  await using full = await startFullServer();
  const found = [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 },
  ];
  const later = [async () => {}, () => full.goOn()];
  const lookUp = (_name: string, _options: object, tell: (error: null, addresses: typeof found) => void) =>
    void later
      .shift()?.()
      .then(() => tell(null, found));
  using _lookup = vi.spyOn(dns, 'lookup').mockImplementation(lookUp as typeof dns.lookup);
  await using session = new Session({ url: `http://far.example:${full.port}/mcp` });
  await session.transport.start();
  expect(later).toEqual([]);
});

describe('a connection that is not of use', () => {
  const answer = async (url: string, runtime: RemoteSseOptions = {}) => {
    await using session = new Session({ url }, { runtime });
    const { error } = await session.begin();
    expect(error?.data).toMatchObject({ code: 'CONNECTION_FAILED', server: 'vendor' });
    return error?.message ?? '';
  };

  test('what answers does not speak HTTP', async () => {
    await using server = await listenRaw((socket) => socket.write('220 mail.example ESMTP\r\n'));
    expect(await answer(`http://127.0.0.1:${server.port}/mcp`)).toMatch(
      /POST initialize .*what answers at 127\.0\.0\.1:\d+ does not speak HTTP/,
    );
  });

  test('the connection is cut as soon as something is sent', async () => {
    await using server = await listenRaw((socket) => socket.once('data', () => socket.destroy()));
    expect(await answer(`http://127.0.0.1:${server.port}/mcp`)).toMatch(
      /POST initialize .*127\.0\.0\.1:\d+ cut the connection/,
    );
  });

  test('http, where the server speaks https', async () => {
    await using certificates = await createCertificates();
    await using host = await listen(createSecureServer(certificates.good));
    expect(await answer(`http://127.0.0.1:${host.port}/mcp`)).toMatch(
      /POST initialize .*127\.0\.0\.1:\d+ cut the connection before it answered anything; is it https instead of http\?/,
    );
  });
});

describe('TLS', () => {
  let certificates: Certificates;
  beforeAll(async () => {
    certificates = await createCertificates();
  });
  afterAll(() => certificates[Symbol.asyncDispose]());

  const open = async (pair: Pair, runtime: RemoteSseOptions, clientCa?: string) => {
    const host = await listenScripted(undefined, {
      server: createSecureServer(pair, clientCa) as never,
      scheme: 'https',
    });
    return { host, runtime, url: host.url, [Symbol.asyncDispose]: () => host.close() };
  };

  const known = () => ({ tls: { ca: certificates.ca } });

  test.each([
    [
      'expired',
      () => certificates.expired,
      known,
      /TLS: the certificate of 127\.0\.0\.1:\d+ has expired; renew it \(CERT_HAS_EXPIRED\)/,
    ],
    [
      'not valid yet',
      () => certificates.notYet,
      known,
      /TLS: the certificate of 127\.0\.0\.1:\d+ is not valid yet; check the clocks \(CERT_NOT_YET_VALID\)/,
    ],
    [
      'for another host',
      () => certificates.otherHost,
      known,
      /TLS: the certificate of 127\.0\.0\.1:\d+ is not for 127\.0\.0\.1; use a name that stands in it \(ERR_TLS_CERT_ALTNAME_INVALID\)/,
    ],
    [
      'signed by itself',
      () => certificates.selfSigned,
      known,
      /TLS: 127\.0\.0\.1:\d+ signed its certificate itself; give it in the option tls\.ca \(DEPTH_ZERO_SELF_SIGNED_CERT\)/,
    ],
    [
      'of an unknown authority',
      () => certificates.good,
      () => ({}),
      /TLS: the authority that signed the certificate of 127\.0\.0\.1:\d+ is not known; give its certificate in the option tls\.ca/,
    ],
  ] as const)('a certificate %s is refused before anything is sent', async (_name, pair, runtime, told) => {
    await using server = await open(pair(), {});
    const { message, problem } = await failure(server.url, runtime());
    expect(message).toMatch(told);
    expect(problem).toMatch(told);
    expect(server.host.seen).toEqual([]);
  });

  test.each([
    ['its authority is given', () => certificates.good, () => certificates.ca],
    ['its authority is one of several', () => certificates.good, () => [certificates.selfSigned.cert, certificates.ca]],
    ['it is itself given', () => certificates.selfSigned, () => certificates.selfSigned.cert],
  ] as const)('a certificate is taken when %s', async (_name, pair, ca) => {
    await using server = await open(pair(), {});
    await using session = new Session({ url: server.url }, { runtime: { tls: { ca: ca() } } });
    await session.begin();
    expect(textOf(await session.call('search'))).toBe('search');
    expect(await session.gateway.check('vendor')).toMatchObject([{ ok: true }]);
  });

  test('a function gives a server its own', async () => {
    await using server = await open(certificates.good, {});
    const asked: string[] = [];
    const tls = (id: string) => {
      asked.push(id);
      return { ca: certificates.ca };
    };
    await using session = new Session({ url: server.url }, { runtime: { tls } });
    await session.begin();
    expect(new Set(asked)).toEqual(new Set(['vendor']));
  });

  test('a function is asked at each start, and sessions that run keep what they began with', async () => {
    const renewed = await certificates.signFor('DNS:renewed');
    const secure = createSecureServer(certificates.good, certificates.ca);
    const open = new Set<TLSSocket>();
    secure.on('secureConnection', (socket: TLSSocket) => {
      open.add(socket);
      socket.on('close', () => open.delete(socket)).on('error', () => {});
    });
    const names = () => new Set([...open].map((socket) => socket.getPeerCertificate().subjectaltname));
    await using host = await listenScripted(undefined, { server: secure as never, scheme: 'https' });
    let own: Pair = certificates.client;
    const runtime = new RemoteSseRuntime({ tls: () => ({ ca: certificates.ca, cert: own.cert, key: own.key }) });
    const begin = async () => {
      const transport = await runtime.open({ url: host.url }, createRuntimeContext());
      await transport.start();
      return transport;
    };
    const call = (transport: Transport, id: number) =>
      transport.send({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'search' } });
    const [first, second] = [await begin(), await begin()];
    await call(first, 1);
    own = renewed;
    const third = await begin();
    await call(third, 1);
    expect(names()).toEqual(new Set(['DNS:client', 'DNS:renewed']));
    await first.close();
    await call(second, 2);
    expect(names()).toEqual(new Set(['DNS:client', 'DNS:renewed']));
    // Nobody can use what was made with the first ones any more.
    await second.close();
    await vi.waitFor(() => expect(names()).toEqual(new Set(['DNS:renewed'])), { timeout: 60_000 });
    await call(third, 2);
    own = certificates.client;
    expect(await runtime.check({ url: host.url }, createRuntimeContext())).toMatchObject({ ok: true });
    // The check has replaced what it began with.
    await call(third, 3);
    await runtime.close();
    await vi.waitFor(() => expect(open.size).toBe(0), { timeout: 60_000 });
  });

  test('what was made for the certificates of servers that are there no more is not kept', async () => {
    const clock = new FakeClock();
    let open = 0;
    const create = async () => {
      open += 1;
      const end = async () => {
        open -= 1;
      };
      return { drain: end, close: end } as Pick<Connections, 'drain' | 'close'> as Connections;
    };
    const held = new HeldConnections(create, clock);
    held.hold(undefined, undefined).release();
    for (let round = 0; round < 100; round += 1) held.hold(`s${round}`, { ca: 'one' }).release();
    await clock.advance(20_000);
    // Whoever comes back within the time goes on with them.
    const { release } = held.hold('s0', { ca: 'one' });
    expect(open).toBe(101);
    await clock.advance(20_000);
    expect(open).toBe(2);
    release();
    await clock.advance(60_000);
    // Those that all share stay.
    expect([open, clock.waiting]).toEqual([1, 0]);
    const late = held.hold('s0', { ca: 'one' });
    held.hold('s1', { ca: 'one' }).release();
    await held.close();
    late.release();
    await settle();
    expect([open, clock.waiting]).toEqual([0, 0]);
  });

  test.each(['key', 'locked key'])('a client shows its certificate, with its %s', async (kind) => {
    const { cert, key, lockedKey, passphrase } = certificates.client;
    await using server = await open(certificates.good, {}, certificates.ca);
    const own = kind === 'key' ? { cert, key } : { cert, key: lockedKey, passphrase };
    await using session = new Session({ url: server.url }, { runtime: { tls: { ca: certificates.ca, ...own } } });
    await session.begin();
    expect(textOf(await session.call('search'))).toBe('search');
  });

  test('a client without a certificate is told that one may be asked for', async () => {
    await using server = await open(certificates.good, {}, certificates.ca);
    await using session = new Session({ url: server.url }, { runtime: known() });
    // With TLS 1.3 a client is through before the server has judged it.
    const { error } = await session.begin();
    expect(error?.data).toMatchObject({ code: 'CONNECTION_FAILED', server: 'vendor' });
    expect(error?.message).toMatch(
      /127\.0\.0\.1:\d+ cut the connection before it answered anything; does it ask for a client certificate\? Then give one in the options tls\.cert and tls\.key/,
    );
    expect(server.host.seen).toEqual([]);
  });

  test.each(['-tls1_2', '-tls1_3'])('a client without a certificate is told by the alert of %s', async (version) => {
    await using server = await startOpenssl(certificates, version);
    await using session = new Session({ url: `https://127.0.0.1:${server.port}/mcp` }, { runtime: known() });
    const message = await session.transport.start().then(
      async () => (await session.request('initialize')).error?.message,
      (error: Error) => error.message,
    );
    expect(message).toMatch(
      /TLS: .*(?:asks for|refused the handshake; does it ask for) a client certificate|before it answered anything; does it ask/,
    );
  });

  test.each([
    [
      'a key that does not fit its certificate',
      () => ({ cert: certificates.client.cert, key: certificates.good.key }),
      /key values mismatch/,
    ],
    [
      'an authority that is no certificate',
      () => ({ ca: 'certificates/ca.pem' }),
      /the options tls or proxy cannot be used/,
    ],
  ])('%s is told at the start, and by check', async (_name, tls, told) => {
    await using server = await open(certificates.good, {});
    const { message, problem } = await failure(server.url, { tls: tls() });
    expect(message).toMatch(told);
    expect(problem).toMatch(told);
    expect(message).toContain('the options tls or proxy cannot be used');
    expect(message).not.toContain('PRIVATE');
  });

  test('a function that gave bad certificates is asked again', async () => {
    await using server = await open(certificates.good, {});
    let tls = { ca: 'nothing' };
    await using session = new Session({ url: server.url }, { runtime: { tls: () => tls } });
    expect(await session.gateway.check('vendor')).toMatchObject([{ ok: false }]);
    tls = { ca: certificates.ca };
    expect(await session.gateway.check('vendor')).toMatchObject([{ ok: true }]);
    await session.begin();
    expect(textOf(await session.call('search'))).toBe('search');
  });

  test('a function that fails is told of as that', async () => {
    const tls = () => {
      throw new Error('vault is sealed');
    };
    await using session = new Session({ url: 'https://127.0.0.1:9/mcp' }, { runtime: { tls } });
    const message = 'the tls function of the host failed: vault is sealed';
    expect(await session.gateway.check('vendor')).toMatchObject([{ ok: false, problems: [message] }]);
    const failure = await session.begin().catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'START_FAILED', message: `"vendor": ${message}` });
  });
});

test('a proxy that does not say whether it leads on is waited for as long as for any connection', async () => {
  const closed = Promise.withResolvers<string>();
  await using server = await listenRaw((socket) => {
    let asked = '';
    socket.on('data', (chunk) => {
      asked += chunk;
    });
    socket.once('close', () => closed.resolve(asked));
  });
  const proxy = `http://someone:canary@127.0.0.1:${server.port}`;
  await using session = new Session({ url: 'https://far.example/mcp' }, { runtime: { proxy, connectTimeoutMs: 300 } });
  const { error } = await session.begin();
  expect(error).toMatchObject({
    message: expect.stringMatching(
      /could not reach https:\/\/far\.example\/mcp: .* does a proxy hold its answer back\? /,
    ),
    data: { code: 'CONNECTION_FAILED', delivered: false },
  });
  expect(error?.message).not.toContain('canary');
  expect(await closed.promise).toMatch(/^CONNECT far\.example:443 /);
});

test('a proxy whose URL is not valid is told without its credentials', async () => {
  await using session = new Session(
    { url: 'http://127.0.0.1:9/mcp' },
    { runtime: { proxy: 'http://user:canary@host:99999' } },
  );
  const failure = await session.gateway
    .connect('vendor')
    .start()
    .catch((error: unknown) => error);
  expect(failure).toMatchObject({
    code: 'START_FAILED',
    message:
      '"vendor": the options tls or proxy cannot be used: the proxy is no valid URL; write it as http://host:port',
  });
  expect(inspect(failure, { depth: 10 })).not.toContain('canary');
});

/** OpenSSL's own server, which asks for a client's certificate and says so when it gets none. */
async function startOpenssl({ good, folder }: Certificates, version: string) {
  const files = ['-cert', 'good.pem', '-key', 'good.key', '-CAfile', 'ca.pem'];
  const asks = ['-Verify', '1', '-verify_return_error', version, '-accept', '127.0.0.1:0', '-www'];
  expect(good.cert).toContain('CERTIFICATE');
  const child = spawn('openssl', ['s_server', ...files, ...asks], { cwd: folder, stdio: ['pipe', 'pipe', 'ignore'] });
  let port = '';
  for await (const line of createInterface(child.stdout)) {
    port = /^ACCEPT .*:(\d+)$/.exec(line)?.[1] ?? '';
    if (port !== '') break;
  }
  return {
    port,
    async [Symbol.asyncDispose]() {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}
