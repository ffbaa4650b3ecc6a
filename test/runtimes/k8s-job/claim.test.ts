import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { Claim } from '../../../src/runtimes/k8s-job/claim.js';
import { JobRun } from '../../../src/runtimes/k8s-job/job-run.js';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { FakeClock } from '../../support/fake-clock.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { eventually } from '../../support/kubernetes/namespace.js';

test('a Job that is made after its creation was given up is deleted all the same', async () => {
  await using fake = await FakeApiServer.listen();
  const names = { job: 'mcp-late', lease: 'mcp-gateway-test', server: 'late' };
  let creation: ServerResponse | undefined;
  let isMade = false;
  fake.answer = ({ method, url = '' }, response) => {
    const isOfJob = url.includes('/jobs');
    if (isOfJob && method === 'POST') creation = response;
    else if (isOfJob && method === 'DELETE') {
      sendJson(response, isMade ? 200 : 404, {});
      isMade = false;
    } else if (url.includes('watch=')) response.writeHead(200).flushHeaders();
    else sendJson(response, 200, { metadata: { name: 'any', uid: 'any', resourceVersion: '1' }, items: [] });
  };
  const clock = new FakeClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig }, clock);
  const claim = new Claim(await clusters.open(), 'home', 'test', clock);
  const until = (what: string, condition: () => boolean) =>
    eventually(what, async () => condition() || undefined, 20_000);
  try {
    await claim.ready(new AbortController().signal);
    const run = new JobRun(claim, names, { namespace: 'home', image: 'image' }, clock);
    const created = Promise.allSettled([run.create({})]);
    await until('the creation', () => creation !== undefined);
    await clock.advance(30_000);
    expect(await created).toMatchObject([{ status: 'rejected', reason: { failure: 'unreachable' } }]);
    await run.remove();
    // The API server was slow, and nobody waits for its answer.
    isMade = true;
    await clock.advance(15_000);
    await until('its deletion', () => !isMade);
  } finally {
    await claim.close();
    await clusters.close();
  }
});
