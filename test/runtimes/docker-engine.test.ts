import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import dns from 'node:dns';
import { once } from 'node:events';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, createServer, Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { findCredentials } from '../../src/runtimes/docker/credentials.js';
import { findAddresses } from '../../src/runtimes/docker/engine/addresses.js';
import { connectEngine } from '../../src/runtimes/docker/engine/connect.js';
import { Demultiplexer } from '../../src/runtimes/docker/engine/demultiplexer.js';
import { send, upgrade } from '../../src/runtimes/docker/engine/http.js';
import { readJsonLines } from '../../src/runtimes/docker/engine/json-lines.js';
import { DockerRuntime } from '../../src/runtimes/docker.js';
import { count } from '../support/counts.js';
import { DockerScene, reference, temporaryFolder } from '../support/docker.js';
import { freePort } from '../support/free-port.js';
import { startHost } from '../support/host.js';
import { describeWithDocker } from '../support/real-parts.js';

const engineSocket = '/var/run/docker.sock';
const never = new AbortController().signal;
const pipes = () => process.getActiveResourcesInfo().filter((kind) => kind === 'PipeWrap').length;
const options = (env: Record<string, string>, host?: string) => ({ host, env, platform: 'linux' as const, uid: 1000 });

describe('docker: where the engine is', () => {
  test('the option wins over DOCKER_HOST, and that over the context', async () => {
    await using folder = await temporaryFolder();
    await context(folder.path, 'one', 'unix:///context.sock');
    const env = { DOCKER_CONFIG: folder.path, DOCKER_CONTEXT: 'one', DOCKER_HOST: 'unix:///env.sock' };
    const names = async (...args: Parameters<typeof options>) =>
      (await findAddresses(options(...args))).addresses[0]?.name;
    expect(await names(env, 'unix:///option.sock')).toBe('unix:///option.sock');
    expect(await names(env)).toBe('unix:///env.sock');
    expect(await names({ ...env, DOCKER_HOST: '' })).toBe('unix:///context.sock');
    await writeFile(join(folder.path, 'config.json'), '{"currentContext":"one"}');
    expect(await names({ DOCKER_CONFIG: folder.path })).toBe('unix:///context.sock');
  });

  test.runIf(process.platform === 'linux')(
    'also for a user without a home, whom the system does not know',
    async () => {
      const names = [
        'HOME',
        'USERPROFILE',
        'DOCKER_HOST',
        'DOCKER_CONTEXT',
        'DOCKER_CONFIG',
        'KUBECONFIG',
        'KUBERNETES_SERVICE_HOST',
      ];
      const homeless = ['unshare', '--map-user=54321', 'env', ...names.flatMap((name) => ['-u', name])];
      const host = startHost('homeless', [], [], homeless);
      expect(JSON.parse((await host.lines.next()).value ?? host.stderr())).toEqual({
        engine: 'unix:///var/run/docker.sock',
        cluster: expect.stringMatching(/^there is no kubeconfig: set KUBECONFIG/),
      });
      await host.ended(60_000);
    },
  );

  test.runIf(process.platform === 'linux')('not in the current folder where HOME is empty', async () => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, '.kube'));
    const named = { name: 'one', cluster: { server: 'https://elsewhere' }, context: { cluster: 'one' } };
    const config = { 'current-context': 'one', clusters: [named], contexts: [named] };
    await writeFile(join(folder.path, '.kube', 'config'), JSON.stringify(config));
    const names = ['USERPROFILE', 'KUBECONFIG', 'KUBERNETES_SERVICE_HOST'].flatMap((name) => ['-u', name]);
    const within = ['unshare', '--map-user=54321', 'env', '-C', folder.path, ...names, 'HOME='];
    const host = startHost('homeless', [], [], within);
    expect(JSON.parse((await host.lines.next()).value ?? host.stderr())).toMatchObject({
      cluster: expect.stringMatching(/^there is no kubeconfig: set KUBECONFIG/),
    });
    await host.ended(60_000);
  });

  test('the usual places', async () => {
    const { addresses } = await findAddresses(options({ HOME: '/home/me', XDG_RUNTIME_DIR: '/run/user/1000' }));
    expect(addresses.map(({ socketPath }) => socketPath)).toEqual([
      '/var/run/docker.sock',
      '/home/me/.docker/run/docker.sock',
      '/run/user/1000/docker.sock',
      '/home/me/.colima/default/docker.sock',
      '/run/user/1000/podman/podman.sock',
    ]);
    const windows = await findAddresses({ ...options({ USERPROFILE: '/none' }), platform: 'win32', uid: undefined });
    expect(windows.addresses[0]).toMatchObject({
      name: 'npipe:////./pipe/docker_engine',
      socketPath: '//./pipe/docker_engine',
    });
  });

  test.each([
    ['tcp://host', { host: 'host', port: 2375 }],
    ['tcp://host:1', { host: 'host', port: 1 }],
    ['http://host:80', { host: 'host', port: 80 }],
    ['https://host:443', { host: 'host', port: 443 }],
    ['tcp://[::1]:2', { host: '::1', port: 2 }],
    ['npipe:////./pipe/x', { socketPath: '//./pipe/x' }],
  ])('%s', async (text, expected) => {
    expect((await findAddresses(options({ DOCKER_HOST: text }))).addresses).toMatchObject([expected]);
  });

  test('certificates are those of DOCKER_CERT_PATH, or those beside the settings of the user', async () => {
    await using folder = await temporaryFolder();
    const folders = { own: join(folder.path, 'own'), settings: join(folder.path, '.docker') };
    for (const [name, path] of Object.entries(folders)) {
      await mkdir(path);
      for (const file of ['ca', 'cert', 'key']) await writeFile(join(path, `${file}.pem`), `${file} ${name}`);
    }
    const tlsOf = async (env: Record<string, string>) => {
      const { addresses } = await findAddresses(options({ DOCKER_HOST: 'tcp://h', HOME: folder.path, ...env }));
      const { ca, cert, key, rejectUnauthorized } = addresses[0]?.tls ?? {};
      return [ca, cert, key, rejectUnauthorized].map(String);
    };
    const settings = ['ca settings', 'cert settings', 'key settings', 'true'];
    expect(await tlsOf({ DOCKER_TLS_VERIFY: '1' })).toEqual(settings);
    expect(await tlsOf({ DOCKER_TLS_VERIFY: '1', HOME: '/none', DOCKER_CONFIG: folders.settings })).toEqual(settings);
    const own = ['ca own', 'cert own', 'key own', 'true'];
    expect(await tlsOf({ DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: folders.own })).toEqual(own);
    const none = ['undefined', 'undefined', 'undefined'];
    expect(await tlsOf({ DOCKER_TLS_VERIFY: '1', HOME: '/none' })).toEqual([...none, 'true']);
    expect(await tlsOf({})).toEqual([...none, 'undefined']);
  });

  test.each([
    [
      { DOCKER_HOST: 'ftp://x' },
      /: the address in DOCKER_HOST must begin with unix:\/\/, npipe:\/\/, tcp:\/\/ or ssh:\/\//,
    ],
    [{ DOCKER_HOST: 'unix://' }, /names no socket/],
    [{ DOCKER_CONTEXT: 'gone', DOCKER_CONFIG: '/none' }, /the docker context "gone" does not exist/],
    [
      { DOCKER_HOST: 'tcp://h', DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: '/none' },
      /DOCKER_CERT_PATH names a folder without/,
    ],
  ])('%j is refused with words', async (env, expected) => {
    await expect(connectEngine(options(env as never), never)).rejects.toThrow(expected);
  });

  test('a config.json that is no JSON is named, and not quoted', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'config.json'), '{"auths": canary');
    const failure = connectEngine(options({ DOCKER_CONFIG: folder.path }), never).catch(
      (error: Error) => error.message,
    );
    expect(await failure).toContain(`${folder.path}/config.json is not valid JSON`);
    expect(await failure).not.toContain('canary');
  });

  test('an engine that takes connections and keeps silent is named before the time of a start is over', async () => {
    await using folder = await temporaryFolder();
    const limit = new AbortController();
    const timeout = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(limit.signal);
    onTestFinished(() => timeout.mockRestore());
    const silent = createServer(() => limit.abort());
    onTestFinished(() => void silent.close());
    const path = join(folder.path, 'silent.sock');
    await once(silent.listen(path), 'listening');
    await expect(connectEngine(options({ DOCKER_HOST: `unix://${path}` }), never)).rejects.toThrow(
      `(unix://${path}: no answer within 25000 ms)`,
    );
    // A start has 30 s by default.
    expect(timeout).toHaveBeenCalledExactlyOnceWith(25_000);
  });

  test('an engine that is too old, and what is none', async () => {
    let version: string | undefined = '1.40';
    const server = createHttpServer((_, response) => {
      if (version !== undefined) response.setHeader('Api-Version', version);
      response.end('OK');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const env = { DOCKER_HOST: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}` };
    await expect(connectEngine(options(env), never)).rejects.toThrow(
      /it speaks API 1\.40, which is too old; 1\.41 is needed/,
    );
    version = undefined;
    await expect(connectEngine(options(env), never)).rejects.toThrow(/what answers there is no container engine/);
    server.close();
    await once(server, 'close');
    await expect(connectEngine(options(env), never)).rejects.toThrow(/nobody listens there/);
  });
});

describeWithDocker('docker: ways to the engine', () => {
  /** Opens a server through a way, and speaks to it. */
  async function tryWay(env: Record<string, string>): Promise<void> {
    await using scene = new DockerScene(new DockerRuntime({ env: { HOME: '/nonexistent', ...env } }));
    const peer = await scene.open(reference());
    await peer.begin();
    expect(await peer.call('echo', { text: 'over there' })).toBe('over there');
    await peer.tell('crash', { code: 7 });
    expect((await peer.ended()).exit?.code).toBe(7);
  }

  test('a docker context', async () => {
    await using folder = await temporaryFolder();
    await context(folder.path, 'mine', `unix://${engineSocket}`);
    await tryWay({ DOCKER_CONFIG: folder.path, DOCKER_CONTEXT: 'mine' });
  });

  test('TCP', async () => {
    await using relay = await listen(createServer(forward));
    await tryWay({ DOCKER_HOST: `tcp://127.0.0.1:${relay.port}` });
  });

  test('TCP with TLS, both sides with certificates', async () => {
    await using folder = await temporaryFolder();
    const { key, cert } = await certificates(folder.path);
    const tls = { key, cert, ca: cert, requestCert: true, rejectUnauthorized: true };
    const calls: number[] = [];
    const relayed = createTlsServer({ ...tls, allowHalfOpen: true } as never, (near) => {
      const connection = calls.push(0) - 1;
      near.on('data', (chunk) => {
        if (/^(?:GET|POST|DELETE) \//.test(chunk.toString('latin1'))) calls[connection] = (calls[connection] ?? 0) + 1;
      });
      forward(near);
    });
    await using relay = await listen(relayed);
    const env = { DOCKER_HOST: `tcp://localhost:${relay.port}`, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: folder.path };
    await tryWay(env);
    // A connection that was kept may have been closed by the time of its next call.
    expect(calls.length).toBeGreaterThan(5);
    expect(calls.filter((count) => count > 1)).toEqual([]);
    await context(folder.path, 'tls', `tcp://localhost:${relay.port}`);
    const id = createHash('sha256').update('tls').digest('hex');
    await mkdir(join(folder.path, 'contexts/tls', id, 'docker'), { recursive: true });
    for (const name of ['ca.pem', 'cert.pem', 'key.pem']) {
      await writeFile(join(folder.path, 'contexts/tls', id, 'docker', name), await readFile(join(folder.path, name)));
    }
    await tryWay({ DOCKER_CONFIG: folder.path, DOCKER_CONTEXT: 'tls' });
    await expect(connectEngine(options({ DOCKER_HOST: env.DOCKER_HOST, DOCKER_TLS: '1' }), never)).rejects.toThrow(
      /no container engine answers/,
    );
  });

  test('ssh, with the real far end of docker system dial-stdio', async () => {
    await using folder = await temporaryFolder();
    // What ssh does: runs the words after the host over there, without the environment from here.
    const script = `#!/bin/sh\nunset DOCKER_HOST\necho "$*" >>${folder.path}/log\nwhile [ "$1" != -- ]; do shift; done; shift 2\nexec "$@"\n`;
    await writeFile(join(folder.path, 'ssh'), script);
    await chmod(join(folder.path, 'ssh'), 0o755);
    await tryWay({ DOCKER_HOST: 'ssh://me@far:2222', PATH: `${folder.path}:${process.env.PATH}` });
    const log = await readFile(join(folder.path, 'log'), 'utf8');
    expect(log).toContain('-l me -p 2222 -- far docker system dial-stdio');
  });

  test('ssh that fails says what ssh said', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'ssh'), '#!/bin/sh\necho "Permission denied (publickey)." >&2\nexit 255\n');
    await chmod(join(folder.path, 'ssh'), 0o755);
    const env = { DOCKER_HOST: 'ssh://far', PATH: `${folder.path}:${process.env.PATH}` };
    await expect(connectEngine(options(env), never)).rejects.toThrow(/ssh:\/\/far: .*Permission denied \(publickey\)/);
  });
});

