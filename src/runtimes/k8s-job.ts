import type { StandardSchemaV1 } from '@standard-schema/spec';
import { GatewayError } from '../errors.js';
import { systemClock } from '../options.js';
import type { AccessRule, CheckResult, RuntimeContext, RuntimeFactory, RuntimeTransport } from '../runtime.js';
import { StreamTransport } from '../transport/stream-transport.js';
import { abortable } from '../util/abort.js';
import { accessRules } from './k8s-job/access.js';
import { attach } from './k8s-job/attach.js';
import { awaitRunning, startFailed } from './k8s-job/await-pod.js';
import { Claim } from './k8s-job/claim.js';
import { findEarlyOutput } from './k8s-job/early-output.js';
import { JobRun } from './k8s-job/job-run.js';
import { jobName, leaseName, toJob } from './k8s-job/manifest.js';
import { channels, PodPeer } from './k8s-job/pod-peer.js';
import { parseKubernetesQuantity } from './k8s-job/quantity.js';
import { k8sJobSpec } from './k8s-job/spec.js';
import type { K8sJobSpec } from './k8s-job/spec-types.js';
import { withoutValues } from './k8s-job/without-values.js';
import { findMissingAccess } from './shared/kubernetes/check-access.js';
import type { ChannelSocket, Cluster } from './shared/kubernetes/cluster.js';
import { Clusters } from './shared/kubernetes/clusters.js';
import type { KubernetesOptions } from './shared/kubernetes/kube-config.js';
import { isFailure, KubernetesError, toStartError } from './shared/kubernetes/kubernetes-error.js';
import { jobs } from './shared/kubernetes/resources.js';

export type { K8sEnvSource, K8sJobSpec, K8sPodSecurity, K8sToleration } from './k8s-job/spec-types.js';
export type { KubeConfigLike, KubernetesOptions } from './shared/kubernetes/kube-config.js';

/** How much a server may say before it is attached to. */
const earlyLogBytes = String(4 * 1024 * 1024);

/** Settings of a {@link K8sJobRuntime}. */
export interface K8sJobOptions extends KubernetesOptions {}

/**
 * Runs each server as a Kubernetes Job and speaks to it over the container's stdin and stdout: type `k8s-job`.
 *
 * Needs the package `@kubernetes/client-node`. Each Job has one pod that is never restarted, and goes with its session:
 * closing ends the server's input, then deletes the Job. What a killed host leaves behind, other gateways of the namespace
 * take away once its Lease has not been renewed for a minute.
 */
export class K8sJobRuntime implements RuntimeFactory<K8sJobSpec> {
  readonly type = 'k8s-job';
  readonly spec: StandardSchemaV1<K8sJobSpec> = k8sJobSpec;

  readonly #clusters: Clusters;
  readonly #claims = new Map<string, Claim>();

  constructor(options: K8sJobOptions = {}) {
    this.#clusters = new Clusters(options);
  }

  /** The Job that would be made; values of variables do not show. */
  describe(
    spec: K8sJobSpec,
    { server, env }: Pick<RuntimeContext, 'server' | 'env' | 'baseDir'>,
  ): Record<string, unknown> {
    const names = { job: `${jobName(server, '', '').slice(0, -12)}…`, lease: '…', server };
    return {
      context: spec.context ?? null,
      job: withoutValues(toJob(spec, names, Object.keys(env).length > 0)),
      env: Object.keys(env).sort(),
    };
  }

  /** The limit of the server's container. */
  memory({ resources }: K8sJobSpec): number | undefined {
    const limit = resources?.limits?.memory;
    return limit === undefined ? undefined : parseKubernetesQuantity(limit);
  }

  rbac(spec: K8sJobSpec, { env }: Pick<RuntimeContext, 'server' | 'env'>): readonly AccessRule[] {
    return accessRules(spec, Object.keys(env).length > 0);
  }

