import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { KubernetesObject } from '@kubernetes/client-node';
import { build } from 'tsup';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { createGateway } from '../../src/gateway.js';
import { bringReferenceServer, referenceSpec } from '../support/kubernetes/job-server.js';
import { eventually, type Pod, TestNamespace } from '../support/kubernetes/namespace.js';
import { baseImage, describeWithKubernetes } from '../support/real-parts.js';

const docker = async (...args: string[]) => promisify(execFile)('docker', args);
const file = (name: string) => fileURLToPath(new URL(`../../docs/examples/kubernetes/${name}`, import.meta.url));
const image = 'open-mcp-gateway/host:example';

describeWithKubernetes('two replicas of a host application in a Deployment', () => {
  let namespace: TestNamespace;
  beforeAll(async () => {
    namespace = await TestNamespace.create('gateway-replicas');
    await Promise.all([bringReferenceServer(namespace), buildImage()]);
  }, 300_000);
  afterAll(async () => {
    await namespace?.[Symbol.asyncDispose]();
    // Pods that are going may still use it.
    await docker('rmi', '--force', image).catch(() => {});
  });

  test('each has Jobs of its own, which go with it, and disturbs nobody', { timeout: 600_000 }, async () => {
    const servers = [
      { id: 'reports', runtime: { type: 'k8s-job' as const, ...referenceSpec(namespace.name) }, start_timeout: '5m' },
    ];
    const [role] = createGateway({ servers }).rbac();
    if (role === undefined) throw new Error('there is no Role');
    await namespace.create({ ...role });
    const data = { 'catalog.yaml': JSON.stringify({ servers }) };
    await namespace.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'catalog' }, data });
    for (const document of parseAllDocuments(await readFile(file('deployment.yaml'), 'utf8'))) {
      await namespace.create(withImage(document.toJS()));
    }

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

/** The Deployment of the page, with the image of this test, and a server that starts ahead. */
function withImage(object: KubernetesObject & { metadata: { name: string } }) {
  if (object.kind !== 'Deployment') return { ...object };
  const { spec } = structuredClone(object) as unknown as { spec: { template: { spec: { containers: object[] } } } };
  const [container] = spec.template.spec.containers as { env: object[] }[];
  Object.assign(container ?? {}, { image, imagePullPolicy: 'Never' });
  container?.env.push({ name: 'WARM', value: 'reports' });
  return { ...object, spec };
}

/** An image with the host application as one file. */
async function buildImage(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'host-'));
  try {
    await build({
      entry: { host: file('host.ts') },
      format: 'esm',
      outDir: dir,
      outExtension: () => ({ js: '.mjs' }),
      platform: 'node',
      target: 'node22',
      noExternal: [/.*/],
      splitting: false,
      config: false,
      silent: true,
      // Some packages ask for Node's own modules as CommonJS does.
      banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    });
    await writeFile(join(dir, 'Dockerfile'), `FROM ${baseImage}\nCOPY host.mjs /app/\nCMD ["node", "/app/host.mjs"]\n`);
    await docker('build', '--quiet', '--tag', image, dir);
  } finally {
    await rm(dir, { recursive: true });
  }
}
