import { jobName, leaseLabel, leaseName, managedBy } from '../../../src/runtimes/k8s-job/manifest.js';
import { K8sJobRuntime, type K8sJobSpec } from '../../../src/runtimes/k8s-job.js';
import type { KubeConfigLike } from '../../../src/runtimes/shared/kubernetes/kube-config.js';
import type { Chance } from '../../gateway/model/chance.js';
import { realSleep } from '../../support/quick-time.js';
import { Host, secret } from '../model/host.js';
import { HostSchedule, type Step } from '../model/host-schedule.js';
import { FaultyCluster } from './cluster.js';
import type { Stored } from './objects.js';
import type { PlayedPod } from './pod.js';

const spec: K8sJobSpec = { namespace: 'home', image: 'image', args: ['serve'] };
const kinds = ['jobs', 'secrets', 'leases', 'pods'];

/** Hosts on a Kubernetes cluster. */
export class Schedule extends HostSchedule<K8sJobSpec, PlayedPod> {
  readonly #foreign: string[] = [];
  #cluster!: FaultyCluster;

  protected override async begin(chance: Chance): Promise<void> {
    this.#cluster = new FaultyCluster(chance, this.judge);
    this.#addForeign('jobs', 'foreign', {});
    this.#addForeign('jobs', 'managed', managedBy);
    this.#addForeign('leases', 'foreign', {});
    this.#addForeign('secrets', 'foreign', managedBy);
    await this.addHost();
    await this.addHost();
    this.#cluster.badness = chance.one([0, 0, 10, 30]);
  }

  protected override async addHost(): Promise<Host<K8sJobSpec>> {
    const door = await this.#cluster.door();
    const host = new Host<K8sJobSpec>({
      number: this.hosts.length,
      door,
      runtime: new K8sJobRuntime({ kubeconfig: () => kubeconfig(door.host.replace('tcp:', 'http:')) }),
      clock: this.clock,
      judge: this.judge,
      serverOf: (gatewayId, instanceId) => this.#cluster.podOf(jobName('reference', gatewayId, instanceId)),
    });
    this.#cluster.owners.set(leaseName(host.id), door);
    this.hosts.push(host);
    return host;
  }

  protected override choose(): K8sJobSpec {
    return spec;
  }

  protected override pickServer(chance: Chance): PlayedPod | undefined {
    return chance.pick(this.#cluster.pods.filter(({ isRunning }) => isRunning));
  }

  protected override steps(
    chance: Chance,
    host: Host<K8sJobSpec> | undefined,
    server: PlayedPod | undefined,
  ): readonly Step[] {
    return [
      [6, () => server && this.#die(server, chance.one([0, 1, 137]))],
      [3, () => server && this.#cut(server, chance.oneIn(2))],
      [
        2,
        () =>
          server &&
          this.happens('pod deleted', `${server.shown.metadata.name} is deleted`, this.#cluster.deletePod(server)),
      ],
      [2, () => server && this.#deleteJob(server)],
      [1, () => server && this.#stick(server)],
      [5, () => this.#cluster.disturbWatches()],
      [2, () => this.#restart(chance.one([0, 5, 30, 150]))],
      [4, () => this.#worsen(chance.one([0, 0, 10, 30]), chance.one([0, 0, 50]))],
      // Their end takes a while to be noticed.
      [1, () => host && chance.oneIn(2) && this.kill(host)],
    ];
  }

  protected override heal(): Promise<void> {
    return this.#cluster.heal();
  }

  /** It notices when their time is up. */
  protected override async sweep(next: Host<K8sJobSpec>): Promise<void> {
    this.#cluster.badStarts = 0;
    const dead = this.hosts.filter(({ isDead }) => isDead);
    const left = () => dead.flatMap((one) => this.#leftOf(one));
    if (left().length > 0) {
      next.open(spec);
      for (let turn = 0; turn < 250 && left().length > 0; turn += 1) await realSleep(100);
    }
    await this.openOnce(next, spec);
  }

  protected override judgeEnd(): void {
    const { judge } = this;
    const { objects } = this.#cluster;
    for (const host of this.hosts) {
      for (const key of this.#leftOf(host)) judge.problem(`${key} of ${host.id} is left`);
      const stuck = objects.list('jobs').filter((job) => this.#isOf(job, host) && !host.isDead);
      for (const { metadata } of stuck) {
        if (!String(host.closeError).includes(metadata.name))
          judge.problem(`nobody tells that ${metadata.name} is left`);
      }
      judge.runtimeIsClosed(host, stuck.length > 0);
    }
    for (const kind of ['jobs', 'leases', 'pods']) {
      if (JSON.stringify(objects.list(kind)).includes(secret)) judge.problem(`${kind} show a secret`);
    }
    for (const key of this.#foreign) {
      const [kind = '', name = ''] = key.split('/');
      if (objects.get(kind, name) === undefined) judge.problem(`${key} of others is gone`);
    }
  }

  protected override dispose(): Promise<void> {
    return this.#cluster[Symbol.asyncDispose]();
  }

  #addForeign(kind: string, name: string, labels: Record<string, string>): void {
    this.#cluster.objects.create(kind, { metadata: { name, labels, uid: '' } });
    this.#foreign.push(`${kind}/${name}`);
  }

  #die(pod: PlayedPod, code: number): void {
    const ends = this.#cluster.endServer(pod, code, code === 137 ? 'OOMKilled' : 'Error');
    this.happens('death', `${pod.shown.metadata.name} ends with ${code}`, ends);
  }

  #cut(pod: PlayedPod, clean: boolean): void {
    this.happens('cut', `${pod.shown.metadata.name} loses its connection`);
    pod.cut(clean);
  }

  #deleteJob(pod: PlayedPod): void {
    this.happens('Job deleted', `the Job of ${pod.shown.metadata.name} is deleted`);
    this.#cluster.deleteJob(pod);
  }

  #stick(pod: PlayedPod): void {
    this.happens('stuck', `${pod.shown.metadata.name} cannot be removed`);
    pod.stuck = true;
  }

  #restart(ms: number): void {
    this.happens('restart', `the API server restarts, ${ms} ms`, this.#cluster.restart(ms));
  }

  #worsen(badness: number, badStarts: number): void {
    this.judge.log(`badness ${badness}, bad starts ${badStarts}`);
    this.#cluster.badness = badness;
    this.#cluster.badStarts = badStarts;
  }

  #leftOf(host: Host<K8sJobSpec>): string[] {
    return kinds.flatMap((kind) =>
      this.#cluster.objects
        .list(kind)
        .filter((object) => this.#isOf(object, host) && !this.#cluster.podOf(jobOf(object))?.stuck)
        .map(({ metadata }) => `${kind}/${metadata.name}`),
    );
  }

  #isOf({ metadata }: Stored, host: Host<K8sJobSpec>): boolean {
    const lease = leaseName(host.id);
    return metadata.labels?.[leaseLabel] === lease || metadata.name === lease;
  }
}

function jobOf({ metadata: { name } }: Stored): string {
  return name.replace(/-pod$/, '');
}

function kubeconfig(server: string): KubeConfigLike {
  return {
    getContexts: () => [{ name: 'here', namespace: 'home' }],
    getCurrentContext: () => 'here',
    setCurrentContext: () => {},
    getCurrentCluster: () => ({ server }),
    applyToHTTPSOptions: async () => {},
  };
}
