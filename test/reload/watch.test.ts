import { EventEmitter, once } from 'node:events';
import { appendFile, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { inspect } from 'node:util';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  type Catalog,
  createGateway,
  type Gateway,
  GatewayError,
  loadCatalog,
  type WatchCatalogOptions,
  type WatchEvent,
  watchCatalog,
} from '../../src/index.js';
import { FakeClock, settle } from '../../src/testing/fake-clock.js';
import { ScriptedServer } from '../../src/testing/index.js';
import { createCertificates } from '../fixtures/http/certificates.js';
import { recordAnySignals } from '../support/any-signals.js';
import { collectGarbage } from '../support/heap.js';
import { startHost } from '../support/host.js';

const yaml = (...ids: string[]) =>
  `servers:\n${ids.map((id) => `  - { id: ${id}, runtime: { type: local-process, command: ${id} } }\n`).join('')}`;
const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) {
    await cleanUp();
  }
});

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'catalog-'));
  cleanUps.push(() => rm(folder, { recursive: true }));
  return folder;
}

/** A gateway that follows a catalog; `next` waits for what the watcher tells. */
async function follow(path: string | URL, options: WatchCatalogOptions = {}) {
  const events: WatchEvent[] = [];
  let wake = () => {};
  const gateway = createGateway({ servers: [] });
  const watcher = watchCatalog(path, gateway, {
    debounceMs: 50,
    intervalMs: 3_600_000,
    ...options,
    onEvent: (event) => {
      events.push(event);
      wake();
    },
  });
  cleanUps.push(
    () => gateway.close(),
    () => watcher.close(),
  );
  const next = async (): Promise<WatchEvent> => {
    while (events.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return events.shift() as WatchEvent;
  };
  /** After a file was written in place: between its first change and its content it is empty, and that may be seen. */
  const nextReload = async (): Promise<WatchEvent> => {
    for (;;) {
      const event = await next();
      if (event.type === 'reloaded') return event;
    }
  };
  await watcher.ready;
  return { gateway, watcher, next, nextReload, events, ids: () => gateway.status().map(({ id }) => id) };
}

/** Puts another file in the place of this one, which is never seen without its content. */
async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}

