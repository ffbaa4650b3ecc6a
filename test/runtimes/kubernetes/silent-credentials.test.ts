import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { RuntimeFactory } from '../../../src/runtime.js';
import { Claim } from '../../../src/runtimes/k8s-job/claim.js';
import { JobRun } from '../../../src/runtimes/k8s-job/job-run.js';
import { K8sJobRuntime } from '../../../src/runtimes/k8s-job.js';
import { K8sServiceRuntime } from '../../../src/runtimes/k8s-service.js';
import type { Cluster } from '../../../src/runtimes/shared/kubernetes/cluster.js';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { pods } from '../../../src/runtimes/shared/kubernetes/resources.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { temporaryFolder } from '../../support/docker.js';
import { FakeClock, settle } from '../../support/fake-clock.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { eventually } from '../../support/kubernetes/namespace.js';
import { isAlive } from '../../support/processes.js';

/** A kubeconfig whose exec plugin can fall silent, as one that waits for a person to log in. */
class Plugin {
  isSilent: boolean;
  /** How often it was asked and did not answer. */
  ignored = 0;
  readonly #asked = Promise.withResolvers<void>();
  readonly #answered = Promise.withResolvers<void>();

  constructor(
    readonly fake: FakeApiServer,
    isSilent: boolean,
  ) {
    this.isSilent = isSilent;
  }

  /** Resolves when somebody waits for it. */
  get asked(): Promise<void> {
    return this.#asked.promise;
  }

  answer(): void {
    this.isSilent = false;
    this.#answered.resolve();
  }

  readonly kubeconfig = () => {
    const config = this.fake.kubeconfig();
    const applyToHTTPSOptions = (options: object) => {
      if (!this.isSilent) return config.applyToHTTPSOptions(options);
      this.ignored += 1;
      this.#asked.resolve();
      return this.#answered.promise;
    };
    return { ...config, applyToHTTPSOptions };
  };
}

const message = 'the kubeconfig gives no credentials: its exec plugin has not answered for 20 s';
const pipes = () => process.getActiveResourcesInfo().filter((kind) => kind === 'PipeWrap').length;
const pod = pods({ namespace: 'home', name: 'a' });
const found = { metadata: { name: 'a' } };
const attach = pods({ namespace: 'home', name: 'a', subresource: 'attach' });
const uses: [string, (cluster: Cluster, signal?: AbortSignal) => Promise<unknown>][] = [
  ['a call', (cluster, signal) => cluster.get(pod, { signal })],
  [
    'a stream',
    (cluster, signal) => cluster.connect(attach, { protocols: ['v5.channel.k8s.io'], incoming: [1], signal }),
  ],
];

async function scene(isSilent: boolean) {
  const fake = await FakeApiServer.listen();
  onTestFinished(() => fake[Symbol.asyncDispose]());
  return new Plugin(fake, isSilent);
}

describe.each(uses)('%s', (_, use) => {
  test('that waits for credentials can be aborted', async () => {
    const plugin = await scene(true);
    const abort = new AbortController();
    const used = use(await new Clusters(plugin).open(), abort.signal);
    const reason = new Error('enough');
    void plugin.asked.then(() => abort.abort(reason));
    await expect(used).rejects.toBe(reason);
  });

  test('does not wait for credentials for ever', async () => {
    const plugin = await scene(true);
    const clock = new FakeClock();
    const used = use(await new Clusters(plugin, clock).open());
    void plugin.asked.then(() => clock.advance(20_000));
    await expect(used).rejects.toMatchObject({ failure: 'unauthorized', message });
  });

  test('that waits for a kubeconfig that is read anew can be aborted', async () => {
    const plugin = await scene(false);
    const { fake } = plugin;
    fake.refuseUpgrade = { status: 401, body: '' };
    fake.answer = (_request, response) => sendJson(response, 401, {});
    const abort = new AbortController();
    const reason = new Error('enough');
    let reads = 0;
    const kubeconfig = () => {
      reads += 1;
      if (reads === 1) return plugin.kubeconfig();
      abort.abort(reason);
      return new Promise<never>(() => {});
    };
    await expect(use(await new Clusters({ kubeconfig }).open(), abort.signal)).rejects.toBe(reason);
  });
});

test('a plugin that does not answer is asked once, and waited for once', async () => {
  const plugin = await scene(true);
  const clock = new FakeClock();
  const cluster = await new Clusters(plugin, clock).open();
  const first = [cluster.get(pod), cluster.get(pod)];
  void plugin.asked.then(() => clock.advance(20_000));
  for (const call of first) await expect(call).rejects.toThrow(message);
  await expect(cluster.get(pod)).rejects.toThrow(message);
  expect(plugin.ignored).toBe(1);
  // It may have hung for a reason that is over.
  await clock.advance(30_000);
  const later = cluster.get(pod);
  later.catch(() => {});
  await settle();
  expect(plugin.ignored).toBe(2);
  await clock.advance(20_000);
  await expect(later).rejects.toThrow(message);
});

test('a plugin that answers late is of use to who comes then', async () => {
  const plugin = await scene(true);
  plugin.fake.answer = (_request, response) => sendJson(response, 200, found);
  const clock = new FakeClock();
  const cluster = await new Clusters(plugin, clock).open();
  void plugin.asked.then(() => clock.advance(20_000));
  await expect(cluster.get(pod)).rejects.toThrow(message);
  plugin.answer();
  await settle();
  await expect(cluster.get(pod)).resolves.toEqual(found);
});

