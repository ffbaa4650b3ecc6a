import { GatewayError } from '../../errors.js';
import { abortable } from '../../util/abort.js';
import type { Cluster } from '../shared/kubernetes/cluster.js';
import type { Clusters } from '../shared/kubernetes/clusters.js';
import { KubernetesError, toStartError } from '../shared/kubernetes/kubernetes-error.js';
import { ApiLink, type ApiLinkOptions } from './api-link.js';
import { DnsLink } from './dns-link.js';
import type { Link } from './link.js';
import { type K8sServiceSpec, portNumber, serviceUrl } from './spec.js';

/** How long an API server may take that can be done without: less than a start may, as it may be shut off and keep silent. */
const patienceMs = 10_000;

/** How a service is reached, and the cluster where it can be asked. */
export type Reach =
  | { readonly way: 'port-forward'; readonly cluster: Cluster }
  | { readonly way: 'dns'; readonly cluster: Cluster | undefined };

/**
 * Decides how to reach the service.
 *
 * @throws `GatewayError` `START_FAILED` when the API server is needed and there is no way to it
 */
export async function findReach({ reach, context }: K8sServiceSpec, clusters: Clusters): Promise<Reach> {
  let cluster: Cluster | undefined;
  try {
    cluster = await clusters.open(context);
  } catch (error) {
    const inside = reach === 'dns' || (reach !== 'port-forward' && context === undefined && isInCluster());
    if (!inside) throw error;
    return { way: 'dns', cluster: undefined };
  }
  const way = reach === 'dns' || (reach !== 'port-forward' && cluster.pod !== undefined) ? 'dns' : 'port-forward';
  return { way, cluster };
}

/** Opens the way to a service; in the cluster, DNS has to do where the API server does not answer our questions. */
export async function openLink(
  options: Omit<ApiLinkOptions, 'cluster' | 'forward'>,
  clusters: Clusters,
  signal: AbortSignal,
): Promise<Link> {
  const { spec, server } = options;
  // The host may take for ever.
  const { way, cluster } = await abortable(findReach(spec, clusters), signal);
  let refusal: unknown;
  if (cluster !== undefined) {
    const { clock } = options;
    const limit = new AbortController();
    const late = `the API server ${cluster.server} did not answer within ${patienceMs / 1000} s`;
    const giveUp = () => limit.abort(new KubernetesError('unreachable', late));
    const timer = way === 'dns' ? clock.setTimeout(giveUp, patienceMs) : undefined;
    try {
      const both = AbortSignal.any([signal, limit.signal]);
      return await ApiLink.open({ ...options, cluster, forward: way === 'port-forward' }, both);
    } catch (error) {
      signal.throwIfAborted();
      if (way === 'port-forward' || isDefinite(error)) throw toStartError(error, server);
      refusal = error;
    } finally {
      clock.clearTimeout(timer);
    }
  }
  const port = portNumber(spec);
  if (port !== undefined) return new DnsLink(serviceUrl(spec, port).hostname, port, options);
  const why = refusal instanceof Error ? `: ${refusal.message}` : '';
  const message = `cannot look up the port "${spec.port}" of service "${spec.service_name}"${why}; name its number instead`;
  throw new GatewayError('START_FAILED', message, { server, cause: refusal, delivered: false });
}

/** The API server has answered, and said that it cannot work. */
function isDefinite(error: unknown): boolean {
  return GatewayError.is(error) || (error instanceof KubernetesError && error.failure === 'not-found');
}

function isInCluster(): boolean {
  return process.env.KUBERNETES_SERVICE_HOST !== undefined;
}
