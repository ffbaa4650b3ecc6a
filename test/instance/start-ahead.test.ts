import { describe, expect, test } from 'vitest';
import type { Script } from '../endpoint/scripted-server.js';
import { setUp } from '../endpoint/setup.js';
import { settle } from '../support/fake-clock.js';

const script: Script = { tools: [{ name: 'x' }] };
const call = ['tools/call', { name: 'a__x' }] as const;

describe('a server that was started ahead', () => {
  test.each(['caller', 'shared'])('serves the next connection of the merged peer, isolation: %s', async (isolation) => {
    await using t = setUp({ a: script }, { entry: { isolation } });
    await t.gateway.start('a');
    await using caller = await t.caller();
    await caller.result(...call);
    expect(t.server('a').opens).toBe(1);
  });

  test('serves the next raw connection, and no second one', async () => {
    await using t = setUp({ a: script });
    await t.gateway.start('a');
    await t.gateway.connect('a').start();
    expect(t.server('a').opens).toBe(1);
    await t.gateway.connect('a').start();
    expect(t.server('a').opens).toBe(2);
  });

  test.each([{ id: 'ada' }, { principal: 'ada' }, { authInfo: { token: 't' } }, { data: 1 }])(
    'is not for a caller of whom the host has said something: %o',
    async (caller) => {
      await using t = setUp({ a: script });
      await t.gateway.start('a');
      await using peer = await t.caller({}, { caller });
      await peer.result(...call);
      expect(t.server('a').opens).toBe(2);
    },
  );

  test('rests when nobody has come for idle_timeout, and leaves no timer when somebody has', async () => {
    await using t = setUp({ a: script }, { entry: { idle_timeout: '1m', health: { interval: 0 } } });
    await t.gateway.start('a');
    expect(t.clock.waiting).toBe(1);
    await t.clock.advance(60_000);
    expect(t.gateway.status('a').phase).toBe('idle');
    await t.gateway.start('a');
    const transport = t.gateway.connect('a');
    await transport.start();
    expect(t.clock.waiting).toBe(0);
    await t.clock.advance(120_000);
    expect(t.server('a').live).toHaveLength(1);
  });

  test('does not rest in the hands of the next one, whenever the one before has given up', async () => {
    for (let turns = 0; turns < 60; turns += 1) {
      const opening = Promise.withResolvers<void>();
      await using t = setUp(
        { a: { ...script, open: () => opening.promise } },
        { entry: { idle_timeout: '1m', health: { interval: 0 } } },
      );
      const starting = t.gateway.start('a');
      await using impatient = await t.caller();
      await impatient.send({ id: 1, method: call[0], params: call[1] });
      await settle();
      opening.resolve();
      for (let turn = 0; turn < turns; turn += 1) {
        await Promise.resolve();
      }
      await impatient.transport.close();
      await starting;
      await t.gateway.connect('a').start();
      expect(t.clock.waiting, `after ${turns} turns`).toBe(0);
      await t.clock.advance(120_000);
      expect(t.server('a').live, `after ${turns} turns`).toHaveLength(1);
    }
  });

  test('leaves no timer when it is stopped, or the gateway closed', async () => {
    await using t = setUp({ a: script });
    await t.gateway.start('a');
    await t.gateway.stop('a');
    expect(t.clock.waiting).toBe(0);
    await t.gateway.start('a');
    await t.gateway.close();
    await settle();
    expect(t.clock.waiting).toBe(0);
  });
});