describe('docker: the frames of an attached container', () => {
  const frame = (kind: number, text: Buffer) => {
    const header = Buffer.alloc(8);
    header[0] = kind;
    header.writeUInt32BE(text.length, 4);
    return Buffer.concat([header, text]);
  };

  test('wherever they are cut, the bytes are the same', async () => {
    const frames = fc.array(fc.tuple(fc.constantFrom(1, 2), fc.uint8Array({ maxLength: 300 })), { maxLength: 20 });
    const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(frames, cuts, async (parts, sizes) => {
        const source = new PassThrough();
        const stderr: Buffer[] = [];
        const stdout: Buffer[] = [];
        const output = new Demultiplexer(source, (chunk) => stderr.push(Buffer.from(chunk)));
        output.onOutput((chunk) => stdout.push(chunk));
        output.stdout.resume();
        const all = Buffer.concat(parts.map(([kind, bytes]) => frame(kind, Buffer.from(bytes))));
        for (let at = 0, turn = 0; at < all.length; turn += 1) {
          const size = sizes[turn % sizes.length] ?? 1;
          source.write(all.subarray(at, at + size));
          at += size;
        }
        source.end();
        await once(source, 'end');
        output.finish();
        await once(output.stdout, 'end');
        const of = (wanted: number) =>
          Buffer.concat(parts.filter(([kind]) => kind === wanted).map(([, b]) => Buffer.from(b)));
        expect(Buffer.concat(stdout).equals(of(1))).toBe(true);
        expect(Buffer.concat(stderr).equals(of(2))).toBe(true);
      }),
      { numRuns: count(500, 5_000) },
    );
  });

  test('what is no frame ends the connection', async () => {
    const source = new PassThrough();
    const output = new Demultiplexer(source, () => {});
    output.stdout.resume();
    const broken = once(source, 'error');
    source.write('{"jsonrpc":"2.0"}\n');
    expect((await broken)[0].message).toContain('no frames of an attached container');
  });
});

