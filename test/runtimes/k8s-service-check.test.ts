import { expect, test } from 'vitest';
import { K8sServiceRuntime } from '../../src/index.js';
import { createRuntimeContext } from '../../src/testing/index.js';

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
