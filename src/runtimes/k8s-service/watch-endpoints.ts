import type { Clock } from '../../options.js';
import type { Cluster, Watch } from '../shared/kubernetes/cluster.js';
import { isFailure, type KubernetesError } from '../shared/kubernetes/kubernetes-error.js';
import {
  endpointSlices,
  endpoints as endpointsRef,
  type KubernetesObject,
  type ResourceRef,
} from '../shared/kubernetes/resources.js';
import { type Endpoint, type EndpointSlice, type Endpoints, fromEndpoints, fromSlices } from './endpoints.js';
import type { K8sServiceSpec } from './spec.js';

const pauseMs = 10_000;
/** How long the first list may fail. Less than a start, whose end by time says nothing of what it has waited for. */
const troubleMs = 15_000;

interface Source {
  ref(spec: K8sServiceSpec): ResourceRef;
  selector(spec: K8sServiceSpec): { readonly labelSelector?: string; readonly fieldSelector?: string };
  read(items: Iterable<KubernetesObject>, portName: string): Endpoint[];
}

const slices = (version: string): Source => ({
  ref: ({ namespace }) => ({ ...endpointSlices({ namespace }), version }),
  selector: ({ service_name }) => ({ labelSelector: `kubernetes.io/service-name=${service_name}` }),
  read: (items, portName) => fromSlices(items as Iterable<EndpointSlice>, portName),
});

/** Where the endpoints of a service stand; the first that the cluster has is asked. */
const sources: readonly Source[] = [
  slices('v1'),
  slices('v1beta1'),
  {
    ref: ({ namespace }) => endpointsRef({ namespace }),
    selector: ({ service_name }) => ({ fieldSelector: `metadata.name=${service_name}` }),
    read: (items, portName) => fromEndpoints(items as Iterable<Endpoints>, portName),
  },
];

/** The endpoints of a service as they are now. */
export async function listEndpoints(
  cluster: Cluster,
  spec: K8sServiceSpec,
  portName: string,
  signal: AbortSignal,
): Promise<Endpoint[]> {
  for (let next = 0; ; next++) {
    const { ref, selector, read } = sources[next] as Source;
    try {
      return read(await cluster.list(ref(spec), { ...selector(spec), signal }), portName);
    } catch (error) {
      if (!isFailure(error, 'not-found') || next === sources.length - 1) throw error;
    }
  }
}

/** Follows the endpoints of a service, through lost connections. */
export class EndpointsWatch {
  /** Settles with the first list; rejects with the `KubernetesError` that made it impossible. */
  readonly listed: Promise<void>;
  readonly #cluster: Cluster;
  readonly #spec: K8sServiceSpec;
  readonly #portName: string;
  readonly #clock: Clock;
  readonly #changed: (endpoints: readonly Endpoint[]) => void;
  readonly #settle = Promise.withResolvers<void>();
  readonly #since: number;
  #source = 0;
  #everListed = false;
  #watch: Watch | undefined;
  #timer: unknown;
  #closed = false;

  constructor(
    cluster: Cluster,
    spec: K8sServiceSpec,
    portName: string,
    clock: Clock,
    changed: (endpoints: readonly Endpoint[]) => void,
  ) {
    this.#cluster = cluster;
    this.#spec = spec;
    this.#portName = portName;
    this.#clock = clock;
    this.#changed = changed;
    this.#since = clock.now();
    this.listed = this.#settle.promise;
    this.listed.catch(() => {});
    this.#start();
  }

  close(): void {
    this.#closed = true;
    this.#clock.clearTimeout(this.#timer);
    this.#watch?.close();
  }

  #start(): void {
    const { ref, selector, read } = sources[this.#source] as Source;
    this.#watch = this.#cluster.watch(ref(this.#spec), {
      ...selector(this.#spec),
      background: true,
      changed: (items) => {
        if (this.#closed) return;
        this.#everListed = true;
        this.#changed(read(items.values(), this.#portName));
        this.#settle.resolve();
      },
      failed: (error) => this.#failed(error),
      trouble: (error) => {
        if (this.#clock.now() - this.#since > troubleMs) this.#settle.reject(error);
      },
    });
  }

  #failed(error: KubernetesError): void {
    if (this.#closed) return;
    if (!this.#everListed && isFailure(error, 'not-found') && this.#source < sources.length - 1) {
      this.#source += 1;
      this.#start();
      return;
    }
    this.#settle.reject(error);
    // Who waits for the first list closes it then. Any other worked before, be it under another name of the port: an API server
    // that comes up refuses what it serves a little later.
    this.#timer = this.#clock.setTimeout(() => this.#start(), pauseMs);
  }
}
