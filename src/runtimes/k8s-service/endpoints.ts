import type { KubernetesObject } from '../shared/kubernetes/resources.js';
import { portNumber } from './spec.js';

/** A place where a service is served: usually a pod. */
export interface Endpoint {
  /** The same for as long as it is the same pod: a pod of the same name that replaces it has another. */
  readonly key: string;
  /** The name of the pod, when it is one. */
  readonly pod: string | undefined;
  readonly address: string;
  /** Where the pod listens, whatever the number at the service. */
  readonly port: number;
  readonly ready: boolean;
  /** It is being shut down. */
  readonly leaving: boolean;
}

interface Port {
  readonly name?: string | null;
  readonly port?: number | null;
  readonly protocol?: string | null;
}

interface TargetRef {
  readonly kind?: string;
  readonly name?: string;
  readonly uid?: string;
}

/** The part of a Service that is read. */
export interface Service extends KubernetesObject {
  readonly spec?: {
    readonly type?: string;
    /** What an `ExternalName` stands for. */
    readonly externalName?: string;
    readonly ports?: readonly (Port & { readonly port: number })[] | null;
  };
}

/** The part of an EndpointSlice that is read; v1 and v1beta1 agree on it. */
export interface EndpointSlice extends KubernetesObject {
  readonly addressType?: string;
  readonly ports?: readonly Port[] | null;
  readonly endpoints?:
    | readonly {
        readonly addresses: readonly string[] | null;
        readonly conditions?: { readonly ready?: boolean | null; readonly terminating?: boolean | null };
        readonly targetRef?: TargetRef | null;
      }[]
    | null;
}

interface EndpointAddress {
  readonly ip: string;
  readonly targetRef?: TargetRef | null;
}

/** The part of core/v1 Endpoints that is read. */
export interface Endpoints extends KubernetesObject {
  readonly subsets?:
    | readonly {
        readonly addresses?: readonly EndpointAddress[] | null;
        readonly notReadyAddresses?: readonly EndpointAddress[] | null;
        readonly ports?: readonly Port[] | null;
      }[]
    | null;
}

/** The port of a service that `wanted` names, by number or name; undefined when it has none such. */
export function findPort(service: Service, wanted: number | string): { name: string; port: number } | undefined {
  const ports = (service.spec?.ports ?? []).filter(isTcp);
  const number = portNumber({ port: wanted });
  // Kubernetes allows no name of digits alone.
  const found = ports.find((port) => (number === undefined ? port.name === wanted : port.port === number));
  return found && { name: found.name ?? '', port: found.port };
}

/** The ports of a service, for messages: `8080 (http), 9090`. */
export function showPorts(service: Service): string {
  const ports = (service.spec?.ports ?? []).filter(isTcp);
  return ports.map(({ name, port }) => (name ? `${port} (${name})` : `${port}`)).join(', ') || 'no TCP port';
}

/** The endpoints in the slices of a service, by the name of its port; each pod once. */
export function fromSlices(slices: Iterable<EndpointSlice>, portName: string): Endpoint[] {
  const found = new Map<string, Endpoint>();
  // A pod with addresses of both families stands in two slices.
  const ordered = [...slices].sort((one, other) => Number(isIpv6(one)) - Number(isIpv6(other)));
  for (const slice of ordered) {
    if (slice.addressType === 'FQDN') continue;
    const port = portOf(slice.ports, portName);
    if (port === undefined) continue;
    for (const { addresses, conditions, targetRef } of slice.endpoints ?? []) {
      const address = addresses?.[0];
      if (address === undefined) continue;
      const endpoint = toEndpoint(address, targetRef, port, {
        // The API leaves out what it does not know, and asks to take that for ready.
        ready: conditions?.ready !== false,
        leaving: conditions?.terminating === true,
      });
      // While a pod moves from one slice to another, both may have it.
      const known = found.get(endpoint.key);
      if (known === undefined || (!known.ready && endpoint.ready)) found.set(endpoint.key, endpoint);
    }
  }
  return [...found.values()];
}

/** The same from the older Endpoints, which leave out pods that are being shut down. */
export function fromEndpoints(all: Iterable<Endpoints>, portName: string): Endpoint[] {
  const found = new Map<string, Endpoint>();
  for (const { subsets } of all) {
    for (const { addresses, notReadyAddresses, ports } of subsets ?? []) {
      const port = portOf(ports, portName);
      if (port === undefined) continue;
      const add = (ready: boolean) => (address: EndpointAddress) => {
        const endpoint = toEndpoint(address.ip, address.targetRef, port, { ready, leaving: false });
        found.set(endpoint.key, endpoint);
      };
      notReadyAddresses?.forEach(add(false));
      addresses?.forEach(add(true));
    }
  }
  return [...found.values()];
}

function toEndpoint(
  address: string,
  targetRef: TargetRef | null | undefined,
  port: number,
  state: Pick<Endpoint, 'ready' | 'leaving'>,
): Endpoint {
  const pod = targetRef?.kind === 'Pod' ? targetRef.name : undefined;
  const key = targetRef?.uid ?? `${pod ?? ''}@${address}`;
  return { key, pod, address, port, ready: state.ready && !state.leaving, leaving: state.leaving };
}

function portOf(ports: readonly Port[] | null | undefined, name: string): number | undefined {
  return ports?.filter(isTcp).find((port) => (port.name ?? '') === name)?.port ?? undefined;
}

function isTcp({ protocol }: Port): boolean {
  return (protocol ?? 'TCP') === 'TCP';
}

function isIpv6({ addressType }: EndpointSlice): boolean {
  return addressType === 'IPv6';
}
