/**
 * One server in four places: a child process, a container, a Kubernetes Job and a Kubernetes Service of the cluster that
 * KUBECONFIG names. Makes a namespace for it, calls each server, and takes everything away again. `IMAGE` names another
 * image with Node.
 */
import { randomBytes } from 'node:crypto';
import { KubeConfig, type KubernetesObject, KubernetesObjectApi } from '@kubernetes/client-node';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { createGateway, loadCatalog } from 'open-mcp-gateway';
import { toManifests } from './manifests.ts';

const image = process.env.IMAGE ?? 'node:24-alpine';
const namespace = `gateway-example-${randomBytes(3).toString('hex')}`;
const config = new KubeConfig();
config.loadFromDefault();
const api = KubernetesObjectApi.makeApiClient(config);

const [namespaceManifest, ...manifests] = toManifests(namespace, image) as KubernetesObject[];
await api.create(namespaceManifest as KubernetesObject);
const gateway = createGateway(await loadCatalog(new URL('./catalog.yaml', import.meta.url)), {
  env: { IMAGE: image, NAMESPACE: namespace },
});
try {
  for (const manifest of manifests) await api.create(manifest);
  // A service waits a while for its first pod by itself; an image that has to be pulled takes longer.
  for (const deadline = Date.now() + 120_000; ; ) {
    const [service] = (await gateway.check()).filter(({ server }) => server === 'service');
    if (service?.ok) break;
    if (Date.now() > deadline) throw new Error(`the service does not get ready: ${service?.problems.join('; ')}`);
  }
  for (const { server, ok, problems } of await gateway.check()) {
    console.log(`${server}: ${ok ? 'can be used' : problems.join('; ')}`);
  }
  console.log('');
  for (const server of ['process', 'container', 'job', 'service', 'service']) {
    const client = new Client({ name: 'example', version: '1.0.0' });
    const start = performance.now();
    await client.connect(gateway.connect(server));
    const ms = Math.round(performance.now() - start);
    const { content } = await client.callTool({ name: 'where', arguments: {} });
    console.log(`${server}, ready after ${ms} ms: ${(content as { text: string }[])[0]?.text}`);
    await client.close();
  }
  console.log('');
  for (const { kind, metadata, rules } of gateway.rbac()) {
    const granted = rules.map(({ resources, verbs }) => `${resources.join()} (${verbs.join(', ')})`);
    console.log(`the ${kind} for namespace ${metadata.namespace}: ${granted.join('; ')}`);
  }
} finally {
  await gateway.close();
  await api.delete(namespaceManifest as KubernetesObject);
}
