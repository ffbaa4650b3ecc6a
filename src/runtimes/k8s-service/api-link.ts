import type { Duplex } from 'node:stream';
import { GatewayError } from '../../errors.js';
import { type Clock, systemClock } from '../../options.js';
import { DialError } from '../../transport/http/dial.js';
import { describeNetworkError } from '../../transport/http/network.js';
import { abortable } from '../../util/abort.js';
import type { Cluster } from '../shared/kubernetes/cluster.js';
import { isFailure, KubernetesError, mayPass, toStartError } from '../shared/kubernetes/kubernetes-error.js';
import { pause } from '../shared/kubernetes/request.js';
import { services } from '../shared/kubernetes/resources.js';
import { type Endpoint, findPort, type Service, showPorts } from './endpoints.js';
import { forwardPort } from './forwarded-port.js';
import type { Link, LinkOptions } from './link.js';
import type { K8sServiceSpec } from './spec.js';
import { dialAddress, type Guest, leastUsed, Target } from './target.js';
import { EndpointsWatch } from './watch-endpoints.js';

/** How long an API server that is in trouble is asked again for a service. */
const troubleMs = 1_500;

export interface ApiLinkOptions extends LinkOptions {
  readonly cluster: Cluster;
  readonly spec: K8sServiceSpec;
  /** Through the API server; else straight to the pods' addresses. */
  readonly forward: boolean;
  readonly readyTimeoutMs: number;
  readonly clock: Clock;
}

/** The way to the pods of a service, as the API server knows them. */
export class ApiLink implements Link {
  readonly #options: ApiLinkOptions;
  readonly #targets = new Map<string, Target>();
  readonly #waiting = new Set<() => void>();
  /** What the service had last, for messages. */
  #endpoints: readonly Endpoint[] = [];
  #watch: EndpointsWatch;
  #port: { readonly name: string; readonly port: number };

  private constructor(options: ApiLinkOptions, port: { readonly name: string; readonly port: number }) {
    this.#options = options;
    this.#port = port;
    this.#watch = this.#startWatch();
  }

