import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { Clusters } from '../../../src/runtimes/shared/kubernetes/clusters.js';
import { pods } from '../../../src/runtimes/shared/kubernetes/resources.js';
import { temporaryFolder } from '../../support/docker.js';
import { startHost } from '../../support/host.js';
import { FakeApiServer, sendJson } from '../../support/kubernetes/fake-api-server.js';

/** A kubeconfig with one cluster, its user and its context, all of one name. */
function kubeconfig(name: string, server: string, more: object = {}): string {
  return JSON.stringify({
    clusters: [{ name, cluster: { server, 'insecure-skip-tls-verify': true } }],
    contexts: [{ name, context: { cluster: name, user: name, namespace: name } }],
    users: [{ name, user: {} }],
    ...more,
  });
}

/** Writes files, and has KUBECONFIG name them, in that order. */
async function setKubeconfig(names: readonly string[], files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder.path, name)), { recursive: true });
    await writeFile(join(folder.path, name), text);
  }
  vi.stubEnv('KUBECONFIG', names.map((name) => name && join(folder.path, name)).join(delimiter));
  onTestFinished(() => void vi.unstubAllEnvs());
  return folder.path;
}

/** The address of the API server of a context. */
async function open(context?: string): Promise<string> {
  const clusters = new Clusters();
  const { server } = await clusters.open(context);
  await clusters.close();
  return server;
}

const one = 'http://one.invalid';
const two = 'http://two.invalid';
const other = 'http://other.invalid';

describe('several files in KUBECONFIG', () => {
  test('the current context is that of the first file that names one', async () => {
    await setKubeconfig(['none', 'one', 'two'], {
      none: kubeconfig('none', other),
      one: kubeconfig('one', one, { 'current-context': 'one' }),
      two: kubeconfig('two', two, { 'current-context': 'two' }),
    });
    expect(await open()).toBe(one);
    expect(await open('two')).toBe(two);
    expect(await open('none')).toBe(other);
  });

  test('of what stands in several the first counts', async () => {
    await setKubeconfig(['one', 'two', 'one'], {
      one: kubeconfig('one', one, { 'current-context': 'one' }),
      two: kubeconfig('one', other),
    });
    expect(await open()).toBe(one);
  });

  test('those that are missing or empty are left out', async () => {
    await setKubeconfig(['missing', '', 'empty', 'comment', 'one', 'gone'], {
      empty: '\n',
      comment: '# nothing yet, and no tokenFile\n',
      one: kubeconfig('one', one, { 'current-context': 'one' }),
    });
    expect(await open()).toBe(one);
  });

  test('the one that cannot be read is named, and so is the first where all are missing', async () => {
    const folder = await setKubeconfig(['one', 'spoilt'], { one: kubeconfig('one', one), spoilt: 'a: b: c' });
    await expect(open()).rejects.toThrow(`the kubeconfig ${join(folder, 'spoilt')} is not valid YAML (1:5)`);
    const empty = await setKubeconfig(['one', 'two'], {});
    await expect(open()).rejects.toThrow(`the kubeconfig ${join(empty, 'one')} cannot be read (ENOENT)`);
  });
});

