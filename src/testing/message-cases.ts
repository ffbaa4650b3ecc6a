import assert from 'node:assert/strict';
import type { ContractCase } from './contract-case.js';

const first = (count: number) => Array.from({ length: count }, (_, number) => number);

/** Messages arrive as they were sent: all of them, in order, unchanged. */
export const messageCases: readonly ContractCase[] = [
  {
    name: 'messages: unknown fields, odd characters and deep values arrive unchanged',
    async run(scene) {
      const peer = await scene.started();
      const params = JSON.parse(
        '{"_meta":{"x/y":[null,true,-0.5,1e300,9007199254740991]},"lines":"a\\nb\\r\\nc\\u2028d\\u0000e",' +
          '"text":"äß€😀\\ud800","constructor":{"prototype":{}},"__proto__":{"own":1},"deep":[[[[[[{}]]]]]],"":""}',
      );
      const answer = await peer.request('reference/mirror', params);
      assert('result' in answer);
      assert.equal(JSON.stringify(answer.result), JSON.stringify({ params }));
    },
  },
  {
    name: 'messages: an error of the server arrives unchanged',
    async run(scene) {
      const peer = await scene.started();
      const answer = await peer.request('server/discover');
      assert('error' in answer);
      assert.deepEqual(answer.error, { code: -32601, message: 'no such thing: server/discover' });
    },
  },
  {
    name: 'messages: 4 MiB arrive in either direction',
    async run(scene) {
      const peer = await scene.started();
      const text = 'ä€😀_'.repeat(400_000);
      assert((await peer.call('echo', { text })) === text, 'the text comes back as it was');
    },
  },
  {
    name: 'messages: 5000 small ones arrive in order from the server',
    async run(scene) {
      const peer = await scene.started();
      await peer.call('notify', { count: 5000 });
      assert.deepEqual(peer.numbers, first(5000));
    },
  },
  {
    name: 'messages: 5000 small ones arrive in order at the server',
    async run(scene) {
      const peer = await scene.started();
      const sends = first(5000).map((number) => peer.notify(number));
      const [seen, ...outcomes] = await Promise.all([peer.call('seen'), ...sends]);
      assert.deepEqual(JSON.parse(seen), first(5000));
      assert(outcomes.every(({ status }) => status === 'fulfilled'));
    },
  },
  {
    name: 'messages: 200 requests at once get an answer each',
    async run(scene) {
      const peer = await scene.started();
      const texts = first(200).map((number) => `text ${number}`);
      assert.deepEqual(await Promise.all(texts.map((text) => peer.call('echo', { text }))), texts);
    },
  },
  {
    name: 'messages: characters that are split between reads arrive whole',
    async run(scene) {
      const peer = await scene.started();
      assert.equal(await peer.call('split', { text: 'ä€😀' }), 'ä€😀');
    },
  },
  {
    name: 'messages: output that is no message is skipped',
    async run(scene) {
      const peer = await scene.started('noisy');
      assert.equal(await peer.call('noise'), 'after the noise');
      assert.equal(await peer.call('echo', { text: 'next' }), 'next');
      assert.equal(peer.messages.length, 2);
    },
  },
  {
    name: 'messages: the server can ask the client',
    async run(scene) {
      const peer = await scene.started();
      peer.answerRequests({ roots: [{ uri: 'file:///here' }] });
      assert.equal(await peer.call('ask'), '{"roots":[{"uri":"file:///here"}]}');
    },
  },
  {
    name: 'messages: an onmessage that throws harms neither the transport nor the process',
    async run(scene) {
      const peer = await scene.started();
      const { onmessage } = peer.transport;
      peer.transport.onmessage = (message) => {
        onmessage?.(message);
        throw new Error('a mistake of the host');
      };
      assert.equal(await peer.call('echo', { text: 'one' }), 'one');
      assert.equal(await peer.call('echo', { text: 'two' }), 'two');
      assert.equal(peer.closes, 0);
    },
  },
];
