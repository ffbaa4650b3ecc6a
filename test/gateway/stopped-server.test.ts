import { describe, expect, test } from 'vitest';
import type { ServerConnectOptions } from '../../src/gateway-api.js';
import type { Script } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { settle } from '../support/fake-clock.js';

const script: Script = { tools: [{ name: 'x' }] };
const envelope = {
  _meta: {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
  },
};
// More than lie between a stop and the end of all that was connected.
const mostTurns = 40;

async function callDuringStop(isolation: string, era: ServerConnectOptions['era'], turns: number) {
  await using t = setUp({ a: script }, { entry: { isolation } });
  const params = { name: 'x', ...(era === 'modern' && envelope) };
  const caller = new TestCaller(t.gateway.connect('a', { era, caller: { id: 'ada' } }));
  await caller.transport.start();
  if (era !== 'modern') {
    await caller.initialize();
  }
  await caller.result('tools/call', params);
  const stopping = t.gateway.stop('a');
  for (let turn = 0; turn < turns; turn += 1) {
    await Promise.resolve();
  }
  // Refused when the connection has ended.
  const refusal = await caller.send({ id: 'late', method: 'tools/call', params }).then(
    () => undefined,
    (error: { delivered: unknown }) => error.delivered,
  );
  await stopping;
  await settle();
  const answer = caller.answers('late')[0] as { error?: { data: { delivered: unknown } } } | undefined;
  const [first, second] = t.server('a').instances.flatMap((instance) => instance.requests('tools/call'));
  expect(first).toBeDefined();
  expect(t.server('a').opens).toBe(1);
  return { turns, isSeen: second !== undefined, delivered: refusal ?? answer?.error?.data.delivered };
}

const connections = ['caller', 'shared'].flatMap((isolation) =>
  ([undefined, 'legacy', 'modern'] as const).map((era) => ({ isolation, era })),
);

describe.each(connections)('%o', ({ isolation, era }) => {
  test('a call in whatever moment of a stop that its server does not get is told so', async () => {
    const calls = await Promise.all(
      Array.from({ length: mostTurns }, (_, turns) => callDuringStop(isolation, era, turns)),
    );
    expect(calls.filter(({ isSeen, delivered }) => !isSeen && delivered !== false)).toEqual([]);
  });
});
