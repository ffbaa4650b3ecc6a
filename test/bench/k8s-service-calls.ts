import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { BareCaller, type CallingPeer, echo } from './calls.ts';
import type { Library } from './library.ts';
import { interleave, timed } from './measure.ts';
import { compare, type Row } from './report.ts';

/**
 * A pod by our port-forward, against the same library through a `kubectl port-forward` process: from nothing to its first
 * answer, and calls. Needs KUBECONFIG, TEST_IMAGE and kubectl (KUBECTL, or in PATH).
 */
export async function k8sServiceCalls(library: Library): Promise<Row[]> {
  if ((process.env.KUBECONFIG ?? '') === '' || (process.env.TEST_IMAGE ?? '') === '') {
    console.error('left out: calls to a service need KUBECONFIG and TEST_IMAGE');
    return [];
  }
  // The test support says `.js` where it means `.ts`, as the sources do.
  const hooks = '../support/resolve-sources.mjs';
  await import(hooks);
  const { TestNamespace } = await import('../support/kubernetes/namespace.ts');
  const { deployPodServer } = await import('../support/kubernetes/pod-server.ts');
  await using namespace = await TestNamespace.create('svc-bench');
  await deployPodServer(namespace, 'bench');
  const service = { namespace: namespace.name, service_name: 'bench', port: 80, path: '/mcp' };
  const ours = {
    id: 'ours',
    runtime: { type: 'k8s-service' as const, ...service, reach: 'port-forward' as const },
  };
  const through = (port: number) => ({
    id: 'kubectl',
    runtime: { type: 'remote-sse' as const, url: `http://127.0.0.1:${port}/mcp` },
  });
  const toFirstAnswer = async (entry: typeof ours | ReturnType<typeof through>) => {
    const gateway = library.createGateway({ servers: [entry] });
    try {
      return await timed(async () => {
        const caller = await BareCaller.connect(gateway.connect(entry.id));
        await caller.calls(1, 1, echo(100));
      });
    } finally {
      await gateway.close();
    }
  };
  const starts = await interleave(
    [
      { name: 'ours', run: () => toFirstAnswer(ours) },
      {
        name: 'kubectl',
        run: async () => {
          const before = performance.now();
          const kubectl = await forward(namespace.name);
          const forwarding = performance.now() - before;
          try {
            return forwarding + (await toFirstAnswer(through(kubectl.port)));
          } finally {
            kubectl.child.kill();
            await kubectl.ended;
          }
        },
      },
    ],
    { rounds: 20, warmUp: 3 },
  );
  const first = { what: 'a pod of a Service, from connect to its first answer', ours: 'ours', other: 'kubectl' };
  const rows: Row[] = [compare(starts, { ...first, goal: { atMost: 1 } })];
  const kubectl = await forward(namespace.name);
  const gateway = library.createGateway({ servers: [ours, through(kubectl.port)] });
  try {
    const callers: { readonly name: string; readonly caller: CallingPeer }[] = [];
    for (const name of ['ours', 'kubectl'])
      callers.push({ name, caller: await BareCaller.connect(gateway.connect(name)) });
    for (const { bytes, atOnce, total } of [
      { bytes: 100, atOnce: 1, total: 50 },
      { bytes: 100, atOnce: 16, total: 100 },
      { bytes: 512 * 1024, atOnce: 1, total: 5 },
    ]) {
      const variants = callers.map(({ name, caller }) => ({
        name,
        run: async () => (await timed(() => caller.calls(total, atOnce, echo(bytes)))) / total,
      }));
      const samples = await interleave(variants, { rounds: 20, warmUp: 3 });
      const what = `${bytes} B calls to a pod, ${atOnce} at once, by port-forward`;
      rows.push(compare(samples, { what, ours: 'ours', other: 'kubectl', goal: { atMost: 1 } }));
    }
    return rows;
  } finally {
    await gateway.close();
    kubectl.child.kill();
    await kubectl.ended;
  }
}

interface Forward {
  readonly child: ChildProcess;
  readonly port: number;
  readonly ended: Promise<unknown>;
}

async function forward(namespace: string): Promise<Forward> {
  const args = ['port-forward', '--namespace', namespace, 'service/bench', ':80'];
  const child = spawn(process.env.KUBECTL ?? 'kubectl', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout })) {
    const port = /127\.0\.0\.1:(\d+) ->/.exec(line)?.[1];
    if (port !== undefined) return { child, port: Number(port), ended };
  }
  throw new Error('kubectl port-forward ended before it listened');
}
