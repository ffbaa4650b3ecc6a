import type { StandardSchemaV1 } from '@standard-schema/spec';
import * as v from 'valibot';
import { checkOptions } from '../checks/check-options.js';
import type { Schemas } from '../checks/option-kinds.js';
import type { AccessRule, CheckResult, RuntimeContext, RuntimeFactory, RuntimeTransport } from '../runtime.js';
import { accessRules } from './k8s-job/access.js';
import type { K8sJobServers } from './k8s-job/k8s-job-servers.js';
import { jobName, toJob } from './k8s-job/manifest.js';
import { parseKubernetesQuantity } from './k8s-job/quantity.js';
import { k8sJobSpec } from './k8s-job/spec.js';
import type { K8sJobSpec } from './k8s-job/spec-types.js';
import { withoutValues } from './k8s-job/without-values.js';
import type { KubernetesOptions } from './shared/kubernetes/kube-config.js';
import { kubernetesOptions } from './shared/kubernetes/kubernetes-options.js';
import { OnDemand } from './shared/on-demand.js';

export type { K8sEnvSource, K8sJobSpec, K8sPodSecurity, K8sToleration } from './k8s-job/spec-types.js';
export type { KubeConfigLike, KubernetesOptions } from './shared/kubernetes/kube-config.js';

/** Settings of a {@link K8sJobRuntime}. */
export interface K8sJobOptions extends KubernetesOptions {}

const optionsSchema = v.strictObject(kubernetesOptions satisfies Schemas<K8sJobOptions>);

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

  readonly #servers: OnDemand<K8sJobServers>;

  /** @throws `GatewayError` `OPTION_INVALID` */
  constructor(options: K8sJobOptions = {}) {
    checkOptions('K8sJobRuntime', optionsSchema, options);
    this.#servers = new OnDemand(async () => new (await import('./k8s-job/k8s-job-servers.js')).K8sJobServers(options));
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
    return (await this.#servers.get()).check(spec, context);
  }

  /**
   * Makes a Job, waits until its container runs, and attaches to it.
   *
   * @throws `GatewayError` `START_FAILED` that tells apart: no access, quota, Pod Security, ServiceAccount, no node, image,
   * container, and a server that ended
   */
  async open(spec: K8sJobSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    return (await this.#servers.get()).open(spec, context);
  }

  /**
   * Gives up the Leases and ends every connection.
   *
   * @throws `GatewayError` `STOP_FAILED` that names the Jobs which could not be deleted
   */
  close(): Promise<void> {
    return this.#servers.close();
  }
}
