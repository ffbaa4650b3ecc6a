import type { StandardSchemaV1 } from '@standard-schema/spec';
import * as v from 'valibot';
import { checkOptions } from '../checks/check-options.js';
import * as kinds from '../checks/option-kinds.js';
import type { AccessRule, CheckResult, RuntimeContext, RuntimeFactory, RuntimeTransport } from '../runtime.js';
import { accessRules } from './k8s-service/access.js';
import type { K8sServiceOptions, K8sServiceServers } from './k8s-service/k8s-service-servers.js';
import { type K8sServiceSpec, k8sServiceSpec } from './k8s-service/spec.js';
import { httpOptions } from './shared/http-options.js';
import { kubernetesOptions } from './shared/kubernetes/kubernetes-options.js';
import { OnDemand } from './shared/on-demand.js';

export type { K8sServiceOptions } from './k8s-service/k8s-service-servers.js';
export type { K8sServiceSpec } from './k8s-service/spec.js';

const optionsSchema = v.strictObject({
  ...kubernetesOptions,
  ...httpOptions,
  readyTimeoutMs: kinds.numberFrom0,
} satisfies kinds.Schemas<K8sServiceOptions>);

/**
 * Connects to servers that run as a Kubernetes Service, over Streamable HTTP or the older HTTP+SSE: type `k8s-service`.
 *
 * Each session stays with one pod, new ones go to the ready pod that has the fewest. A pod that goes ends its own sessions
 * alone. The workload is never scaled and never deleted.
 */
export class K8sServiceRuntime implements RuntimeFactory<K8sServiceSpec> {
  readonly type = 'k8s-service';
  readonly spec: StandardSchemaV1<K8sServiceSpec> = k8sServiceSpec;
  readonly supports = { env: false, stderr: false, exit: false, starts: false } as const;
  readonly #servers: OnDemand<K8sServiceServers>;

  /** @throws `GatewayError` `OPTION_INVALID` */
  constructor(options: K8sServiceOptions = {}) {
    checkOptions('K8sServiceRuntime', optionsSchema, options);
    this.#servers = new OnDemand(async () => {
      const { K8sServiceServers } = await import('./k8s-service/k8s-service-servers.js');
      return new K8sServiceServers(options);
    });
  }

  /** Where it goes; values of headers and of the query do not show. */
  describe(spec: K8sServiceSpec): Record<string, unknown> {
    const { namespace, service_name, port, context } = spec;
    return {
      namespace,
      service: service_name,
      port,
      scheme: spec.scheme ?? 'http',
      path: (spec.path ?? '/mcp').split('?', 1)[0],
      headers: Object.keys(spec.headers ?? {}).sort(),
      ...(context !== undefined && { context }),
      reach: spec.reach ?? 'auto',
      transport: spec.transport ?? 'auto',
    };
  }

  /** Asks for access, for the service and a ready pod, and whether a server answers there. */
  async check(spec: K8sServiceSpec, context: RuntimeContext): Promise<CheckResult> {
    return (await this.#servers.get()).check(spec, context);
  }

  /** Rights of the newest API servers; `pods/portforward` unless the entry's `reach` is `dns`. */
  rbac(spec: K8sServiceSpec): readonly AccessRule[] {
    return accessRules(spec);
  }

  /**
   * Connects to a ready pod.
   *
   * @throws `GatewayError` `START_FAILED` that says what is missing: access, service, port, a ready pod
   */
  async open(spec: K8sServiceSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    return (await this.#servers.get()).open(spec, context);
  }

  /** Ends every connection. */
  close(): Promise<void> {
    return this.#servers.close();
  }
}
