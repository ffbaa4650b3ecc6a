import type { CheckResult } from '../../runtime.js';
import { findProblem } from '../../transport/http/reachability.js';
import type { Cluster } from '../shared/kubernetes/cluster.js';
import { noReadyPod, readPort } from './api-link.js';
import type { Link } from './link.js';
import { type K8sServiceSpec, serviceUrl } from './spec.js';
import { listEndpoints } from './watch-endpoints.js';

/** Asks the API server for the service, its port, and pods that are ready; undefined when all are there. */
export async function findServiceProblem(
  cluster: Cluster,
  spec: K8sServiceSpec,
  server: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const port = await readPort({ cluster, spec, server }, signal);
  const endpoints = await listEndpoints(cluster, spec, port.name, signal);
  return endpoints.some(({ ready }) => ready) ? undefined : noReadyPod(spec, endpoints);
}

/** Asks the server itself, through the way that a session would take. */
export async function askServer(
  link: Link,
  spec: K8sServiceSpec,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<CheckResult> {
  const place = { leave() {} };
  const target = await link.take(new Set(), place, signal);
  if (target === undefined) return { ok: false, problems: ['there is nothing that serves the service'] };
  const method = spec.transport === 'sse' ? 'options' : 'get';
  const asked = findProblem(serviceUrl(spec, link.port), headers, method, target, signal);
  const problem = await asked.finally(() => target.exit(place));
  return problem === undefined ? { ok: true, problems: [] } : { ok: false, problems: [problem] };
}
