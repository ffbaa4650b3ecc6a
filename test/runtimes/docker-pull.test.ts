import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createGateway } from '../../src/gateway.js';
import type { GatewayEvent } from '../../src/index.js';
import type { RuntimeProgress } from '../../src/runtime.js';
import { findCredentials } from '../../src/runtimes/docker/credentials.js';
import { DockerRuntime, type DockerSpec } from '../../src/runtimes/docker.js';
import { DockerScene, temporaryFolder } from '../support/docker.js';
import { describeWithDocker } from '../support/real-parts.js';
import { Registry } from '../support/registry.js';

const secret = 'canary-pull-52c1';
const line = '{"jsonrpc":"2.0","method":"notifications/reference","params":{"number":1}}';

function spec(image: string, more: Partial<DockerSpec> = {}): DockerSpec {
  return { image, args: ['sh', '-c', `echo '${line}'; exec /bin/busybox cat >/dev/null`], network: 'none', ...more };
}

const pipes = () => process.getActiveResourcesInfo().filter((kind) => kind === 'PipeWrap').length;

/** Resolves when there are no more connections to the engine than there were. */
async function untilHungUp(before: number): Promise<void> {
  while (pipes() > before) await turn();
}

/** A folder with the user's settings for Docker, and with programs. */
async function home(config: unknown, helpers: Readonly<Record<string, string>> = {}) {
  const folder = await temporaryFolder();
  await writeFile(join(folder.path, 'config.json'), JSON.stringify(config));
  await mkdir(join(folder.path, 'bin'));
  for (const [name, script] of Object.entries(helpers)) {
    const file = join(folder.path, 'bin', name);
    await writeFile(file, `#!/bin/sh\n${script}\n`);
    await chmod(file, 0o755);
  }
  const env = { PATH: `${join(folder.path, 'bin')}:/usr/bin:/bin`, DOCKER_CONFIG: folder.path, HELPER: secret };
  const scene = () => new DockerScene(new DockerRuntime({ env }));
  return { ...folder, env, scene, [Symbol.asyncDispose]: folder[Symbol.asyncDispose] };
}

describeWithDocker('docker: a pull', () => {
  test('is a phase of its own, tells how far it is, and happens once', async () => {
    await using registry = await Registry.listen();
    await using scene = new DockerScene();
    const image = registry.image();
    const told: [string, RuntimeProgress | undefined][] = [];
    const report = (phase: string, progress?: RuntimeProgress) => told.push([phase, progress]);
    const peer = await scene.open(spec(image), { report });
    await peer.start();
    await peer.until('its first line', () => peer.messages.length > 0);
    expect(told.map(([phase]) => phase).filter((phase, index, all) => phase !== all[index - 1])).toEqual([
      'starting',
      'pulling',
      'starting',
    ]);
    expect(told.map(([, progress]) => progress?.message)).toContain(`pulling ${image}`);
    expect(told.some(([, progress]) => /\d of \d layers/.test(progress?.message ?? ''))).toBe(true);
    const asked = registry.requests.length;
    await scene.open(spec(image));
    expect(registry.requests).toHaveLength(asked);
    await scene.open(spec(image, { pull: 'always' }));
    expect(registry.requests.length).toBeGreaterThan(asked);
  });

  test('is shared by all who wait for it, and outlives the abort of one', async () => {
    const hold = Promise.withResolvers<void>();
    await using registry = await Registry.listen({ hold: hold.promise });
    await using scene = new DockerScene();
    const image = registry.image();
    const abort = new AbortController();
    const reason = new Error('enough');
    const opened = [abort.signal, undefined, undefined].map((signal) =>
      scene.open(spec(image), signal === undefined ? {} : { signal }),
    );
    const [first] = await Promise.allSettled([
      opened[0],
      registry.half.promise.then(() => {
        abort.abort(reason);
        return opened[0]?.catch(() => {});
      }),
    ]);
    expect(first).toMatchObject({ status: 'rejected', reason });
    hold.resolve();
    await Promise.all(opened.slice(1));
    expect(registry.requests.filter((request) => /GET .*blobs/.test(request))).toHaveLength(2);
  });

  test('ends when nobody waits any more', async () => {
    const before = pipes();
    await using registry = await Registry.listen({ hold: new Promise(() => {}) });
    await using scene = new DockerScene();
    const abort = new AbortController();
    const opening = scene.open(spec(registry.image()), { signal: abort.signal });
    opening.catch(() => {});
    await registry.half.promise;
    abort.abort(new Error('enough'));
    await expect(opening).rejects.toThrow('enough');
    // That the engine hangs up on the registry too is its own affair: 20.10 does so with the next byte.
    await untilHungUp(before);
  });

  test('has a time-out and progress of its own in a gateway', async () => {
    const before = pipes();
    await using registry = await Registry.listen({ hold: new Promise(() => {}) });
    const events: GatewayEvent[] = [];
    const runtime: DockerSpec & { type: 'docker' } = { type: 'docker', ...spec(registry.image()) };
    await using gateway = createGateway(
      { servers: [{ id: 'slow', pull_timeout: '2s', start_timeout: '1s', runtime }] },
      { onEvent: (event) => events.push(event) },
    );
    await expect(gateway.start('slow')).rejects.toThrow('"slow": pulling took longer than pull_timeout (2000 ms)');
    await untilHungUp(before);
    const phases = events.flatMap((event) => (event.type === 'phase' ? [event.to] : []));
    expect(phases).toContain('pulling');
    expect(events.some((event) => event.type === 'progress')).toBe(true);
  });
});

