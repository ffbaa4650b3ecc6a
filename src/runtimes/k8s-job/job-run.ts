import { GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import { OutputTail } from '../../transport/output-tail.js';
import { settledWithin } from '../../util/abort.js';
import { heldOpen } from '../../util/held-open.js';
import { once } from '../../util/once.js';
import { textOf } from '../../util/text-of.js';
import { isFailure, type KubernetesError, mayBeDone } from '../shared/kubernetes/kubernetes-error.js';
import { pause } from '../shared/kubernetes/request.js';
import { jobs, pods, secrets } from '../shared/kubernetes/resources.js';
import type { Claim } from './claim.js';
import { containerName, type JobNames, jobLabel, leaseLabel, toJob, toSecret } from './manifest.js';
import type { Job, Pod } from './objects.js';
import { isStuck } from './pod-state.js';
import type { K8sJobSpec } from './spec-types.js';

/** How long a server may take to end after its Job was deleted: a node that missed it looks again after 60 to 90 s. */
const goneMs = 120_000;
const pollMs = 1_000;
/** A pod may still be made just after its Job was deleted. */
const latePodMs = 500;
const deleteTries = 5;
/** How long a log may take: it explains what is known without it. */
const logMs = 5_000;

/** One Job of ours: made, watched, and taken away. */
export class JobRun {
  readonly claim: Claim;
  readonly names: JobNames;
  readonly spec: K8sJobSpec;
  readonly clock: Clock;
  job: Job | undefined;
  /** Why there is no news of its pods now. */
  trouble: KubernetesError | undefined;
  #pods: readonly Pod[] = [];
  #seen = false;
  #runs = true;
  /** Its creation was sent twice: the first may come about once the Job of the second is gone. */
  #isRepeated = false;
  /** None was made. */
  #isRefused = false;
  #watchFailure: Error | undefined;
  readonly #waiting = new Set<() => void>();
  readonly #unlisten: () => void;

  constructor(claim: Claim, names: JobNames, spec: K8sJobSpec, clock: Clock) {
    this.claim = claim;
    this.names = names;
    this.spec = spec;
    this.clock = clock;
    // Before there is a Job, so that nothing about its pod is missed.
    this.#unlisten = claim.listen(names.job, {
      changed: (found) => {
        this.#pods = found;
        this.#watchFailure = undefined;
        this.trouble = undefined;
        this.#seen ||= found.length > 0;
        this.#wake();
      },
      failed: (error) => {
        this.#watchFailure = error;
        this.#wake();
      },
      troubled: (error) => {
        this.trouble = error;
      },
    });
  }

  /** The pods of the Job: one, unless somebody deleted it and Kubernetes made another. */
  get pods(): readonly Pod[] {
    return this.#pods;
  }

  /** Makes the Job, and then the Secret that it owns. Is not cut short: what was asked for may come about all the same. */
  async create(env: Readonly<Record<string, string>>): Promise<void> {
    const { claim, names, spec } = this;
    const { cluster, namespace } = claim;
    const hasEnv = Object.keys(env).length > 0;
    const manifest = toJob(spec, names, hasEnv, claim.owner);
    const repeated = () => {
      this.#isRepeated = true;
    };
    this.job = await cluster.create<Job>(jobs({ namespace }), manifest, { repeated }).catch(async (error: unknown) => {
      if (mayBeDone(error)) claim.expectLate(names.job);
      if (isFailure(error, 'conflict')) {
        // The answer to a first try was lost, perhaps.
        const made = await cluster.get<Job>(jobs({ namespace, name: names.job }));
        if (made.metadata.labels?.[leaseLabel] === names.lease) return made;
      }
      this.#isRefused = !this.#isRepeated && !mayBeDone(error);
      throw error;
    });
    if (!hasEnv) return;
    const secret = toSecret(spec, names, env, this.job.metadata.uid);
    await cluster.create(secrets({ namespace }), secret).catch((error: unknown) => {
      if (isFailure(error, 'conflict')) return;
      // Without it no container is started, and nothing needs to be waited for.
      this.#runs = mayBeDone(error);
      throw error;
    });
  }

  /**
   * Resolves with what `judge` makes of the pods, as soon as it makes something of them.
   *
   * @param isPatient - waits also while there is no news; else that is what it rejects with
   */
  until<T>(judge: (pods: readonly Pod[]) => T | undefined, signal?: AbortSignal, isPatient = false): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (run: () => void) => {
        this.#waiting.delete(look);
        signal?.removeEventListener('abort', abort);
        run();
      };
      const abort = () => settle(() => reject(signal?.reason));
      const look = () => {
        if (this.#watchFailure !== undefined && !isPatient) {
          settle(() => reject(this.#watchFailure));
          return;
        }
        let result: T | undefined;
        try {
          result = judge(this.#pods);
        } catch (error) {
          settle(() => reject(error));
          return;
        }
        if (result !== undefined) settle(() => resolve(result));
      };
      this.#waiting.add(look);
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted) abort();
      else look();
    });
  }

  /** The first bytes that the container has written, stdout and stderr together; empty when they cannot be had. */
  async logStart(bytes: number, pod: Pod): Promise<string> {
    const { ref, options } = this.#logOf(pod, { limitBytes: String(bytes) });
    return this.claim.cluster.text(ref, options).catch(() => '');
  }

  /** The last lines that the container has written, likewise: of these the last bytes, or as much as came in time. */
  async logEnd(lines: number, bytes: number, pod = this.#pods[0]): Promise<string> {
    if (pod === undefined) return '';
    const tail = new OutputTail(bytes);
    // Without limitBytes, which counts from the start of these lines: the last ones tell the most.
    const { ref, options } = this.#logOf(pod, { tailLines: String(lines) });
    await this.claim.cluster.textInPieces(ref, (piece) => tail.push(piece), options).catch(() => {});
    return tail.toString();
  }

  #logOf({ metadata: { name } }: Pod, query: Readonly<Record<string, string>>) {
    return {
      ref: pods({ namespace: this.claim.namespace, name, subresource: 'log' }),
      options: { query: { container: containerName, ...query }, signal: AbortSignal.timeout(logMs) },
    };
  }

  /** The Job as it is now; undefined when it is gone, or cannot be asked for. */
  async current(): Promise<Job | undefined> {
    const { namespace, cluster } = this.claim;
    return cluster.get<Job>(jobs({ namespace, name: this.names.job })).catch(() => undefined);
  }

  /**
   * Deletes the Job and waits until no container of its pod runs. Kubernetes takes the pod away in its own time.
   *
   * @throws `GatewayError` `STOP_FAILED`; what is left is tried again until the gateway is closed
   */
  readonly remove = once(() => heldOpen(this.#remove()));

  async #remove(): Promise<void> {
    try {
      if (this.#isRefused) return;
      await this.#delete();
      if (!this.#runs) return;
      if (!this.#seen) {
        if (this.job === undefined) return;
        await pause(latePodMs, undefined, this.clock);
      }
      const enough = new AbortController();
      const polled = () => this.#pollUntilGone(enough.signal);
      // The news may be late, or have ended: no news of a pod does not mean that there is none.
      const gone = this.#seen ? this.until((found) => found.every(hasEnded) || undefined).catch(polled) : polled();
      const isGone = await settledWithin(gone, goneMs, this.clock);
      enough.abort();
      if (!isGone) {
        const left = this.#pods.map(({ metadata }) => metadata.name).join(', ');
        throw this.#stopFailed(`the pod ${left} still runs ${goneMs / 1000} s after its Job was deleted`);
      }
    } finally {
      this.#unlisten();
    }
  }

  async #pollUntilGone(signal: AbortSignal): Promise<void> {
    const { cluster, namespace } = this.claim;
    const labelSelector = `${jobLabel}=${this.names.job}`;
    while (!signal.aborted) {
      try {
        this.#pods = await cluster.list<Pod>(pods({ namespace }), { labelSelector });
        if (this.#pods.every(hasEnded)) return;
      } catch (error) {
        // It will not be seen; that its Job is deleted is known.
        if (isFailure(error, 'forbidden', 'unauthorized', 'foreign')) return;
      }
      await pause(pollMs, signal, this.clock).catch(() => {});
    }
  }

  async #delete(): Promise<void> {
    if (this.#isRepeated) this.claim.expectLate(this.names.job);
    for (let tries = 1; ; tries += 1) {
      try {
        await this.claim.deleteJob(this.names.job);
        return;
      } catch (error) {
        if (tries === deleteTries || isFailure(error, 'forbidden', 'unauthorized')) {
          const why = textOf(error);
          throw this.#stopFailed(`the Job ${this.names.job} could not be deleted: ${why}`, error);
        }
        await pause(2 ** tries * 250, undefined, this.clock);
      }
    }
  }

  #stopFailed(message: string, cause?: unknown): GatewayError {
    return new GatewayError('STOP_FAILED', message, { server: this.names.server, cause });
  }

  #wake(): void {
    for (const look of [...this.#waiting]) look();
  }
}

/** True when no container of a pod runs, and none will. */
function hasEnded(pod: Pod): boolean {
  const { phase: podPhase, containerStatuses, initContainerStatuses } = pod.status ?? {};
  const all = containerStatuses ?? [];
  if (podPhase === 'Failed' || podPhase === 'Succeeded') return true;
  // A sidecar that was begun before the others, and ends after them, stands among these.
  if (initContainerStatuses?.some(({ state }) => state?.running !== undefined)) return false;
  if (all.length > 0 && all.every(({ state }) => state?.terminated !== undefined)) return true;
  // What could not be started will not be once the pod is to go, which takes some clusters a minute; and no node takes one then,
  // though a finalizer may keep it.
  const isNowhere = all.length === 0 && pod.spec?.nodeName === undefined;
  return pod.metadata.deletionTimestamp !== undefined && (isStuck(pod) || isNowhere);
}
