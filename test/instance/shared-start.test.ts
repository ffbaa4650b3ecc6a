import { expect, test } from 'vitest';
import { hold, type Script } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import { settle } from '../support/fake-clock.js';

const call = ['tools/call', { name: 'a__x' }] as const;

/** A shared server whose first start waits until the test lets it happen. */
function setUpSlow(outcome: () => void) {
  const gate = Promise.withResolvers<void>();
  const open = async (_: unknown, opens: number) => {
    if (opens === 1) {
      await gate.promise;
      outcome();
    }
  };
  const t = setUp({ a: { tools: [{ name: 'x' }], open } }, { entry: { isolation: 'shared', idle_timeout: '1m' } });
  return { t, start: gate.resolve };
}

test('a shared server whose only caller leaves while it starts is the one that the next caller gets', async () => {
  const { t, start } = setUpSlow(() => {});
  await using _ = t;
  const impatient = await t.caller();
  void impatient.request(...call);
  await settle();
  await impatient[Symbol.asyncDispose]();
  await using next = await t.caller();
  const answer = next.result(...call);
  await settle();
  start();
  await answer;
  expect(t.server('a').opens).toBe(1);
  expect(t.gateway.status('a').instances).toHaveLength(1);
});

test('what is refused on a connection to a shared server names the server', async () => {
  await using t = setUp({ a: {} }, { entry: { isolation: 'shared' } });
  const transport = t.gateway.connect('a');
  const ask = () => transport.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
  await expect(ask()).rejects.toMatchObject({ code: 'TRANSPORT_NOT_STARTED', server: 'a', delivered: false });
  await transport.start();
  await expect(transport.start()).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED', server: 'a' });
  const asked = ask();
  await expect(ask()).rejects.toMatchObject({ code: 'MESSAGE_INVALID', server: 'a', delivered: false });
  await asked;
  await transport.close();
  await expect(ask()).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED', server: 'a', delivered: false });
});

test('one that nobody came back for rests when it has been idle', async () => {
  const { t, start } = setUpSlow(() => {});
  await using _ = t;
  const impatient = await t.caller();
  void impatient.request(...call);
  await settle();
  await impatient[Symbol.asyncDispose]();
  start();
  await settle();
  expect(t.server('a').live).toHaveLength(1);
  await t.clock.advance(60_000);
  expect(t.server('a').live).toEqual([]);
  expect(t.clock.waiting).toBe(0);
});

test('one whose start fails meanwhile leaves nothing, and the next caller gets another', async () => {
  const { t, start } = setUpSlow(() => {
    throw new Error('out of order');
  });
  await using _ = t;
  const impatient = await t.caller();
  void impatient.request(...call);
  await settle();
  await impatient[Symbol.asyncDispose]();
  start();
  await settle();
  expect(t.gateway.status('a').phase).toBe('failed');
  await using next = await t.caller();
  const answer = next.result(...call);
  await t.clock.advance(2_000);
  await answer;
  expect(t.server('a').opens).toBe(2);
});

test('one whose handshake fails meanwhile is waited for until it has ended', async () => {
  const script: Script = { tools: [{ name: 'x' }], on: { initialize: () => hold } };
  const entry = { isolation: 'shared', protocol: 'legacy', start_timeout: '1s' };
  await using t = setUp({ a: script }, { entry, random: () => 0 });
  const impatient = await t.caller();
  void impatient.request(...call);
  const { instance } = await t.server('a').request('initialize');
  const ended = Promise.withResolvers<void>();
  const close = instance.close.bind(instance);
  instance.close = () => ended.promise.then(close);
  await impatient[Symbol.asyncDispose]();
  await t.clock.advance(1_000);
  delete script.on;
  await using next = await t.caller();
  const answer = next.result(...call);
  await t.clock.advance(800);
  const { opens } = t.server('a');
  ended.resolve();
  await answer;
  expect([opens, t.server('a').opens]).toEqual([1, 2]);
});