describe('watchCatalog() of a file', () => {
  test('that cannot be watched says so, and reads it now and then', async () => {
    vi.doMock('chokidar', () => {
      throw new Error('chokidar is broken');
    });
    cleanUps.push(async () => void vi.doUnmock('chokidar'));
    const file = join(await makeFolder(), 'catalog.yaml');
    await writeFile(file, yaml('first'));
    const { next, ids } = await follow(file, { intervalMs: 10 });
    expect(await next()).toMatchObject({ type: 'reload-failed', error: { code: 'CATALOG_INVALID' } });
    expect(await next()).toMatchObject({ type: 'reloaded' });
    await replace(file, yaml('second'));
    expect(await next()).toMatchObject({ type: 'reloaded' });
    expect(ids()).toEqual(['second']);
  });

  test('takes over what is there at the start, what is written in place and what replaces it by a rename', async () => {
    const folder = await makeFolder();
    const file = join(folder, 'catalog.yaml');
    await writeFile(file, yaml('a'));
    const { next, nextReload, ids } = await follow(file);
    expect(await next()).toMatchObject({ type: 'reloaded', result: { added: ['a'] } });
    await writeFile(file, yaml('a', 'b'));
    expect(await nextReload()).toMatchObject({ type: 'reloaded', result: { added: ['b'], unchanged: ['a'] } });
    for (const id of ['c', 'd', 'e']) {
      await replace(file, yaml(id));
      await next();
      expect(ids()).toEqual([id]);
    }
  });

  test('whose folder is a link, as /tmp and /etc are on macOS, is seen again after it was gone', async () => {
    const folder = await makeFolder();
    await mkdir(join(folder, 'real'));
    await symlink('real', join(folder, 'link'));
    const file = join(folder, 'link', 'catalog.yaml');
    await writeFile(file, yaml('a'));
    const { next, nextReload, ids } = await follow(file);
    expect(await next()).toMatchObject({ type: 'reloaded', result: { added: ['a'] } });
    await rm(file);
    expect(await next()).toMatchObject({ type: 'reload-failed' });
    await replace(file, yaml('b'));
    expect(await nextReload()).toMatchObject({ type: 'reloaded', result: { added: ['b'] } });
    await writeFile(file, yaml('c'));
    await nextReload();
    expect(ids()).toEqual(['c']);
  });

  test('goes with the link of a mounted ConfigMap, again and again', async () => {
    const folder = await makeFolder();
    // As the kubelet does: a folder for each version, a link to it that is replaced, and links to the files through it.
    const publish = async (version: string, text: string) => {
      await mkdir(join(folder, `..${version}`));
      await writeFile(join(folder, `..${version}`, 'catalog.yaml'), text);
      await symlink(`..${version}`, join(folder, '..data_tmp'));
      await rename(join(folder, '..data_tmp'), join(folder, '..data'));
    };
    await publish('1', yaml('a'));
    await symlink('..data/catalog.yaml', join(folder, 'catalog.yaml'));
    const { next, ids } = await follow(join(folder, 'catalog.yaml'));
    await next();
    for (const [version, before, id] of [
      ['2', '1', 'b'],
      ['3', '2', 'c'],
      ['4', '3', 'd'],
    ] as const) {
      await publish(version, yaml(id));
      await rm(join(folder, `..${before}`), { recursive: true });
      await next();
      expect(ids()).toEqual([id]);
    }
  });

  test('keeps the old catalog when the new one is bad, tells every problem with its place, and recovers', async () => {
    const folder = await makeFolder();
    const file = join(folder, 'catalog.yaml');
    await writeFile(file, yaml('a'));
    const { next, nextReload, ids, events } = await follow(file);
    await next();
    await replace(file, 'servers:\n  - id: a\n    runtime: { type: nope }\n  - id: b\n    idle: 1\n    runtime: {');
    const half = await next();
    expect(half).toMatchObject({ type: 'reload-failed', error: { code: 'CATALOG_INVALID' } });
    await replace(
      file,
      'servers:\n  - id: a\n    runtime: { type: nope }\n  - id: b\n    runtime: { type: local-process }\n',
    );
    expect(await next()).toMatchObject({
      type: 'reload-failed',
      error: {
        issues: [
          { path: 'servers[0].runtime.type', line: 3, column: 22 },
          { server: 'b', line: 5 },
        ],
      },
    });
    expect(ids()).toEqual(['a']);
    await rm(file);
    expect(await next()).toMatchObject({
      type: 'reload-failed',
      error: { message: expect.stringMatching('no such file') },
    });
    expect(ids()).toEqual(['a']);
    await writeFile(file, yaml('b'));
    await nextReload();
    expect(ids()).toEqual(['b']);
    expect(events).toEqual([]);
  });

  test('reads what is written in many steps once it is left alone, or after the longest wait', async () => {
    const folder = await makeFolder();
    const file = join(folder, 'catalog.yaml');
    await writeFile(file, yaml('a'));
    const { next, nextReload, ids } = await follow(file, { debounceMs: 3_600_000, maxWaitMs: 200 });
    await next();
    await writeFile(file, yaml('b'));
    await nextReload();
    expect(ids()).toEqual(['b']);
  });

  describe('in a time that stands still', () => {
    /** Follows a file in a time that stands still; `reloaded` has the ids of each catalog, which may be held. */
    async function followSlowly() {
      const file = join(await makeFolder(), 'catalog.yaml');
      await writeFile(file, yaml('a'));
      const changes = Object.assign(new EventEmitter(), { close: async () => {} });
      vi.doMock('chokidar', () => ({
        watch: () => {
          setImmediate(() => changes.emit('ready'));
          return changes;
        },
      }));
      const clock = new FakeClock();
      const reloaded: string[][] = [];
      let done = Promise.withResolvers<void>();
      let asked = Promise.withResolvers<void>();
      const reload = async ({ servers }: { readonly servers: readonly { readonly id: string }[] }) => {
        reloaded.push(servers.map(({ id }) => id));
        asked.resolve();
        await done.promise;
        return { added: [], removed: [], changed: [], unchanged: [] };
      };
      done.resolve();
      const times = { debounceMs: 100, maxWaitMs: 1_000, intervalMs: 1_000 };
      const watcher = watchCatalog(file, { reload } as Pick<Gateway, 'reload'>, { clock, ...times });
      cleanUps.push(
        async () => void vi.doUnmock('chokidar'),
        () => watcher.close(),
        async () => done.resolve(),
      );
      await watcher.ready;
      return {
        clock,
        reloaded,
        hold: () => {
          done = Promise.withResolvers();
          return () => done.resolve();
        },
        write: async (...ids: string[]) => {
          await writeFile(file, yaml(...ids));
          changes.emit('all');
        },
        /** Resolves when what is read in this moment has been read. */
        afterReads: async () => {
          for (let times = 0; times < 3; times += 1) await loadCatalog(file);
          await settle();
        },
        /** Resolves when time has passed, and a catalog was handed over. */
        passUntilReload: async (ms: number) => {
          asked = Promise.withResolvers();
          await clock.advance(ms);
          await asked.promise;
        },
      };
    }

    test('one that is still being written is not read when it is time to look at it', async () => {
      const { clock, reloaded, write, afterReads, passUntilReload } = await followSlowly();
      await clock.advance(950);
      await write('half');
      await clock.advance(60);
      await afterReads();
      await write('a', 'b');
      await passUntilReload(100);
      expect(reloaded).toEqual([['a'], ['a', 'b']]);
    });

    test('one that is still being written is not read when the reload before it ends', async () => {
      const { clock, reloaded, hold, write, afterReads, passUntilReload } = await followSlowly();
      const letGo = hold();
      await write('b');
      await passUntilReload(100);
      await write('c');
      await clock.advance(100);
      await write('half');
      letGo();
      await afterReads();
      await write('c', 'd');
      await passUntilReload(100);
      expect(reloaded).toEqual([['a'], ['b'], ['c', 'd']]);
    });
  });

  test('follows a single file that is mounted by itself', async () => {
    const folder = await makeFolder();
    const [outside, inside] = [join(folder, 'outside.yaml'), join(folder, 'inside.yaml')];
    await writeFile(outside, yaml('one'));
    await writeFile(inside, '');
    // Nobody else sees the mount, and it ends with the host. Without root a user namespace gives the right to it.
    const unshare = ['unshare', ...(process.getuid?.() === 0 ? [] : ['--map-root-user']), '--mount'];
    const mount = ['sh', '-c', 'mount --bind "$0" "$1" && shift && exec "$@"', outside, inside];
    const host = startHost('watches', [inside], [], [...unshare, ...mount]);
    cleanUps.push(async () => {
      host.child.kill('SIGKILL');
      await host.ended(60_000);
    });
    let last = '';
    // Seen while it is empty, it changes nothing, and the same is told again.
    const next = async () => {
      for (let line = last; ; ) {
        line = (await host.lines.next()).value ?? host.stderr();
        if (line === last) continue;
        last = line;
        return JSON.parse(line);
      }
    };
    expect(await next()).toEqual(['one']);
    await writeFile(outside, yaml('one', 'two'));
    expect(await next()).toEqual(['one', 'two']);
    await appendFile(outside, '  - { id: three, runtime: { type: local-process, command: three } }\n');
    expect(await next()).toEqual(['one', 'two', 'three']);
  });

  test('one that begins with no descriptors left is ready, follows the catalog once there are some, and closes', async () => {
    const file = join(await makeFolder(), 'catalog.yaml');
    await writeFile(file, yaml('a'));
    const host = startHost('watches-full', [file], [], ['/bin/sh', '-c', 'ulimit -n 100; exec "$@"', 'sh']);
    expect(await host.ended(120_000), host.stderr()).toBe(0);
    const told = [expect.stringContaining('cannot be read: EMFILE')];
    expect(JSON.parse((await host.lines.next()).value)).toEqual({ told, servers: ['a'], closed: true });
  });

  test('hands what was read to map, and stops with close()', async () => {
    const folder = await makeFolder();
    const file = join(folder, 'catalog.yaml');
    await writeFile(file, yaml('a'));
    const mine = { id: 'mine', runtime: { type: 'local-process', command: 'mine' } } as const;
    let maps = 0;
    const { next, ids, watcher, events } = await follow(file, {
      map: ({ servers }) => {
        maps += 1;
        return { servers: [...servers, mine] };
      },
    });
    await next();
    expect(ids()).toEqual(['a', 'mine']);
    await Promise.all([watcher.close(), watcher.close()]);
    await writeFile(file, yaml('b'));
    const second = await follow(file);
    await second.next();
    expect([maps, events]).toEqual([1, []]);
  });
});

