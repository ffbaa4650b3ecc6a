import type { ServerResponse } from 'node:http';
import { PassThrough } from 'node:stream';
import { expect, test, vi } from 'vitest';
import { Claim } from '../../../src/runtimes/k8s-job/claim.js';
import { JobRun } from '../../../src/runtimes/k8s-job/job-run.js';
import { jobLabel } from '../../../src/runtimes/k8s-job/manifest.js';
import { PodPeer } from '../../../src/runtimes/k8s-job/pod-peer.js';
import { K8sJobRuntime } from '../../../src/runtimes/k8s-job.js';
import type { Cluster } from '../../../src/runtimes/shared/kubernetes/cluster.js';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { jobs } from '../../../src/runtimes/shared/kubernetes/resources.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { FakeClock } from '../../support/fake-clock.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { eventually } from '../../support/kubernetes/namespace.js';

const runningPod = { metadata: { name: 'mcp-quiet-1', uid: 'pod' }, status: { phase: 'Running' } };
/** What an API server says that did not hear in time from where it keeps its data: they may come there all the same. */
const lateAnswers = [500, 502, 504];

test.each<[string, number | undefined]>([
  ['was given up', undefined],
  ...lateAnswers.map((status): [string, number] => [`was answered with ${status}`, status]),
])('a Job that is made after its creation %s is deleted all the same', async (_, status) => {
  await using fake = await FakeApiServer.listen();
  const names = { job: 'mcp-late', lease: 'mcp-gateway-test', server: 'late' };
  let creation: ServerResponse | undefined;
  let isMade = false;
  fake.answer = ({ method, url = '' }, response) => {
    const isOfJob = url.includes('/jobs');
    if (isOfJob && method === 'POST') {
      creation = response;
      if (status !== undefined) sendJson(response, status, { message: 'request timed out' });
    } else if (isOfJob && method === 'DELETE') {
      sendJson(response, isMade ? 200 : 404, {});
      isMade = false;
    } else if (url.includes('watch=')) response.writeHead(200).flushHeaders();
    else sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
  const claim = new Claim(await clusters.open(), 'home', 'test', clock);
  const until = (what: string, condition: () => boolean) => eventually(what, async () => condition() || undefined);
  try {
    await claim.ready(new AbortController().signal);
    const run = new JobRun(claim, names, { namespace: 'home', image: 'image' }, clock);
    const created = Promise.allSettled([run.create({})]);
    await until('the creation', () => creation !== undefined);
    if (status === undefined) await clock.advance(30_000);
    const failure = status === undefined ? 'unreachable' : 'refused';
    expect(await created).toMatchObject([{ status: 'rejected', reason: { failure, status } }]);
    await run.remove();
    // The API server was slow, and nobody waits for its answer.
    isMade = true;
    await clock.advance(15_000);
    await until('its deletion', () => !isMade);
  } finally {
    await claim.close();
    await clusters.close();
  }
});

test('a Job whose creation was repeated, as a kept connection broke, and that is made anew after its end, is deleted', async () => {
  await using fake = await FakeApiServer.listen();
  let creations = 0;
  let deletions = 0;
  let isMade = false;
  fake.answer = ({ method, url = '' }, response) => {
    const isOfJob = url.includes('/jobs');
    if (isOfJob && method === 'POST') creations += 1;
    if (isOfJob && method === 'DELETE') {
      isMade = false;
      deletions += 1;
    }
    if (isOfJob && method === 'POST' && creations === 1) response.socket?.destroy();
    else if (url.includes('watch=')) response.writeHead(200).flushHeaders();
    else sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
  const claim = new Claim(await clusters.open(), 'home', 'test', clock);
  try {
    await claim.ready(new AbortController().signal);
    const names = { job: 'mcp-twice', lease: 'mcp-gateway-test', server: 'twice' };
    const run = new JobRun(claim, names, { namespace: 'home', image: 'image' }, clock);
    await eventually('the watch', async () => fake.requests.some((one) => one.includes('watch=')) || undefined);
    // Leaves a connection that is kept.
    await claim.cluster.get(jobs({ namespace: 'home', name: 'any' }));
    await run.create({});
    expect(creations).toBe(2);
    await clock.advance(30_000);
    expect(fake.requests.filter((one) => one.startsWith('DELETE'))).toEqual([]);
    const removed = run.remove();
    await eventually('its end', async () => {
      await clock.advance(500);
      return deletions > 0 || undefined;
    });
    await removed;
    // What the API server had got first.
    isMade = true;
    await clock.advance(15_000);
    await eventually('its deletion', async () => !isMade || undefined);
  } finally {
    await claim.close();
    await clusters.close();
  }
});

test.each(lateAnswers)(
  'where a Secret is made after it was answered with %s, the container is waited for',
  async (status) => {
    await using fake = await FakeApiServer.listen();
    let runs = true;
    fake.answer = ({ method, url = '' }, response) => {
      const query = decodeURIComponent(url);
      if (query.includes('/secrets') && method === 'POST') sendJson(response, status, { message: 'request timed out' });
      else if (query.includes('watch=')) response.writeHead(200).flushHeaders();
      else if (query.includes('open-mcp-gateway/job=')) {
        sendJson(response, 200, { metadata: {}, items: runs ? [runningPod] : [] });
      } else sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
    };
    const clock = new FakeClock();
    const clusters = new Clusters({ kubeconfig: fake.kubeconfig });
    const claim = new Claim(await clusters.open(), 'home', 'test', clock);
    try {
      const names = { job: 'mcp-quiet', lease: 'mcp-gateway-test', server: 'quiet' };
      const run = new JobRun(claim, names, { namespace: 'home', image: 'image' }, clock);
      await expect(run.create({ TOKEN: 'x' })).rejects.toMatchObject({ status });
      const onGone = vi.fn();
      const removed = run.remove().then(onGone);
      await eventually('a look for the pod', async () => {
        await clock.advance(100);
        return fake.requests.some((request) => request.includes('open-mcp-gateway/job=')) || undefined;
      });
      expect(onGone).not.toHaveBeenCalled();
      runs = false;
      await eventually('its end', async () => {
        await clock.advance(100);
        return onGone.mock.calls.length > 0 || undefined;
      });
      await removed;
    } finally {
      await claim.close();
      await clusters.close();
    }
  },
);

test.each([
  ['has not come yet', (response: ServerResponse) => void response.writeHead(200).flushHeaders()],
  ['is cut off', (response: ServerResponse) => void response.writeHead(403).end('{}')],
])('where the news of its pod %s, a Job is gone when the API server has no pod of it', async (_, answerWatch) => {
  await using fake = await FakeApiServer.listen();
  let asked = 0;
  let runs = true;
  fake.answer = ({ url = '' }, response) => {
    const query = decodeURIComponent(url);
    if (query.includes('watch=')) answerWatch(response);
    else if (query.includes('open-mcp-gateway/job=')) {
      asked += 1;
      sendJson(response, 200, { metadata: {}, items: runs ? [runningPod] : [] });
    } else sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig });
  const claim = new Claim(await clusters.open(), 'home', 'test', clock);
  try {
    const names = { job: 'mcp-quiet', lease: 'mcp-gateway-test', server: 'quiet' };
    const run = new JobRun(claim, names, { namespace: 'home', image: 'image' }, clock);
    await run.create({});
    const onGone = vi.fn();
    const removed = run.remove().then(onGone);
    const nextLook = async (times: number) => {
      await eventually('a look', async () => {
        await clock.advance(100);
        return asked >= times || undefined;
      });
    };
    await nextLook(2);
    expect(onGone).not.toHaveBeenCalled();
    runs = false;
    await nextLook(asked + 1);
    await removed;
    expect(onGone).toHaveBeenCalledOnce();
  } finally {
    await claim.close();
    await clusters.close();
  }
});

test('a Job that is taken away while the gateway closes is gone when the API server has no pod of it', async () => {
  await using fake = await FakeApiServer.listen();
  const pod = {
    ...runningPod,
    metadata: { ...runningPod.metadata, labels: { 'open-mcp-gateway/job': 'mcp-leaving' } },
  };
  let runs = true;
  fake.answer = ({ url = '' }, response) => {
    const query = decodeURIComponent(url);
    if (query.includes('watch=')) response.writeHead(200).flushHeaders();
    else if (query.includes('/pods')) sendJson(response, 200, { metadata: {}, items: runs ? [pod] : [] });
    else sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig });
  const claim = new Claim(await clusters.open(), 'home', 'test', clock);
  try {
    const names = { job: 'mcp-leaving', lease: 'mcp-gateway-test', server: 'leaving' };
    const run = new JobRun(claim, names, { namespace: 'home', image: 'image' }, clock);
    await run.create({});
    await eventually('its pod', () => Promise.resolve(run.pods.length > 0 || undefined));
    const removed = run.remove();
    await claim.close();
    runs = false;
    const onGone = vi.fn();
    void removed.then(onGone);
    await eventually('the end', async () => {
      await clock.advance(100);
      return onGone.mock.calls.length > 0 || undefined;
    });
  } finally {
    await clusters.close();
  }
});

