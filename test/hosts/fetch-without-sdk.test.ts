import { expect, test, vi } from 'vitest';
import * as sdk from '../../src/sdk.js';
import { envelope } from '../endpoint/modern-caller.js';
import { setUp } from '../endpoint/setup.js';
import { settle } from '../support/fake-clock.js';
import { initialize } from './raw-client.js';

vi.mock(import('../../src/sdk.js'), async (original) => {
  const own = await original();
  return { ...own, loadWebTransport: vi.fn(own.loadWebTransport) };
});

test('an SDK that cannot be loaded fails the request alone: the next one tries again, and the gateway closes', async () => {
  await using setup = setUp({ one: { tools: [{ name: 'go' }] } });
  const post = (body: object, headers: Record<string, string> = {}, hosts?: readonly string[]) =>
    setup.gateway.fetch(
      new Request('http://localhost/mcp', {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
        body: JSON.stringify(body),
      }),
      { caller: { id: 'me' }, hosts },
    );
  const params = { name: 'one__go', _meta: envelope() };
  const called = await post(
    { jsonrpc: '2.0', id: 1, method: 'tools/call', params },
    { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'one__go' },
  );
  expect(called.status).toBe(200);
  vi.mocked(sdk.loadWebTransport).mockRejectedValueOnce(new Error('no such file'));
  await expect(post(initialize)).rejects.toThrow('no such file');
  const begun = await post(initialize);
  expect(begun.status).toBe(200);
  await begun.body?.cancel();

  const [asked, loading] = [Promise.withResolvers<void>(), Promise.withResolvers<never>()];
  vi.mocked(sdk.loadWebTransport).mockImplementationOnce(() => {
    asked.resolve();
    return loading.promise;
  });
  // Sessions of their own, as their hosts are others.
  const last = post(initialize, {}, ['localhost', 'elsewhere']);
  await asked.promise;
  const closed = setup.gateway.close({ graceMs: 0 });
  await settle();
  loading.reject(new Error('no such file'));
  await expect(last).rejects.toThrow('no such file');
  await closed;
  expect(setup.server('one').live).toEqual([]);
});
