import { expect, test } from 'vitest';
import { settle } from '../support/fake-clock.js';
import { ModernTestCaller } from './modern-caller.js';
import type { Script } from './scripted-server.js';
import { setUp } from './setup.js';

const updated = 'notifications/resources/updated';
const alias = 'mcp-gateway://b/';
const server = (): Script => ({
  resources: [{ uri: 'x://1', name: 'one' }],
  on: {
    'resources/subscribe': () => ({}),
    'resources/read': ({ params }, { context }) => ({ contents: [{ uri: String(params?.uri), text: context.server }] }),
  },
});

test('an update of a part of a resource that shows under an alias shows under one too, and leads to its server', async () => {
  await using t = setUp({ a: server(), b: server() });
  await using caller = await t.caller();
  const [, other] = await caller.list('resources');
  expect(other).toMatchObject({ uri: `${alias}x%3A%2F%2F1` });
  await caller.result('resources/subscribe', { uri: other?.uri });
  t.server('b').only.notify(updated, { uri: 'x://1/part' });
  await settle();
  const [params] = caller.notifications(updated);
  expect(params).toEqual({ uri: `${alias}x%3A%2F%2F1%2Fpart` });
  expect(await caller.result('resources/read', { uri: params?.uri })).toEqual({
    contents: [{ uri: params?.uri, text: 'b' }],
  });
});

test('a stateless caller that listens to a resource under an alias hears of its parts', async () => {
  await using t = setUp({ a: server(), b: server() });
  await using caller = await ModernTestCaller.open(t.gateway.connect());
  const [, other] = await caller.list('resources');
  void caller.request('subscriptions/listen', { notifications: { resourceSubscriptions: [other?.uri] } }, 'l');
  await settle();
  t.server('b').only.notify(updated, { uri: 'x://1/part' });
  await settle();
  expect(caller.notifications(updated).map(({ uri }) => uri)).toEqual([`${alias}x%3A%2F%2F1%2Fpart`]);
});
