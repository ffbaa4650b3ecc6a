import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGateway } from '../../src/gateway.js';
import { runConformance } from '../conformance/run-conformance.js';
import { createHttpHost } from '../hosts/http-host.js';
import { bundle } from '../support/bundle.js';
import { referenceSpec } from '../support/kubernetes/job-server.js';
import { TestNamespace } from '../support/kubernetes/namespace.js';
import { describeWithKubernetes } from '../support/real-parts.js';

const stdio = fileURLToPath(new URL('../fixtures/conformance/stdio.ts', import.meta.url));

describeWithKubernetes('conformance with k8s-job behind the merged peer', () => {
  let namespace: TestNamespace;
  beforeAll(async () => {
    namespace = await TestNamespace.create('job-conformance');
    const data = { 'server.mjs': await bundle(stdio) };
    await namespace.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'server' }, data });
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  test('all 30 active scenarios pass', { timeout: 600_000 }, async () => {
    const runtime = { type: 'k8s-job' as const, ...referenceSpec(namespace.name), args: ['/server/server.mjs'] };
    // Each scenario is a caller of its own, with a Job of its own.
    const entry = { id: 'fixture', runtime, start_timeout: '3m', list_timeout: '3m' };
    await using gateway = createGateway({ servers: [entry] }, { names: ({ name }) => name });
    await using host = await createHttpHost((transport) => gateway.serve(transport));
    const result = await runConformance(host.url, { timeoutMs: 500_000 });
    expect(result.problems, result.output).toEqual([]);
    expect(result.scenarios).toHaveLength(30);
    expect(result.exitCode).toBe(0);
  });
});