describeWithDocker('docker: a pull that fails', () => {
  test('for want of a login', async () => {
    await using registry = await Registry.listen({ login: `user:${secret}` });
    await using anonymous = await home({});
    await using scene = anonymous.scene();
    const message = await scene.failure(spec(registry.image()));
    expect(message).toContain(`the registry ${registry.host} refused it`);
    expect(message).toContain(`docker login ${registry.host}`);
  });

  test('with a wrong password, which does not show', async () => {
    await using registry = await Registry.listen({ login: 'user:right' });
    const auth = Buffer.from(`user:${secret}`).toString('base64');
    await using wrong = await home({ auths: { [registry.host]: { auth } } });
    await using scene = wrong.scene();
    const message = await scene.failure(spec(registry.image()));
    expect(message).toContain('refused it');
    expect(message).not.toContain(secret);
    expect(message).not.toContain(auth);
  });

  test.each([
    ['is not installed', {}, 'docker-credential-test is not installed'],
    ['fails', { 'docker-credential-test': 'echo oops; exit 1' }, 'docker-credential-test ended with code 1'],
    [
      'talks nonsense',
      { 'docker-credential-test': `echo ${secret}` },
      'docker-credential-test answered with what is no pair of Username and Secret',
    ],
  ])('with a credential helper that %s, and says so', async (_, helpers, expected) => {
    await using registry = await Registry.listen({ login: 'user:right' });
    await using folder = await home({ credsStore: 'test' }, helpers);
    await using scene = folder.scene();
    const message = await scene.failure(spec(registry.image()));
    expect(message).toContain(expected);
    expect(message).not.toContain(secret);
  });

  test('for want of the image', async () => {
    await using registry = await Registry.listen();
    await using scene = new DockerScene();
    expect(await scene.failure(spec(registry.image('missing')))).toContain(
      `the registry ${registry.host} does not have it; check the name and the tag`,
    );
  });

  test('for want of a registry', async () => {
    await using scene = new DockerScene();
    expect(await scene.failure(spec('127.0.0.1:1/test/shell:good'))).toContain(
      'the registry 127.0.0.1:1 cannot be reached',
    );
  });

  test.each(['bytes', 'missing'] as const)('in the middle (%s)', async (broken) => {
    await using registry = await Registry.listen({ broken });
    await using scene = new DockerScene();
    const image = registry.image();
    expect(await scene.failure(spec(image))).toContain(`image ${image}: `);
  });
});

describeWithDocker('docker: credentials of the user', () => {
  const login = `user:${secret}`;
  const auth = Buffer.from(login).toString('base64');
  const helper = `read server; printf '{"ServerURL":"%s","Username":"user","Secret":"%s"}' "$server" "$HELPER"`;

  test.each([
    ['config.json', (host: string) => ({ auths: { [host]: { auth } } })],
    ['config.json, under a URL', (host: string) => ({ auths: { [`https://${host}/v2/`]: { auth } } })],
    ['the helper of the registry', (host: string) => ({ credHelpers: { [host]: 'test' }, credsStore: 'none' })],
    ['the common store', () => ({ credsStore: 'test' })],
    ['config.json, when the store fails', (host: string) => ({ credsStore: 'broken', auths: { [host]: { auth } } })],
  ])('from %s', async (_, config) => {
    await using registry = await Registry.listen({ login });
    const helpers = { 'docker-credential-test': helper, 'docker-credential-broken': 'exit 3' };
    await using folder = await home(config(registry.host), helpers);
    await using scene = folder.scene();
    const peer = await scene.open(spec(registry.image()));
    await peer.start();
    await peer.until('its first line', () => peer.messages.length > 0);
    expect(JSON.stringify(await scene.inspect())).not.toContain(secret);
  });
});

test.each(['https://index.docker.io/v1/', 'docker.io'])(
  'docker: the helper of Docker Hub, named as %s',
  async (hub) => {
    const helper = `read server; printf '{"Username":"%s","Secret":"%s"}' "$server" "$HELPER"`;
    await using folder = await home(
      { credHelpers: { [hub]: 'hub' }, credsStore: 'none' },
      { 'docker-credential-hub': helper },
    );
    const { header = '', problem } = await findCredentials('docker.io', folder.env, new AbortController().signal);
    expect(problem).toBeUndefined();
    expect(JSON.parse(Buffer.from(header, 'base64url').toString())).toMatchObject({
      username: 'https://index.docker.io/v1/',
      password: secret,
    });
  },
);