test('watchCatalog() can be closed while map never answers', async () => {
  const file = join(await makeFolder(), 'catalog.yaml');
  await writeFile(file, yaml('a'));
  await using gateway = createGateway({ servers: [] });
  const asked = Promise.withResolvers<void>();
  const map = () => {
    asked.resolve();
    return new Promise<never>(() => {});
  };
  const onEvent = vi.fn();
  const watcher = watchCatalog(file, gateway, { map, onEvent });
  await asked.promise;
  await watcher.close();
  await watcher.ready;
  expect(onEvent).not.toHaveBeenCalled();
});

test('watchCatalog() goes on whatever map throws, and tells of it', async () => {
  const file = join(await makeFolder(), 'catalog.yaml');
  await writeFile(file, yaml('a'));
  const thrown: unknown[] = [Object.create(null)];
  const map = (catalog: Catalog) => {
    for (const what of thrown.splice(0)) throw what;
    return catalog;
  };
  const { next } = await follow(file, { intervalMs: 10, map });
  expect(await next()).toMatchObject({ type: 'reload-failed', error: { code: 'CATALOG_INVALID' } });
  expect(await next()).toMatchObject({ type: 'reloaded' });
});

test('watchCatalog() tells what is in force although an old server could not be stopped', async () => {
  const file = join(await makeFolder(), 'catalog.yaml');
  await writeFile(file, yaml('b'));
  const server = new ScriptedServer();
  const gateway = createGateway({ servers: [{ id: 'a', runtime: server.runtime }] });
  cleanUps.push(() => gateway.close().catch(() => {}));
  await gateway.connect('a').start();
  server.only.close = () => Promise.reject(new Error('it hangs'));
  const events: WatchEvent[] = [];
  const watcher = watchCatalog(file, gateway, { graceMs: 0, onEvent: (event) => events.push(event) });
  await watcher.ready;
  await watcher.close();
  expect(gateway.status().map(({ id }) => id)).toEqual(['b']);
  expect(events).toMatchObject([{ type: 'reloaded', result: { added: ['b'], removed: ['a'] } }]);
  expect((events[0] as { error?: Error }).error?.message).toContain('could not be closed');
});

