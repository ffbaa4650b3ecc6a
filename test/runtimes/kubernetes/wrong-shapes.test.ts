import { expect, onTestFinished, test } from 'vitest';
import type { RuntimeFactory } from '../../../src/runtime.js';
import { K8sJobRuntime } from '../../../src/runtimes/k8s-job.js';
import { K8sServiceRuntime } from '../../../src/runtimes/k8s-service.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';

const job = { namespace: 'home', image: 'image' };
const service = { namespace: 'home', service_name: 'a', port: 80, reach: 'port-forward' };
const ofJob = ({ kubeconfig }: FakeApiServer) => new K8sJobRuntime({ kubeconfig });
const ofService = ({ kubeconfig }: FakeApiServer) => new K8sServiceRuntime({ kubeconfig, readyTimeoutMs: 200 });

const slice = (more: object) => ({
  metadata: { name: 'a-1', uid: 'slice' },
  addressType: 'IPv4',
  ports: [{ name: '', port: 80 }],
  endpoints: [{ addresses: ['10.0.0.1'] }],
  ...more,
});

/** Lists what it is given until something is deleted, and makes what it is asked to make. */
async function listen(lists: Readonly<Record<string, unknown>>, ports: unknown = [{ port: 80 }]) {
  const fake = await FakeApiServer.listen();
  onTestFinished(() => fake[Symbol.asyncDispose]());
  let isDeleted = false;
  const { promise: isWatched, resolve: watched } = Promise.withResolvers<void>();
  fake.answer = async (request, response) => {
    isDeleted ||= request.method === 'DELETE';
    const { pathname, searchParams } = new URL(request.url ?? '', fake.url);
    const body = JSON.parse(Buffer.concat(await request.toArray()).toString() || '{}');
    const kind = pathname.split('/')[pathname.startsWith('/api/') ? 5 : 6] ?? '';
    if (searchParams.has('watch')) {
      response.writeHead(200).flushHeaders();
      watched();
    } else if (kind === 'services') sendJson(response, 200, { metadata: { name: 'a', uid: 'a' }, spec: { ports } });
    else if (request.method === 'GET') {
      const item = isDeleted ? undefined : lists[kind];
      sendJson(response, 200, { metadata: { resourceVersion: '1' }, items: item === undefined ? [] : [item] });
    } else sendJson(response, 201, { ...body, metadata: { ...body.metadata, uid: 'made' } });
  };
  return Object.assign(fake, { isWatched });
}

/** A pod of the Job that is about to be made cannot be named yet: whatever is watched is looked at. */
const pod = (status: unknown) => ({ pods: { metadata: { name: 'p', uid: 'p' }, status } });

test.each<[string, (fake: FakeApiServer) => RuntimeFactory, object, Record<string, unknown>, unknown?]>([
  ['status.containerStatuses', ofJob, job, pod({ containerStatuses: { name: 'mcp' } })],
  ['status.containerStatuses', ofJob, job, pod({ containerStatuses: [null] })],
  ['status.initContainerStatuses', ofJob, job, pod({ initContainerStatuses: 'none' })],
  ['status.conditions', ofJob, job, pod({ conditions: 1 })],
  ['status', ofJob, job, pod('Running')],
  ['metadata.name', ofJob, job, { pods: { metadata: { name: 7, uid: 'p' } } }],
  ['metadata.labels', ofJob, job, { pods: { metadata: { name: 'p', uid: 'p', labels: 'none' } } }],
  ['spec.ports', ofService, service, {}, { port: 80 }],
  ['endpoints', ofService, service, { endpointslices: slice({ endpoints: {} }) }],
  ['endpoints[].addresses', ofService, service, { endpointslices: slice({ endpoints: [{ addresses: '10.0.0.1' }] }) }],
  ['ports', ofService, service, { endpointslices: slice({ ports: 'http' }) }],
])(
  '%s of another shape than in Kubernetes is named by the error of a start',
  async (where, create, spec, lists, ports) => {
    const fake = await listen(lists, ports);
    const runtime = create(fake);
    onTestFinished(() => runtime.close?.());
    const signal = AbortSignal.timeout(60_000);
    const error = await runtime
      .open(spec, createRuntimeContext({ server: 'orders', signal }))
      .catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'START_FAILED', server: 'orders', delivered: false });
    expect(error.message).toContain(`the API server ${fake.url} answered with ${where} `);
  },
);

test.each<[string, (fake: FakeApiServer) => RuntimeFactory, object, Record<string, unknown>, string]>([
  ['a pod', ofJob, job, pod({ containerStatuses: null, initContainerStatuses: null, conditions: null }), 'enough'],
  ['the endpoints of a slice', ofService, service, { endpointslices: slice({ endpoints: null }) }, 'has no pods'],
  [
    'addresses of an endpoint',
    ofService,
    service,
    { endpointslices: slice({ endpoints: [{ addresses: null }] }) },
    'has no pods',
  ],
  ['ports of a slice', ofService, service, { endpointslices: slice({ ports: null }) }, 'has no pods'],
])('null in place of the lists of %s is no list', async (_, create, spec, lists, said) => {
  const fake = await listen(lists);
  const runtime = create(fake);
  onTestFinished(() => runtime.close?.());
  const abort = new AbortController();
  // A Job waits for more of its pod: what it was given is judged before it asks for what changes.
  if (said === 'enough') void fake.isWatched.then(() => abort.abort(new Error(said)));
  await expect(runtime.open(spec, createRuntimeContext({ signal: abort.signal }))).rejects.toThrow(said);
});
