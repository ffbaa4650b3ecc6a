import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Link } from '../../src/instance/link.js';
import { SharedConnections } from '../../src/instance/shared-connections.js';
import { SharedSubscriptions } from '../../src/instance/shared-subscriptions.js';
import type { SharedTransport } from '../../src/instance/shared-transport.js';
import type { JSONRPCRequest } from '../../src/sdk.js';

/** What so many connections of one session are subscribed to. */
function setUp(size: number) {
  const ended: string[] = [];
  const ask = async (_method: string, { uri }: { uri: string }) => void ended.push(uri);
  const connections = new SharedConnections();
  const subscriptions = new SharedSubscriptions(
    { handshake: {}, isEnding: false, ask } as unknown as Link,
    connections,
  );
  const enter = (...uris: string[]) => {
    const each = { subscriptions: new Set(uris), subscribing: new Set() } as unknown as SharedTransport;
    connections.add(each);
    subscriptions.enter(each);
    return each;
  };
  const leave = (each: SharedTransport) => {
    connections.delete(each);
    subscriptions.leave(each);
  };
  return { ended, connections, subscriptions, enter, leave, all: Array.from({ length: size }, () => enter()) };
}

const toSubscribe = (uri: string) => ({ method: 'resources/subscribe', params: { uri } }) as unknown as JSONRPCRequest;

test('whether anybody wants a URI is known as to whoever looks at each connection', () => {
  const words = fc.constantFrom('ask', 'grant', 'refuse', 'cancel', 'end', 'leave', 'enter');
  const step = fc.record({ word: words, at: fc.nat(2), uri: fc.constantFrom('a', 'b') });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { ended, connections, subscriptions, enter, leave, all } = setUp(3);
      const isWanted = (uri: string) =>
        connections.all.some(
          (each) => each.subscriptions.has(uri) || [...each.subscribing].some(({ params }) => params?.uri === uri),
        );
      for (const { word, at, uri } of steps) {
        const from = all[at] as SharedTransport;
        const [first] = from.subscribing;
        const before = ended.length;
        if (word === 'ask') subscriptions.asked(from, toSubscribe(uri));
        else if (word === 'end') expect(subscriptions.end(from, uri)).toBe(isWanted(uri));
        else if (word === 'leave') {
          const had = ['a', 'b'].filter(isWanted);
          leave(from);
          expect(ended.slice(before).sort()).toEqual(had.filter((each) => !isWanted(each)));
          all[at] = enter();
        } else if (word === 'enter') {
          leave(from);
          // One that comes from another session.
          all[at] = enter(uri);
        } else if (first !== undefined && word === 'cancel') {
          subscriptions.cancelled(from, first);
          expect(ended.length - before).toBe(isWanted(String(first.params?.uri)) ? 0 : 1);
        } else if (first !== undefined) subscriptions.answered(from, first, word === 'grant');
        expect(subscriptions.any).toBe(connections.all.some((each) => each.subscriptions.size > 0));
      }
    }),
  );
});

test('many connections with many subscriptions leave in no time', () => {
  const { ended, subscriptions, leave, all } = setUp(2_000);
  for (const [index, each] of all.entries()) {
    for (let count = 0; count < 50; count += 1) {
      const request = toSubscribe(`${index}:${count}`);
      subscriptions.asked(each, request);
      subscriptions.answered(each, request, true);
    }
  }
  const before = process.cpuUsage().user;
  for (const each of all) leave(each);
  expect(ended).toHaveLength(100_000);
  // Where each looks at all others for each of its own, it takes five seconds or more.
  expect(process.cpuUsage().user - before).toBeLessThan(2_000_000);
});