test('watchCatalog() refuses a URL that it does not fetch, and shows no password of it', () => {
  const watch = () => watchCatalog('ftp://me:p4ss@example.com/c', { reload: () => Promise.reject(new Error('no')) });
  expect(watch).toThrow(/^(?!.*p4ss).*not loaded over ftp/s);
});

/** A web server on this machine that answers as the test says. */
async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  cleanUps.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const failure = (work: Promise<unknown>) =>
  work.then(
    () => {
      throw new Error('did not fail');
    },
    (error: unknown) => error as GatewayError,
  );

describe('loadCatalog() of a URL', () => {
  test('reads YAML, and JSON by its name or its type; sends the headers', async () => {
    const seen: unknown[] = [];
    const origin = await serve((request, response) => {
      seen.push(request.headers.authorization);
      if (request.url === '/typed') response.setHeader('content-type', 'application/json; charset=utf-8');
      response.end(request.url === '/catalog' ? yaml('a') : '{"servers":[{"id":"a","runtime":{"type":"x"}}]}');
    });
    for (const path of ['/catalog', '/catalog.json', '/typed']) {
      const catalog = await loadCatalog(`${origin}${path}`, { headers: { authorization: 'Bearer t' } });
      expect(catalog.servers.map(({ id }) => id)).toEqual(['a']);
    }
    expect(seen).toEqual(['Bearer t', 'Bearer t', 'Bearer t']);
  });

  test('says so of a port that fetch() does not go to', async () => {
    const { message } = await failure(loadCatalog('http://127.0.0.1:6000/c.yaml'));
    expect(message).toContain('cannot be fetched: fetch() refuses port 6000, as browsers do; use another port');
  });

  test('says what to look at where nobody listens, and where a certificate is not trusted', async () => {
    await using certificates = await createCertificates();
    const secure = createTlsServer(certificates.selfSigned).listen(0, 'localhost');
    await once(secure, 'listening');
    cleanUps.push(async () => secure.close());
    const gone = createServer().listen(0, 'localhost');
    await once(gone, 'listening');
    const portOf = (server: Server) => (server.address() as AddressInfo).port;
    const urls = [
      `http://localhost:${portOf(gone)}/?token=canary`,
      `https://localhost:${portOf(secure)}/?token=canary`,
    ];
    await new Promise((resolve) => gone.close(resolve));
    const said = await Promise.all(urls.map(async (url) => (await failure(loadCatalog(url))).message));
    expect(said).toEqual([
      expect.stringMatching(/: nobody listens there; check the host and the port \(ECONNREFUSED\)$/),
      expect.stringMatching(/: its certificate is not trusted; .*NODE_EXTRA_CA_CERTS \(DEPTH_ZERO_SELF_SIGNED_CERT\)$/),
    ]);
    expect(said.join()).not.toContain('canary');
  });

  test('tries again after what may pass', async () => {
    let asked = 0;
    const origin = await serve((_, response) => {
      asked += 1;
      response.statusCode = asked === 1 ? 503 : 200;
      response.end(yaml('a'));
    });
    expect((await loadCatalog(new URL(origin))).servers).toHaveLength(1);
    expect(asked).toBe(2);
  });

  test.each<[string, (response: ServerResponse) => void, RegExp]>([
    ['404', (response) => response.writeHead(404).end(), /HTTP 404/],
    ['a redirect', (response) => response.writeHead(302, { location: '/other' }).end(), /HTTP 302: redirects are not/],
    ['too much', (response) => response.end('x'.repeat(1024 ** 2 + 1)), /larger than 1 MiB/],
    [
      'a body that breaks off',
      (response) => response.writeHead(200).write('ser', () => response.destroy()),
      /cannot be/,
    ],
    ['a bad catalog', (response) => response.end('servers: 1'), /servers \(1:10\): must be a list/],
  ])('says what is wrong with %s, and no secret of the URL', async (_, answer, message) => {
    const origin = await serve((__, response) => answer(response));
    const headers = { authorization: 'Bearer t0ken' };
    const error = await failure(loadCatalog(`${origin}/catalog?token=s3cret`, { headers }));
    expect(GatewayError.is(error) && error.code).toBe('CATALOG_INVALID');
    expect(error.message).toMatch(message);
    expect(error.message).toContain(`${origin}/catalog is not valid`);
    expect(inspect(error, { depth: 9 })).not.toMatch(/s3cret|t0ken/);
  });

  test('waits no longer than a moment before it tries again, whatever it is told', async () => {
    let asked = 0;
    const origin = await serve((_, response) => {
      asked += 1;
      response.writeHead(asked === 1 ? 503 : 200, { 'retry-after': '3600' }).end(yaml('a'));
    });
    expect((await loadCatalog(origin)).servers).toHaveLength(1);
  });

  test('ends when a body does not', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    cleanUps.push(async () => vi.useRealTimers());
    const written = Promise.withResolvers<void>();
    const origin = await serve(
      (_, response) => void response.writeHead(200).write('servers:', () => written.resolve()),
    );
    let settled = false;
    const failed = failure(loadCatalog(origin)).finally(() => {
      settled = true;
    });
    await written.promise;
    for (let turn = 0; !settled; turn += 1) {
      // The answer's head comes first. What belonged to the request may be collected by then.
      turn > 100 && vi.advanceTimersByTime(1_000);
      turn === 100 && collectGarbage();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await failed).message).toContain('within 10000 ms');
  });

  test('keeps nothing in a signal that lives long', async () => {
    const sources = recordAnySignals();
    const origin = await serve((_, response) => response.end(yaml('a')));
    const { signal } = new AbortController();
    for (let times = 0; times < 2; times += 1) await loadCatalog(origin, { signal });
    expect(sources).not.toContain(signal);
  });

  test('is not done over http from elsewhere, nor with a password in the URL', async () => {
    expect((await failure(loadCatalog('http://example.com/c'))).message).toContain('use https');
    expect((await failure(loadCatalog('https://u:p4ss@example.com/c'))).message).toMatch(/option headers(?!.*p4ss)/s);
    expect((await failure(loadCatalog('ftp://example.com/c'))).message).toContain('not loaded over ftp');
  });
});

