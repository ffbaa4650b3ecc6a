import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGateway } from '../../src/gateway.js';
import { ExampleHost } from '../support/kubernetes/example-host.js';
import { bringReferenceServer, referenceSpec } from '../support/kubernetes/job-server.js';
import { eventually, type Pod, TestNamespace } from '../support/kubernetes/namespace.js';
import { describeWithKubernetes } from '../support/real-parts.js';

describeWithKubernetes('two replicas of a host application in a Deployment', () => {
  let namespace: TestNamespace;
  let host: ExampleHost;
  beforeAll(async () => {
    namespace = await TestNamespace.create('gateway-replicas');
    [host] = await Promise.all([ExampleHost.build(), bringReferenceServer(namespace)]);
  }, 300_000);
  afterAll(async () => {
    await namespace?.[Symbol.asyncDispose]();
    await host?.[Symbol.asyncDispose]();
  });

  test('each has Jobs of its own, which go with it, and disturbs nobody', { timeout: 600_000 }, async () => {
    const servers = [
      { id: 'reports', runtime: { type: 'k8s-job' as const, ...referenceSpec(namespace.name) }, start_timeout: '5m' },
    ];
    const [role] = createGateway({ servers }).rbac();
    if (role === undefined) throw new Error('there is no Role');
    await namespace.create({ ...role });
    await host.deploy(namespace, { servers }, { replicas: 2, env: { WARM: 'reports' } });

    const [first, second] = await namespace.readyPods('gateway', 2);
    const jobs = await ownedJobs();
    expect(jobs.map(({ owner }) => owner).sort()).toEqual([first?.metadata.name, second?.metadata.name].sort());
    expect(await leases()).toHaveLength(2);

    // Without any grace: its gateway has no time to clear up.
    await namespace.delete('Pod', first?.metadata.name ?? '', 0);
    const [gone] = jobs.filter(({ owner }) => owner === first?.metadata.name);
    const [kept] = jobs.filter(({ owner }) => owner === second?.metadata.name);
    await eventually(
      'the Job of the replica that is gone to go',
      async () => {
        const names = (await ownedJobs()).map(({ name }) => name);
        return names.includes(gone?.name ?? '') ? undefined : true;
      },
      120_000,
    );
    await namespace.readyPods('gateway', 2);
    const after = await eventually('a Job of the new replica', async () => {
      const all = await ownedJobs();
      return all.length === 2 ? all : undefined;
    });
    expect(after).toContainEqual(kept);
    expect(await namespace.list<Pod>('Pod', `open-mcp-gateway/job=${kept?.name}`)).toMatchObject([
      { status: { phase: 'Running' } },
    ]);

    // Asked to end, a replica clears up by itself.
    const deployment = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'gateway' } };
    await namespace.patch({ ...deployment, spec: { replicas: 0 } });
    await eventually(
      'the end of all Jobs and Leases',
      async () => {
        return (await ownedJobs()).length + (await leases()).length === 0 ? true : undefined;
      },
      120_000,
    );
  });

  const leases = () =>
    namespace.list('Lease', 'app.kubernetes.io/managed-by=open-mcp-gateway', 'coordination.k8s.io/v1');
  const ownedJobs = async () =>
    (await namespace.list('Job', undefined, 'batch/v1')).map(({ metadata }) => ({
      name: metadata?.name,
      owner: metadata?.ownerReferences?.[0]?.name,
    }));
});
