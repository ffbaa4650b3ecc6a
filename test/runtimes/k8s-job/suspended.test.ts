import { expect, test } from 'vitest';
import { K8sJobRuntime } from '../../../src/runtimes/k8s-job.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { ModernCluster } from '../../support/kubernetes/modern-cluster.js';

// Kubernetes 1.20, that of the tests, knows no suspended Jobs.
test('a Job that a queue suspends is told while it is waited for, and the start goes on once it may', async () => {
  await using fake = await FakeApiServer.listen();
  const cluster = new ModernCluster(fake);
  cluster.atFirst = undefined;
  const { answer } = fake;
  fake.answer = (request, response) => {
    if (request.method !== 'GET' || !request.url?.includes('/jobs/')) return answer(request, response);
    sendJson(response, 200, { metadata: { name: 'a', uid: 'job' }, spec: { suspend: true } });
  };
  const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
  const told: string[] = [];
  const report = (_phase: string, { message }: { readonly message?: string | undefined } = {}) => {
    if (message === undefined) return;
    told.push(message);
    cluster.setPod({ running: {} }, 'Running');
  };
  const transport = await runtime.open({ namespace: 'home', image: 'a' }, createRuntimeContext({ report }));
  await transport.close();
  await runtime.close();
  expect(told[0]).toBe('its Job is suspended: a queue, such as Kueue, or somebody holds it back');
});
