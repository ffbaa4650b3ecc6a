import assert from 'node:assert/strict';
import { GatewayError } from '../errors.js';
import type { ContractCase } from './contract-case.js';
import { turns, within } from './guard.js';
import { openOrFail } from './opening-cases.js';

/** Rules 4 to 6: how a transport ends. */
export const closingCases: readonly ContractCase[] = [
  {
    name: 'rule 4: close() fires onclose once',
    async run(scene) {
      const peer = await scene.started();
      await peer.call('echo', { text: 'in use' });
      await peer.close();
      await peer.closed();
    },
  },
  {
    name: 'rule 4: close() before start() fires onclose once',
    async run(scene) {
      const peer = await scene.open('early');
      await scene.beacon.sent();
      await peer.close();
      await peer.closed();
      assert.deepEqual(peer.numbers, [], 'nothing is delivered by close()');
    },
  },
  {
    name: 'rule 4: onclose fires once when the server ends by itself, and again is closed',
    async run(scene) {
      const peer = await scene.started();
      await peer.tell('crash', { code: 7 });
      await peer.closed();
      await peer.close();
    },
  },
  {
    name: 'rule 4: onclose fires once when the server ends while it is closed',
    async run(scene) {
      const peer = await scene.started();
      await Promise.all([peer.tell('crash', { code: 7 }), peer.close()]);
      await peer.closed();
    },
  },
  {
    name: 'rule 4: when onclose fires after close(), the server is gone',
    async run(scene) {
      const peer = await scene.started();
      await peer.call('echo', { text: 'in use' });
      await scene.beacon.lit();
      const { onclose } = peer.transport;
      const dark = new Promise<void>((resolve, reject) => {
        peer.transport.onclose = () => {
          onclose?.();
          scene.beacon.assertDark('when onclose fires').then(resolve, reject);
        };
      });
      dark.catch(() => {});
      await peer.close();
      await within(dark, scene.guardMs, 'onclose');
    },
  },
  {
    name: 'rule 4: when close() has settled, the server is gone',
    async run(scene) {
      const peer = await scene.started();
      await peer.call('echo', { text: 'in use' });
      await scene.beacon.lit();
      await peer.close();
      await scene.beacon.assertDark('after close()');
    },
  },
  {
    name: 'rule 4: nothing is delivered after onclose',
    async run(scene) {
      const peer = await scene.started();
      await peer.tell('notify', { count: 1000 });
      await peer.until('a first message', () => peer.messages.length > 0);
      await peer.close();
      await peer.closed();
      await turns();
      assert.equal(peer.log.at(-1), 'close');
    },
  },
  {
    name: 'rule 5: the reason comes through onerror before onclose',
    async run(scene) {
      const peer = await scene.started('answer', { server: 'orders' });
      await peer.tell('crash', { code: 7 });
      const reason = await peer.ended();
      assert.deepEqual(peer.log.slice(-2), ['reason', 'close']);
      assert.equal(reason.server, 'orders');
      assert.match(reason.message, /"orders"/);
      assert.equal(typeof reason.exit?.stderrTail, 'string');
    },
  },
  {
    name: 'rule 5: the reason comes when a server ends before it has answered anything',
    needs: 'starts',
    async run(scene) {
      const peer = await openOrFail(scene, 'exit');
      if (peer === undefined) return;
      await peer.start().catch((error: unknown) => assert(GatewayError.is(error), String(error)));
      await peer.ended();
      assert.deepEqual(peer.log, ['reason', 'close']);
    },
  },
  {
    name: 'rule 5: the reason holds the exit code',
    needs: 'exit',
    async run(scene) {
      const peer = await scene.started();
      await peer.tell('crash', { code: 7 });
      assert.equal((await peer.ended()).exit?.code, 7);
    },
  },
  {
    name: 'rule 5: the reason holds the signal',
    needs: 'exit',
    async run(scene) {
      const peer = await scene.started();
      await peer.tell('crash', { signal: 'SIGKILL' });
      const { exit } = await peer.ended();
      // A container's end by a signal is an exit code of 128 and the signal's number; Windows knows no signals.
      assert(exit?.signal === 'SIGKILL' || exit?.code === 137 || process.platform === 'win32', JSON.stringify(exit));
    },
  },
  {
    name: 'rule 5: the reason holds the end of stderr, and no more of it than the limit',
    needs: 'stderr',
    async run(scene) {
      const limits = { maxMessageBytes: 1024 * 1024, stderrTailBytes: 4096 };
      const peer = await scene.started('answer', { limits });
      await peer.call('stderr', { text: 'a line of no interest\n', times: 50_000 });
      await peer.tell('crash', { code: 7, stderr: 'out of cheese\n' });
      const tail = (await peer.ended()).exit?.stderrTail ?? '';
      assert.match(tail, /out of cheese\s*$/);
      assert(Buffer.byteLength(tail) <= limits.stderrTailBytes, `${Buffer.byteLength(tail)} bytes`);
    },
  },
  {
    name: 'rule 5: a close() that was asked for has no reason to tell',
    async run(scene) {
      const peer = await scene.started();
      await peer.call('echo', { text: 'in use' });
      await peer.close();
      await peer.closed();
      assert.equal(peer.reason, undefined);
    },
  },
  {
    name: 'rule 6: close() may be called twice',
    async run(scene) {
      const peer = await scene.started();
      await peer.close();
      await peer.close();
    },
  },
  {
    name: 'rule 6: close() may be called three times at once',
    async run(scene) {
      const peer = await scene.started();
      await Promise.all([peer.close(), peer.close(), peer.close()]);
    },
  },
  {
    name: 'rule 6: close() may be called by onmessage, onerror and onclose',
    async run(scene) {
      const peer = await scene.started();
      const { transport } = peer;
      const { onmessage, onerror, onclose } = transport;
      const closing: Promise<void>[] = [];
      // Bounded: a transport that fires onclose with every close() would go on for ever.
      let left = 5;
      const close = () => left-- > 0 && closing.push(peer.close());
      transport.onmessage = (message) => {
        onmessage?.(message);
        close();
      };
      transport.onerror = (error) => {
        onerror?.(error);
        close();
      };
      transport.onclose = () => {
        onclose?.();
        close();
      };
      await peer.tell('answer-and-end', { bytes: 1 });
      await peer.closed();
      await Promise.all(closing);
      assert(closing.length >= 2, 'onmessage and onclose were called');
    },
  },
  {
    name: 'rule 6: close() of a server that is gone is a success',
    async run(scene) {
      const peer = await scene.started();
      await peer.tell('crash', { code: 7 });
      await peer.closed();
      await peer.close();
      await peer.close();
    },
  },
];