describe('a user with a tokenFile', () => {
  test('has what it holds, which stands beside the kubeconfig and may be renewed', async () => {
    await using fake = await FakeApiServer.listen();
    const status = [401, 200];
    fake.answer = (_request, response) => sendJson(response, status.shift() ?? 200, { metadata: { name: 'a' } });
    const user = { token: 'old', tokenFile: 'tokens/a' };
    const users = [{ name: 'b' }, { name: 'one', user }];
    const folder = await setKubeconfig(['one'], {
      one: kubeconfig('one', fake.url, { 'current-context': 'one', users }),
      'tokens/a': 'first\n',
    });
    const clusters = new Clusters();
    onTestFinished(() => clusters.close());
    const cluster = await clusters.open();
    await writeFile(join(folder, 'tokens/a'), 'second\n');
    await cluster.get(pods({ namespace: 'home', name: 'a' }));
    expect(fake.tokens).toEqual(['Bearer second', 'Bearer second']);
    await writeFile(join(folder, 'tokens/a'), 'third\n');
    status.unshift(401);
    await cluster.get(pods({ namespace: 'home', name: 'a' }));
    expect(fake.tokens.slice(2)).toEqual(['Bearer second', 'Bearer third']);
  });

  test('has it also from a merge key of YAML', async () => {
    await using fake = await FakeApiServer.listen();
    fake.answer = (_request, response) => sendJson(response, 200, { metadata: { name: 'a' } });
    const { users: _, ...rest } = JSON.parse(kubeconfig('one', fake.url, { 'current-context': 'one' }));
    const lines = Object.entries(rest).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`);
    await setKubeconfig(['one'], {
      one: `common: &common {tokenFile: a}\nusers: [{name: one, user: {<<: *common}}]\n${lines.join('')}`,
      a: 'own',
    });
    const clusters = new Clusters();
    onTestFinished(() => clusters.close());
    await (await clusters.open()).get(pods({ namespace: 'home', name: 'a' }));
    expect(fake.tokens).toEqual(['Bearer own']);
  });

  test('that is missing leaves the token that stands beside it', async () => {
    await using fake = await FakeApiServer.listen();
    fake.answer = (_request, response) => sendJson(response, 200, { metadata: { name: 'a' } });
    const users = [{ name: 'one', user: { token: 'beside', tokenFile: 'missing' } }];
    await setKubeconfig(['one'], { one: kubeconfig('one', fake.url, { 'current-context': 'one', users }) });
    const clusters = new Clusters();
    onTestFinished(() => clusters.close());
    await (await clusters.open()).get(pods({ namespace: 'home', name: 'a' }));
    expect(fake.tokens).toEqual(['Bearer beside']);
  });

  test('that is missing fails what needs it, and no other context', async () => {
    const users = [
      { name: 'one', user: { token: 'x' } },
      { name: 'two', user: { tokenFile: 'missing' } },
    ];
    await setKubeconfig(['one', 'two'], {
      one: kubeconfig('one', one, { 'current-context': 'one', users }),
      two: kubeconfig('two', two),
    });
    const clusters = new Clusters();
    onTestFinished(() => clusters.close());
    expect(await open()).toBe(one);
    const cluster = await clusters.open('two');
    await expect(cluster.get(pods({ namespace: 'home', name: 'a' }))).rejects.toThrow(
      'the kubeconfig gives no credentials: a file that it names cannot be read (ENOENT): check its certificate-authority, ' +
        'client-certificate, client-key and tokenFile',
    );
  });
});

test.each(['tokenFile', 'client-key', 'client-certificate'])(
  'a secret in %s, where a path belongs, is not told',
  async (field) => {
    const users = [{ name: 'one', user: { [field]: 'top-secret' } }];
    await setKubeconfig(['one'], { one: kubeconfig('one', one, { 'current-context': 'one', users }) });
    const clusters = new Clusters();
    onTestFinished(() => clusters.close());
    const cluster = await clusters.open();
    const error = await cluster.get(pods({ namespace: 'home', name: 'a' })).catch((reason: unknown) => reason);
    expect(inspect(error)).toContain('cannot be read (ENOENT)');
    expect(inspect(error)).not.toContain('top-secret');
  },
);

test('a proxy-url that is no URL is named, and a secret in it not told', async () => {
  const cluster = { name: 'one', cluster: { server: one, 'proxy-url': 'http://user:top-secret@' } };
  await setKubeconfig(['one'], {
    one: kubeconfig('one', one, { 'current-context': 'one', clusters: [cluster] }),
  });
  const clusters = new Clusters();
  onTestFinished(() => clusters.close());
  const opened = await clusters.open();
  const error = await opened.get(pods({ namespace: 'home', name: 'a' })).catch((reason: unknown) => reason);
  expect(inspect(error)).toContain('the kubeconfig gives no credentials: its proxy-url is no URL');
  expect(inspect(error)).not.toContain('top-secret');
});

test('a password in the address of an API server is sent to it, and not told', async () => {
  await using fake = await FakeApiServer.listen();
  fake.answer = (_request, response) => response.writeHead(200).end('a page');
  const { port } = new URL(fake.url);
  const told = async (server: string) => {
    await setKubeconfig(['one'], { one: kubeconfig('one', server, { 'current-context': 'one' }) });
    const clusters = new Clusters();
    onTestFinished(() => clusters.close());
    const cluster = await clusters.open();
    const error = await cluster.get(pods({ namespace: 'home', name: 'a' })).catch((reason: unknown) => reason);
    return `${cluster.server} ${inspect(error, { depth: 9, showHidden: true })}`;
  };
  const answered = await told(`http://ada:top-secret@127.0.0.1:${port}`);
  expect(answered).toContain(`the API server ${fake.url} answered`);
  expect(fake.tokens).toEqual([`Basic ${Buffer.from('ada:top-secret').toString('base64')}`]);
  // Without slashes it is a URL as well.
  const bare = await told(`http:ada:top-secret@127.0.0.1:${port}`);
  expect(bare).toContain(`the API server http:127.0.0.1:${port} answered`);
  const wrong = await told('http://ada:top-secret@127.0.0.1:99999');
  expect(wrong).toContain('the address of the API server in the kubeconfig is no URL');
  expect(answered + bare + wrong).not.toContain('top-secret');
});

test('a plugin whose command is a path is looked for beside the kubeconfig', async () => {
  await using fake = await FakeApiServer.listen();
  fake.answer = (_request, response) => sendJson(response, 200, { metadata: { name: 'a' } });
  const credential = {
    apiVersion: 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    status: { token: 'own' },
  };
  const exec = { apiVersion: credential.apiVersion, command: './bin/plugin', interactiveMode: 'Never' };
  const folder = await setKubeconfig(['one'], {
    one: kubeconfig('one', fake.url, { 'current-context': 'one', users: [{ name: 'one', user: { exec } }] }),
    'bin/plugin': `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`,
  });
  await chmod(join(folder, 'bin/plugin'), 0o755);
  const clusters = new Clusters();
  onTestFinished(() => clusters.close());
  await (await clusters.open()).get(pods({ namespace: 'home', name: 'a' }));
  expect(fake.tokens).toEqual(['Bearer own']);
});

test.each([
  [false, {}],
  [true, { 'insecure-skip-tls-verify': true, config: { audience: 'a' } }],
])(
  'a plugin is told what kubectl tells it; of the cluster where it wants to know (%s)',
  async (provideClusterInfo, told) => {
    await using fake = await FakeApiServer.listen();
    fake.answer = (_request, response) => sendJson(response, 200, { metadata: { name: 'a' } });
    const apiVersion = 'client.authentication.k8s.io/v1';
    const script = `printf '{"status":{"token":"%s"}}' "$(printf %s "$KUBERNETES_EXEC_INFO" | base64 -w0)"`;
    const exec = { apiVersion, command: '/bin/sh', args: ['-c', script], env: null, provideClusterInfo };
    const extensions = [
      { name: 'other', extension: {} },
      { name: 'client.authentication.k8s.io/exec', extension: { audience: 'a' } },
    ];
    const cluster = { server: fake.url, 'insecure-skip-tls-verify': true, extensions };
    await setKubeconfig(['one'], {
      one: kubeconfig('one', fake.url, {
        'current-context': 'one',
        clusters: [{ name: 'one', cluster }],
        users: [{ name: 'one', user: { exec } }],
      }),
    });
    const clusters = new Clusters();
    onTestFinished(() => clusters.close());
    await (await clusters.open()).get(pods({ namespace: 'home', name: 'a' }));
    const [token = ''] = fake.tokens;
    const info = JSON.parse(Buffer.from(token.slice('Bearer '.length), 'base64').toString());
    const expected = provideClusterInfo ? { cluster: { ...told, server: fake.url } } : {};
    expect(info).toEqual({ kind: 'ExecCredential', apiVersion, spec: { ...expected, interactive: false } });
  },
);

test('a plugin that cannot be started for want of descriptors fails what needs it, and does not end the host', async () => {
  await using fake = await FakeApiServer.listen();
  fake.answer = (_request, response) => sendJson(response, 200, { metadata: { name: 'a' } });
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'echo', args: ['{"status":{"token":"t"}}'] };
  const users = [{ name: 'one', user: { exec } }];
  const files = { one: kubeconfig('one', fake.url, { 'current-context': 'one', users }) };
  const path = join(await setKubeconfig(['one'], files), 'one');
  const few = ['/bin/sh', '-c', 'ulimit -n 100; exec "$@"', 'sh'];
  const host = startHost('plugin-descriptors-host', [path], [], few);
  expect(JSON.parse((await host.lines.next()).value ?? host.stderr())).toEqual({
    without:
      'the kubeconfig gives no credentials: its exec plugin was not started: the host has too many open files; raise the limit (ulimit -n)',
    enough: { metadata: { name: 'a' } },
  });
  expect(fake.tokens).toEqual(['Bearer t']);
  expect(await host.ended(60_000)).toBe(0);
});

test.each([
  ['YAML', 'users:\n- name: one\n  user:\n    token: top-secret\n'],
  ['JSON', JSON.stringify({ users: [{ name: 'one', user: { token: 'top-secret' } }] })],
  ['base64', Buffer.from(`{"a":"${'top-secret'.repeat(500)}"}`).toString('base64')],
])('a kubeconfig itself (%s) where its path belongs is not told', async (_, kubeconfig) => {
  const error = await new Clusters({ kubeconfig }).open().catch((reason: unknown) => reason);
  expect(inspect(error)).toContain('a kubeconfig itself stands where its path belongs');
  expect(inspect(error)).not.toContain(kubeconfig.slice(-20));
  expect(inspect(error)).not.toContain('top-secret');
});