  /** @throws `GatewayError` `START_FAILED`; `KubernetesError` */
  static async open(options: ApiLinkOptions, signal: AbortSignal): Promise<ApiLink> {
    const link = new ApiLink(options, await readPort(options, signal));
    try {
      await abortable(link.#watch.listed, signal);
      return link;
    } catch (error) {
      await link.close();
      throw error;
    }
  }

  get port(): number {
    return this.#port.port;
  }

  async take(tried: ReadonlySet<Target>, place: Guest, signal: AbortSignal): Promise<Target | undefined> {
    const find = () => {
      const left = [...this.#targets.values()].filter((target) => !tried.has(target));
      const found = leastUsed(left, this.#options.random);
      found?.enter(place);
      return found;
    };
    let found = find();
    // Those that turned out to be gone are none that are ready, though the watch has yet to tell.
    if (found !== undefined || [...tried].some(({ gone }) => !gone)) return found;
    await this.#readAgain(signal);
    while (found === undefined) {
      try {
        await this.#anyReady(signal);
      } catch (error) {
        signal.throwIfAborted();
        if (tried.size === 0) throw error;
        // What they failed with says more than what the watch had told of them.
        return undefined;
      }
      found = find();
    }
    return found;
  }

  choose(): Target | undefined {
    return leastUsed(this.#targets.values(), this.#options.random);
  }

  async close(): Promise<void> {
    this.#watch.close();
    await Promise.all([...this.#targets.values()].map((target) => target.close()));
    this.#targets.clear();
  }

  /** The service may have been deleted since, or its port renamed. */
  async #readAgain(signal: AbortSignal): Promise<void> {
    const port = await readPort(this.#options, signal).catch((error: unknown) => {
      throw signal.aborted ? signal.reason : toStartError(error, this.#options.server);
    });
    const renamed = port.name !== this.#port.name;
    this.#port = port;
    if (!renamed) return;
    this.#watch.close();
    this.#watch = this.#startWatch();
  }

  #anyReady(signal: AbortSignal): Promise<void> {
    const { clock, readyTimeoutMs } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = () => {
      if ([...this.#targets.values()].some(({ ready }) => ready)) resolve();
    };
    const timer = clock.setTimeout(() => reject(this.#nothingReady()), readyTimeoutMs);
    this.#waiting.add(look);
    look();
    return abortable(promise, signal).finally(() => {
      clock.clearTimeout(timer);
      this.#waiting.delete(look);
    });
  }

  #nothingReady(): GatewayError {
    const { server, spec, readyTimeoutMs } = this.#options;
    const message = `${noReadyPod(spec, this.#endpoints)}; waited ${readyTimeoutMs} ms`;
    return new GatewayError('START_FAILED', message, { server, delivered: false });
  }

  #startWatch(): EndpointsWatch {
    const { cluster, spec, clock } = this.#options;
    return new EndpointsWatch(cluster, spec, this.#port.name, clock, (endpoints) => this.#changed(endpoints));
  }

  #changed(endpoints: readonly Endpoint[]): void {
    this.#endpoints = endpoints;
    const here = new Map(endpoints.filter(({ leaving }) => !leaving).map((endpoint) => [endpoint.key, endpoint]));
    for (const [key, target] of this.#targets) {
      if (!here.has(key)) this.#remove(key, target);
    }
    for (const [key, endpoint] of here) {
      const known = this.#targets.get(key);
      if (known === undefined) {
        const dial = (to: Endpoint, signal: AbortSignal) => this.#dial(to, signal);
        this.#targets.set(key, new Target(endpoint, dial, this.#options.toConnections));
      } else {
        known.update(endpoint);
      }
    }
    for (const look of this.#waiting) look();
  }

  async #dial(endpoint: Endpoint, signal: AbortSignal): Promise<Duplex> {
    const { cluster, spec, forward } = this.#options;
    if (!forward) {
      return dialAddress(endpoint, signal).catch((error: unknown) => {
        signal.throwIfAborted();
        if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') this.#refused(endpoint);
        throw unreachable(endpoint, error);
      });
    }
    const { key, pod, port } = endpoint;
    if (pod === undefined) {
      const remedy = 'there is no port-forward to it; set reach: dns in the cluster';
      throw new Error(`${endpoint.address}, which serves "${spec.service_name}", is no pod: ${remedy}`);
    }
    try {
      const stream = await forwardPort(cluster, { namespace: spec.namespace, pod, port }, signal);
      return stream.once('error', ({ delivered }: Error & { delivered?: unknown }) => {
        if (delivered === false) this.#refused(endpoint);
      });
    } catch (error) {
      // Sooner than the watch may tell.
      const target = this.#targets.get(key);
      if (isFailure(error, 'not-found') && target !== undefined) this.#remove(key, target);
      throw error instanceof KubernetesError ? new DialError(error.message, { cause: error }) : error;
    }
  }

  /** A server that is not ready and does not listen has ended, or was started anew, and knows no session. */
  #refused({ key }: Endpoint): void {
    const target = this.#targets.get(key);
    if (target?.ready === false) this.#remove(key, target);
  }

  #remove(key: string, target: Target): void {
    this.#targets.delete(key);
    target.leave();
  }
}

/** The address and port of a pod are not those in the URL, which are the service's. */
function unreachable({ pod, address, port }: Endpoint, cause: unknown): DialError {
  const host = address.includes(':') ? `[${address}]` : address;
  const why = describeNetworkError(cause, new URL(`http://${host}:${port}`));
  return new DialError(pod === undefined ? why : `pod "${pod}" cannot be reached: ${why}`, { cause });
}

/** Why a service has nowhere for a session to go. */
export function noReadyPod({ namespace, service_name }: K8sServiceSpec, endpoints: readonly Endpoint[]): string {
  const what = `service "${service_name}" in namespace "${namespace}"`;
  if (endpoints.length === 0) return `${what} has no pods: does its selector match some, and do they run?`;
  const states = endpoints.map(
    ({ pod, address, leaving }) => `${pod ?? address} ${leaving ? 'is being shut down' : 'is not ready'}`,
  );
  const some = states.length > 5 ? [...states.slice(0, 5), '…'] : states;
  return `${what} has no ready pod: ${some.join(', ')}`;
}

/** Reads the service and finds the port that the entry names. */
export async function readPort(
  { cluster, spec, server }: Pick<ApiLinkOptions, 'cluster' | 'spec' | 'server'>,
  signal: AbortSignal,
): Promise<{ name: string; port: number }> {
  const { namespace, service_name, port } = spec;
  const service = await readService(cluster, spec, signal);
  const what = `service "${service_name}" in namespace "${namespace}"`;
  const { type, externalName } = service.spec ?? {};
  if (type === 'ExternalName') {
    const message = `${what} has no pods: it is a name for ${externalName}; give its URL to a runtime of type remote-sse`;
    throw new GatewayError('START_FAILED', message, { server, delivered: false });
  }
  const found = findPort(service, port);
  if (found !== undefined) return found;
  const message = `${what} has no port ${port}; it has ${showPorts(service)}`;
  throw new GatewayError('START_FAILED', message, { server, delivered: false });
}

async function readService(
  cluster: Cluster,
  { namespace, service_name }: K8sServiceSpec,
  signal: AbortSignal,
): Promise<Service> {
  const since = systemClock.now();
  for (let ms = 250; ; ms *= 2) {
    try {
      return await cluster.get<Service>(services({ namespace, name: service_name }), { signal });
    } catch (error) {
      // A login does not pass by itself.
      const isOver = isFailure(error, 'foreign') || systemClock.now() - since > troubleMs;
      if (!mayPass(error) || isOver) throw error;
      await pause(ms, signal, systemClock);
    }
  }
}
