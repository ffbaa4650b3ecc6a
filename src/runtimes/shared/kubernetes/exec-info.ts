import { readFile } from 'node:fs/promises';
import type { Cluster, KubeConfig } from '@kubernetes/client-node';
import { type Fields, isFields } from '../../../util/fields.js';

/** Where kubectl tells a plugin what it is asked for. */
const infoName = 'KUBERNETES_EXEC_INFO';
/** Under which name a kubeconfig holds what the plugins of a cluster are to know of it. */
export const clusterExtension = 'client.authentication.k8s.io/exec';

/** A cluster with what stands in its kubeconfig for plugins, which client-node leaves out. */
export interface ToldCluster extends Cluster {
  readonly execConfig?: unknown;
}

/** Has the exec plugin of the current context told what kubectl tells it; client-node tells it nothing. */
export async function tellPlugin(config: KubeConfig): Promise<void> {
  const user = config.getCurrentUser();
  const exec = user?.exec as unknown;
  if (user === null || !isFields(exec)) return;
  const cluster = exec.provideClusterInfo === true ? await describe(config.getCurrentCluster()) : undefined;
  const { apiVersion, env } = exec;
  const info = { kind: 'ExecCredential', apiVersion, spec: { cluster, interactive: false } };
  const told = [...(Array.isArray(env) ? (env as unknown[]) : []), { name: infoName, value: JSON.stringify(info) }];
  config.users = config.users.map((one) => (one === user ? { ...one, exec: { ...exec, env: told } } : one));
}

async function describe(cluster: ToldCluster | null): Promise<Fields> {
  const { server, tlsServerName, skipTLSVerify, caData, caFile, proxyUrl, execConfig } = cluster ?? ({} as ToldCluster);
  return {
    server,
    'tls-server-name': tlsServerName,
    ...(skipTLSVerify && { 'insecure-skip-tls-verify': true }),
    // One that cannot be read fails the calls, in words of its own.
    'certificate-authority-data': caData ?? (caFile && (await readFile(caFile, 'base64').catch(() => undefined))),
    'proxy-url': proxyUrl,
    config: execConfig,
  };
}
