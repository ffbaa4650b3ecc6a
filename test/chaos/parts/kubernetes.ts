import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { TestNamespace } from '../../support/kubernetes/namespace.ts';
import { tagVariable } from '../processes.ts';
import { CutProxy } from '../proxy.ts';
import { serverFile } from './local.ts';
import { type Part, patience, pick, type Scene } from './part.ts';

const managed = 'app.kubernetes.io/managed-by=open-mcp-gateway';
const volumes = (logFolder: string) => [
  { name: 'chaos', configMap: { name: 'chaos' } },
  // Of a cluster on this machine: on another one executed calls are not counted.
  { name: 'log', hostPath: { path: logFolder, type: 'DirectoryOrCreate' } },
];
const volumeMounts = [
  { name: 'chaos', mountPath: '/chaos' },
  { name: 'log', mountPath: '/log' },
];

/** A namespace of the run's own, and the API server behind a proxy. */
export class ClusterPlace {
  readonly namespace: TestNamespace;
  readonly proxy: CutProxy;
  readonly env: Readonly<Record<string, string>>;
  #users = 0;

  private constructor(namespace: TestNamespace, proxy: CutProxy, kubeconfig: string) {
    this.namespace = namespace;
    this.proxy = proxy;
    this.env = { KUBECONFIG: kubeconfig };
  }

  static async create(folder: string): Promise<ClusterPlace> {
    const config = new KubeConfig();
    config.loadFromDefault();
    const cluster = config.getCurrentCluster();
    if (cluster === null) throw new Error('KUBECONFIG names no cluster');
    const { hostname, port } = new URL(cluster.server);
    const proxy = await CutProxy.open(() => ({ host: hostname, port: Number(port || 443) }));
    // Certificates of API servers are for this name too.
    const name = cluster.tlsServerName ?? 'kubernetes';
    config.clusters = [{ ...cluster, server: `https://127.0.0.1:${proxy.port}`, tlsServerName: name }];
    const file = join(folder, 'kubeconfig');
    await writeFile(file, config.exportConfig());
    const namespace = await TestNamespace.create('chaos');
    const data = { 'server.ts': readFileSync(serverFile, 'utf8') };
    await namespace.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'chaos' }, data });
    return new ClusterPlace(namespace, proxy, file);
  }

  /** The names of the objects of the library. */
  async names(kind: string, apiVersion?: string): Promise<string[]> {
    return (await this.namespace.list(kind, managed, apiVersion)).map(({ metadata }) => metadata?.name ?? '');
  }

  use(): void {
    this.#users += 1;
  }

  async release(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    await this.namespace[Symbol.asyncDispose]();
    await this.proxy.close();
  }
}

export async function createJobPart({ tag, logFolder }: Scene, place: ClusterPlace): Promise<Part> {
  const { namespace, proxy, env } = place;
  place.use();
  const deleteOne = async (random: () => number, kind: string, apiVersion: string) => {
    const victim = pick(random, await place.names(kind, apiVersion));
    if (victim !== undefined) await namespace.delete(kind, victim, 0, apiVersion).catch(() => {});
  };
  return {
    runtime: 'k8s-job',
    env,
    servers: [
      {
        ...patience,
        id: 'job',
        start_timeout: '60s',
        env: { CHAOS_SERVER: 'job', CHAOS_LOG: '/log', [tagVariable]: tag },
        runtime: {
          type: 'k8s-job',
          namespace: namespace.name,
          image: process.env.TEST_IMAGE,
          pull_policy: 'Never',
          command: 'node',
          args: ['/chaos/server.ts', 'stdio'],
          ttl: '1s',
          pod: { spec: { containers: [{ name: 'mcp', volumeMounts }], volumes: volumes(logFolder) } },
        },
      },
    ],
    faults: {
      'pod of a Job deleted': (random) => deleteOne(random, 'Pod', 'v1'),
      'Job deleted': (random) => deleteOne(random, 'Job', 'batch/v1'),
      'API connections cut': (random) => proxy.cut(random, 0.7),
    },
    left: async () => ({
      Jobs: await place.names('Job', 'batch/v1'),
      Pods: await place.names('Pod'),
      Secrets: await place.names('Secret'),
      Leases: await place.names('Lease', 'coordination.k8s.io/v1'),
    }),
    [Symbol.asyncDispose]: () => place.release(),
  };
}

export async function createServicePart({ tag, logFolder }: Scene, place: ClusterPlace): Promise<Part> {
  const { namespace, proxy, env } = place;
  place.use();
  for (const object of toService(tag, logFolder)) await namespace.create(object);
  await namespace.readyPods('service', 2);
  return {
    runtime: 'k8s-service',
    env,
    servers: [
      {
        ...patience,
        id: 'service',
        runtime: {
          type: 'k8s-service',
          namespace: namespace.name,
          service_name: 'service',
          port: 80,
          reach: 'port-forward',
        },
      },
    ],
    faults: {
      'pod of a Service deleted': async (random) => {
        const victim = pick(random, await namespace.pods('service'))?.metadata.name;
        if (victim !== undefined) await namespace.delete('Pod', victim, 0).catch(() => {});
      },
      'connections to pods cut': (random) => proxy.cut(random, 0.7),
    },
    left: async () => ({ sockets: Array.from({ length: proxy.connections }, () => 'to the API server') }),
    async [Symbol.asyncDispose]() {
      // Its pods hold the tag, and would count as processes that are left.
      await namespace.delete('Deployment', 'service', 0, 'apps/v1');
      await place.release();
    },
  };
}

function toService(tag: string, logFolder: string) {
  const container = {
    name: 'server',
    image: process.env.TEST_IMAGE,
    imagePullPolicy: 'Never',
    command: ['node', '/chaos/server.ts', 'http', '8080'],
    env: Object.entries({ CHAOS_SERVER: 'service', CHAOS_LOG: '/log', CHAOS_TAG: tag }).map(([name, value]) => ({
      name,
      value,
    })),
    readinessProbe: { httpGet: { path: '/ready', port: 8080 }, periodSeconds: 1, timeoutSeconds: 10 },
    volumeMounts,
  };
  const spec = {
    automountServiceAccountToken: false,
    terminationGracePeriodSeconds: 2,
    containers: [container],
    volumes: volumes(logFolder),
  };
  const labels = { app: 'service' };
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'service' },
      spec: { replicas: 2, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'service' },
      spec: { selector: labels, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
    },
  ];
}
