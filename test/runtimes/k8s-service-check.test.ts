import { expect, test } from 'vitest';
import { K8sServiceRuntime, type TlsOptions } from '../../src/index.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { FakeApiServer } from '../support/kubernetes/fake-api-server.js';

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
    expect(performance.now() - begin).toBeLessThan(15_000);
  } finally {
    await runtime.close();
  }
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
