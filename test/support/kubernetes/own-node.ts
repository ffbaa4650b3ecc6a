import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { KubeConfig, type KubernetesObject, KubernetesObjectApi } from '@kubernetes/client-node';
import { parse } from 'yaml';
import type { K8sJobSpec } from '../../../src/runtimes/k8s-job.js';
import { freePort } from '../free-port.js';
import { OwnEngine } from '../own-engine.js';
import { baseImage } from '../real-parts.js';
import { findKubelet } from './find-kubelet.js';
import { eventually } from './namespace.js';

interface Node extends KubernetesObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

/**
 * A node of one's own in the cluster, whose kubelet may be killed: it runs as the machine's own kubelet does, beside it, with
 * an engine of its own. Only pods that ask for it go there.
 */
export class OwnNode implements AsyncDisposable {
  readonly name = `test-node-${randomBytes(3).toString('hex')}`;
  readonly engine: OwnEngine;
  readonly #command: readonly string[];
  readonly #api: KubernetesObjectApi;
  #kubelet: ChildProcess | undefined;

  private constructor(engine: OwnEngine, command: readonly string[]) {
    this.engine = engine;
    this.#command = command;
    const config = new KubeConfig();
    config.loadFromDefault();
    this.#api = KubernetesObjectApi.makeApiClient(config);
  }

  static async start(): Promise<OwnNode> {
    const command = findKubelet();
    if (command === undefined) throw new Error('there is no kubelet on this machine');
    const engine = await OwnEngine.start();
    const node = new OwnNode(engine, command);
    const pause = command[command.indexOf('--pod-infra-container-image') + 1] ?? '';
    await engine.load(baseImage, pause);
    await node.#configure();
    await node.up();
    return node;
  }

  /** Sends a Job here, in the network of the engine, which leads nowhere. */
  place(spec: K8sJobSpec): K8sJobSpec {
    const { spec: podSpec, ...pod } = (spec.pod ?? {}) as { spec?: object };
    return {
      ...spec,
      node_selector: { 'kubernetes.io/hostname': this.name },
      tolerations: [{ key: 'test', operator: 'Exists' }],
      pod: { ...pod, spec: { ...podSpec, hostNetwork: true } },
    };
  }

  /** Starts the kubelet, and waits until the cluster knows that it is there. */
  async up(): Promise<void> {
    const [program = '', ...args] = this.#command;
    const own: Record<string, string> = {
      '--config': this.engine.path('kubelet.json'),
      '--kubeconfig': process.env.KUBECONFIG ?? '',
      '--root-dir': this.engine.path('kubelet'),
      '--cert-dir': this.engine.path('kubelet-certificates'),
      '--hostname-override': this.name,
      '--docker-endpoint': this.engine.host,
      '--experimental-dockershim-root-directory': this.engine.path('dockershim'),
      '--register-with-taints': 'test=own:NoSchedule',
    };
    const others: string[] = [];
    for (let at = 0; at < args.length; at += 2) {
      const [flag = '', value = ''] = args.slice(at, at + 2);
      if (!(flag in own) && !/^--(?:network-plugin|cni-)/.test(flag)) others.push(flag, value);
    }
    const log = openSync(this.engine.path('kubelet.log'), 'a');
    const since = Date.now();
    this.#kubelet = spawn(program, [...others, ...Object.entries(own).flat()], { stdio: ['ignore', log, log] });
    await eventually(
      `node ${this.name}`,
      async () => {
        if (this.#kubelet?.exitCode !== null) throw new Error(`the kubelet ended with ${this.#kubelet?.exitCode}`);
        const node = await this.#api
          .read<Node & { metadata: { name: string } }>({
            apiVersion: 'v1',
            kind: 'Node',
            metadata: { name: this.name },
          })
          .catch(() => undefined);
        const ready = node?.status?.conditions?.find(({ type }) => type === 'Ready') as
          | { status: string; lastHeartbeatTime?: Date }
          | undefined;
        const fresh = new Date(ready?.lastHeartbeatTime ?? 0).getTime() >= since - 1000;
        return ready?.status === 'True' && fresh ? true : undefined;
      },
      120_000,
    );
  }

  /** Kills the kubelet; containers live on. */
  async down(): Promise<void> {
    const kubelet = this.#kubelet;
    if (kubelet === undefined || kubelet.exitCode !== null || kubelet.signalCode !== null) return;
    const ended = once(kubelet, 'exit');
    kubelet.kill('SIGKILL');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
    await this.#api.delete({ apiVersion: 'v1', kind: 'Node', metadata: { name: this.name } }).catch(() => {});
    await this.engine[Symbol.asyncDispose]();
  }

  async #configure(): Promise<void> {
    const file = this.#command[this.#command.indexOf('--config') + 1] ?? '';
    const { staticPodPath: _, ...config } = parse(readFileSync(file, 'utf8'));
    const own = {
      ...config,
      port: await freePort(),
      healthzPort: 0,
      // The control groups of pods are the other kubelet's.
      cgroupsPerQOS: false,
      enforceNodeAllocatable: [],
    };
    await writeFile(this.engine.path('kubelet.json'), JSON.stringify(own));
  }
}