test('docker: a report of the engine that is given up in the turn in which it begins ends', async () => {
  const report = new PassThrough();
  const lines = readJsonLines(report as unknown as IncomingMessage, AbortSignal.abort(new Error('never mind')));
  await expect(lines.next()).rejects.toThrow('never mind');
  expect(report.destroyed).toBe(true);
});

test('docker: ssh asks for signs of life, and gets an IPv6 address as it takes one', async () => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, 'ssh'), '#!/bin/sh\necho "$@" >&2\nexit 255\n');
  await chmod(join(folder.path, 'ssh'), 0o755);
  const env = { DOCKER_HOST: 'ssh://me@[::1]:2222', PATH: `${folder.path}:${process.env.PATH}` };
  await expect(connectEngine(options(env), never)).rejects.toThrow(
    '-o ServerAliveInterval=30 -T -l me -p 2222 -- ::1 docker system dial-stdio',
  );
});

test('docker: a connection over ssh leaves nothing open, also where ssh leaves a process behind that holds its stderr', async () => {
  await using folder = await temporaryFolder();
  const left = join(folder.path, 'left');
  // As a ControlPersist master of OpenSSH does that logs to it.
  const script = `#!/bin/sh
sleep 1000 </dev/null >/dev/null &
echo $! >${left}
read line
printf 'HTTP/1.1 200 OK\\r\\nApi-Version: 1.41\\r\\nContent-Length: 2\\r\\n\\r\\nOK'
`;
  await writeFile(join(folder.path, 'ssh'), script, { mode: 0o755 });
  const env = { DOCKER_HOST: 'ssh://far', PATH: `${folder.path}:/usr/bin:/bin` };
  const before = pipes();
  await connectEngine(options(env), never);
  const pid = Number(await readFile(left, 'utf8'));
  onTestFinished(() => void process.kill(pid));
  while (pipes() > before) await turn();
});

