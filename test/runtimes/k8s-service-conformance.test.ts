import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGateway } from '../../src/index.js';
import { runConformance } from '../conformance/run-conformance.js';
import { createHttpHost } from '../hosts/http-host.js';
import { TestNamespace } from '../support/kubernetes/namespace.js';
import { deployPodServer } from '../support/kubernetes/pod-server.js';
import { describeWithKubernetes } from '../support/real-parts.js';

describeWithKubernetes('conformance with k8s-service behind the merged peer', () => {
  let namespace: TestNamespace;
  beforeAll(async () => {
    namespace = await TestNamespace.create('svc-conformance');
    await deployPodServer(namespace, 'fixture', { replicas: 2 });
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  test('all 30 active scenarios pass', async () => {
    const service = { namespace: namespace.name, service_name: 'fixture', port: 80, path: '/conformance' };
    await using gateway = createGateway(
      { servers: [{ id: 'fixture', list_timeout: '60s', runtime: { type: 'k8s-service', ...service } }] },
      // The scenarios know the tools by their own names.
      { names: ({ name }) => name, env: {} },
    );
    await using host = await createHttpHost((transport) => gateway.serve(transport));
    const result = await runConformance(host.url);
    expect(result.problems, result.output).toEqual([]);
    expect(result.scenarios).toHaveLength(30);
    expect(result.exitCode).toBe(0);
  }, 300_000);
});
