import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGateway } from '../../src/gateway.js';
import { count } from '../support/counts.js';
import { settledHeap } from '../support/heap.js';
import { bringReferenceServer, referenceSpec } from '../support/kubernetes/job-server.js';
import { eventually, TestNamespace } from '../support/kubernetes/namespace.js';
import { describeWithKubernetes } from '../support/real-parts.js';

const managed = 'app.kubernetes.io/managed-by=open-mcp-gateway';
const many = count(8, 20);

describeWithKubernetes('k8s-job: many at once', () => {
  let namespace: TestNamespace;
  beforeAll(async () => {
    namespace = await TestNamespace.create('job-many');
    await bringReferenceServer(namespace);
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  test(`${many} Jobs at once answer their own callers, and leave nothing, in memory neither`, {
    timeout: 900_000,
  }, async () => {
    const gateway = createGateway(
      {
        servers: [
          {
            id: 'orders',
            runtime: { type: 'k8s-job', ...referenceSpec(namespace.name) },
            env: { A: 'b' },
            start_timeout: '10m',
          },
        ],
      },
      { limits: { starting: many } },
    );
    const connect = async () => {
      const client = new Client({ name: 'test', version: '1.0.0' });
      await client.connect(gateway.connect('orders'), { timeout: 600_000 });
      return client;
    };
    const jobs = () => namespace.list('Job', managed, 'batch/v1');
    const round = async (size: number) => {
      const clients = await Promise.all(Array.from({ length: size }, connect));
      expect(await jobs()).toHaveLength(size);
      const answers = await Promise.all(
        clients.flatMap((client, caller) =>
          Array.from({ length: 20 }, async (_, call) => {
            const text = `caller ${caller}, call ${call}`;
            const { content } = await client.callTool({ name: 'echo', arguments: { text } });
            return JSON.stringify(content) === JSON.stringify([{ type: 'text', text }]);
          }),
        ),
      );
      expect(answers.filter(Boolean)).toHaveLength(size * 20);
      await Promise.all(clients.map((client) => client.close()));
      await eventually('the end of the Jobs', async () => ((await jobs()).length === 0 ? true : undefined));
    };
    // What the first one loads and compiles is there for good.
    await round(1);
    const before = await settledHeap();
    for (let left = count(1, 3); left > 0; left--) await round(many);
    expect((await settledHeap()) - before).toBeLessThan(4 * 1024 * 1024);
    await gateway.close();
    await eventually('the end of all that was made', async () => {
      const left = await Promise.all([
        jobs(),
        namespace.list('Secret', managed),
        namespace.list('Lease', managed, 'coordination.k8s.io/v1'),
      ]);
      return left.flat().length === 0 ? true : undefined;
    });
  });
});
