import type { CatalogInput, ParsedRuntime, RuntimeInputOf } from './catalog/catalog.js';
import type { RuntimeFactory } from './runtime.js';
import type { DockerRuntime } from './runtimes/docker.js';
import type { InProcessRuntime } from './runtimes/in-process.js';
import type { K8sJobRuntime } from './runtimes/k8s-job.js';
import type { K8sServiceRuntime } from './runtimes/k8s-service.js';
import type { LocalProcessRuntime } from './runtimes/local-process.js';
import type { RemoteSseRuntime } from './runtimes/remote-sse.js';

/** The factories that every gateway has unless `builtins` is false. */
export type BuiltinRuntime =
  | LocalProcessRuntime
  | RemoteSseRuntime
  | DockerRuntime
  | K8sJobRuntime
  | K8sServiceRuntime
  | InProcessRuntime;

/**
 * The catalogs that `createGateway` with these runtimes takes: what is written in code is checked against their schemas, what
 * was read from text when the gateway is created or reloaded. The type for a catalog that is made step by step, or by a
 * function.
 */
export type GatewayCatalog<Runtimes extends readonly RuntimeFactory[] = readonly []> = CatalogInput<
  RuntimeInputOf<BuiltinRuntime | Runtimes[number]> | ParsedRuntime
>;

/** One server of such a catalog: the type for lists of them. */
export type GatewayServer<Runtimes extends readonly RuntimeFactory[] = readonly []> =
  GatewayCatalog<Runtimes>['servers'][number];