test('watchCatalog() of a URL asks now and then, and says what it knows already', async () => {
  const known: unknown[] = [];
  const texts = [yaml('v1'), undefined, yaml('v2'), 'servers: 1', yaml('v3')];
  const origin = await serve((request, response) => {
    known.push(request.headers['if-none-match']);
    const text = texts[known.length - 1];
    response.writeHead(text === undefined ? 304 : 200, { etag: `"${known.length}"` }).end(text);
  });
  const { next } = await follow(`${origin}/catalog.yaml`, { intervalMs: 10 });
  expect(await next()).toMatchObject({ type: 'reloaded', result: { added: ['v1'] } });
  expect(await next()).toMatchObject({ type: 'reloaded', result: { added: ['v2'], removed: ['v1'] } });
  expect(await next()).toMatchObject({ type: 'reload-failed', error: { issues: [{ path: 'servers', line: 1 }] } });
  expect(await next()).toMatchObject({ type: 'reloaded', result: { added: ['v3'], removed: ['v2'] } });
  // What was bad is asked for again, however it is named.
  expect(known.slice(0, 5)).toEqual([undefined, '"1"', '"1"', '"3"', undefined]);
});

test('watchCatalog() of a URL asks again for what could not be taken over', async () => {
  const origin = await serve((request, response) => {
    const isKnown = request.headers['if-none-match'] === '"1"';
    response.writeHead(isKnown ? 304 : 200, { etag: '"1"' }).end(isKnown ? undefined : yaml('a'));
  });
  let maps = 0;
  const map = (catalog: Catalog) => {
    maps += 1;
    if (maps === 1) throw new Error('not yet');
    return catalog;
  };
  const { next } = await follow(`${origin}/catalog.yaml`, { intervalMs: 10, map });
  expect(await next()).toMatchObject({ type: 'reload-failed', error: { message: 'not yet' } });
  expect(await next()).toMatchObject({ type: 'reloaded', result: { added: ['a'] } });
});

