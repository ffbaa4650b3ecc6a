import { readFileSync } from 'node:fs';
import { BareCaller, type CallingPeer, echo } from './calls.ts';
import type { Library } from './library.ts';
import { interleave, timed } from './measure.ts';
import { compare, type Row } from './report.ts';
import { serverFile } from './transports.ts';

/**
 * Jobs against `kubectl run -i --rm` and `kubectl attach -i`, which the same gateway runs as child processes. Needs
 * KUBECONFIG, TEST_IMAGE and kubectl (KUBECTL, or in PATH).
 */
export async function k8sJobCalls(library: Library): Promise<Row[]> {
  const image = process.env.TEST_IMAGE ?? '';
  if ((process.env.KUBECONFIG ?? '') === '' || image === '') {
    console.error('left out: Jobs need KUBECONFIG and TEST_IMAGE');
    return [];
  }
  // The test support says `.js` where it means `.ts`, as the sources do.
  const hooks = '../support/resolve-sources.mjs';
  await import(hooks);
  const { eventually, TestNamespace } = await import('../support/kubernetes/namespace.ts');
  await using namespace = await TestNamespace.create('job-bench');
  const source = readFileSync(serverFile('echo.mjs'), 'utf8');
  const programOf = (text: string) => ['node', '--input-type=module', '--eval', text];
  // In a catalog a literal `${` is written with another `$`.
  const [, ...program] = programOf(source.replaceAll('${', '$$$${'));
  const name = namespace.name;
  const kubectl = (id: string, ...args: readonly string[]) => ({
    id,
    runtime: {
      type: 'local-process' as const,
      command: process.env.KUBECTL ?? 'kubectl',
      args: ['--namespace', name, ...args],
      inherit_env: true,
    },
    start_timeout: '5m',
  });
  const run = [
    '--stdin',
    '--rm',
    '--restart=Never',
    `--image=${image}`,
    '--image-pull-policy=Never',
    '--command',
    '--',
  ];
  const gateway = library.createGateway({
    servers: [
      {
        id: 'k8s-job',
        runtime: {
          type: 'k8s-job' as const,
          namespace: name,
          image,
          pull_policy: 'Never' as const,
          command: 'node',
          args: program,
        },
        start_timeout: '5m',
      },
      kubectl('kubectl run', 'run', 'bench', ...run, 'node', ...program),
      kubectl('kubectl attach', 'attach', '--stdin', 'bench'),
    ].map((entry) => ({ ...entry, id: entry.id.replace(' ', '-') })),
  });
  const noPod = () =>
    eventually('the end of the pod', async () => (await namespace.list('Pod')).length === 0 || undefined);
  try {
    const starts = await interleave(
      ['k8s-job', 'kubectl run'].map((way) => ({
        name: way,
        run: async () => {
          const transport = gateway.connect(way.replace(' ', '-'));
          const ms = await timed(() => BareCaller.connect(transport));
          await transport.close();
          await noPod();
          return ms;
        },
      })),
      { rounds: 7, warmUp: 1 },
    );
    const first = { what: 'a server in a pod, to its first answer', ours: 'k8s-job', other: 'kubectl run' };
    const rows: Row[] = [compare(starts, { ...first, goal: { atMost: 1.2 } })];
    await namespace.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'bench' },
      spec: {
        restartPolicy: 'Never',
        containers: [
          { name: 'a', image, imagePullPolicy: 'Never', stdin: true, stdinOnce: true, command: programOf(source) },
        ],
      },
    });
    const running = async () => {
      const [pod] = await namespace.list<{ metadata: { name: string }; status?: { phase?: string } }>('Pod');
      return pod?.status?.phase === 'Running' || undefined;
    };
    await eventually('the pod to run', running);
    const callers: { readonly name: string; readonly caller: CallingPeer }[] = [];
    for (const way of ['k8s-job', 'kubectl attach']) {
      callers.push({ name: way, caller: await BareCaller.connect(gateway.connect(way.replace(' ', '-'))) });
    }
    for (const { bytes, atOnce, total } of [
      { bytes: 100, atOnce: 1, total: 50 },
      { bytes: 100, atOnce: 16, total: 160 },
      { bytes: 512 * 1024, atOnce: 1, total: 5 },
    ]) {
      const variants = callers.map(({ name: way, caller }) => ({
        name: way,
        run: async () => (await timed(() => caller.calls(total, atOnce, echo(bytes)))) / total,
      }));
      const samples = await interleave(variants, { rounds: 20, warmUp: 3 });
      const what = `${bytes} B calls to a pod, ${atOnce} at once, attached`;
      rows.push(compare(samples, { what, ours: 'k8s-job', other: 'kubectl attach', goal: { atMost: 1 } }));
    }
    return rows;
  } finally {
    await gateway.close();
  }
}
