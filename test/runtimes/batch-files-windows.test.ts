// Programs that are batch files on Windows, which it starts by its command processor alone: a shell script takes the place of that.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { findCredentials } from '../../src/runtimes/docker/credentials.js';
import { ExecPlugins } from '../../src/runtimes/shared/kubernetes/exec-plugins.js';
import { FakeClock } from '../../src/testing/index.js';

const { platform } = vi.hoisted(() => {
  const { platform } = process;
  Object.defineProperty(process, 'platform', { value: 'win32' });
  return { platform };
});

const credential = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status: { token: 'word' } };
const processor = `#!/bin/sh
case $4 in
  '"docker-credential-batch ^"get^""') read -r server; printf '{"Username":"%s","Secret":"word"}' "$server" ;;
  '"az-token ^"--for^" ^"me^""') printf %s '${JSON.stringify(credential)}' ;;
  *) exit 1 ;;
esac
`;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'windows-'));
  await writeFile(join(folder, 'cmd.sh'), processor, { mode: 0o755 });
  await writeFile(join(folder, 'docker-credential-batch.CMD'), '');
  await writeFile(join(folder, 'az-token.CMD'), '');
  vi.stubEnv('comspec', join(folder, 'cmd.sh'));
});

afterAll(async () => {
  vi.unstubAllEnvs();
  Object.defineProperty(process, 'platform', { value: platform });
  await rm(folder, { recursive: true });
});

const ask = async (helper: string) => {
  await writeFile(join(folder, 'config.json'), JSON.stringify({ credHelpers: { 'gcr.io': helper } }));
  return findCredentials('gcr.io', { Path: folder, DOCKER_CONFIG: folder }, new AbortController().signal);
};

test('a credential helper that is a batch file is asked', async () => {
  const { header = '', problem } = await ask('batch');
  expect(problem).toBeUndefined();
  const auth = { username: 'gcr.io', password: 'word', serveraddress: 'gcr.io' };
  expect(JSON.parse(Buffer.from(header, 'base64url').toString())).toEqual(auth);
});

test('a credential helper that is not there is named', async () => {
  const { problem } = await ask('no-such-helper');
  expect(problem).toBe('the credential helper docker-credential-no-such-helper is not installed');
});

test('an exec plugin of a kubeconfig that is a batch file is asked', async () => {
  vi.stubEnv('Path', folder);
  const config = new KubeConfig();
  const exec = {
    apiVersion: credential.apiVersion,
    command: 'az-token',
    args: ['--for', 'me'],
    interactiveMode: 'Never',
  };
  config.loadFromOptions({
    clusters: [{ name: 'here', server: 'https://here.invalid' }],
    users: [{ name: 'me', exec }],
    contexts: [{ name: 'here', cluster: 'here', user: 'me' }],
    currentContext: 'here',
  });
  new ExecPlugins(new FakeClock()).watch(config);
  const settings: { headers?: Record<string, string> } = {};
  await config.applyToHTTPSOptions(settings);
  expect(settings.headers).toEqual({ Authorization: 'Bearer word' });
});