test('watchCatalog() of a URL tells of each time that it is out of reach', async () => {
  let asked = 0;
  const origin = await serve((request, response) => {
    asked += 1;
    const isKnown = request.headers['if-none-match'] === '"1"';
    response
      .writeHead(asked % 2 === 0 ? 404 : isKnown ? 304 : 200, { etag: '"1"' })
      .end(isKnown ? undefined : yaml('a'));
  });
  const { next } = await follow(`${origin}/catalog.yaml`, { intervalMs: 10 });
  expect(await next()).toMatchObject({ type: 'reloaded', result: { added: ['a'] } });
  expect(await next()).toMatchObject({ type: 'reload-failed' });
  expect(await next()).toMatchObject({ type: 'reloaded', result: { added: [], changed: [], unchanged: ['a'] } });
  expect(await next()).toMatchObject({ type: 'reload-failed' });
});

test('watchCatalog() tells when a bad file is good again as it was', async () => {
  const file = join(await makeFolder(), 'catalog.yaml');
  await writeFile(file, yaml('a'));
  const { next } = await follow(file);
  await next();
  await replace(file, 'servers: 1');
  expect(await next()).toMatchObject({ type: 'reload-failed' });
  await replace(file, yaml('a'));
  expect(await next()).toMatchObject({
    type: 'reloaded',
    result: { added: [], removed: [], changed: [], unchanged: ['a'] },
  });
});
