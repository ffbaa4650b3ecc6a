import { expect, test } from 'vitest';
import type { CallerSession } from '../../src/endpoint/modern/caller-sessions.js';
import { Listens } from '../../src/endpoint/modern/listens.js';
import { settle } from '../support/fake-clock.js';

test('an update that tells of many URIs is held against those of all streams in no time', async () => {
  const listens = new Listens({ ask: async () => ({ jsonrpc: '2.0', id: 0, result: {} }) });
  const session = { subscribed: new Set() } as unknown as CallerSession;
  const heard: unknown[] = [];
  for (let id = 0; id < 100; id += 1) {
    const resourceSubscriptions = Array.from({ length: 1_000 }, (_, index) => `a:${id}/${index}`);
    const request = { jsonrpc: '2.0', id, method: 'subscriptions/listen' } as const;
    const params = { notifications: { resourceSubscriptions } };
    listens.open({ ...request, params }, undefined, session, {}, (message) => 'params' in message && heard.push(id));
  }
  await settle();
  expect(heard).toHaveLength(100);
  const forms = [...Array.from({ length: 10_000 }, (_, index) => `b:${index}`), 'a:7/999'];
  const update = { jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri: 'b:0' } } as const;
  const before = process.cpuUsage().user;
  for (let count = 0; count < 10; count += 1) listens.dispatch(session, update, forms);
  expect(heard.slice(100)).toEqual(Array(10).fill(7));
  // Ten seconds where each is looked for in a list.
  expect(process.cpuUsage().user - before).toBeLessThan(2_000_000);
});
