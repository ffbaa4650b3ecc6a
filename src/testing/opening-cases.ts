import assert, { AssertionError } from 'node:assert/strict';
import { GatewayError } from '../errors.js';
import type { ContractCase, Scene } from './contract-case.js';
import { turns } from './guard.js';

const reason = new Error('the caller has had enough');

const first = (count: number) => Array.from({ length: count }, (_, number) => number);

/** Rules 1 to 3: `open()`, and what comes before `start()`. */
export const openingCases: readonly ContractCase[] = [
  {
    name: 'rule 1: open() with an aborted signal rejects with its reason and starts nothing',
    async run(scene) {
      const context = scene.context({ signal: AbortSignal.abort(reason) });
      await assert.rejects(scene.tryOpen(await scene.working(), context), isReason);
      await scene.openOneMore();
      assert(scene.beacon.seen <= 1, 'nothing is started');
    },
  },
  {
    name: 'rule 1: open() that is aborted at once rejects with the reason and leaves nothing',
    async run(scene) {
      const abort = new AbortController();
      const opening = scene.tryOpen(await scene.working(), scene.context({ signal: abort.signal }));
      abort.abort(reason);
      await assert.rejects(opening, isReason);
      await assertNothingLeft(scene);
    },
  },
  {
    name: 'rule 1: open() that is aborted when it reports its first phase rejects with the reason and leaves nothing',
    async run(scene) {
      const abort = new AbortController();
      const report = () => abort.abort(reason);
      const opening = scene.tryOpen(await scene.working(), scene.context({ signal: abort.signal, report }));
      const outcome = await opening.then(
        () => undefined,
        (error: unknown) => error,
      );
      // A runtime need not report anything.
      if (abort.signal.aborted) isReason(outcome);
      else assert.equal(outcome, undefined);
      for (const peer of scene.peers) await peer.close();
      await assertNothingLeft(scene);
    },
  },
  ...[1, 2, 3, 5, 8, 13].map(
    (count): ContractCase => ({
      name: `rule 1: open() that is aborted after ${count} turns of the event loop rejects with the reason, or works`,
      async run(scene) {
        const abort = new AbortController();
        const opening = openOrReason(scene, abort.signal);
        await turns(count);
        abort.abort(reason);
        await opening;
        await assertNothingLeft(scene);
      },
    }),
  ),
  {
    name: 'rule 1: open() that is aborted when the server runs rejects with the reason, or works',
    async run(scene) {
      const abort = new AbortController();
      const opening = openOrReason(scene, abort.signal);
      await Promise.race([scene.beacon.lit(), opening]);
      abort.abort(reason);
      await opening;
      await assertNothingLeft(scene);
    },
  },
  {
    name: 'rule 1: an abort after open() changes nothing',
    async run(scene) {
      const abort = new AbortController();
      const peer = await scene.open('answer', { signal: abort.signal });
      abort.abort(reason);
      await peer.begin();
      assert.equal(await peer.call('echo', { text: 'still there' }), 'still there');
      assert.deepEqual(peer.errors, []);
    },
  },
  {
    name: 'rule 1: open() of a server that cannot start rejects with START_FAILED and names the entry',
    async run(scene) {
      const error = await scene.tryOpen(await scene.broken(), scene.context({ server: 'orders' })).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      assert(GatewayError.is(error), `open() rejects with a GatewayError, not ${String(error)}`);
      assert.equal(error.code, 'START_FAILED');
      assert.equal(error.server, 'orders');
      assert.match(error.message, /"orders"/);
    },
  },
  {
    name: 'rule 1: a factory works after an open() that failed',
    async run(scene) {
      await assert.rejects(scene.tryOpen(await scene.broken(), scene.context()), GatewayError.is);
      const peer = await scene.started();
      assert.equal(await peer.call('echo', { text: 'fine' }), 'fine');
    },
  },
  {
    name: 'rule 2: open() returns a transport that nobody has started',
    needs: 'starts',
    async run(scene) {
      const peer = await scene.open('early');
      await scene.beacon.sent();
      await turns(10);
      assert.deepEqual(peer.log, [], 'no callback is called before start()');
      await peer.begin();
      assert.equal(await peer.call('echo', { text: 'begun' }), 'begun');
      assert.equal(peer.numbers.length, 100, 'nothing was delivered before there was somebody to take it');
    },
  },
  {
    name: 'rule 2: send() before start() settles, and harms nothing',
    async run(scene) {
      const peer = await scene.open();
      const outcome = await peer.notify(0);
      if (outcome.status === 'rejected') assert(GatewayError.is(outcome.reason), String(outcome.reason));
      await peer.begin();
      assert.equal(await peer.call('seen'), outcome.status === 'fulfilled' ? '[0]' : '[]');
    },
  },
  {
    name: 'rule 2: start() of a transport that was closed settles, and onclose does not fire again',
    async run(scene) {
      const peer = await scene.open();
      await peer.close();
      await peer.closed();
      await peer.start().catch(unlessLate);
    },
  },
  {
    name: 'rule 3: messages that came before start() are delivered in order',
    needs: 'starts',
    async run(scene) {
      const peer = await scene.open('early');
      await scene.beacon.sent();
      await peer.begin();
      await peer.call('echo', { text: 'after them' });
      assert.deepEqual(peer.numbers, first(100));
      assert('result' in (peer.messages.at(-1) ?? {}), 'the answer comes after what was sent before it');
    },
  },
  {
    name: 'rule 3: what a server said before it ended is delivered by a start() that comes later',
    needs: 'starts',
    async run(scene) {
      const peer = await openOrFail(scene, 'early-exit');
      if (peer === undefined) return;
      await scene.beacon.sent();
      await turns(10);
      assert.deepEqual(peer.log, [], 'no callback is called before start()');
      await peer.start().catch(unlessLate);
      await peer.ended();
      assert.deepEqual(peer.numbers, first(3));
      assert.deepEqual(peer.log, ['message', 'message', 'message', 'reason', 'close']);
    },
  },
];

/** Opens a server that ends by itself: a runtime may find that out in `open` already. */
export async function openOrFail(scene: Scene, mode: 'exit' | 'early-exit') {
  return scene.open(mode).catch((error: unknown) => {
    assert(GatewayError.is(error), `open() rejects with a GatewayError, not ${String(error)}`);
    assert.equal(error.code, 'START_FAILED');
    return undefined;
  });
}

/** Lets a `start()` reject, but not hang. */
function unlessLate(error: unknown): void {
  if (error instanceof AssertionError) throw error;
}

function isReason(error: unknown): true {
  assert.equal(error, reason, 'open() rejects with signal.reason');
  return true;
}

function openOrReason(scene: Scene, signal: AbortSignal): Promise<void> {
  const opening = openAndUse(scene, signal);
  // It may fail before the case comes to wait for it.
  opening.catch(() => {});
  return opening;
}

async function openAndUse(scene: Scene, signal: AbortSignal): Promise<void> {
  try {
    const peer = await scene.tryOpen(await scene.working(), scene.context({ signal }));
    await peer.begin();
    assert.equal(await peer.call('echo', { text: 'open' }), 'open', 'an open() that resolved has opened something');
    await peer.close();
    await peer.closed();
  } catch (error) {
    if (error !== reason) throw error;
  }
}

async function assertNothingLeft(scene: Scene): Promise<void> {
  await scene.openOneMore();
  await scene.beacon.assertDark('by an open() that was aborted');
}