test.each<[string, RegExp]>([
  ['deletions of Jobs', /^DELETE .*\/jobs\//],
  ['the first renewal', /^PATCH/],
])('%s without an answer hold up neither the renewal of the Lease nor close()', async (_, silent) => {
  await using fake = await FakeApiServer.listen();
  let isFirst = true;
  fake.answer = ({ method, url = '' }, response) => {
    const isSilent = silent.test(`${method} ${url}`) && (method === 'DELETE' || isFirst);
    if (method === 'PATCH') isFirst = false;
    if (!isSilent) sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
  const claim = new Claim(await clusters.open(), 'home', 'test', clock);
  const pass = async (seconds: number) => {
    for (let at = 0; at < seconds; at += 1) {
      await clock.advance(1_000);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await claim.ready(new AbortController().signal);
  const deleted = Promise.allSettled(['a', 'b', 'c', 'd'].map((name) => claim.deleteJob(`mcp-${name}`)));
  await pass(76);
  const renewals = () => fake.requests.filter((request) => request.startsWith('PATCH')).length;
  // No time passes now but that of the connection.
  await vi.waitFor(() => expect(renewals()).toBe(5), 60_000);
  const onClosed = vi.fn();
  const closed = claim.close().then(onClosed);
  await pass(31);
  await vi.waitFor(() => expect(onClosed).toHaveBeenCalledOnce(), 60_000);
  await Promise.all([deleted, closed]);
  await clusters.close();
});

test.each(['was aborted', 'failed'])(
  'close() tells of the Job of a start that %s, which may not be deleted',
  async (how) => {
    await using fake = await FakeApiServer.listen();
    const abort = new AbortController();
    let job = '';
    fake.answer = async (request, response) => {
      const { method, url = '' } = request;
      const body = JSON.parse(Buffer.concat(await request.toArray()).toString() || '{}');
      const isOfJob = url.includes('/jobs');
      if (isOfJob && method === 'DELETE') sendJson(response, 403, { message: 'a webhook refuses it' });
      else if (url.includes('watch=')) response.writeHead(200).flushHeaders();
      else if (url.endsWith('/secrets')) sendJson(response, 403, { message: 'no Secrets' });
      else sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
      if (!isOfJob || method !== 'POST') return;
      job = body.metadata.name;
      if (how === 'was aborted') abort.abort(new Error('enough'));
    };
    const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
    const env = how === 'failed' ? { A: 'b' } : {};
    const opened = runtime.open(
      { namespace: 'home', image: 'image' },
      createRuntimeContext({ signal: abort.signal, env }),
    );
    await expect(opened).rejects.toThrow(how === 'failed' ? 'no Secrets' : 'enough');
    await expect(runtime.close()).rejects.toMatchObject({
      code: 'STOP_FAILED',
      message: expect.stringMatching(
        new RegExp(`^Jobs that could not be deleted: ${job} in namespace "home" .*a webhook refuses it.*; see kubectl`),
      ),
    });
    expect(job).toMatch(/^mcp-/);
    await eventually('the end of the connections', async () => fake.connections === 0 || undefined);
  },
);

test('a server whose pod may not be watched any more runs on, and its end is told once it may be again', async () => {
  await using fake = await FakeApiServer.listen();
  const names = { job: 'mcp-blind', lease: 'mcp-gateway-test', server: 'blind' };
  const metadata = { ...runningPod.metadata, labels: { 'open-mcp-gateway/job': names.job } };
  const podIn = (state: object) => ({ metadata, status: { containerStatuses: [{ name: 'mcp', state }] } });
  let pod = podIn({ running: {} });
  let isAllowed = true;
  let refusals = 0;
  const watches = new Set<ServerResponse>();
  fake.answer = ({ method, url = '' }, response) => {
    if (method === 'GET' && url.includes('/pods?') && !isAllowed) {
      refusals += 1;
      sendJson(response, 403, { message: 'no pods' });
    } else if (url.includes('watch=')) {
      watches.add(response);
      response.writeHead(200).flushHeaders();
    } else {
      const items = url.includes('/pods?') ? [pod] : [];
      sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items });
    }
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
  const claim = new Claim(await clusters.open(), 'home', 'test', clock);
  const until = (what: string, condition: () => boolean) =>
    eventually(what, async () => {
      await clock.advance(2_000);
      return condition() || undefined;
    });
  try {
    const run = new JobRun(claim, names, { namespace: 'home', image: 'image' }, clock);
    await run.create({});
    const found = await run.until(([first]) => first);
    const closed = Promise.withResolvers<undefined>();
    const streams = { readable: () => new PassThrough(), writable: () => new PassThrough() };
    const socket = { protocol: 'v5.channel.k8s.io', closed: closed.promise, close: async () => {}, ...streams };
    const early = { messages: Buffer.alloc(0), others: '', attached: Buffer.alloc(0) };
    const peer = new PodPeer({ run, pod: found, socket, early, clock, stderrTailBytes: 1024 });
    const onExit = vi.fn();
    void peer.exited.then(onExit);
    await until('the watch', () => watches.size > 0);
    isAllowed = false;
    for (const watch of watches) watch.end();
    const since = clock.now();
    const isOver = () => onExit.mock.calls.length > 0 || (clock.now() - since > 200_000 && refusals > 15);
    await until('refusals for minutes', isOver);
    expect(onExit).not.toHaveBeenCalled();
    isAllowed = true;
    pod = podIn({ terminated: { exitCode: 7 } });
    await until('the end', () => onExit.mock.calls.length > 0);
    expect(onExit).toHaveBeenCalledWith({ code: 7 });
  } finally {
    await claim.close();
    await clusters.close();
  }
});

test.each<[string, (response: ServerResponse) => void]>([
  ['answers with 500', (response) => sendJson(response, 500, {})],
  ['answers with 429', (response) => sendJson(response, 429, {})],
  ['cuts the connection', (response) => response.destroy()],
])('close() deletes the Lease again where the API server %s once', async (_, fail) => {
  await using fake = await FakeApiServer.listen();
  let deletions = 0;
  fake.answer = ({ method }, response) => {
    if (method === 'DELETE') deletions += 1;
    if (method === 'DELETE' && deletions === 1) fail(response);
    else sendJson(response, 200, { metadata: { name: 'any', uid: 'any' }, items: [] });
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
  const claim = new Claim(await clusters.open(), 'home', 'test', clock);
  await claim.ready(new AbortController().signal);
  const closed = claim.close();
  await eventually('another deletion', async () => {
    await clock.advance(500);
    return deletions === 2 || undefined;
  });
  expect(await closed).toEqual([]);
  await clusters.close();
});

test('a look for what others have left ends with close(), and is not asked for anew', async () => {
  await using fake = await FakeApiServer.listen();
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  fake.answer = ({ method }, response) => {
    if (method === 'GET') resolve();
    else sendJson(response, 200, { metadata: { name: 'any', uid: 'any' } });
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
  const claim = new Claim(await clusters.open(), 'home', 'test', clock);
  await claim.ready(new AbortController().signal);
  await asked;
  await claim.close();
  await clusters.close();
  await eventually('the end of all connections', async () => fake.connections === 0 || undefined, 20_000);
  expect(fake.requests.filter((one) => one.startsWith('GET'))).toHaveLength(1);
});

/** Nothing waits for its time any more, and nobody asks anything in a minute. */
async function expectSilence(fake: FakeApiServer, clock: FakeClock): Promise<void> {
  const asked = fake.requests.length;
  expect(clock.waiting).toBe(0);
  await clock.advance(60_000);
  expect(fake.requests).toHaveLength(asked);
}

test('a namespace that was deleted is asked nothing more, once no Job is in it', async () => {
  await using fake = await FakeApiServer.listen();
  let isThere = true;
  const left = Promise.withResolvers<void>();
  fake.answer = ({ method, url = '' }, response) => {
    const isWrite = method === 'POST' || method === 'PATCH' || method === 'DELETE';
    if (url.includes('watch=')) response.writeHead(200).flushHeaders();
    else if (isWrite && !isThere) sendJson(response, 404, { message: 'namespaces "home" not found' });
    else sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
  const claim = new Claim(await clusters.open(), 'home', 'test', clock, left.resolve);
  const count = (method: string) => fake.requests.filter((one) => one.startsWith(method)).length;
  await claim.ready(new AbortController().signal);
  const unlisten = claim.listen('a', { changed() {}, failed() {}, troubled() {} });
  isThere = false;
  await clock.advance(15_000);
  await eventually('the Lease is made anew, in vain', async () => count('POST') === 2 || undefined);
  // A Job may still have to be taken away.
  await clock.advance(15_000);
  await eventually('and again', async () => count('POST') === 3 || undefined);
  unlisten();
  await clock.advance(15_000);
  await left.promise;
  await claim.close();
  await expectSilence(fake, clock);
  await clusters.close();
});

test('news of a pod looks once at each pod, however many Jobs there are', async () => {
  let looks = 0;
  let news: (pods: ReadonlyMap<string, unknown>) => void = () => {};
  const watch = (_ref: unknown, { changed }: { changed: typeof news }) => {
    news = changed;
    return { close() {} };
  };
  const claim = new Claim({ watch } as unknown as Cluster, 'home', 'test', new FakeClock());
  const heard: number[] = [];
  const listener = { changed: (pods: readonly unknown[]) => heard.push(pods.length), failed() {}, troubled() {} };
  const jobs = Array.from({ length: 100 }, (_, index) => `job-${index}`);
  const leave = jobs.map((job) => claim.listen(job, listener));
  const toPod = (job: string) => {
    const metadata = {
      name: job,
      get labels() {
        looks += 1;
        return { [jobLabel]: job };
      },
    };
    return [job, { metadata }] as const;
  };
  news(new Map([...jobs.slice(1), 'of another'].map(toPod)));
  expect(heard).toEqual([0, ...Array(99).fill(1)]);
  leave.push(claim.listen('of another', listener));
  expect(heard.at(-1)).toBe(1);
  expect(looks).toBe(100);
  for (const each of leave) each();
});

test('a namespace that was deleted is asked nothing more also where the rights in it went with it', async () => {
  await using fake = await FakeApiServer.listen();
  let mayMake = true;
  let mayRenew = true;
  const { promise: gone, resolve } = Promise.withResolvers<void>();
  const left = vi.fn<() => void>(resolve);
  fake.answer = ({ method, url = '' }, response) => {
    if (url.includes('selfsubjectaccessreviews'))
      sendJson(response, 201, { metadata: {}, status: { allowed: mayMake } });
    else if (mayRenew)
      sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
    else sendJson(response, mayMake && method === 'GET' ? 200 : 403, { metadata: {}, items: [], message: 'no rights' });
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
  const claim = new Claim(await clusters.open(), 'home', 'test', clock, left);
  const count = (what: string) => fake.requests.filter((one) => one.startsWith(what)).length;
  const renewed = async (times: number) => {
    for (let time = 0; time < times; time += 1) {
      const before = count('PATCH');
      await clock.advance(15_000);
      await eventually('a renewal', async () => count('PATCH') > before || undefined);
      // What comes of it.
      await claim.cluster.get(jobs({ namespace: 'home', name: 'any' })).catch(() => {});
    }
  };
  await claim.ready(new AbortController().signal);
  // It may still make Jobs there.
  mayRenew = false;
  await renewed(8);
  await eventually('a look at its rights', async () => count('POST /apis/authorization') > 0 || undefined);
  expect(left).not.toHaveBeenCalled();
  // An API server that comes up.
  mayRenew = true;
  await renewed(1);
  mayRenew = false;
  mayMake = false;
  await renewed(4);
  expect(left).not.toHaveBeenCalled();
  await clock.advance(15_000);
  await gone;
  await claim.close();
  await expectSilence(fake, clock);
  await clusters.close();
});
