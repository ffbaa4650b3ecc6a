import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test, vi } from 'vitest';
import { GatewayError } from '../../../src/errors.js';
import type { Cluster } from '../../../src/runtimes/shared/kubernetes/cluster.js';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { jobs, pathOf, pods } from '../../../src/runtimes/shared/kubernetes/resources.js';
import { temporaryFolder } from '../../support/docker.js';
import { FakeClock } from '../../support/fake-clock.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { eventually } from '../../support/kubernetes/namespace.js';

async function withFake(use: (fake: FakeApiServer, cluster: Cluster, clusters: Clusters) => Promise<void>) {
  await using fake = await FakeApiServer.listen();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig });
  try {
    await use(fake, await clusters.open(), clusters);
  } finally {
    await clusters.close();
  }
}

const pod = pods({ namespace: 'home', name: 'a' });
const found = { metadata: { name: 'a' } };

describe('calls', () => {
  test('say where and what in the path and the query', () =>
    withFake(async (fake, cluster) => {
      fake.answer = (_request, response) => sendJson(response, 200, { metadata: {}, items: null });
      await cluster.list(pods({ namespace: 'home' }), { labelSelector: 'a=b' });
      await cluster.list(jobs({ namespace: 'home' }));
      await cluster.text(pods({ namespace: 'home', name: 'a', subresource: 'log' }), { query: { tailLines: '5' } });
      expect(fake.requests).toEqual([
        'GET /api/v1/namespaces/home/pods?labelSelector=a=b',
        'GET /apis/batch/v1/namespaces/home/jobs',
        'GET /api/v1/namespaces/home/pods/a/log?tailLines=5',
      ]);
    }));

  test('that go on after the end leave no connection behind', () =>
    withFake(async (fake, cluster, clusters) => {
      const kept: (string | undefined)[] = [];
      const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
      fake.answer = ({ headers }, response) => {
        kept.push(headers.connection);
        if (kept.length === 2) ask();
        else sendJson(response, 200, { metadata: { name: 'a' } });
      };
      await cluster.get(pod);
      const second = cluster.get(pod);
      await asked;
      await clusters.close();
      expect(await second).toMatchObject({ metadata: { name: 'a' } });
      expect(kept).toEqual(['keep-alive', 'keep-alive', 'close']);
    }));

  test('that begin as the connections are closed leave none behind, at whatever step', async () => {
    for (let steps = 0; steps < 30; steps += 1) {
      await withFake(async (fake, cluster, clusters) => {
        const sockets = new Set<Socket>();
        fake.answer = ({ socket }, response) => {
          sockets.add(socket);
          sendJson(response, 200, { metadata: { name: 'a' } });
        };
        await cluster.get(pod);
        const next = cluster.get(pod);
        for (let step = 0; step < steps; step += 1) await Promise.resolve();
        await clusters.close();
        await next;
        await vi.waitUntil(() => [...sockets].every(({ destroyed }) => destroyed));
      });
    }
  });

  test('that are aborted as their answer ends harm nobody else', () =>
    withFake(async (fake, cluster) => {
      const uncaught: unknown[] = [];
      const note = (error: unknown) => uncaught.push(error);
      process.on('uncaughtException', note);
      try {
        fake.answer = (_request, response) => response.end('all of it');
        const abort = new AbortController();
        await cluster.textInPieces(pod, () => abort.abort(), { signal: abort.signal }).catch(() => {});
        await cluster.text(pod);
        expect(uncaught).toEqual([]);
      } finally {
        process.off('uncaughtException', note);
      }
    }));

  test('no name leads out of its place', () => {
    expect(pathOf(pods({ namespace: '..', name: '../../secrets' }))).toBe(
      'api/v1/namespaces/%00/pods/..%2F..%2Fsecrets',
    );
    expect(pathOf(pods({ namespace: 'a/b?c#d', name: '' }))).toBe('api/v1/namespaces/a%2Fb%3Fc%23d/pods/%00');
  });

  test('what to grant is told of rights alone, and not of a quota', () =>
    withFake(async (fake, cluster) => {
      const right = 'pods is forbidden: User "me" cannot get resource "pods" in API group "" in the namespace "home"';
      const quota = 'pods "a" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2';
      const remedy = '; grant it, as in the Role that gateway.rbac() gives';
      for (const [message, told] of [
        [right, `(403): ${right}${remedy}`],
        [quota, `(403): ${quota}`],
      ] as const) {
        fake.answer = (_request, response) => sendJson(response, 403, { kind: 'Status', message });
        const failed: Error = await cluster.get(pod).catch((error) => error);
        expect(failed.message.endsWith(told), failed.message).toBe(true);
      }
    }));

  test.each([
    [403, 'forbidden', 'may not get pods "a" in namespace "home" (403): no rights'],
    [404, 'not-found', 'cannot get pods "a" in namespace "home": it is not there (404): no rights'],
    [409, 'conflict', 'cannot get pods "a" in namespace "home" (409): no rights'],
    [410, 'gone', '(410)'],
    [422, 'invalid', '(422)'],
    [500, 'refused', '(500)'],
  ])('%d is %s', (status, failure, message) =>
    withFake(async (fake, cluster) => {
      fake.answer = (_request, response) => sendJson(response, status, { kind: 'Status', message: 'no rights' });
      const failed = cluster.get(pod);
      await expect(failed).rejects.toMatchObject({ failure, status });
      await expect(failed).rejects.toThrow(message);
    }),
  );

  test('credentials that are refused are read anew, once', () =>
    withFake(async (fake, cluster) => {
      fake.givenTokens = ['stale', 'fresh'];
      fake.answer = ({ headers }, response) =>
        headers.authorization === 'Bearer fresh' ? sendJson(response, 200, found) : sendJson(response, 401, {});
      // The first was read before this test could say what to give.
      await cluster.get(pod);
      expect(fake.tokens).toEqual(['Bearer first', 'Bearer fresh']);
      fake.answer = (_request, response) => sendJson(response, 401, { message: 'Unauthorized' });
      await expect(cluster.get(pod)).rejects.toMatchObject({ failure: 'unauthorized' });
      expect(fake.tokens).toHaveLength(4);
    }));

  test.each([
    `jobs.batch "a" is forbidden: ValidatingAdmissionPolicy 'images' with binding 'images' denied request: not signed`,
    'admission webhook "images.example.com" denied the request: not signed',
  ])('what a policy denies with 401 is no matter of credentials: %s', (message) =>
    withFake(async (fake, cluster) => {
      fake.answer = (_request, response) =>
        sendJson(response, 401, { kind: 'Status', reason: 'Unauthorized', message });
      const failed: Error = await cluster.create(jobs({ namespace: 'home' }), {}).catch((error) => error);
      expect(failed).toMatchObject({ failure: 'forbidden', status: 401 });
      expect(failed.message).toBe(`may not create jobs.batch in namespace "home" (401): ${message}`);
      expect(fake.requests).toHaveLength(1);
    }),
  );

  test('a busy API server is asked again when it says', () =>
    withFake(async (fake, cluster) => {
      let left = 2;
      fake.answer = (_request, response) =>
        left-- > 0 ? sendJson(response, 429, {}, { 'retry-after': '1' }) : sendJson(response, 200, found);
      await expect(cluster.get(pod)).resolves.toEqual(found);
      expect(fake.requests).toHaveLength(3);
    }));

  test('a kept connection that was closed meanwhile is no failure', () =>
    withFake(async (fake, cluster) => {
      fake.answer = (_request, response) => sendJson(response, 200, found);
      await cluster.get(pod);
      expect(fake.connections).toBe(1);
      const answered = fake.answer;
      fake.answer = (request, response) => {
        fake.answer = answered;
        request.socket.destroy();
        response.destroy();
      };
      await expect(cluster.get(pod)).resolves.toEqual(found);
    }));

  test('a certificate that is renewed cuts off no call that is under way, and keeps no connection of the old one', async () => {
    await using fake = await FakeApiServer.listen();
    const asked: ServerResponse[] = [];
    const both = Promise.withResolvers<void>();
    fake.answer = (_request, response) => {
      if (asked.push(response) === 2) both.resolve();
      if (asked.length > 2) sendJson(response, 200, { metadata: {}, items: [] });
    };
    let cert = 'first';
    const applyToHTTPSOptions = async (options: object) => void Object.assign(options, { cert });
    const clusters = new Clusters({ kubeconfig: () => ({ ...fake.kubeconfig(), applyToHTTPSOptions }) });
    const cluster = await clusters.open();
    const list = () => cluster.list(pods({ namespace: 'home' }));
    const early = [list(), list()];
    await both.promise;
    // One of the two has ended, and its connection is kept.
    sendJson(asked[0] as ServerResponse, 200, { metadata: {}, items: [] });
    await Promise.race(early);
    cert = 'second';
    await expect(list()).resolves.toEqual([]);
    sendJson(asked[1] as ServerResponse, 200, { metadata: {}, items: [] });
    await expect(Promise.all(early)).resolves.toEqual([[], []]);
    await eventually('the end of the old connections', async () => fake.connections === 1 || undefined, 20_000);
    await clusters.close();
  });

  test('nobody there, and an abort', () =>
    withFake(async (fake, cluster) => {
      const reason = new Error('enough');
      const abort = new AbortController();
      fake.answer = () => abort.abort(reason);
      await expect(cluster.get(pod, { signal: abort.signal })).rejects.toBe(reason);
      await expect(cluster.get(pod, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      await fake[Symbol.asyncDispose]();
      await expect(cluster.get(pod)).rejects.toThrow(/cannot be reached: nobody listens there.*ECONNREFUSED/);
    }));

  test('an API server that keeps silent is told before a start is given up, which would not name it', async () => {
    await using fake = await FakeApiServer.listen();
    const asked = Promise.withResolvers<void>();
    fake.answer = () => asked.resolve();
    const clock = new FakeClock();
    const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
    const told = (await clusters.open()).get(pod).catch((error: Error) => error.message);
    await asked.promise;
    // A start may take 30 s, unless the catalog says otherwise.
    await clock.advance(29_000);
    fake.cut();
    expect(await told).toBe(
      `the API server ${fake.url} did not answer within 25 s, asked to get pods "a" in namespace "home"`,
    );
    await clusters.close();
  });

  test('an answer that is cut off is no answer', () =>
    withFake(async (fake, cluster) => {
      fake.answer = (_request, response) => {
        response.writeHead(200, { 'content-length': '100' }).write('{"metadata":');
        response.socket?.destroySoon();
      };
      await expect(cluster.get(pod)).rejects.toMatchObject({ failure: 'unreachable' });
    }));
});

describe('the configuration', () => {
  test('a context that is not there is named, with those that are', () =>
    withFake(async (fake, _cluster, clusters) => {
      const failed = clusters.open('nowhere');
      await expect(failed).rejects.toSatisfy(GatewayError.is);
      await expect(failed).rejects.toThrow('has no context "nowhere"; it has: here, there');
      await expect(clusters.open('there')).resolves.toHaveProperty('server', fake.url);
    }));

  test('a file that cannot be read is named, and is tried again', async () => {
    const clusters = new Clusters({ kubeconfig: '/no/such/kubeconfig' });
    await expect(clusters.open()).rejects.toThrow(/the kubeconfig \/no\/such\/kubeconfig cannot be read/);
    await expect(clusters.open()).rejects.toThrow(/ENOENT/);
    await clusters.close();
  });

  test.each([
    ['a line that is indented wrongly', 'token: canary-7d1e\n client-key-data: x', ' is not valid YAML (2:17)'],
    ['a token that reads like an alias', 'token: *canary-7d1e', ' is not valid YAML (1:9)'],
    [
      'a token in the place of its file',
      'users: [{ name: a, user: { token-file: canary-7d1e } }]',
      ' cannot be read (ENOENT)',
    ],
    ['no server', 'clusters: [{ name: a, cluster: {} }]', ' cannot be read: clusters[0].cluster.server is missing'],
  ])('a file with %s is told, without what stands in it', async (_, text, why) => {
    await using folder = await temporaryFolder();
    const kubeconfig = join(folder.path, 'config');
    await writeFile(kubeconfig, text);
    const clusters = new Clusters({ kubeconfig });
    const error = await clusters.open().catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'START_FAILED', message: `the kubeconfig ${kubeconfig}${why}` });
    expect(inspect(error, { depth: 9 })).not.toContain('canary');
    await clusters.close();
  });

  test('one that has been spoilt when it is read anew is told, without what stands in it', async () => {
    await using fake = await FakeApiServer.listen();
    fake.answer = (_request, response) => sendJson(response, 401, {});
    await using folder = await temporaryFolder();
    const kubeconfig = join(folder.path, 'config');
    const cluster = { name: 'a', cluster: { server: fake.url, 'insecure-skip-tls-verify': true } };
    const context = { name: 'a', context: { cluster: 'a', user: 'a' } };
    await writeFile(
      kubeconfig,
      JSON.stringify({ clusters: [cluster], contexts: [context], 'current-context': 'a', users: [] }),
    );
    const clusters = new Clusters({ kubeconfig });
    const opened = await clusters.open();
    await writeFile(kubeconfig, 'token: canary-7d1e\n client-key-data: x');
    const error = await opened.get(pod).catch((thrown) => thrown);
    expect(error).toMatchObject({ failure: 'unauthorized' });
    expect(error.message).toContain('is not valid YAML (2:17)');
    expect(inspect(error, { depth: 9 })).not.toContain('canary');
    await clusters.close();
  });

  test('a plugin that fails is told by what it wrote', async () => {
    await using fake = await FakeApiServer.listen();
    const clusters = new Clusters({
      kubeconfig: () => ({
        ...fake.kubeconfig(),
        applyToHTTPSOptions: () => Promise.reject(new Error('login expired; run: cloud login')),
      }),
    });
    const cluster = await clusters.open();
    await expect(cluster.get(pod)).rejects.toThrow('gives no credentials: login expired; run: cloud login');
    await clusters.close();
  });
});