test('docker: ssh and helpers for credentials that cannot be started for want of descriptors end nothing', async () => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, 'config.json'), '{"credsStore":"store"}');
  const path = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));
  const flags = ['--no-warnings', '--experimental-transform-types', '--import', path('support/resolve-sources.mjs')];
  const program = [process.execPath, ...flags, path('fixtures/hosts/docker-descriptors-host.ts'), folder.path];
  const told = execFileSync('/bin/sh', ['-c', 'ulimit -n 100; exec "$@"', 'sh', ...program], { encoding: 'utf8' });
  expect(JSON.parse(told)).toEqual({
    engine: expect.stringContaining(
      'ssh://far: lost the connection to the engine: ssh could not be started: spawn ssh EMFILE',
    ),
    problem: 'the credential helper docker-credential-store failed (EMFILE)',
  });
});

test('docker: a credential helper that hangs is given up, also where what it has started holds its output open', async () => {
  await using folder = await temporaryFolder();
  const asked = join(folder.path, 'asked');
  await writeFile(join(folder.path, 'config.json'), '{"credsStore":"store"}');
  // As docker-credential-gcloud is one: a script that runs another program.
  const script = `#!/bin/sh\nsleep 1000 &\necho $! >${asked}.new; mv ${asked}.new ${asked}\nwait\n`;
  await writeFile(join(folder.path, 'docker-credential-store'), script, { mode: 0o755 });
  const env = { PATH: `${folder.path}:/usr/bin:/bin`, DOCKER_CONFIG: folder.path };
  const before = pipes();
  const abort = new AbortController();
  const found = findCredentials('registry.example.com', env, abort.signal);
  let pid = '';
  while (pid === '') pid = await readFile(asked, 'utf8').catch(() => '');
  onTestFinished(() => void process.kill(Number(pid)));
  abort.abort(new Error('nobody waits any more'));
  await expect(found).rejects.toThrow('nobody waits any more');
  while (pipes() > before) await turn();
});

