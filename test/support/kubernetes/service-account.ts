import { KubeConfig, type KubernetesObject } from '@kubernetes/client-node';
import { eventually, type TestNamespace } from './namespace.js';

type TokenSecret = KubernetesObject & { readonly data?: Readonly<Record<string, string>> };

/** A token of a ServiceAccount. */
export async function tokenOf(namespace: TestNamespace, account: string): Promise<string> {
  const name = `${account}-token`;
  await namespace.create({
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'kubernetes.io/service-account-token',
    metadata: { name, annotations: { 'kubernetes.io/service-account.name': account } },
  });
  const data = await eventually(`the token of ${account}`, async () => {
    const all = await namespace.list<TokenSecret>('Secret');
    return all.find(({ metadata }) => metadata?.name === name)?.data?.token;
  });
  return Buffer.from(data, 'base64').toString();
}

/** The configuration of a ServiceAccount, as the option `kubeconfig` of a runtime takes it. */
export async function kubeconfigOf(namespace: TestNamespace, account: string): Promise<() => KubeConfig> {
  const token = await tokenOf(namespace, account);
  return () => {
    const config = new KubeConfig();
    config.loadFromDefault();
    const cluster = config.getCurrentCluster();
    if (cluster === null) throw new Error('KUBECONFIG names no cluster');
    config.loadFromClusterAndUser(cluster, { name: account, token: token });
    return config;
  };
}
