import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import type { KubernetesObject } from '@kubernetes/client-node';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { GatewayError } from '../../src/errors.js';
import { createGateway } from '../../src/gateway.js';
import type { RuntimeContext, RuntimeTransport } from '../../src/runtime.js';
import { type K8sJobOptions, K8sJobRuntime, type K8sJobSpec } from '../../src/runtimes/k8s-job.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { CuttingProxy } from '../support/kubernetes/cutting-proxy.js';
import { bringReferenceServer, programSpec, referenceSpec } from '../support/kubernetes/job-server.js';
import { eventually, type Pod, TestNamespace } from '../support/kubernetes/namespace.js';
import { describeWithKubernetes } from '../support/real-parts.js';

const run = promisify(execFile);
const slow = { timeout: 240_000 };
const canary = 'canary-77f0e1c2';

describeWithKubernetes('k8s-job: what goes wrong', () => {
  let namespace: TestNamespace;
  let name = '';

  beforeAll(async () => {
    namespace = await TestNamespace.create('job-failures');
    name = namespace.name;
    await bringReferenceServer(namespace);
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  async function noError(transport: RuntimeTransport): Promise<never> {
    await transport.close();
    throw new Error('it opened');
  }

  /** What ends a transport that has just been opened. */
  async function endOf(transport: RuntimeTransport): Promise<Error> {
    const ended = Promise.withResolvers<Error>();
    transport.onerror = ended.resolve;
    await transport.start();
    return ended.promise;
  }

  /**
   * The error of an `open()` that must fail; nothing of it is left afterwards.
   *
   * @param opened - takes what it gave instead, and finds the error there
   */
  async function failedOpen(
    spec: K8sJobSpec,
    context: Partial<RuntimeContext> = {},
    opened: (transport: RuntimeTransport) => Promise<Error> = noError,
  ): Promise<GatewayError> {
    const runtime = new K8sJobRuntime();
    try {
      const opening = runtime.open(spec, createRuntimeContext({ server: 'orders', ...context }));
      const error = await opening.then(opened, (thrown: unknown) => thrown);
      if (!GatewayError.is(error)) throw error;
      expect(error.server).toBe('orders');
      return error;
    } finally {
      await runtime.close();
    }
  }

  test.concurrent('an image that is not there', slow, async () => {
    const error = await failedOpen({ namespace: name, image: 'mcp-test/no-such-image:local', pull_policy: 'Never' });
    expect(error.message).toMatch(/image cannot be pulled \(ErrImageNeverPull\).*bring it to the node/);
  });

  test.concurrent('a program that is not there', slow, async () => {
    const error = await failedOpen(programSpec(name, '/no/such/program'));
    expect(error.message).toMatch(/no such file or directory.*check command/s);
  });

  test.concurrent('an image that runs as root', slow, async () => {
    const error = await failedOpen({ ...programSpec(name, 'node'), user: 'image' });
    expect(error.message).toMatch(/runAsNonRoot.*set pod_security.run_as_non_root to false/);
  });

  test.concurrent('no node can take it', slow, async () => {
    const spec = { ...programSpec(name, 'node'), node_selector: { disk: 'none' }, schedule_timeout: '1s' };
    const error = await failedOpen(spec);
    expect(error.message).toMatch(/no node can take the pod: 0\/1 nodes.*schedule_timeout/);
  });

  test.concurrent('a ServiceAccount that is not there', slow, async () => {
    const error = await failedOpen({ ...programSpec(name, 'node'), service_account: 'nobody' });
    expect(error.message).toMatch(/makes no pod: .*serviceaccount "nobody" not found; check service_account/);
  });

  test.concurrent('a quota', slow, async () => {
    await using full = await TestNamespace.create('job-quota');
    await full.create({
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'none' },
      spec: { hard: { pods: '0' } },
    });
    const quota = { apiVersion: 'v1', kind: 'ResourceQuota' };
    await eventually('the quota to hold', async () => {
      const [found] = await full.list<KubernetesObject & { status?: { hard?: object } }>(quota.kind);
      return found?.status?.hard;
    });
    const error = await failedOpen(programSpec(full.name, 'node'));
    expect(error.message).toMatch(/makes no pod: .*exceeded quota: none.*raise the ResourceQuota/);
  });

  test.concurrent('a Secret of env_from that is not there', slow, async () => {
    const error = await failedOpen({ ...programSpec(name, 'node'), env_from: [{ secret: 'missing' }] });
    expect(error.message).toMatch(/secret "missing" not found; check env_from/);
  });

  test.concurrent('a server that ends at once: its code and what it wrote', slow, async () => {
    const program = ['node', '-e', 'console.error("no database"); process.exit(9)'] as const;
    // It may live just long enough to be attached to.
    const error = await failedOpen(programSpec(name, ...program), {}, endOf);
    expect(error.exit).toMatchObject({ code: 9 });
    expect(error.message).toMatch(/no database/);
  });

  test.concurrent('a variable that Kubernetes would drop', slow, async () => {
    const error = await failedOpen(programSpec(name, 'node'), { env: { 'a b': canary } });
    expect(error.message).toMatch(/no variable named "a b"/);
    expect(error.message).not.toContain(canary);
  });

  test.concurrent('a namespace that is not there', slow, async () => {
    expect((await failedOpen(programSpec('no-such-namespace', 'node'))).message).toMatch(
      /cannot create leases.coordination.k8s.io .*in namespace "no-such-namespace".*404/,
    );
  });

  /** A client of one server through a gateway, and all it is told. */
  async function connected(spec: K8sJobSpec, options: K8sJobOptions = {}, env: Record<string, string> = {}) {
    const gateway = createGateway(
      { servers: [{ id: 'orders', runtime: { type: 'k8s-job', ...spec }, env, start_timeout: '3m' }] },
      { runtimes: [new K8sJobRuntime(options)] },
    );
    const client = new Client({ name: 'test', version: '1.0.0' });
    const reasons: Error[] = [];
    const closed = new Promise<void>((resolve) => {
      client.onclose = resolve;
    });
    client.onerror = (error) => reasons.push(error);
    try {
      await client.connect(gateway.connect('orders'), slow);
    } catch (error) {
      await gateway.close();
      throw error;
    }
    return {
      client,
      closed,
      reasons,
      call: (tool: string, args: Record<string, unknown> = {}) =>
        client.callTool({ name: tool, arguments: args }, undefined, slow),
      reason: () => reasons.find((error) => GatewayError.is(error) && error.exit !== undefined) as GatewayError,
      [Symbol.asyncDispose]: () => gateway.close(),
    };
  }

  /** The pods of a test: each has a label of its own. */
  const marked = (mark: string, args?: readonly string[]): K8sJobSpec => {
    const spec = referenceSpec(name, args);
    return { ...spec, pod: { ...spec.pod, metadata: { labels: { mark } } } };
  };
  const podOf = async (mark: string): Promise<Pod> => {
    const [pod] = await namespace.list<Pod>('Pod', `mark=${mark}`);
    if (pod === undefined) throw new Error(`there is no pod ${mark}`);
    return pod;
  };
  const nothingLeft = (lease?: string) =>
    eventually('the end of what it made', async () => {
      const [jobs, secrets] = await Promise.all([
        namespace.list('Job', lease, 'batch/v1'),
        namespace.list('Secret', lease ?? 'app.kubernetes.io/managed-by=open-mcp-gateway'),
      ]);
      return jobs.length + secrets.length === 0 ? true : undefined;
    });

  test.concurrent('the container is killed: each open request is answered once, with the code', slow, async () => {
    await using orders = await connected(marked('killed'));
    const open = Promise.allSettled([orders.call('never'), orders.call('never')]);
    const pod = await podOf('killed');
    const id = pod.status?.containerStatuses?.[0]?.containerID?.replace(/^.*:\/\//, '') ?? '';
    await run('docker', ['kill', id]);
    const outcomes = await open;
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { data: { code: 'SERVER_EXITED', server: 'orders' } },
      });
    }
    await orders.closed;
    expect(orders.reason().exit?.code).toBe(137);
  });

  test.concurrent('the pod is deleted', slow, async () => {
    await using orders = await connected(marked('deleted'));
    const open = Promise.allSettled([orders.call('never')]);
    await namespace.delete('Pod', (await podOf('deleted')).metadata.name);
    const [outcome] = await open;
    expect(outcome).toMatchObject({ status: 'rejected', reason: { data: { exit: { reason: 'deleted' } } } });
    await orders.closed;
    expect(orders.reason().message).toMatch(/the pod mcp-orders-.* was deleted/);
  });

  test.concurrent('the Job is deleted', slow, async () => {
    await using orders = await connected(marked('jobless'));
    const { labels } = (await podOf('jobless')).metadata as { labels?: Record<string, string> };
    const job = labels?.['open-mcp-gateway/job'] ?? '';
    // The garbage collector takes the pod away, some time later.
    await namespace.delete('Job', job, undefined, 'batch/v1');
    await orders.closed;
    expect(orders.reason().exit?.reason).toBe('deleted');
    expect(orders.reason().message).toMatch(/its Job was deleted/);
  });

  test.concurrent('it runs out of memory: the reason, and the field to raise', slow, async () => {
    const eat =
      'const all = []; process.stdin.once("data", () => setInterval(() => all.push(Buffer.alloc(8e6, 1)), 20))';
    const spec = programSpec(name, 'node', '-e', eat);
    const runtime = new K8sJobRuntime();
    const transport = await runtime.open(
      { ...spec, resources: { limits: { memory: '96Mi' } } },
      createRuntimeContext({ server: 'orders' }),
    );
    const reasons: Error[] = [];
    const closed = new Promise<void>((resolve) => {
      transport.onclose = resolve;
    });
    transport.onerror = (error) => reasons.push(error);
    await transport.start();
    await transport.send({ jsonrpc: '2.0', method: 'notifications/eat' });
    await closed;
    await runtime.close();
    expect(reasons).toMatchObject([{ code: 'SERVER_EXITED', exit: { reason: 'oom', code: 137 } }]);
    expect(reasons[0]?.message).toMatch(/raise resources.limits.memory/);
  });

  test.concurrent('active_deadline', { timeout: 480_000 }, async () => {
    // Longer than a start takes beside all others here, for a pod that is to go as it starts takes minutes for that.
    await using orders = await connected({ ...marked('late'), active_deadline: '60s' });
    const { labels = {} } = (await podOf('late')).metadata as { labels?: Record<string, string> };
    const job = labels['open-mcp-gateway/job'] ?? '';
    // Old clusters look once for the deadline, a moment too early where the Job was begun at the turn of a second. A change has
    // them look again.
    const looking = setInterval(() => {
      const metadata = { name: job, annotations: { look: randomUUID() } };
      void namespace.patch({ apiVersion: 'batch/v1', kind: 'Job', metadata }).catch(() => {});
    }, 5_000);
    const [outcome] = await Promise.allSettled([orders.call('never')]);
    clearInterval(looking);
    expect(outcome).toMatchObject({ status: 'rejected', reason: { data: { exit: { reason: 'deadline' } } } });
  });

  test.concurrent('no value of env is seen outside of the Secret', slow, async () => {
    await using orders = await connected(marked('secretive'), {}, { DB_PASSWORD: canary });
    const answer = await orders.call('env', { name: 'DB_PASSWORD' });
    expect(JSON.stringify(answer)).toContain(canary);
    const pod = await podOf('secretive');
    const { labels = {} } = pod.metadata as { labels?: Record<string, string> };
    const selector = `open-mcp-gateway/lease=${labels['open-mcp-gateway/lease']}`;
    const seen = await Promise.all([
      namespace.list('Job', selector, 'batch/v1'),
      namespace.list('Pod', selector),
      namespace.list('Event'),
      namespace.list('Lease', undefined, 'coordination.k8s.io/v1'),
    ]);
    expect(JSON.stringify(seen)).toContain(pod.metadata.name);
    expect(JSON.stringify(seen)).not.toContain(canary);
    const [secret] = await namespace.list<KubernetesObject & { data?: Record<string, string> }>('Secret', selector);
    expect(Buffer.from(secret?.data?.DB_PASSWORD ?? '', 'base64').toString()).toBe(canary);
    expect(secret?.metadata?.ownerReferences).toMatchObject([{ kind: 'Job' }]);
  });

  test.concurrent('connections to the API server are cut: one answer each, and nothing is left', slow, async () => {
    await using proxy = await CuttingProxy.listen();
    await using orders = await connected(marked('cut'), { kubeconfig: proxy.kubeconfig }, { A: 'b' });
    const { labels = {} } = (await podOf('cut')).metadata as { labels?: Record<string, string> };
    const lease = `open-mcp-gateway/lease=${labels['open-mcp-gateway/lease']}`;
    const open = Promise.allSettled(Array.from({ length: 10 }, () => orders.call('never')));
    await orders.call('echo', { text: 'they are on their way' });
    proxy.cut();
    for (const outcome of await open) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { data: { code: 'SERVER_EXITED', exit: { reason: 'connection-lost' } } },
      });
    }
    await orders.closed;
    expect(orders.reason().message).toMatch(/the connection to the server was lost/);
    await nothingLeft(lease);
  });

  test.concurrent('the API server is away for a while: what is left then goes later', slow, async () => {
    await using proxy = await CuttingProxy.listen();
    const orders = await connected(marked('away'), { kubeconfig: proxy.kubeconfig });
    const { labels = {} } = (await podOf('away')).metadata as { labels?: Record<string, string> };
    proxy.down = true;
    proxy.cut();
    await orders.call('never').catch(() => {});
    proxy.down = false;
    await orders.closed;
    await orders[Symbol.asyncDispose]();
    await nothingLeft(`open-mcp-gateway/lease=${labels['open-mcp-gateway/lease']}`);
  });
});
