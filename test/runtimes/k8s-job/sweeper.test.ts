import { expect, test } from 'vitest';
import { Sweeper } from '../../../src/runtimes/k8s-job/sweeper.js';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { FakeClock } from '../../support/fake-clock.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';
import { eventually } from '../../support/kubernetes/namespace.js';

const everyMs = 20_000;

/** Goes on while nothing runs, when its machine sleeps. */
class SleepyClock extends FakeClock {
  slept = 0;

  override now(): number {
    return super.now() + this.slept;
  }
}

/** Two gateways of long ago, each with a Lease and a Job, and one that lives. */
async function sweep() {
  const fake = await FakeApiServer.listen();
  const clock = new SleepyClock();
  const clusters = new Clusters({ kubeconfig: fake.kubeconfig });
  const sweeper = new Sweeper(await clusters.open(), 'home', 'own', clock);
  const names = ['one', 'two', 'living', 'own'];
  const left = {
    leases: new Map(names.map((name) => [name, { name, uid: `lease-${name}`, resourceVersion: '1' }])),
    jobs: new Map(
      names.map((name) => [`job-${name}`, { name: `job-${name}`, uid: `job-${name}`, labels: labelsOf(name) }]),
    ),
  };
  /** What the API server answers instead, once. */
  const failures = new Map<string, number>();
  let sleepInLookMs = 0;
  fake.answer = ({ method, url = '' }, response) => {
    const kind = url.includes('/leases') ? 'leases' : 'jobs';
    const name = new URL(url, 'http://api').pathname.split('/').at(-1) ?? '';
    const status = failures.get(`${method} ${name}`);
    failures.delete(`${method} ${name}`);
    if (status !== undefined) return sendJson(response, status, { message: 'not now' });
    if (kind === 'leases' && method === 'GET') {
      clock.slept += sleepInLookMs;
      sleepInLookMs = 0;
    }
    if (method === 'DELETE') return sendJson(response, left[kind].delete(name) ? 200 : 404, {});
    const items = [...left[kind].values()].map((metadata) => ({ metadata }));
    sendJson(response, 200, { metadata: {}, items });
  };
  // It waits for the next one.
  const endOfLook = () => eventually('the end of a look', async () => clock.waiting === 1 || undefined);
  sweeper.start();
  await endOfLook();
  return {
    left: () => [...left.leases.keys(), ...left.jobs.keys()].filter((name) => !/living|own/.test(name)),
    lives: () => left.leases.has('living') && left.jobs.has('job-living'),
    failures,
    sleep: (ms: number) => {
      clock.slept += ms;
    },
    sleepInLook: (ms: number) => {
      sleepInLookMs = ms;
    },
    async look() {
      const lease = left.leases.get('living');
      if (lease !== undefined) lease.resourceVersion += '1';
      await clock.advance(everyMs);
      await endOfLook();
    },
    async [Symbol.asyncDispose]() {
      sweeper.close();
      await clusters.close();
      await fake[Symbol.asyncDispose]();
    },
  };
}

test('what belongs to a gateway that lives no more goes after 60 s, and nothing else', async () => {
  await using found = await sweep();
  await found.look();
  await found.look();
  expect(found.left()).toEqual(['one', 'two', 'job-one', 'job-two']);
  await found.look();
  expect(found.left()).toEqual([]);
  expect(found.lives()).toBe(true);
});

test('what the API server refuses to delete does not hold up the rest, and goes at the next look', async () => {
  await using found = await sweep();
  found.failures.set('DELETE one', 409).set('DELETE job-two', 503);
  for (let looks = 0; looks < 3; looks += 1) await found.look();
  expect(found.left()).toEqual(['one', 'job-one', 'job-two']);
  await found.look();
  expect(found.left()).toEqual([]);
  expect(found.lives()).toBe(true);
});

test('a Job that the API server refuses to delete does not hold up those after it', async () => {
  await using found = await sweep();
  found.failures.set('DELETE job-one', 503);
  for (let looks = 0; looks < 3; looks += 1) await found.look();
  expect(found.left()).toEqual(['job-one']);
  await found.look();
  expect(found.left()).toEqual([]);
});

test('a look that fails is made up for by the next one', async () => {
  await using found = await sweep();
  await found.look();
  await found.look();
  found.failures.set('GET leases', 503);
  await found.look();
  expect(found.left()).toHaveLength(4);
  await found.look();
  expect(found.left()).toEqual([]);
});

test('after its machine has slept, a gateway gives those that slept as well time for a renewal', async () => {
  await using found = await sweep();
  found.sleep(10 * 60_000);
  await found.look();
  expect(found.left()).toHaveLength(4);
  for (let looks = 0; looks < 3; looks += 1) await found.look();
  expect(found.left()).toEqual([]);
});

test('what has slept while a gateway looked at it is not taken for dead', async () => {
  await using found = await sweep();
  found.sleepInLook(10 * 60_000);
  await found.look();
  expect(found.left()).toHaveLength(4);
  await found.look();
  expect(found.left()).toEqual([]);
});

function labelsOf(lease: string) {
  return { 'open-mcp-gateway/lease': lease };
}
