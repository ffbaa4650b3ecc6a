import { GatewayError } from '../../errors.js';
import { systemClock } from '../../options.js';
import type { CheckResult, RuntimeContext, RuntimeTransport } from '../../runtime.js';
import { StreamTransport } from '../../transport/stream-transport.js';
import { abortable } from '../../util/abort.js';
import { findMissingAccess } from '../shared/kubernetes/check-access.js';
import type { ChannelSocket, Cluster } from '../shared/kubernetes/cluster.js';
import { Clusters } from '../shared/kubernetes/clusters.js';
import type { KubernetesOptions } from '../shared/kubernetes/kube-config.js';
import { isFailure, KubernetesError, toStartError } from '../shared/kubernetes/kubernetes-error.js';
import { jobs } from '../shared/kubernetes/resources.js';
import { accessRules } from './access.js';
import { attach } from './attach.js';
import { awaitRunning, startFailed } from './await-pod.js';
import { Claim } from './claim.js';
import { findEarlyOutput } from './early-output.js';
import { JobRun } from './job-run.js';
import { jobName, leaseName, toJob } from './manifest.js';
import { channels, PodPeer } from './pod-peer.js';
import type { K8sJobSpec } from './spec-types.js';

/** How much a server may say before it is attached to. */
const earlyLogBytes = 4 * 1024 * 1024;

/** The Jobs of a `K8sJobRuntime`, and the clusters that run them. */
export class K8sJobServers {
  readonly #clusters: Clusters;
  readonly #claims = new Map<string, Claim>();

  constructor(options: KubernetesOptions) {
    this.#clusters = new Clusters(options);
  }

  /** Asks the API server whether everything is allowed that `open` does, and whether it would take the Job. */
  async check(spec: K8sJobSpec, context: RuntimeContext): Promise<CheckResult> {
    const { signal } = context;
    signal.throwIfAborted();
    const problems: string[] = [];
    try {
      const cluster = await abortable(this.#clusters.open(spec.context), signal);
      const missing = await findMissingAccess(cluster, accessRules(spec, Object.keys(context.env).length > 0), signal);
      const problem = missing ?? (await findRefusal(cluster, spec, context));
      if (problem !== undefined) problems.push(problem);
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
        // Which may take longer than a start does: API servers wait for a kubelet that they cannot reach.
        context.report('starting', { message: `the API server is asked to attach to the pod ${pod.metadata.name}` });
        socket = await attach(run, pod, context);
        const log = await run.logStart(earlyLogBytes, pod);
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

  /**
   * Gives up the Leases and ends every connection.
   *
   * @throws `GatewayError` `STOP_FAILED` that names the Jobs which could not be deleted
   */
  async close(): Promise<void> {
    const claims = [...this.#claims.values()];
    this.#claims.clear();
    const left = (await Promise.all(claims.map((claim) => claim.close()))).flat();
    await this.#clusters.close();
    if (left.length === 0) return;
    throw new GatewayError('STOP_FAILED', `Jobs that could not be deleted: ${left.join(', ')}; see kubectl get jobs`);
  }

  #claimOf(cluster: Cluster, { context, namespace }: K8sJobSpec, { gatewayId }: RuntimeContext): Claim {
    const key = JSON.stringify([context, namespace, gatewayId]);
    let claim = this.#claims.get(key);
    if (claim === undefined) {
      const onGone = () => this.#claims.delete(key);
      claim = new Claim(cluster, namespace, gatewayId, systemClock, onGone);
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

/** Kubernetes drops variables whose names it does not like, without a word, or takes no Secret that holds them. */
function findEnvProblem(env: Readonly<Record<string, string>>): string | undefined {
  const bad = Object.keys(env).find((name) => !/^(?!\.$|\.\.)[-._a-zA-Z][-._a-zA-Z0-9]{0,252}$/.test(name));
  if (bad === undefined) return undefined;
  const rule = 'letters, digits, "_", "-" and ".", without a digit or ".." at the start, and not "." itself';
  return `Kubernetes takes no variable named ${JSON.stringify(bad)}: ${rule}; rename it in env`;
}
