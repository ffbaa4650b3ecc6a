import { fileURLToPath } from 'node:url';
import { bundle } from '../bundle.js';
import type { TestNamespace } from './namespace.js';

const source = fileURLToPath(new URL('../../fixtures/kubernetes/pod-server.ts', import.meta.url));

export interface PodServerOptions {
  /** The program, which listens on `PORT` and answers `/ready`. @default the server of the tests */
  readonly program?: string | undefined;
  readonly replicas?: number | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Shares the machine's network, its loopback too; then `port` is a port of the machine. */
  readonly hostNetwork?: boolean | undefined;
  /** @default 8080 */
  readonly port?: number | undefined;
  /** The Service has no address of its own: its name leads to the pods. */
  readonly headless?: boolean | undefined;
  readonly graceSeconds?: number | undefined;
}

/** Puts the server of the tests into a namespace: a Deployment and a Service of that name, port 80 (`http`) of which leads to it. */
export async function deployPodServer(
  namespace: TestNamespace,
  name: string,
  options: PodServerOptions = {},
): Promise<void> {
  const { replicas = 1, port = 8080, program = source } = options;
  await namespace.create({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name },
    data: { 'server.mjs': await bundle(program) },
  });
  await namespace.create(deployment(name, { ...options, replicas, port }));
  await namespace.create({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: {
      selector: { app: name },
      ports: [
        // Where names lead straight to pods, nobody translates the number.
        { name: 'http', port: options.headless ? port : 80, targetPort: 'web' },
        { name: 'other', port: 81, targetPort: port },
        { name: 'nobody', port: 82, targetPort: 9 },
      ],
      ...(options.headless && { clusterIP: 'None' }),
    },
  });
  await namespace.readyPods(name, replicas);
}

function deployment(name: string, options: PodServerOptions & { replicas: number; port: number }) {
  const { replicas, port, env = {}, hostNetwork = false, graceSeconds = 5 } = options;
  const container = {
    name: 'server',
    image: process.env.TEST_IMAGE ?? '',
    imagePullPolicy: 'IfNotPresent',
    // Not as the main module: the reference server in it would take the file for its own, and serve its input.
    command: ['node', '--eval', 'import("/app/server.mjs")'],
    env: [
      { name: 'PORT', value: String(port) },
      { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
      ...Object.entries(env).map(([key, value]) => ({ name: key, value })),
    ],
    ports: [{ name: 'web', containerPort: port }],
    readinessProbe: {
      httpGet: { path: '/ready', port, scheme: env.TLS_CERT === undefined ? 'HTTP' : 'HTTPS' },
      periodSeconds: 1,
      // Of a pod beside other tests.
      timeoutSeconds: 10,
    },
    volumeMounts: [{ name: 'app', mountPath: '/app' }],
  };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      strategy: { rollingUpdate: { maxSurge: '100%', maxUnavailable: 0 } },
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          hostNetwork,
          enableServiceLinks: false,
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: graceSeconds,
          containers: [container],
          volumes: [{ name: 'app', configMap: { name } }],
        },
      },
    },
  };
}
