import { expect, test } from 'vitest';
import { K8sJobRuntime } from '../../../src/runtimes/k8s-job.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { ModernCluster } from '../../support/kubernetes/modern-cluster.js';

test.each([403, 422, 429])(
  'a Job that the API server has refused to make (%s), and may not delete, is none that is left',
  async (status) => {
    await using fake = await FakeApiServer.listen();
    const { answer } = new ModernCluster(fake).fake;
    fake.answer = (request, response) => {
      const { method, url = '' } = request;
      if (!url.includes('/jobs') || method === 'GET') return answer(request, response);
      return sendJson(response, method === 'POST' ? status : 403, { message: `no ${method}` });
    };
    const runtime = new K8sJobRuntime({ kubeconfig: fake.kubeconfig });
    await expect(runtime.open({ namespace: 'home', image: 'a' }, createRuntimeContext())).rejects.toMatchObject({
      code: 'START_FAILED',
      message: expect.stringContaining('no POST'),
    });
    await runtime.close();
  },
);
