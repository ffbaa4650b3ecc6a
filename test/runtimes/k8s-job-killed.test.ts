import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGateway } from '../../src/gateway.js';
import { count } from '../support/counts.js';
import { startHost } from '../support/host.js';
import { bringReferenceServer, programSpec, referenceSpec } from '../support/kubernetes/job-server.js';
import { eventually, TestNamespace } from '../support/kubernetes/namespace.js';
import { describeWithKubernetes } from '../support/real-parts.js';

const managed = 'app.kubernetes.io/managed-by=open-mcp-gateway';
const kills = count(6, 50);
const atOnce = 3;
const promisedMs = 120_000;

describeWithKubernetes('k8s-job: hosts that are killed', () => {
  let random: TestNamespace;
  let quiet: TestNamespace;
  beforeAll(async () => {
    [random, quiet] = await Promise.all([TestNamespace.create('job-killed'), TestNamespace.create('job-quiet')]);
    await Promise.all([random, quiet].map(bringReferenceServer));
  });
  afterAll(async () => {
    await random?.[Symbol.asyncDispose]();
    await quiet?.[Symbol.asyncDispose]();
  });

  test.concurrent('a server that honours end of input goes without anybody', { timeout: 300_000 }, async () => {
    const spec = { ...referenceSpec(quiet.name), ttl: '5s' };
    const host = startHost('k8s-jobs', [JSON.stringify({ honours: spec }), 'stay']);
    expect((await host.lines.next()).value).toBe('begun');
    expect((await host.lines.next()).value, host.stderr()).toBe('open');
    expect(await quiet.list('Job', managed, 'batch/v1')).toHaveLength(1);
    host.child.kill('SIGKILL');
    await host.ended(60_000);
    await eventually(
      'the end of its Job and Secret',
      async () => {
        const left = [await quiet.list('Job', managed, 'batch/v1'), await quiet.list('Secret', managed)].flat();
        return left.length === 0 ? true : undefined;
      },
      promisedMs,
    );
  });

  test.concurrent(`${kills} hosts, killed in random phases: the next gateway takes all away`, {
    timeout: 900_000,
  }, async () => {
    const deaf = 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1e3)';
    const specs = {
      honours: referenceSpec(random.name),
      deaf: programSpec(random.name, 'node', '-e', deaf),
    };
    const phases: unknown[] = [];
    const killOne = async (number: number) => {
      // The last one is killed while its servers run, so that there is something left, however slow the machine is.
      const isLast = number === kills - 1;
      const host = startHost('k8s-jobs', [JSON.stringify(specs)]);
      const phase = isLast ? 'open' : ['begun', 'begun', 'open', 'closing'][Math.floor(Math.random() * 4)];
      for (let line: unknown; line !== phase; ) {
        const next = await host.lines.next();
        expect(next.done, host.stderr()).not.toBe(true);
        line = next.value;
      }
      // Anywhere within it: a start takes seconds, the rest about one.
      const longestMs = isLast ? 0 : phase === 'begun' ? 6_000 : 1_500;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * longestMs));
      host.child.kill('SIGKILL');
      phases.push(phase);
      await host.ended(60_000);
    };
    for (let done = 0; done < kills; done += atOnce) {
      await Promise.all(Array.from({ length: Math.min(atOnce, kills - done) }, (_, index) => killOne(done + index)));
    }
    console.log(`killed while: ${phases.join(', ')}`);
    const leases = () => random.list('Lease', managed, 'coordination.k8s.io/v1');
    expect((await leases()).length, 'the kills came after the first steps').toBeGreaterThan(0);
    await using gateway = createGateway({
      servers: [{ id: 'next', runtime: { type: 'k8s-job', ...specs.honours }, start_timeout: '5m' }],
    });
    const transport = gateway.connect('next');
    await transport.start();
    const started = performance.now();
    let left = '';
    await eventually(
      'the end of all but the gateway that runs',
      async () => {
        const [jobs, secrets, pods, living] = await Promise.all([
          random.list('Job', managed, 'batch/v1'),
          random.list('Secret', managed),
          random.list('Pod', managed),
          leases(),
        ]);
        // A pod that is to go does so when its node has the time.
        const staying = pods.filter(({ metadata }) => metadata?.deletionTimestamp === undefined);
        const counts = [jobs, secrets, staying, living].map(({ length }) => length);
        left = [...jobs, ...secrets, ...staying, ...living].map(({ metadata }) => `\n${metadata?.name}`).join('');
        return counts.join() === '1,0,1,1' ? true : undefined;
      },
      promisedMs,
      () => left,
    );
    const seconds = () => `${Math.round((performance.now() - started) / 1000)} s after the next gateway had started`;
    console.log(`all was deleted ${seconds()}`);
    await eventually(
      'the end of their pods',
      async () => ((await random.list('Pod', managed)).length === 1 ? true : undefined),
      300_000,
    );
    console.log(`all was gone ${seconds()}`);
    await transport.close();
  });
});
