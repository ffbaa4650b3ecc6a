import { readFileSync } from 'node:fs';
import type { K8sJobSpec } from '../../../src/runtimes/k8s-job.js';
import { referenceServerPath } from '../../../src/testing/index.js';
import { baseImage } from '../real-parts.js';
import type { TestNamespace } from './namespace.js';

/** Puts the reference server into a namespace, where Jobs mount it. */
export async function bringReferenceServer(namespace: TestNamespace): Promise<void> {
  await namespace.create({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'server' },
    data: { 'reference-server.ts': readFileSync(referenceServerPath(), 'utf8') },
  });
}

/** A Job that runs a program of the test image. */
export function programSpec(namespace: string, command: string, ...args: readonly string[]): K8sJobSpec {
  return { namespace, image: baseImage, pull_policy: 'Never', command, args };
}

/** A Job that runs the reference server. */
export function referenceSpec(
  namespace: string,
  args: readonly string[] = ['answer'],
  podSpec: object = {},
): K8sJobSpec {
  return {
    ...programSpec(namespace, 'node', '/server/reference-server.ts', ...args),
    pod: {
      spec: {
        ...podSpec,
        containers: [{ name: 'mcp', volumeMounts: [{ name: 'server', mountPath: '/server' }] }],
        volumes: [{ name: 'server', configMap: { name: 'server' } }],
      },
    },
  };
}
