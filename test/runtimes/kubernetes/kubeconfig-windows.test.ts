// Where a kubeconfig is looked for on Windows, which has several homes.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { temporaryFolder } from '../../support/docker.js';

vi.hoisted(() => Object.defineProperty(process, 'platform', { value: 'win32' }));

test.each([
  [['shell', 'drive'], 'http://shell.invalid'],
  [['drive'], 'http://drive.invalid'],
])('the first home that holds one counts, as for kubectl: of %j %s', async (homes, expected) => {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  onTestFinished(() => void vi.unstubAllEnvs());
  for (const name of homes) {
    const kubeconfig = {
      clusters: [{ name, cluster: { server: `http://${name}.invalid` } }],
      contexts: [{ name, context: { cluster: name, user: name } }],
      users: [{ name, user: {} }],
      'current-context': name,
    };
    await mkdir(join(folder.path, name, '.kube'), { recursive: true });
    await writeFile(join(folder.path, name, '.kube', 'config'), JSON.stringify(kubeconfig));
  }
  vi.stubEnv('KUBECONFIG', '');
  vi.stubEnv('HOME', join(folder.path, 'shell'));
  vi.stubEnv('HOMEDRIVE', folder.path);
  vi.stubEnv('HOMEPATH', '/drive');
  const clusters = new Clusters();
  const { server } = await clusters.open();
  await clusters.close();
  expect(server).toBe(expected);
});
