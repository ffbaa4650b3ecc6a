import assert from 'node:assert/strict';
import { GatewayError } from '../errors.js';
import type { ContractCase } from './contract-case.js';
import { within } from './guard.js';
import type { Peer } from './peer.js';

const text = (bytes: number) => 'x'.repeat(bytes);

/** More than pipes and buffers on the way take in while nobody reads. */
const manyLarge = { count: 64, bytes: 256 * 1024 };

/** Rules 7 and 8: `send()` settles, whatever happens to the server. */
export const sendingCases: readonly ContractCase[] = [
  {
    name: 'rule 7: every send() settles when the server stops reading and then dies',
    async run(scene) {
      const peer = await scene.started();
      await peer.call('deaf', { ms: 300 });
      const outcomes = await Promise.all(sendMany(peer));
      assertTyped(outcomes);
      await peer.ended();
    },
  },
  {
    name: 'rule 7: every send() settles when the transport is closed while the server does not read',
    async run(scene) {
      const peer = await scene.started();
      await peer.call('deaf');
      const sends = sendMany(peer);
      await peer.close();
      assertTyped(await Promise.all(sends));
    },
  },
  {
    name: 'rule 7: send() after close() rejects',
    async run(scene) {
      const peer = await scene.started();
      await peer.close();
      const outcome = await peer.notify(0);
      assert(outcome.status === 'rejected', 'send() rejects');
      assert(GatewayError.is(outcome.reason), String(outcome.reason));
      assert.equal(outcome.reason.code, 'TRANSPORT_CLOSED');
    },
  },
  {
    name: 'rule 7: send() after the end of the server rejects',
    async run(scene) {
      const peer = await scene.started();
      await peer.tell('crash', { code: 7 });
      await peer.closed();
      const outcome = await peer.notify(0);
      assert(outcome.status === 'rejected', 'send() rejects');
      assert(GatewayError.is(outcome.reason), String(outcome.reason));
    },
  },
  {
    name: 'rule 7: send() of what is no JSON rejects, and harms nothing',
    async run(scene) {
      const peer = await scene.started();
      const params = { number: 1n };
      const outcome = await peer.send({ jsonrpc: '2.0', method: 'notifications/reference', params });
      assert.equal(outcome.status, 'rejected');
      assert.equal(await peer.call('seen'), '[]');
    },
  },
  {
    name: 'rule 8: a crash settles 200 sends that wait',
    async run(scene) {
      const peer = await scene.started();
      // The sends fill the way to the server before it gets to its crash.
      const crash = peer.tell('crash', { code: 7 });
      const sends = Array.from({ length: 200 }, () => peer.tell('echo', { text: text(64 * 1024) }));
      assertTyped(await Promise.all([crash, ...sends]));
      await peer.ended();
    },
  },
  {
    name: 'rule 8: a crash with requests in flight ends the transport',
    async run(scene) {
      const peer = await scene.started();
      const sends = Array.from({ length: 20 }, () => peer.tell('never'));
      const crash = peer.tell('crash', { code: 7 });
      assertTyped(await Promise.all([...sends, crash]));
      await peer.ended();
      assert.equal(peer.messages.length, 0, 'nothing is made up');
    },
  },
  {
    name: 'rule 8: a crash in the middle of a message delivers no half of it',
    async run(scene) {
      const peer = await scene.started();
      await peer.call('notify', { count: 2 });
      await peer.tell('crash', { code: 7, partial: true });
      await peer.ended();
      assert.deepEqual(peer.numbers, [0, 1]);
    },
  },
  {
    name: 'rule 8: what a server said before it crashed is delivered before its end',
    async run(scene) {
      const peer = await scene.started();
      const bytes = 1024 * 1024;
      assert.equal((await peer.call('answer-and-end', { bytes })).length, bytes);
      await peer.ended();
      assert.deepEqual(peer.log, ['message', 'reason', 'close']);
    },
  },
  {
    name: 'rule 8: a crash makes health() reject',
    async run(scene) {
      const peer = await scene.started();
      const signal = new AbortController().signal;
      await within(health(peer, signal), scene.guardMs, 'health()');
      const asked = Promise.allSettled([peer.tell('crash', { code: 7 }), health(peer, signal)]);
      await within(asked, scene.guardMs, 'health() during a crash');
      await peer.closed();
      if (peer.transport.health === undefined) return;
      await assert.rejects(within(health(peer, signal), scene.guardMs, 'health()'), GatewayError.is);
    },
  },
];

async function health({ transport }: Peer, signal: AbortSignal): Promise<void> {
  await transport.health?.(signal);
}

function sendMany(peer: Peer): Promise<PromiseSettledResult<void>>[] {
  const large = text(manyLarge.bytes);
  return Array.from({ length: manyLarge.count }, () => peer.tell('echo', { text: large }));
}

function assertTyped(outcomes: readonly PromiseSettledResult<void>[]): void {
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') {
      assert(GatewayError.is(outcome.reason), `send() rejects with a GatewayError, not ${String(outcome.reason)}`);
    }
  }
}
