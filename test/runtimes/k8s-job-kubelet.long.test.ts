import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createGateway } from '../../src/gateway.js';
import { bringReferenceServer, referenceSpec } from '../support/kubernetes/job-server.js';
import { eventually, TestNamespace } from '../support/kubernetes/namespace.js';
import { OwnNode } from '../support/kubernetes/own-node.js';
import { describeWithKubelet } from '../support/real-parts.js';

const managed = 'app.kubernetes.io/managed-by=open-mcp-gateway';

// Long, as a kubelet takes half a minute to come up, and is started twice.
describeWithKubelet('k8s-job: the kubelet is killed', () => {
  let namespace: TestNamespace;
  let node: OwnNode;
  beforeAll(async () => {
    namespace = await TestNamespace.create('job-kubelet');
    await bringReferenceServer(namespace);
    node = await OwnNode.start();
  }, 180_000);
  afterAll(async () => {
    await namespace?.[Symbol.asyncDispose]();
    await node?.[Symbol.asyncDispose]();
  }, 60_000);

  test('open requests are answered once, and after its restart nothing is left', async () => {
    const runtime = { type: 'k8s-job' as const, ...node.place(referenceSpec(namespace.name)) };
    const gateway = createGateway({ servers: [{ id: 'orders', runtime, env: { A: 'b' }, start_timeout: '2m' }] });
    const client = new Client({ name: 'test', version: '1' });
    const errors: Error[] = [];
    client.onerror = (error) => errors.push(error);
    const closed = new Promise<void>((resolve) => {
      client.onclose = resolve;
    });
    await client.connect(gateway.connect('orders'), { timeout: 120_000 });
    let answers = 0;
    const open = Array.from({ length: 5 }, () =>
      client
        .callTool({ name: 'never' })
        .catch((error: unknown) => error)
        .finally(() => {
          answers += 1;
        }),
    );
    await client.callTool({ name: 'echo', arguments: { text: 'they are on their way' } });

    await node.down();
    for (const outcome of await Promise.all(open)) {
      expect(outcome).toMatchObject({
        message: expect.stringContaining('got no answer, outcome unknown'),
        data: { code: 'SERVER_EXITED', exit: { reason: 'connection-lost' } },
      });
    }
    await closed;
    expect(answers).toBe(5);
    expect(errors.map(({ message }) => message).join()).toContain('the connection to the server was lost');

    await node.up();
    const left = async () =>
      (
        await Promise.all([
          namespace.list('Job', managed, 'batch/v1'),
          namespace.list('Secret', managed),
          namespace.list('Pod', managed),
        ])
      ).flat();
    await eventually(
      'the end of all that was made',
      async () => ((await left()).length === 0 ? true : undefined),
      120_000,
    );
    const containers = () => node.engine.docker('ps', '--quiet', '--filter', 'label=io.kubernetes.container.name=mcp');
    await eventually('the end of its container', async () => (containers() === '' ? true : undefined), 120_000);

    // And the node is as good as before.
    const next = new Client({ name: 'test', version: '1' });
    await next.connect(gateway.connect('orders'), { timeout: 120_000 });
    await next.close();
    await gateway.close();
  }, 400_000);
});
