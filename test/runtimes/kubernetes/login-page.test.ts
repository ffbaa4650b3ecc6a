import { inspect } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { RuntimeFactory } from '../../../src/runtime.js';
import { K8sJobRuntime } from '../../../src/runtimes/k8s-job.js';
import { K8sServiceRuntime } from '../../../src/runtimes/k8s-service.js';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { jobs, secrets } from '../../../src/runtimes/shared/kubernetes/resources.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';

const answers: [string, string, string][] = [
  ['a page', '<!DOCTYPE html><title>Sign in with canary-51d0</title>', 'a page of HTML'],
  ['a word', 'canary-51d0', 'what is no object of Kubernetes'],
  ['nothing', '', 'what is no object of Kubernetes'],
  ['null', 'null', 'what is no object of Kubernetes'],
  ['a string', '"canary-51d0"', 'what is no object of Kubernetes'],
  ['a list', '["canary-51d0"]', 'what is no object of Kubernetes'],
  ['an object of somebody else', '{"status":"canary-51d0"}', 'what is no object of Kubernetes'],
];

/** A proxy before the API server, which wants somebody to log in: whatever is asked, the answer is no failure. */
async function proxy(body: string): Promise<FakeApiServer> {
  const fake = await FakeApiServer.listen();
  onTestFinished(() => fake[Symbol.asyncDispose]());
  fake.answer = (_request, response) => response.writeHead(200).end(body);
  return fake;
}

const runtimes: [string, (fake: FakeApiServer) => RuntimeFactory, object][] = [
  ['k8s-job', ({ kubeconfig }) => new K8sJobRuntime({ kubeconfig }), { namespace: 'home', image: 'image' }],
  [
    'k8s-service',
    ({ kubeconfig }) => new K8sServiceRuntime({ kubeconfig }),
    { namespace: 'home', service_name: 'a', port: 80 },
  ],
];

describe.each(runtimes)('%s', (_type, create, spec) => {
  test.each(answers)(
    'an API server that answers with %s is named, with what came and what to look for',
    async (_, body, came) => {
      const fake = await proxy(body);
      const runtime = create(fake);
      onTestFinished(() => runtime.close?.());
      const error = await runtime.open(spec, createRuntimeContext({ server: 'orders' })).catch((thrown) => thrown);
      expect(error).toMatchObject({ code: 'START_FAILED', server: 'orders', delivered: false });
      expect(error.message).toContain(`the API server ${fake.url} answered with ${came}, asked to `);
      expect(error.message).toContain('is there a proxy before it that wants a login?');
      expect(inspect(error, { depth: 9 })).not.toContain('canary');
      const { ok, problems } = (await runtime.check?.(spec, createRuntimeContext())) ?? {};
      expect(ok).toBe(false);
      expect(problems?.join()).toContain(`answered with ${came}`);
    },
  );
});

test.each(runtimes)(
  '%s: an API server that leads elsewhere, as to a login, is told likewise',
  async (_, create, spec) => {
    const fake = await FakeApiServer.listen();
    onTestFinished(() => fake[Symbol.asyncDispose]());
    fake.answer = (_request, response) => response.writeHead(302, { location: '/login' }).end();
    const runtime = create(fake);
    onTestFinished(() => runtime.close?.());
    const said = `the API server ${fake.url} answered with what is no object of Kubernetes, asked to `;
    await expect(runtime.open(spec, createRuntimeContext())).rejects.toThrow(said);
    expect((await runtime.check?.(spec, createRuntimeContext()))?.problems.join()).toContain(said);
  },
);

test('what is answered with a page is not deleted, and may have been made', async () => {
  const fake = await proxy('<html>');
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig });
  const cluster = await clusters.open();
  const failed = { failure: 'foreign', message: expect.stringContaining('a page of HTML') };
  await expect(cluster.delete(jobs({ namespace: 'home', name: 'a' }))).rejects.toMatchObject(failed);
  await expect(cluster.create(secrets({ namespace: 'home' }), {})).rejects.toMatchObject(failed);
  await clusters.close();
});

const service = { metadata: { name: 'a' }, spec: { ports: [{ port: 80 }] } };

test.each([
  ['no items', '{"metadata":{}}'],
  ['no metadata', '{"items":[]}'],
  ['items that are none', '{"metadata":{},"items":{"0":{}}}'],
  ['an item that is none', '{"metadata":{},"items":[null]}'],
  ['a page', '<html>'],
])(
  'a list with %s, where it is the first, ends a start with that, and does not wait for a better one',
  async (_, list) => {
    const fake = await FakeApiServer.listen();
    onTestFinished(() => fake[Symbol.asyncDispose]());
    fake.answer = ({ url, method }, response) => {
      if (method === 'POST') sendJson(response, 201, { status: { allowed: true } });
      else if (url?.includes('/services/')) sendJson(response, 200, service);
      else response.writeHead(200).end(list);
    };
    const runtime = new K8sServiceRuntime({ kubeconfig: fake.kubeconfig });
    onTestFinished(() => runtime.close());
    const spec = { namespace: 'home', service_name: 'a', port: 80 };
    const said =
      /answered with .*, asked to list endpointslices\.discovery\.k8s\.io in namespace "home"; is there a proxy/;
    await expect(runtime.open(spec, createRuntimeContext())).rejects.toMatchObject({
      code: 'START_FAILED',
      message: expect.stringMatching(said),
    });
    const { problems } = await runtime.check(spec, createRuntimeContext());
    expect(problems.join()).toMatch(said);
  },
);
