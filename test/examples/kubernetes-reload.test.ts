import { createHash } from 'node:crypto';
import { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGateway } from '../../src/gateway.js';
import { catalogMap, ExampleHost } from '../support/kubernetes/example-host.js';
import { bringReferenceServer, referenceSpec } from '../support/kubernetes/job-server.js';
import { eventually, TestNamespace } from '../support/kubernetes/namespace.js';
import { ServiceCaller } from '../support/kubernetes/service-caller.js';
import { describeWithKubernetes } from '../support/real-parts.js';

const token = 'secret-of-ada';

describeWithKubernetes('a host application whose catalog is a mounted ConfigMap', () => {
  let namespace: TestNamespace;
  let host: ExampleHost;
  let core: CoreV1Api;
  beforeAll(async () => {
    const config = new KubeConfig();
    config.loadFromDefault();
    core = config.makeApiClient(CoreV1Api);
    namespace = await TestNamespace.create('gateway-reload');
    [host] = await Promise.all([ExampleHost.build(), bringReferenceServer(namespace)]);
  }, 300_000);
  afterAll(async () => {
    await namespace?.[Symbol.asyncDispose]();
    await host?.[Symbol.asyncDispose]();
  });

  test('takes over what changes without a restart, and nothing that is bad', { timeout: 900_000 }, async () => {
    const [role] = createGateway(catalog('kept', 'old')).rbac();
    if (role === undefined) throw new Error('there is no Role');
    await namespace.create({ ...role });
    const principals = { [createHash('sha256').update(token).digest('hex')]: 'ada' };
    const env = { HOSTS: `gateway.${namespace.name}.svc`, TOKENS: JSON.stringify(principals), WARM: 'kept,old' };
    await host.deploy(namespace, catalog('kept', 'old'), { replicas: 1, env });
    const [before] = await namespace.readyPods('gateway', 1);
    if (before === undefined) throw new Error('there is no pod');
    const pod = before.metadata.name;

    await using outside = createGateway({ servers: [{ id: 'host', runtime: hostService() }] });
    await using caller = await ServiceCaller.connect(outside, 'host');
    const changed = toolListChange(caller.client);
    expect(await serversOf(caller.client)).toEqual(['kept', 'old']);
    const jobs = await jobsOf();
    expect(jobs.map(({ server }) => server)).toEqual(['kept', 'old']);

    await change(pod, JSON.stringify(catalog('kept', 'new')));
    expect((await events(pod, 'reloaded', 1)).at(-1)).toMatchObject({
      result: { added: ['new'], removed: ['old'], changed: [], unchanged: ['kept'] },
    });
    await changed;
    expect(await serversOf(caller.client)).toEqual(['kept', 'new']);
    expect(await caller.call('new__echo', { text: 'hello' })).toBe('hello');
    const later = await eventually('the Job of what was removed to go', async () => {
      const now = await jobsOf();
      return now.some(({ server }) => server === 'old') ? undefined : now;
    });
    expect(later).toEqual([jobs[0], { server: 'new', uid: expect.any(String) }]);

    await change(pod, 'servers:\n  - id: new\n    runtime: { type: k8s-jobs }\n');
    expect((await events(pod, 'reload-failed', 1)).at(-1)).toMatchObject({
      error: expect.stringContaining('3:22'),
    });
    expect(await serversOf(caller.client)).toEqual(['kept', 'new']);
    expect(await caller.call('kept__echo', { text: 'still' })).toBe('still');
    expect(await jobsOf()).toEqual(later);

    await change(pod, JSON.stringify(catalog('kept')));
    expect((await events(pod, 'reloaded', 2)).at(-1)).toMatchObject({
      result: { removed: ['new'], unchanged: ['kept'] },
    });
    expect(await serversOf(caller.client)).toEqual(['kept']);

    expect(caller.errors).toEqual([]);
    const [after] = await namespace.readyPods('gateway', 1);
    expect(after?.metadata.uid).toBe(before.metadata.uid);
    expect(after?.status?.containerStatuses).toMatchObject([{ restartCount: 0 }]);
  });

  const catalog = (...ids: string[]) => ({
    servers: ids.map((id) => ({
      id,
      runtime: { type: 'k8s-job' as const, ...referenceSpec(namespace.name) },
      isolation: 'shared' as const,
      start_timeout: '5m',
    })),
  });
  const hostService = () => ({
    type: 'k8s-service' as const,
    namespace: namespace.name,
    service_name: 'gateway',
    port: 80,
    headers: { Authorization: `Bearer ${token}` },
  });

  /** Changes the ConfigMap. A pod that changes too is looked after at once, and not in the next minute. */
  async function change(pod: string, text: string): Promise<void> {
    await namespace.patch(catalogMap(text));
    const annotations = { 'example.com/catalog': createHash('sha256').update(text).digest('hex') };
    await namespace.patch({ apiVersion: 'v1', kind: 'Pod', metadata: { name: pod, annotations } });
  }

  /** What the pod's log says of one type, once that many are there: kubelet may take more than a minute. */
  const events = (pod: string, type: string, count: number) =>
    eventually(
      `event ${count} of the type ${type}`,
      async () => {
        const log = await core.readNamespacedPodLog({ name: pod, namespace: namespace.name });
        const lines = log.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'));
        const found = lines.map((line) => JSON.parse(line)).filter((event) => event.type === type);
        return found.length >= count ? found : undefined;
      },
      240_000,
    );

  /** All Jobs, in the order of their servers. */
  async function jobsOf() {
    const jobs = await namespace.list('Job', undefined, 'batch/v1');
    const all = jobs.map(({ metadata }) => ({ server: serverOf(metadata?.name), uid: metadata?.uid }));
    return all.sort((a, b) => a.server.localeCompare(b.server));
  }
});

const serverOf = (job = '') => /^mcp-(.+)-[0-9a-f]{12}$/.exec(job)?.[1] ?? job;

/** The servers whose tools are listed. */
async function serversOf(client: Client): Promise<string[]> {
  const { tools } = await client.listTools();
  return [...new Set(tools.map(({ name }) => name.split('__')[0] ?? ''))].sort();
}

function toolListChange(client: Client): Promise<void> {
  return new Promise((resolve) => {
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => resolve());
  });
}
