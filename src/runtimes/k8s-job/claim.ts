import type { Clock } from '../../options.js';
import { abortable } from '../../util/abort.js';
import { once } from '../../util/once.js';
import type { Cluster, Watch } from '../shared/kubernetes/cluster.js';
import { isFailure, KubernetesError, mayPass } from '../shared/kubernetes/kubernetes-error.js';
import { pause } from '../shared/kubernetes/request.js';
import { jobs, leases, pods } from '../shared/kubernetes/resources.js';
import { jobLabel, leaseLabel, leaseName, leaseSeconds, type OwnerReference, renewedAt, toLease } from './manifest.js';
import type { Pod } from './objects.js';
import { Sweeper } from './sweeper.js';

const renewMs = 15_000;
/** When news that was refused is asked for again. */
const newsMs = 10_000;
/** When the Lease is deleted again, where the API server was in trouble for a moment. */
const againMs = 1_000;
/** How long an API server may go on with a request after nobody waits for its answer, or after it gave up itself. */
const lateMs = 60_000;

/** Told about the pods of one Job. */
export interface PodListener {
  /** All there are, after each change. */
  changed(pods: readonly Pod[]): void;
  /** There is no news, unless it may be asked for again some time. */
  failed(error: KubernetesError): void;
  /** The news are late, as they cannot be asked for now. */
  troubled(error: KubernetesError): void;
}

/**
 * One gateway in one namespace: its Lease, by which other gateways see that it lives, the watch of its pods, and the
 * sweep of what gateways left behind that live no more.
 */
export class Claim {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly lease: string;
  readonly #clock: Clock;
  readonly #onGone: () => void;
  readonly #sweeper: Sweeper;
  readonly #listeners = new Map<string, PodListener>();
  /** Jobs whose deletion has not worked yet. */
  readonly #leftovers = new Set<string>();
  /** Jobs that may still be made, and until when. */
  readonly #late = new Map<string, number>();
  #owner: OwnerReference | undefined;
  #watch: Watch | undefined;
  /** By the label of their Job. */
  #pods: ReadonlyMap<string | undefined, readonly Pod[]> | undefined;
  #timer: unknown;
  #newsTimer: unknown;
  /** Since when the Lease may not be renewed. */
  #refusedAt: number | undefined;
  #clearing: Promise<unknown> | undefined;
  #closed = false;

  /** @param onGone - the namespace was deleted: this one is closed, and of no further use */
  constructor(cluster: Cluster, namespace: string, gatewayId: string, clock: Clock, onGone = () => {}) {
    this.cluster = cluster;
    this.namespace = namespace;
    this.lease = leaseName(gatewayId);
    this.#clock = clock;
    this.#onGone = onGone;
    this.#sweeper = new Sweeper(cluster, namespace, this.lease, clock);
  }

  /** The pod of this process, when it may own what is in this namespace. */
  get owner(): OwnerReference | undefined {
    return this.#owner;
  }

