import type { Clock } from '../../options.js';
import type { Cluster } from '../shared/kubernetes/cluster.js';
import { isFailure } from '../shared/kubernetes/kubernetes-error.js';
import { jobs, leases, type ObjectMeta } from '../shared/kubernetes/resources.js';
import { leaseLabel, leaseSeconds, managedBy } from './manifest.js';
import type { Job, Lease } from './objects.js';

/** How long a Job may be without a Lease. */
const lateMs = leaseSeconds * 1000;
/** A dead gateway is noticed that long after its time, and a look that failed is made up for. */
const everyMs = 20_000;
/** What is known of a Job whose Lease was taken away. */
const longDead = { version: 'without a lease', since: Number.NEGATIVE_INFINITY };

/**
 * Takes away what belongs to gateways that live no more: Jobs, and with them their pods and Secrets, and Leases.
 *
 * A gateway counts as dead when its Lease has not changed while we watched it for as long as the Lease is meant to last, or
 * has been missing for that long. So the clocks of the two machines need not agree.
 */
export class Sweeper {
  readonly #cluster: Cluster;
  readonly #namespace: string;
  readonly #own: string;
  readonly #clock: Clock;
  /** Since when nothing has changed about a Lease, or a Job has had none. */
  readonly #unchanged = new Map<string, { readonly version: string; readonly since: number }>();
  /** When the look that goes on was begun, and what ends it. */
  #lookedAt = 0;
  #look = new AbortController();
  #timer: unknown;
  #closed = false;

  /** @param own - the Lease of this gateway */
  constructor(cluster: Cluster, namespace: string, own: string, clock: Clock) {
    this.#cluster = cluster;
    this.#namespace = namespace;
    this.#own = own;
    this.#clock = clock;
  }

  /** Looks now, and again every 20 s. */
  start(): void {
    // A failure is no news for anybody: the next look may work.
    void this.#sweep()
      .catch(() => {})
      .then(() => {
        if (!this.#closed) this.#lookLater();
      });
  }

  close(): void {
    this.#closed = true;
    this.#clock.clearTimeout(this.#timer);
    this.#look.abort();
  }

  #lookLater(): void {
    const since = this.#clock.now();
    this.#timer = this.#clock.setTimeout(() => {
      // We slept, and with us perhaps those who share the machine: nobody was watched meanwhile.
      if (this.#clock.now() - since > 2 * everyMs) this.#unchanged.clear();
      this.start();
    }, everyMs);
  }

  async #sweep(): Promise<void> {
    const namespace = this.#namespace;
    this.#lookedAt = this.#clock.now();
    this.#look = new AbortController();
    const { signal } = this.#look;
    const labelSelector = Object.entries(managedBy)
      .map(([key, value]) => `${key}=${value}`)
      .join(',');
    // Jobs first: each that is listed then has a Lease that was made before it.
    const foundJobs = await this.#cluster.list<Job>(jobs({ namespace }), { labelSelector, signal });
    const foundLeases = await this.#cluster.list<Lease>(leases({ namespace }), { labelSelector, signal });
    const known = new Set(foundLeases.map(({ metadata }) => metadata.name));
    const seen = new Set<string>();
    for (const { metadata, spec } of foundLeases) {
      if (metadata.name === this.#own || this.#closed) continue;
      const lastsMs = (spec?.leaseDurationSeconds ?? leaseSeconds) * 1000;
      if (!this.#stands(metadata, lastsMs, seen)) continue;
      // As it was when we looked: a gateway that renews it at this moment lives.
      const { name, uid, resourceVersion } = metadata;
      const ended = await this.#cluster.delete(leases({ namespace, name }), { uid, resourceVersion }).then(
        () => true,
        // Somebody else may have been first.
        (error: unknown) => isFailure(error, 'not-found'),
      );
      if (!ended) continue;
      known.delete(name);
      for (const job of foundJobs) if (leaseOf(job) === name) this.#unchanged.set(job.metadata.uid, longDead);
    }
    for (const job of foundJobs) {
      const lease = leaseOf(job);
      if (lease === undefined || lease === this.#own || known.has(lease) || this.#closed) continue;
      if (this.#stands(job.metadata, lateMs, seen, longDead.version)) await this.#delete(job);
    }
    for (const uid of this.#unchanged.keys()) if (!seen.has(uid)) this.#unchanged.delete(uid);
  }

  /** True when nothing has changed about an object for that long. */
  #stands(
    { uid, resourceVersion }: ObjectMeta,
    forMs: number,
    seen: Set<string>,
    version = resourceVersion ?? '',
  ): boolean {
    seen.add(uid);
    const before = this.#unchanged.get(uid);
    if (before?.version !== version) {
      this.#unchanged.set(uid, { version, since: this.#clock.now() });
      return false;
    }
    // What passed since the look began is not counted: we may have slept. The timer may come a little early.
    return this.#lookedAt - before.since >= forMs - 1000;
  }

  async #delete({ metadata: { name, uid } }: Job): Promise<void> {
    const ref = jobs({ namespace: this.#namespace, name });
    // One that is gone, or made anew under its name, is none of our business.
    await this.#cluster.delete(ref, { uid, propagationPolicy: 'Background' }).catch(() => {});
  }
}

function leaseOf({ metadata }: Job): string | undefined {
  return metadata.labels?.[leaseLabel];
}