test.each(['5 minutes later by another', 'by close()'])('a plugin that hangs is ended %s', async (when) => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'config');
  const asked = join(folder.path, 'asked');
  // As some are: a script that runs another program; when it is asked again, that program alone.
  const script = `[ -e ${asked} ] && exec sleep 1000
    sleep 1000 & echo $$ $! >${asked}.new; mv ${asked}.new ${asked}; wait`;
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: '/bin/sh', args: ['-c', script] };
  const config = {
    clusters: [{ name: 'there', cluster: { server: 'https://127.0.0.1:1' } }],
    users: [{ name: 'plugged', user: { exec } }],
    contexts: [{ name: 'here', context: { cluster: 'there', user: 'plugged' } }],
    'current-context': 'here',
  };
  await writeFile(file, JSON.stringify(config));
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: file }, clock);
  const before = pipes();
  const used = (await clusters.open()).get(pod).catch(({ message: text }: Error) => text);
  let pids = '';
  while (pids === '') pids = await readFile(asked, 'utf8').catch(() => '');
  const [plugin = 0, started = 0] = pids.split(' ').map(Number);
  onTestFinished(() => void process.kill(started));
  if (when === 'by close()') {
    await clusters.close();
  } else {
    await clock.advance(20_000);
    expect(await used).toBe(message);
    await clock.advance(30_000);
    (await clusters.open()).get(pod).catch(() => {});
    // A person may still log in.
    expect(isAlive(plugin)).toBe(true);
    await clock.advance(250_000);
    (await clusters.open()).get(pod).catch(() => {});
  }
  while (isAlive(plugin)) await turn();
  await clusters.close();
  while (pipes() > before) await turn();
  await used;
});

const runtimes: [string, (plugin: Plugin) => RuntimeFactory, object][] = [
  ['k8s-job', (plugin) => new K8sJobRuntime({ kubeconfig: plugin.kubeconfig }), { namespace: 'home', image: 'image' }],
  [
    'k8s-service',
    (plugin) => new K8sServiceRuntime({ kubeconfig: plugin.kubeconfig }),
    { namespace: 'home', service_name: 'a', port: 80 },
  ],
];

test.each(runtimes)('%s: a check that waits for credentials can be aborted', async (_, create, spec) => {
  const plugin = await scene(true);
  const runtime = create(plugin);
  onTestFinished(() => runtime.close?.());
  const abort = new AbortController();
  const reason = new Error('enough');
  void plugin.asked.then(() => abort.abort(reason));
  await expect(runtime.check?.(spec, createRuntimeContext({ signal: abort.signal }))).rejects.toBe(reason);
});

test.each(runtimes)('%s: closing does not wait for a kubeconfig that never comes', async (_, create, spec) => {
  const asked = Promise.withResolvers<void>();
  const kubeconfig = () => {
    asked.resolve();
    return new Promise<never>(() => {});
  };
  const runtime = create(Object.assign(await scene(true), { kubeconfig }));
  const abort = new AbortController();
  const opened = runtime.open(spec, createRuntimeContext({ signal: abort.signal }));
  await asked.promise;
  abort.abort(new Error('enough'));
  await expect(opened).rejects.toThrow('enough');
  await runtime.close?.();
});

test('k8s-service: closing does not wait for credentials', async () => {
  const plugin = await scene(true);
  const runtime = new K8sServiceRuntime({ kubeconfig: plugin.kubeconfig });
  const opened = runtime.open({ namespace: 'home', service_name: 'a', port: 80 }, createRuntimeContext());
  await plugin.asked;
  await runtime.close();
  await expect(opened).rejects.toThrow('the runtime is closed');
});

test('k8s-job: what is stopped and closed while credentials do not come ends in time', async () => {
  const plugin = await scene(false);
  plugin.fake.answer = ({ url = '' }, response) => {
    if (url.includes('watch=')) response.writeHead(200).flushHeaders();
    else sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
  };
  const clock = new FakeClock();
  const clusters = new Clusters(plugin, clock);
  const claim = new Claim(await clusters.open(), 'home', 'test', clock);
  await claim.ready(new AbortController().signal);
  const names = { job: 'mcp-silent', lease: 'mcp-gateway-test', server: 'silent' };
  const run = new JobRun(claim, names, { namespace: 'home', image: 'image' }, clock);
  await run.create({});
  plugin.isSilent = true;
  const removed = run.remove().catch((thrown: unknown) => thrown);
  await passUntil(clock, removed);
  expect(await removed).toMatchObject({
    code: 'STOP_FAILED',
    message: expect.stringContaining(message),
  });
  const left = claim.close();
  await passUntil(clock, left);
  expect(await left).toEqual([expect.stringMatching(/^mcp-silent in namespace "home" .*has not answered/)]);
  await clusters.close();
});

/** Lets time pass until `promise` has settled. */
async function passUntil(clock: FakeClock, promise: Promise<unknown>): Promise<void> {
  let isSettled = false;
  void promise.finally(() => {
    isSettled = true;
  });
  await eventually('the end', async () => {
    await clock.advance(10_000);
    return isSettled || undefined;
  });
}
