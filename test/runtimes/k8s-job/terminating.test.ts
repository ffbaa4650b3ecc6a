import { expect, test } from 'vitest';
import { systemClock } from '../../../src/options.js';
import { Claim } from '../../../src/runtimes/k8s-job/claim.js';
import { JobRun } from '../../../src/runtimes/k8s-job/job-run.js';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { FakeClock } from '../../support/fake-clock.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';

const ended = { containerStatuses: [{ name: 'mcp', state: { terminated: { exitCode: 0 } } }] };
const sidecar = (state: object) => ({ ...ended, initContainerStatuses: [{ name: 'proxy', state }] });

test.each<[string, object, object, boolean]>([
  ['that no node has taken', {}, {}, true],
  ['of a node', { nodeName: 'node' }, {}, false],
  ['whose server has ended before its sidecar', { nodeName: 'node' }, sidecar({ running: {} }), false],
  [
    'whose server has ended, and then its sidecar',
    { nodeName: 'node' },
    sidecar({ terminated: { exitCode: 0 } }),
    true,
  ],
])(
  'a pod %s, and that a finalizer keeps from going, is waited for only where it may run',
  async (_, spec, status, isGone) => {
    await using fake = await FakeApiServer.listen();
    const metadata = { name: 'mcp-held-1', uid: 'pod', deletionTimestamp: '2026-01-01T00:00:00Z' };
    fake.answer = ({ method, url = '' }, response) => {
      if (url.includes('watch=')) response.writeHead(200).flushHeaders();
      else if (method === 'GET' && url.includes('/pods')) {
        const labels = { 'open-mcp-gateway/job': 'mcp-held' };
        const pod = { metadata: { ...metadata, labels }, spec, status: { phase: 'Pending', ...status } };
        sendJson(response, 200, { metadata: { resourceVersion: '1' }, items: [pod] });
      } else sendJson(response, 200, { metadata: { name: 'any', uid: 'any' } });
    };
    const clock = isGone ? systemClock : new FakeClock();
    const clusters = new Clusters({ kubeconfig: fake.kubeconfig });
    const claim = new Claim(await clusters.open(), 'home', 'test', systemClock);
    try {
      const names = { job: 'mcp-held', lease: 'mcp-gateway-test', server: 'held' };
      const run = new JobRun(claim, names, { namespace: 'home', image: 'image' }, clock);
      await run.create({});
      await run.until((pods) => pods.length > 0 || undefined);
      let isOver = false;
      const outcome = run
        .remove()
        .catch((error: Error) => error.message)
        .finally(() => {
          isOver = true;
        });
      while (clock instanceof FakeClock && !isOver) {
        await clock.advance(1_000);
      }
      const text = 'the pod mcp-held-1 still runs 120 s after its Job was deleted';
      expect(await outcome).toEqual(isGone ? undefined : expect.stringContaining(text));
    } finally {
      await clusters.close();
    }
  },
);
