import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { createGateway, K8sServiceRuntime, type K8sServiceSpec } from '../../src/index.js';
import { createRuntimeContext } from '../../src/testing/context.js';
import { HostImage } from '../support/kubernetes/host-image.js';
import { eventually, type Pod, TestNamespace } from '../support/kubernetes/namespace.js';
import { deployPodServer } from '../support/kubernetes/pod-server.js';
import { ServiceCaller } from '../support/kubernetes/service-caller.js';
import { describeWithKubernetes } from '../support/real-parts.js';

const program = fileURLToPath(new URL('../fixtures/kubernetes/in-cluster-host.ts', import.meta.url));

describeWithKubernetes('k8s-service with the rights of a ServiceAccount', () => {
  let namespace: TestNamespace;
  let core: CoreV1Api;
  let admin: KubeConfig;

  const spec = (more: Partial<K8sServiceSpec> = {}): K8sServiceSpec => ({
    namespace: namespace.name,
    service_name: 'counter',
    port: 80,
    ...more,
  });

  /** A ServiceAccount that may do what `gateway.rbac()` says for these entries. */
  async function createAccount(name: string, entries: readonly K8sServiceSpec[]): Promise<void> {
    await namespace.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } });
    const servers = entries.map((entry, index) => ({ id: `s${index}`, runtime: { type: 'k8s-service', ...entry } }));
    for (const role of createGateway({ servers } as never, { env: {} }).rbac()) {
      await namespace.create({ ...role, metadata: { name } });
      await namespace.create({
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'RoleBinding',
        metadata: { name },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
        subjects: [{ kind: 'ServiceAccount', name, namespace: namespace.name }],
      });
    }
  }

  /** A runtime that is that ServiceAccount, from outside of the cluster. */
  async function runtimeOf(account: string): Promise<K8sServiceRuntime> {
    const body = { spec: { audiences: [], expirationSeconds: 3600 } };
    const { status } = await core.createNamespacedServiceAccountToken({
      name: account,
      namespace: namespace.name,
      body,
    });
    const kubeconfig = () => {
      const config = new KubeConfig();
      const cluster = admin.getCurrentCluster();
      config.loadFromOptions({
        clusters: [cluster],
        users: [{ name: 'account', token: status?.token }],
        contexts: [{ name: 'account', cluster: cluster?.name, user: 'account' }],
        currentContext: 'account',
      });
      return config;
    };
    const runtime = new K8sServiceRuntime({ kubeconfig, readyTimeoutMs: 500 });
    onTestFinished(() => runtime.close());
    return runtime;
  }

  beforeAll(async () => {
    admin = new KubeConfig();
    admin.loadFromDefault();
    core = admin.makeApiClient(CoreV1Api);
    namespace = await TestNamespace.create('svc-access');
    await deployPodServer(namespace, 'counter', { replicas: 3 });
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  test('the Role of gateway.rbac() is enough for sessions, for check(), and for pods that go', async () => {
    await createAccount('enough', [spec()]);
    const runtime = await runtimeOf('enough');
    expect(await runtime.check(spec(), createRuntimeContext())).toEqual({ ok: true, problems: [] });
    const servers = [{ id: 'counter', runtime: { type: 'k8s-service', ...spec() } }];
    await using gateway = createGateway({ servers } as never, { runtimes: [runtime], env: {} });
    await using caller = await ServiceCaller.connect(gateway, 'counter');
    const pod = await caller.pod();
    await namespace.delete('Pod', pod);
    await caller.closed;
    expect(caller.loss?.message).toContain(pod);
  });

  test('each verb of the Role is needed: without it check() names it, and open() fails', async () => {
    await createAccount('nothing', []);
    const runtime = await runtimeOf('nothing');
    const { ok, problems } = await runtime.check(spec(), createRuntimeContext());
    expect(ok).toBe(false);
    const inNamespace = `in namespace "${namespace.name}"; grant it, as in the Role that gateway.rbac() gives`;
    expect(problems).toEqual([
      `may not get services, list/watch endpointslices.discovery.k8s.io, get/create pods/portforward ${inNamespace}`,
    ]);
    await expect(runtime.open(spec(), createRuntimeContext({ server: 'orders' }))).rejects.toMatchObject({
      code: 'START_FAILED',
      message: expect.stringContaining(
        `"orders": may not get services "counter" in namespace "${namespace.name}" (403)`,
      ),
    });
  });

  test('in the cluster sessions go straight to the pods, and with a headless service without any right', async () => {
    const building = HostImage.build(`mcp-test/host:${randomBytes(4).toString('hex')}`, program);
    await Promise.all([
      deployPodServer(namespace, 'headless', { replicas: 2, headless: true, port: 8080 }),
      deployPodServer(namespace, 'single'),
      building,
    ]);
    await using image = await building;
    const wanted = (account: string) => [
      ...(account === 'granted' ? [{ sessions: 6, spec: spec() }] : []),
      { sessions: 6, spec: spec({ service_name: 'headless', port: 8080, reach: 'dns' }) },
      { sessions: 2, spec: spec({ service_name: 'single' }) },
      { sessions: 1, spec: spec({ service_name: 'nowhere' }) },
    ];
    await Promise.all([createAccount('granted', [spec({ reach: 'dns' })]), createAccount('bare', [])]);
    const runIn = async (account: string) => {
      await namespace.create({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: `host-${account}` },
        spec: {
          serviceAccountName: account,
          restartPolicy: 'Never',
          containers: [
            {
              name: 'host',
              image: image.tag,
              imagePullPolicy: 'Never',
              command: ['node', '/app/host.mjs'],
              env: [{ name: 'SERVICES', value: JSON.stringify(wanted(account)) }],
            },
          ],
        },
      });
      const ended = await eventually('the end of the host', async () => {
        const all = await namespace.list<Pod>('Pod');
        const pod = all.find(({ metadata }) => metadata.name === `host-${account}`);
        return pod?.status?.phase === 'Succeeded' || pod?.status?.phase === 'Failed' ? pod : undefined;
      });
      const log = await core.readNamespacedPodLog({ name: `host-${account}`, namespace: namespace.name });
      expect(ended.status?.phase, log).toBe('Succeeded');
      return JSON.parse(log) as { results: Place[][]; checks: { server: string; ok: boolean; problems: string[] }[] };
    };
    interface Place {
      readonly pod: string;
      readonly most: number;
      readonly host: string;
    }
    const spread = (places: readonly Place[]) =>
      [...Map.groupBy(places, ({ pod }) => pod).values()].map((on) => on.length);

    const [granted, bare] = await Promise.all([runIn('granted'), runIn('bare')]);
    const [counter, headless, single] = granted.results as [Place[], Place[], Place[]];
    expect(spread(counter)).toEqual([2, 2, 2]);
    expect(counter.map(({ most }) => most)).toEqual([10, 10, 10, 10, 10, 10]);
    expect(counter[0]?.host).toBe(`counter.${namespace.name}.svc`);
    expect(spread(headless)).toEqual([3, 3]);
    expect(single.map(({ most }) => most)).toEqual([10, 10]);
    expect(granted.results[3]).toEqual({ error: expect.stringContaining('cannot get services "nowhere"') });
    expect(granted.checks.map(({ ok }) => ok)).toEqual([true, true, true, false]);

    const [direct, alone] = bare.results as [Place[], Place[]];
    expect(spread(direct)).toEqual([3, 3]);
    expect(direct.map(({ most }) => most)).toEqual([10, 10, 10, 10, 10, 10]);
    expect(alone.map(({ most }) => most)).toEqual([10, 10]);
    expect(bare.results[2]).toEqual({
      error: expect.stringContaining(`DNS does not know nowhere.${namespace.name}.svc`),
    });
  }, 300_000);
});