  /** Resolves once others see that this gateway lives. A failure is forgotten: the next caller tries again. */
  async ready(signal: AbortSignal): Promise<void> {
    this.#ready ??= this.#begin();
    this.#ready.catch(() => {
      this.#ready = undefined;
    });
    await abortable(this.#ready, signal);
  }

  #ready: Promise<void> | undefined;

  /** Tells `listener` about the pods of a Job until the returned function is called. */
  listen(labelValue: string, listener: PodListener): () => void {
    this.#listeners.set(labelValue, listener);
    if (this.#watch === undefined) this.#startWatch();
    else if (this.#pods !== undefined) listener.changed(this.#pods.get(labelValue) ?? []);
    return () => {
      this.#listeners.delete(labelValue);
      if (this.#listeners.size > 0) return;
      this.#watch?.close();
      this.#watch = undefined;
      this.#pods = undefined;
    };
  }

  /** Deletes a Job with its pod and Secret. A Job that is not there is a success. */
  async deleteJob(name: string): Promise<void> {
    this.#leftovers.add(name);
    const ref = jobs({ namespace: this.namespace, name });
    await this.cluster.delete(ref, { propagationPolicy: 'Background' }).catch((error: unknown) => {
      if (!isFailure(error, 'not-found')) throw error;
    });
    this.#leftovers.delete(name);
  }

  /** It is not known whether a Job was made: it is deleted again for a while, as it may come about after it was. */
  expectLate(name: string): void {
    this.#late.set(name, this.#clock.now() + lateMs);
  }

  /** Resolves with a line for each Job that could not be deleted. */
  readonly close = once(async (): Promise<readonly string[]> => {
    this.#closed = true;
    this.#clock.clearTimeout(this.#timer);
    this.#clock.clearTimeout(this.#newsTimer);
    this.#sweeper.close();
    this.#watch?.close();
    // Whoever waits for the end of a pod gets no more news, and has to ask.
    const closed = new KubernetesError('unreachable', 'the gateway is closed');
    for (const listener of [...this.#listeners.values()]) listener.failed(closed);
    await this.#ready?.catch(() => {});
    const left = await this.#deleteLeftovers();
    // What could not be deleted is left to the sweep of others, who must see that nobody cares for it any more.
    await this.#deleteLease().catch(() => {});
    return left;
  });

  async #deleteLease(): Promise<void> {
    const since = this.#clock.now();
    const run = () => this.cluster.delete(leases({ namespace: this.namespace, name: this.lease }));
    await run().catch(async (error: KubernetesError) => {
      // There may be no others. One that does not answer would be waited for as long once more.
      if (!mayPass(error) || this.#clock.now() - since > againMs) throw error;
      await pause(againMs, undefined, this.#clock);
      await run();
    });
  }

  async #begin(): Promise<void> {
    this.#owner = await this.#findOwner();
    await this.#announce();
    if (this.#closed) return;
    this.#renewLater();
    this.#sweeper.start();
  }

  async #announce(): Promise<void> {
    const { cluster, namespace, lease } = this;
    const now = new Date(this.#clock.date());
    try {
      await cluster.create(leases({ namespace }), toLease(lease, namespace, now, this.#owner));
    } catch (error) {
      if (!isFailure(error, 'conflict')) throw error;
      await cluster.patch(leases({ namespace, name: lease }), { spec: renewedAt(now) });
    }
  }

  #renewLater(): void {
    this.#timer = this.#clock.setTimeout(() => {
      // Whatever comes of it, the next renewal is in good time.
      this.#renewLater();
      void this.#renew();
      this.#clearing ??= this.#deleteLeftovers().finally(() => {
        this.#clearing = undefined;
      });
    }, renewMs);
  }

  async #renew(): Promise<void> {
    const ref = leases({ namespace: this.namespace, name: this.lease });
    const renewal = { spec: renewedAt(new Date(this.#clock.date())) };
    try {
      await this.cluster.patch(ref, renewal);
      this.#refusedAt = undefined;
    } catch (error) {
      if (this.#closed) return;
      if (isFailure(error, 'forbidden')) await this.#refused().catch(() => {});
      if (!isFailure(error, 'not-found')) return;
      // Somebody took us for dead.
      await this.#announce().catch((again: unknown) => {
        if (isFailure(again, 'not-found')) this.#leave();
      });
    }
  }

  /**
   * A namespace that is deleted takes the rights in it along. For as long as others may take us for alive, an API server that
   * comes up may know none yet.
   */
  async #refused(): Promise<void> {
    const now = this.#clock.now();
    this.#refusedAt ??= now;
    if (!this.#isUnused || now - this.#refusedAt < leaseSeconds * 1000) return;
    const review = { verb: 'create', group: 'batch', resource: 'jobs', namespace: this.namespace };
    const { allowed } = await this.cluster.allows(review);
    if (!allowed) this.#leave();
  }

  get #isUnused(): boolean {
    return this.#listeners.size + this.#leftovers.size + this.#late.size === 0;
  }

  /** The namespace was deleted, and with it all that was there: a host may have others every day. */
  #leave(): void {
    if (!this.#isUnused || this.#closed) return;
    this.#onGone();
    void this.close();
  }

  async #deleteLeftovers(): Promise<readonly string[]> {
    const names = new Set([...this.#leftovers, ...this.#late.keys()]);
    const left: string[] = [];
    const notDeleted = (name: string) => (error: Error) =>
      left.push(`${name} in namespace "${this.namespace}" (${error.message})`);
    await Promise.all([...names].map((name) => this.deleteJob(name).catch(notDeleted(name))));
    for (const [name, until] of this.#late) if (this.#clock.now() > until) this.#late.delete(name);
    return left;
  }

  /** A pod can own what is in its own namespace alone: elsewhere it counts as gone, and what it owns is taken away. */
  async #findOwner(): Promise<OwnerReference | undefined> {
    const { pod } = this.cluster;
    if (pod === undefined || pod.namespace !== this.namespace) return undefined;
    const { name } = pod;
    const found = await this.cluster.get(pods({ namespace: pod.namespace, name })).catch((error: unknown) => {
      // It has another name than its host name, and POD_NAME does not tell: the Lease has to do.
      if (isFailure(error, 'not-found')) return undefined;
      throw error;
    });
    return found && { apiVersion: 'v1', kind: 'Pod', name, uid: found.metadata.uid };
  }

  #startWatch(): void {
    this.#clock.clearTimeout(this.#newsTimer);
    this.#watch = this.cluster.watch<Pod>(pods({ namespace: this.namespace }), {
      labelSelector: `${leaseLabel}=${this.lease}`,
      changed: (items) => {
        const byJob = Map.groupBy(items.values(), ({ metadata }) => metadata.labels?.[jobLabel]);
        this.#pods = byJob;
        for (const [job, listener] of [...this.#listeners]) listener.changed(byJob.get(job) ?? []);
      },
      trouble: (error) => {
        for (const listener of [...this.#listeners.values()]) listener.troubled(error);
      },
      failed: (error) => {
        this.#watch = undefined;
        this.#pods = undefined;
        for (const listener of [...this.#listeners.values()]) listener.failed(error);
        // The servers that run go on without.
        this.#newsTimer = this.#clock.setTimeout(() => {
          if (this.#watch === undefined && this.#listeners.size > 0) this.#startWatch();
        }, newsMs);
      },
    });
  }
}