test('docker: a connection over TCP asks for signs of life, as nobody may write on it for hours', async () => {
  const asked = vi.spyOn(Socket.prototype, 'setKeepAlive');
  onTestFinished(() => asked.mockRestore());
  await using engine = await listen(createServer((near) => near.end('HTTP/1.1 204 No Content\r\n\r\n')));
  const address = { name: 'tcp', host: '127.0.0.1', port: engine.port };
  (await send(address, { method: 'GET', path: '/', signal: never })).resume();
  expect(asked).toHaveBeenCalledWith(true, 30_000);
});

test('docker: what kept all addresses of an engine from being connected to is told', async () => {
  const found = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }));
  const lookUp = (_name: string, _options: object, tell: (error: null, addresses: typeof found) => void) =>
    void turn().then(() => tell(null, found));
  using _lookup = vi.spyOn(dns, 'lookup').mockImplementation(lookUp as typeof dns.lookup);
  const sent = send(
    { name: 'tcp', host: 'engine.example', port: await freePort() },
    { method: 'GET', path: '/', signal: never },
  );
  await expect(sent).rejects.toThrow(/^lost the connection to the engine: ECONNREFUSED$/);
});

test('docker: a stream that breaks before anybody reads it ends nothing but itself', async () => {
  const attached = Promise.withResolvers<Socket>();
  await using engine = await listen(
    createServer((near) => {
      near.once('data', () => {
        near.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
        attached.resolve(near);
      });
    }),
  );
  const address = { name: 'tcp', host: '127.0.0.1', port: engine.port };
  const stream = await upgrade(address, { method: 'POST', path: '/attach', signal: never });
  const closed = new Promise((resolve) => stream.once('close', resolve));
  (await attached.promise).resetAndDestroy();
  await closed;
  // Nobody listened for it: it would have ended this process.
  expect(stream.errored).toMatchObject({ code: 'ECONNRESET' });
});

/** Makes a context as the docker command stores it. */
async function context(folder: string, name: string, host: string): Promise<void> {
  const meta = join(folder, 'contexts/meta', createHash('sha256').update(name).digest('hex'));
  await mkdir(meta, { recursive: true });
  await writeFile(join(meta, 'meta.json'), JSON.stringify({ Name: name, Endpoints: { docker: { Host: host } } }));
}

/** Joins a connection with one to the engine, each half on its own. */
function forward(near: Socket): void {
  const far = connect({ path: engineSocket, allowHalfOpen: true });
  near.allowHalfOpen = true;
  for (const socket of [near, far]) socket.on('error', () => {});
  near.pipe(far).pipe(near);
  near.on('close', () => far.destroy());
  far.on('close', () => near.destroy());
}

async function listen(server: ReturnType<typeof createServer>): Promise<{ port: number } & AsyncDisposable> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
    },
  };
}

/** A certificate for localhost that is its own authority, by the names that Docker expects in a folder. */
async function certificates(folder: string): Promise<{ key: Buffer; cert: Buffer }> {
  const file = (name: string) => join(folder, name);
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  const keys = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', file('key.pem')];
  execFileSync('openssl', ['req', '-x509', ...keys, '-out', file('cert.pem'), ...subject], { stdio: 'ignore' });
  await writeFile(file('ca.pem'), await readFile(file('cert.pem')));
  return { key: await readFile(file('key.pem')), cert: await readFile(file('cert.pem')) };
}
