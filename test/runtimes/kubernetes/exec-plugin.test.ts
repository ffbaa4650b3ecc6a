import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { KubeConfig } from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { K8sJobRuntime } from '../../../src/runtimes/k8s-job.js';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { pods } from '../../../src/runtimes/shared/kubernetes/resources.js';
import { createRuntimeContext } from '../../../src/testing/index.js';
import { Peer } from '../../../src/testing/peer.js';
import { temporaryFolder } from '../../support/docker.js';
import { bringReferenceServer, referenceSpec } from '../../support/kubernetes/job-server.js';
import { TestNamespace } from '../../support/kubernetes/namespace.js';
import { tokenOf } from '../../support/kubernetes/service-account.js';
import { describeWithKubernetes } from '../../support/real-parts.js';

const secret = 'canary-exec-31c0';

function current(): KubeConfig {
  const config = new KubeConfig();
  config.loadFromDefault();
  return config;
}

/** A kubeconfig whose user is whoever a program says, in a folder that goes with the test. */
async function kubeconfigWith(script: string) {
  const folder = await temporaryFolder();
  const plugin = join(folder.path, 'plugin');
  await writeFile(plugin, `#!/bin/sh\n${script}\n`);
  await chmod(plugin, 0o755);
  const exec = {
    apiVersion: 'client.authentication.k8s.io/v1',
    command: plugin,
    env: [{ name: 'CANARY', value: secret }],
    interactiveMode: 'Never',
  };
  const cluster = current().getCurrentCluster();
  const file = join(folder.path, 'config');
  const written = new KubeConfig();
  written.loadFromOptions({
    clusters: [cluster],
    users: [{ name: 'plugged', exec }],
    contexts: [{ name: 'here', cluster: cluster?.name, user: 'plugged' }],
    currentContext: 'here',
  });
  await writeFile(file, written.exportConfig());
  return { file, folder: folder.path, [Symbol.asyncDispose]: folder[Symbol.asyncDispose] };
}

const answer = (status: object) =>
  `printf %s '${JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status })}'`;

describeWithKubernetes('credentials by an exec plugin', () => {
  let namespace: TestNamespace;
  beforeAll(async () => {
    namespace = await TestNamespace.create('exec-plugin');
    await bringReferenceServer(namespace);
  });
  afterAll(() => namespace?.[Symbol.asyncDispose]());

  test('a client certificate: for calls, watches and streams, and asked for once', async () => {
    const { certData, certFile, keyData, keyFile } = current().getCurrentUser() ?? {};
    const pem = async (data: string | undefined, file = '') =>
      data === undefined ? readFile(file, 'utf8') : Buffer.from(data, 'base64').toString();
    const status = {
      clientCertificateData: await pem(certData, certFile),
      clientKeyData: await pem(keyData, keyFile),
    };
    await using config = await kubeconfigWith(`echo asked >> "$(dirname "$0")/log"\n${answer(status)}`);
    const runtime = new K8sJobRuntime({ kubeconfig: config.file });
    const transport = await runtime.open(referenceSpec(namespace.name), createRuntimeContext());
    const peer = new Peer(transport, 60_000);
    await peer.begin();
    expect(await peer.call('echo', { text: 'over there' })).toBe('over there');
    await peer.close();
    await runtime.close();
    // Calls that are made at once do not wait for each other's.
    expect((await readFile(join(config.folder, 'log'), 'utf8')).split('\n').length).toBeLessThan(6);
  }, 240_000);

  test('a token', async () => {
    await namespace.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'plugged' } });
    await using config = await kubeconfigWith(answer({ token: await tokenOf(namespace, 'plugged') }));
    const clusters = new Clusters({ kubeconfig: config.file });
    onTestFinished(() => clusters.close());
    const refused = (await clusters.open()).get(pods({ namespace: namespace.name, name: 'a' }));
    await expect(refused).rejects.toThrow(`User "system:serviceaccount:${namespace.name}:plugged" cannot get`);
  });

  test.each([
    ['fails', `echo "log in first" >&2; exit 1`, 'log in first'],
    ['talks nonsense', `echo ${secret}`, 'its exec plugin answered with what is no ExecCredential'],
    ['gives half an answer', `echo '{"token":"${secret}"}'`, 'its exec plugin answered with what is no ExecCredential'],
  ])('a plugin that %s is told, and gives nothing away', async (_, script, expected) => {
    await using config = await kubeconfigWith(script);
    const runtime = new K8sJobRuntime({ kubeconfig: config.file });
    onTestFinished(() => runtime.close());
    const error = await runtime.open(referenceSpec(namespace.name), createRuntimeContext()).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'START_FAILED' });
    expect(error.message).toContain(`the kubeconfig gives no credentials: ${expected}`);
    expect(inspect(error, { depth: 9 })).not.toContain(secret);
  });
});
