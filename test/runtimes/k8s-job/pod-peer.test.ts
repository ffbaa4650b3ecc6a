import { PassThrough } from 'node:stream';
import { expect, test, vi } from 'vitest';
import type { JobRun } from '../../../src/runtimes/k8s-job/job-run.js';
import { PodPeer } from '../../../src/runtimes/k8s-job/pod-peer.js';
import { FakeClock } from '../../support/fake-clock.js';
import { eventually } from '../../support/kubernetes/namespace.js';

const pod = { metadata: { name: 'mcp-busy-1', uid: 'pod' } };
const killed = { ...pod, status: { containerStatuses: [{ name: 'mcp', state: { terminated: { exitCode: 137 } } }] } };

test.each([
  ['20 s later: its code', 20_000, { code: 137 }],
  ['not for 40 s: connection-lost', 40_000, { reason: 'connection-lost' }],
])('of a container whose streams have ended, and whose node says how %s', async (_, saidAfterMs, exit) => {
  const clock = new FakeClock();
  const run = {
    names: { job: 'mcp-busy', lease: 'mcp-gateway-test', server: 'busy' },
    // The news of the pods: that it has ended, late.
    until: (judge: (pods: readonly unknown[]) => unknown) =>
      new Promise((resolve) => clock.setTimeout(() => resolve(judge([killed])), saidAfterMs)),
    logEnd: async () => '',
  };
  const ended = () => new PassThrough().end();
  const socket = {
    protocol: 'v5.channel.k8s.io',
    closed: Promise.resolve(undefined),
    close: async () => {},
    readable: ended,
    writable: () => new PassThrough(),
  };
  const early = { messages: Buffer.alloc(0), others: '', attached: Buffer.alloc(0) };
  const peer = new PodPeer({ run: run as unknown as JobRun, pod, socket, early, clock, stderrTailBytes: 1024 });
  const onExit = vi.fn();
  void peer.exited.then(onExit);
  await eventually('the end', async () => {
    await clock.advance(1_000);
    return onExit.mock.calls.length > 0 || undefined;
  });
  expect(onExit).toHaveBeenCalledWith(expect.objectContaining(exit));
});
