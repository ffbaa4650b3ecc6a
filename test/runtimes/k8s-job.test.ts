import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, test } from 'vitest';
import { K8sJobRuntime, type K8sJobSpec } from '../../src/runtimes/k8s-job.js';
import { referenceServerPath, runtimeContract } from '../../src/testing/index.js';
import { TestNamespace } from '../support/kubernetes/namespace.js';
import { baseImage, describeWithKubernetes } from '../support/real-parts.js';

describeWithKubernetes('k8s-job', () => {
  let namespace: TestNamespace;

  beforeAll(async () => {
    namespace = await TestNamespace.create('job-contract');
    await namespace.create({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'server' },
      data: { 'reference-server.ts': readFileSync(referenceServerPath(), 'utf8') },
    });
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  // Each case waits for the cluster most of the time, so several run at once.
  runtimeContract((name, body) => test.concurrent(name, { timeout: 600_000 }, body), {
    // A kubelet that misses the deletion of a pod looks again after 60 to 90 s.
    guardMs: 180_000,
    create: () => new K8sJobRuntime(),
    working: (args): K8sJobSpec => ({
      namespace: namespace.name,
      image: baseImage,
      pull_policy: 'Never',
      command: 'node',
      args: ['/server/reference-server.ts', ...args],
      pod: {
        spec: {
          // The suite's servers report to its loopback.
          hostNetwork: true,
          containers: [{ name: 'mcp', volumeMounts: [{ name: 'server', mountPath: '/server' }] }],
          volumes: [{ name: 'server', configMap: { name: 'server' } }],
        },
      },
    }),
    broken: (): K8sJobSpec => ({ namespace: 'no-such-namespace', image: baseImage }),
  });
});
