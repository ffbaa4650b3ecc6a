import { expect, test } from 'vitest';
import { createGateway, K8sServiceRuntime, type TlsOptions } from '../../src/index.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { FakeApiServer, sendJson } from '../support/kubernetes/fake-api-server.js';
import { eventually } from '../support/kubernetes/namespace.js';

test('in the cluster, an API server that does not answer leaves the rest to DNS in time for a start', async () => {
  await using fake = await FakeApiServer.listen();
  fake.answer = () => {};
  const runtime = new K8sServiceRuntime({ kubeconfig: fake.kubeconfig });
  const open = (port: number | string) =>
    runtime.open({ namespace: 'home', service_name: 'orders', port, reach: 'dns' }, createRuntimeContext());
  try {
    const begin = performance.now();
    await Promise.all([
      expect(open(80)).rejects.toThrow(/DNS does not know orders\.home\.svc/),
      expect(open('http')).rejects.toThrow(
        /cannot look up the port "http" .*did not answer within 10 s.*name its number instead/,
      ),
    ]);
    expect(performance.now() - begin).toBeLessThan(50_000);
  } finally {
    await runtime.close();
  }
});

test('close() ends a check that is under way, and nothing of it is left', async () => {
  await using api = await FakeApiServer.listen();
  const asked = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<void>();
  api.answer = async ({ url = '' }, response) => {
    if (url.endsWith('/selfsubjectaccessreviews')) sendJson(response, 201, { status: { allowed: true } });
    else if (url.includes('watch=')) response.writeHead(200).flushHeaders();
    else if (url.endsWith('/services/orders')) {
      asked.resolve();
      await answered.promise;
      sendJson(response, 200, { metadata: { name: 'orders' }, spec: { ports: [{ port: 80 }] } });
    } else {
      const endpoints = [{ addresses: ['127.0.0.1'], targetRef: { kind: 'Pod', name: 'a', uid: 'a' } }];
      const slice = { metadata: { name: 'a', uid: 'a' }, ports: [{ port: 1 }], endpoints };
      sendJson(response, 200, { metadata: { resourceVersion: '1' }, items: [slice] });
    }
  };
  const runtime = { type: 'k8s-service', namespace: 'home', service_name: 'orders', port: 80 };
  const gateway = createGateway({ servers: [{ id: 'orders', runtime }] } as never, {
    runtimes: [new K8sServiceRuntime({ kubeconfig: api.kubeconfig })],
  });
  const checking = gateway.check().then(
    () => 'a result',
    (error: unknown) => error,
  );
  await asked.promise;
  await gateway.close();
  answered.resolve();
  expect(await checking).toMatchObject({ code: 'GATEWAY_CLOSED' });
  await eventually('the end of the connections', async () => api.connections === 0 || undefined);
  expect(api.requests.filter((request) => request.includes('watch='))).toEqual([]);
  await expect(gateway.check()).rejects.toMatchObject({ code: 'GATEWAY_CLOSED' });
});

test('check() ends with its signal when the host never gives its headers', async () => {
  const asked = Promise.withResolvers<void>();
  // By DNS there is no need for the API server.
  const kubeconfig = () => Promise.reject(new Error('none'));
  const runtime = new K8sServiceRuntime({
    kubeconfig,
    headers: () => {
      asked.resolve();
      return new Promise<never>(() => {});
    },
  });
  const stop = new AbortController();
  const spec = { namespace: 'default', service_name: 'orders', port: 80, reach: 'dns' } as const;
  const checked = runtime.check(spec, createRuntimeContext({ signal: stop.signal })).catch((error: unknown) => error);
  await asked.promise;
  stop.abort('enough');
  expect(await checked).toBe('enough');
  await runtime.close();
});

test('certificates of a function hold for those who begin after it gave them', async () => {
  let tls: TlsOptions = {};
  const kubeconfig = () => Promise.reject(new Error('none'));
  const runtime = new K8sServiceRuntime({ kubeconfig, tls: () => tls });
  const spec = { namespace: 'home', service_name: 'orders', port: 80, scheme: 'https', reach: 'dns' } as const;
  const open = () => runtime.open(spec, createRuntimeContext());
  await expect(open()).rejects.toThrow('DNS does not know orders.home.svc');
  tls = { cert: 'no certificate' };
  await expect(open()).rejects.toThrow(/no start line/i);
  tls = {};
  await expect(open()).rejects.toThrow('DNS does not know orders.home.svc');
  await runtime.close();
});