  /** Asks the API server whether everything is allowed that `open` does, and whether it would take the Job. */
  async check(spec: K8sJobSpec, context: RuntimeContext): Promise<CheckResult> {
    const { signal } = context;
    signal.throwIfAborted();
    const problems: string[] = [];
    try {
      const cluster = await abortable(this.#clusters.open(spec.context), signal);
      problems.push(...(await findMissingAccess(cluster, this.rbac(spec, context), signal)));
      const refusal = await findRefusal(cluster, spec, context);
      if (refusal !== undefined && problems.length === 0) problems.push(refusal);
    } catch (error) {
      signal.throwIfAborted();
      if (!GatewayError.is(error) && !(error instanceof KubernetesError)) throw error;
      problems.push(error.message);
    }
    signal.throwIfAborted();
    const envProblem = findEnvProblem(context.env);
    if (envProblem !== undefined) problems.push(envProblem);
    return { ok: problems.length === 0, problems };
  }

  /**
   * Makes a Job, waits until its container runs, and attaches to it.
   *
   * @throws `GatewayError` `START_FAILED` that tells apart: no access, quota, Pod Security, ServiceAccount, no node, image,
   * container, and a server that ended
   */
  async open(spec: K8sJobSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    const { server, signal, clock, limits, env } = context;
    signal.throwIfAborted();
    context.report('starting');
    signal.throwIfAborted();
    const envProblem = findEnvProblem(env);
    if (envProblem !== undefined) throw startFailed(envProblem, context);
    try {
      const cluster = await abortable(this.#clusters.open(spec.context), signal);
      const claim = this.#claimOf(cluster, spec, context);
      await claim.ready(signal);
      const names = {
        job: jobName(server, context.gatewayId, context.instanceId),
        lease: leaseName(context.gatewayId),
        server,
      };
      const run = new JobRun(claim, names, spec, clock);
      let socket: ChannelSocket | undefined;
      try {
        await run.create(env);
        signal.throwIfAborted();
        const pod = await awaitRunning(run, context);
        socket = await attach(run, pod, context);
        const log = await run.log({ limitBytes: earlyLogBytes }, pod);
        const early = await findEarlyOutput(log, socket.readable(channels.stdout), clock);
        signal.throwIfAborted();
        const peer = new PodPeer({ run, pod, socket, early, clock, stderrTailBytes: limits.stderrTailBytes });
        return new StreamTransport(peer, { server, maxMessageBytes: limits.maxMessageBytes, clock });
      } catch (error) {
        // The first failure is the one to read; what cannot be removed now is tried again later.
        await socket?.close();
        await run.remove().catch(() => {});
        throw error;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (GatewayError.is(error) && error.server === undefined) throw startFailed(error.message, context);
      throw toStartError(error, server);
    }
  }

  /** Gives up the Leases and ends every connection. */
  async close(): Promise<void> {
    const claims = [...this.#claims.values()];
    this.#claims.clear();
    await Promise.all(claims.map((claim) => claim.close()));
    await this.#clusters.close();
  }

  #claimOf(cluster: Cluster, { context, namespace }: K8sJobSpec, { gatewayId }: RuntimeContext): Claim {
    const key = JSON.stringify([context, namespace, gatewayId]);
    let claim = this.#claims.get(key);
    if (claim === undefined) {
      claim = new Claim(cluster, namespace, gatewayId, systemClock);
      this.#claims.set(key, claim);
    }
    return claim;
  }
}

/** Lets the API server judge the Job without making it. */
async function findRefusal(cluster: Cluster, spec: K8sJobSpec, context: RuntimeContext): Promise<string | undefined> {
  const { server, gatewayId, instanceId, env, signal } = context;
  const names = { job: jobName(server, gatewayId, instanceId), lease: leaseName(gatewayId), server };
  const manifest = toJob(spec, names, Object.keys(env).length > 0);
  const ref = jobs({ namespace: spec.namespace });
  try {
    await cluster.create(ref, manifest, { query: { dryRun: 'All' }, signal });
    return undefined;
  } catch (error) {
    // Webhooks that cannot judge without a trace refuse to; that says nothing about the Job.
    const undecided = isFailure(error, 'invalid') && /dry.?run/i.test(error.message);
    if (!(error instanceof KubernetesError) || undecided) {
      signal.throwIfAborted();
      if (!undecided) throw error;
      return undefined;
    }
    return error.message;
  }
}

/** Kubernetes drops variables whose names it does not like, without a word. */
function findEnvProblem(env: Readonly<Record<string, string>>): string | undefined {
  const bad = Object.keys(env).find((name) => !/^[-._a-zA-Z][-._a-zA-Z0-9]{0,252}$/.test(name));
  if (bad === undefined) return undefined;
  return `Kubernetes takes no variable named ${JSON.stringify(bad)}: letters, digits, "_", "-" and "." alone; rename it in env`;
}
