import { expect, test } from 'vitest';
import { eitherSignal } from '../../src/util/abort.js';
import { setUp } from '../endpoint/setup.js';
import { recordAnySignals } from '../support/any-signals.js';

test.each([0, 1])('either of two signals ends it, with its reason, also one that is aborted before: %i', (which) => {
  const both = [new AbortController(), new AbortController()] as const;
  const make = () => eitherSignal(both[0].signal, both[1].signal);
  const [released, later] = [make(), make()];
  released.release();
  both[which]?.abort('enough');
  expect([released, later, make()].map(({ signal }) => signal.reason)).toEqual([undefined, 'enough', 'enough']);
});

test('starts and checks keep nothing in signals that live as long as the gateway, or the host', async () => {
  const sources = recordAnySignals();
  await using t = setUp({ a: {} });
  const { signal } = new AbortController();
  for (let turn = 0; turn < 2; turn += 1) {
    await t.gateway.check('a', { signal });
    const transport = t.gateway.connect('a');
    await transport.start();
    await transport.close();
    await t.gateway.start('a');
    await t.gateway.stop('a');
  }
  expect(sources.length).toBeGreaterThan(0);
  // One that lives long is given each time.
  expect(new Set(sources).size).toBe(sources.length);
  expect(sources).not.toContain(signal);
});
