import { expect, test } from 'vitest';
import { K8sJobRuntime } from '../../../src/runtimes/k8s-job.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { ModernCluster } from '../../support/kubernetes/modern-cluster.js';

/** What an API server says where others have taken from the same quota at the same time: nothing was made. */
const crossed = {
  kind: 'Status',
  reason: 'Conflict',
  message: 'Operation cannot be fulfilled on resourcequotas "quota": the object has been modified',
};

test.each(['leases', 'jobs', 'secrets'])(
  'what is refused as others take from the same quota (%s) is asked for again, and the start goes on',
  async (kind) => {
    await using fake = await FakeApiServer.listen();
    const cluster = new ModernCluster(fake);
    // Without its Secret no container is started.
    cluster.atFirst = [{ waiting: { reason: 'ContainerCreating' } }, 'Pending'];
    const { answer } = fake;
    const asked: string[] = [];
    fake.answer = (request, response) => {
      const made = request.method === 'POST' ? request.url?.split('/').at(-1) : undefined;
      if (made !== undefined) asked.push(made);
      if (made === kind && asked.filter((one) => one === kind).length < 3) return sendJson(response, 409, crossed);
      answer(request, response);
      if (made === 'secrets') setTimeout(() => cluster.setPod({ running: {} }, 'Running'), 50);
    };
    const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
    const transport = await runtime.open(
      { namespace: 'home', image: 'a' },
      createRuntimeContext({ env: { TOKEN: 'x' }, signal: AbortSignal.timeout(30_000) }),
    );
    await transport.close();
    await runtime.close();
    expect(asked.filter((one) => one === kind)).toHaveLength(3);
  },
);

test('a pod that others taking from the same quota keep from being made is waited for: Kubernetes tries again', async () => {
  await using fake = await FakeApiServer.listen();
  const cluster = new ModernCluster(fake);
  cluster.atFirst = undefined;
  const { answer } = fake;
  let asked = 0;
  fake.answer = (request, response) => {
    if (!request.url?.includes('/events')) return answer(request, response);
    asked += 1;
    const event = { type: 'Warning', reason: 'FailedCreate', message: `Error creating: ${crossed.message}` };
    sendJson(response, 200, { metadata: {}, items: [{ metadata: { name: 'a', uid: 'a' }, ...event }] });
    if (asked === 2) cluster.setPod({ running: {} }, 'Running');
  };
  const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
  const progress: unknown[] = [];
  const report = (_phase: string, told?: { readonly message?: string | undefined }) => progress.push(told?.message);
  const transport = await runtime.open({ namespace: 'home', image: 'a' }, createRuntimeContext({ report }));
  await transport.close();
  await runtime.close();
  expect(progress.join()).toContain('Kubernetes makes no pod yet: Error creating: Operation cannot be fulfilled');
});
