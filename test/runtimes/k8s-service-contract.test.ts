import { afterAll, beforeAll, test } from 'vitest';
import { K8sServiceRuntime } from '../../src/runtimes/k8s-service.js';
import { runtimeContract } from '../../src/testing/index.js';
import { toQuery } from '../fixtures/http/reference-hosts.js';
import { freePort } from '../support/free-port.js';
import { TestNamespace } from '../support/kubernetes/namespace.js';
import { deployPodServer } from '../support/kubernetes/pod-server.js';
import { describeWithKubernetes } from '../support/real-parts.js';

describeWithKubernetes('k8s-service by port-forward', () => {
  let namespace: TestNamespace;
  const service = (path: string, service_name = 'reference') =>
    ({ namespace: namespace.name, service_name, port: 'http', path, reach: 'port-forward' }) as const;

  beforeAll(async () => {
    namespace = await TestNamespace.create('svc-contract');
    // On the machine's own network the reference servers can reach the suite.
    await deployPodServer(namespace, 'reference', { hostNetwork: true, port: await freePort() });
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  runtimeContract((name, body) => test(name, { timeout: 600_000 }, body), {
    // Two hundred connections at once, through an API server that shares the machine's cores with them.
    create: () => new K8sServiceRuntime({ connectTimeoutMs: 60_000 }),
    working: (args) => service(`/reference${toQuery(args)}`),
    broken: () => service('/reference', 'nobody'),
    // One case makes five thousand requests.
    guardMs: 180_000,
  });
});
