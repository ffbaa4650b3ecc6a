import { expect, test } from 'vitest';
import { settle } from '../support/fake-clock.js';
import { ModernTestCaller } from './modern-caller.js';
import type { Script } from './scripted-server.js';
import { setUp } from './setup.js';

const updated = 'notifications/resources/updated';
const alias = 'mcp-gateway://b/';
const server = (...uris: string[]): Script => ({
  resources: (uris.length > 0 ? uris : ['x://1']).map((uri) => ({ uri, name: uri })),
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

test('a stateless caller that listens to a resource hears of its parts that another server lists, too', async () => {
  await using t = setUp({ a: server('x://1/part'), b: server() });
  await using caller = await ModernTestCaller.open(t.gateway.connect());
  await caller.list('resources');
  void caller.request('subscriptions/listen', { notifications: { resourceSubscriptions: ['x://1'] } }, 'l');
  await settle();
  t.server('b').only.notify(updated, { uri: 'x://1/part' });
  await settle();
  expect(caller.notifications(updated).map(({ uri }) => uri)).toEqual([`${alias}x%3A%2F%2F1%2Fpart`]);
});

test('each stream of a stateless caller hears of what it listens to: one of an aliased resource, another of its part', async () => {
  await using t = setUp({ a: server(), b: server('x://1', 'x://1/part') });
  await using caller = await ModernTestCaller.open(t.gateway.connect());
  const [, other, part] = await caller.list('resources');
  for (const [id, uri] of Object.entries({ whole: other?.uri, part: part?.uri })) {
    void caller.request('subscriptions/listen', { notifications: { resourceSubscriptions: [uri] } }, id);
  }
  await settle();
  t.server('b').only.notify(updated, { uri: 'x://1/part' });
  await settle();
  const subscription = (id: string) => ({
    uri: 'x://1/part',
    _meta: { 'io.modelcontextprotocol/subscriptionId': id },
  });
  expect(caller.notifications(updated)).toEqual([subscription('whole'), subscription('part')]);
});
