import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/options.js';
import type { RuntimeProgress } from '../../src/runtime.js';
import { findAddresses } from '../../src/runtimes/docker/engine/addresses.js';
import { type Engine, EngineError, type PullOptions } from '../../src/runtimes/docker/engine/engine.js';
import { ownerLabel, serverLabel } from '../../src/runtimes/docker/labels.js';
import { findOwner, formatOwner } from '../../src/runtimes/docker/owner.js';
import { Pulls } from '../../src/runtimes/docker/pulls.js';
import { DockerRuntime } from '../../src/runtimes/docker.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { Peer } from '../../src/testing/peer.js';
import { temporaryFolder } from '../support/docker.js';
import { asNobody } from '../support/nobody.js';
import { PlayedEngine } from '../support/played-engine.js';

test('docker: a container that its engine could not remove at its end is removed', async () => {
  await using engine = await PlayedEngine.listen();
  const peer = new Peer(await engine.runtime.open({ image: 'image' }, createRuntimeContext()), 60_000);
  await peer.start();
  engine.endServer({ StatusCode: 7, Error: { Message: 'failed to remove root filesystem: device or resource busy' } });
  expect(await peer.ended()).toMatchObject({ code: 'SERVER_EXITED', exit: { code: 7 } });
  expect(engine.hasContainer).toBe(false);
});

test('docker: a container that its engine has removed is not removed again', async () => {
  await using engine = await PlayedEngine.listen();
  const peer = new Peer(await engine.runtime.open({ image: 'image' }, createRuntimeContext()), 60_000);
  await peer.start();
  engine.endServer({ StatusCode: 7 });
  expect(await peer.ended()).toMatchObject({ code: 'SERVER_EXITED', exit: { code: 7 } });
  expect(engine.removals).toBe(0);
});

test('docker: a container that runs on without its connection, as after a restart by somebody else, is told and removed', async () => {
  await using engine = await PlayedEngine.listen();
  const peer = new Peer(await engine.runtime.open({ image: 'image' }, createRuntimeContext()), 60_000);
  await peer.start();
  engine.isRunning = true;
  engine.cut();
  const { exit, message } = await peer.ended();
  expect(exit).toMatchObject({ reason: 'connection-lost' });
  expect(message).toMatch(
    /connection to the container played was lost, and it runs: somebody has restarted it, or its server/,
  );
  await peer.close();
  expect(engine.hasContainer).toBe(false);
});

describe('docker: a container whose wait and connection are cut at once', () => {
  const cutBoth = async (engine: PlayedEngine, waitAnswer?: object) => {
    const peer = new Peer(await engine.runtime.open({ image: 'image' }, createRuntimeContext()), 60_000);
    await peer.start();
    engine.isRunning = true;
    engine.waitAnswer = waitAnswer;
    engine.cutWait();
    engine.cut();
    return peer;
  };

  test('has not lost its engine, which says that it runs', async () => {
    await using engine = await PlayedEngine.listen();
    const peer = await cutBoth(engine);
    const { exit, message } = await peer.ended();
    expect(exit).toMatchObject({ reason: 'connection-lost' });
    expect(message).toContain('connection to the container played was lost, and it runs');
    await peer.close();
    expect(engine.hasContainer).toBe(false);
  });

  test('has not lost its engine either where each later wait is cut, too', async () => {
    await using engine = await PlayedEngine.listen();
    engine.cutsWaits = true;
    const peer = await cutBoth(engine);
    expect((await peer.ended()).exit).toMatchObject({ reason: 'connection-lost' });
    await peer.close();
    expect(engine.hasContainer).toBe(false);
  });

  test('has ended, though the engine says so a moment later', async () => {
    await using engine = await PlayedEngine.listen();
    const peer = await cutBoth(engine, { StatusCode: 7 });
    expect(await peer.ended()).toMatchObject({ code: 'SERVER_EXITED', exit: { code: 7 } });
  });
});

test('docker: a stop whose wait for the end of the container is cut has its grace all the same', async () => {
  await using engine = await PlayedEngine.listen();
  const peer = new Peer(await engine.runtime.open({ image: 'image' }, createRuntimeContext()), 60_000);
  await peer.start();
  const closed = peer.close();
  await setImmediate();
  engine.cutWait();
  await expect.poll(() => engine.calls.filter((call) => call === 'wait'), { timeout: 60_000 }).toHaveLength(2);
  await expect.poll(() => engine.calls, { timeout: 60_000 }).toContain('stop');
  engine.endServer({ StatusCode: 0 });
  await closed;
  expect(engine.removals).toBe(0);
});

test('docker: what a dead host seems to have left stays while the engine does not tell whether its image has the label', async () => {
  await using engine = await PlayedEngine.listen();
  // More than any pid.
  const dead = { ...(await findOwner()), pid: 4_194_305 };
  engine.left = [{ Id: 'left', Labels: { [ownerLabel]: formatOwner(dead) } }];
  engine.knowsImages = false;
  const peer = new Peer(await engine.runtime.open({ image: 'image' }, createRuntimeContext()), 60_000);
  await peer.start();
  expect(engine.removals).toBe(0);
  engine.endServer({ StatusCode: 0 });
  await peer.close();
  expect(engine.removals).toBe(0);
});

test('docker: a removal of what a dead host has left, which the engine never answers, does not hold up close()', async () => {
  await using engine = await PlayedEngine.listen();
  // More than any pid.
  const dead = { ...(await findOwner()), pid: 4_194_305 };
  engine.left = [{ Id: 'left', Labels: { [ownerLabel]: formatOwner(dead) } }];
  engine.removes = false;
  const transport = await engine.runtime.open({ image: 'image' }, createRuntimeContext());
  expect(engine.removals).toBe(1);
  engine.endServer({ StatusCode: 0 });
  await transport.close();
  engine.removes = true;
  const closed = engine.runtime.close().then(() => engine.removals);
  expect(await Promise.race([closed, sleep(20_000, 'still waits', { ref: false })])).toBe(2);
});

test.each([
  'container create: creating container storage: the container name "tools" is already in use by 61e52d. ' +
    'You have to remove that container to be able to reuse that name: that name is already in use',
  'container create: name "tools" is in use: container already exists',
])(
  'docker: a name that another session has gets a suffix also where the engine, as Podman, says so with 500: %s',
  async (said) => {
    await using engine = await PlayedEngine.listen();
    engine.hasContainer = true;
    engine.labels = { [ownerLabel]: formatOwner(await findOwner()), [serverLabel]: 'orders' };
    engine.refusals.push([500, said]);
    const context = createRuntimeContext({ server: 'orders' });
    const transport = await engine.runtime.open({ image: 'image', container_name: 'tools' }, context);
    expect(engine.names).toEqual(['tools', 'tools-2']);
    engine.endServer({ StatusCode: 0 });
    await transport.close();
  },
);

test.each([
  'image with reference image:latest was found but does not provide the specified platform (linux/arm64)',
  'image with reference image was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)',
])('docker: an image that is there for another platform alone is pulled: %s', async (said) => {
  await using engine = await PlayedEngine.listen();
  engine.refusals.push([404, said]);
  const transport = await engine.runtime.open({ image: 'image', platform: 'linux/arm64' }, createRuntimeContext());
  expect(engine.calls.filter((call) => call === 'create' || call === 'pull')).toEqual(['create', 'pull', 'create']);
  engine.endServer({ StatusCode: 0 });
  await transport.close();
});

test.each([
  // Docker with the store of containerd, Docker with its own, and Podman.
  'no matching manifest for linux/arm64 in the manifest list entries: no match for platform in manifest: not found',
  'no matching manifest for linux/arm64/v8 in the manifest list entries',
  'choosing an image from manifest list docker://image:latest: no image found in image index for architecture "arm64"',
])('docker: an image that no registry has for the platform is told as that: %s', async (said) => {
  await using engine = await PlayedEngine.listen();
  engine.refusals.push([404, 'No such image: image:latest'], [404, said]);
  const opening = engine.runtime.open({ image: 'image', platform: 'linux/arm64' }, createRuntimeContext());
  await expect(opening).rejects.toThrow(
    `image image: it has no build for this platform; set platform; the engine said: ${said}`,
  );
});

test('docker: the engine that a start waits for is told', async () => {
  await using engine = await PlayedEngine.listen();
  const told: (string | undefined)[] = [];
  const report = (_phase: string, progress?: RuntimeProgress) => told.push(progress?.message);
  const transport = await engine.runtime.open({ image: 'image' }, createRuntimeContext({ report }));
  expect(told.at(-1)).toMatch(/^the engine at unix:\/\/\S+ is asked to start a container$/);
  engine.endServer({ StatusCode: 0 });
  await transport.close();
});

test('docker: close() ends the search for an engine that never answers', async () => {
  await using engine = await PlayedEngine.listen();
  engine.pings = false;
  const abort = new AbortController();
  const opening = engine.runtime.open({ image: 'image' }, createRuntimeContext({ signal: abort.signal }));
  await expect.poll(() => engine.calls, { timeout: 60_000 }).toEqual(['_ping']);
  abort.abort(new Error('enough'));
  await expect(opening).rejects.toThrow('enough');
  await engine.runtime.close();
  // Long before it would be given up.
  await expect.poll(() => engine.connections(), { timeout: 20_000 }).toBe(0);
});

test('docker: an answer that is still on its way when a far engine tells of the end of its server is delivered', async () => {
  await using engine = await PlayedEngine.listen({ far: true });
  const peer = new Peer(await engine.runtime.open({ image: 'image' }, createRuntimeContext()), 60_000);
  await peer.start();
  const answer = { jsonrpc: '2.0', id: 1, result: { text: 'x'.repeat(1_000) } };
  const text = `${JSON.stringify(answer)}\n`;
  const write = async (part: string) => {
    engine.write(part);
    await sleep(500);
  };
  await write(text.slice(0, 500));
  engine.tellEnd({ StatusCode: 0 });
  for (let at = 500; at < text.length; at += 100) await write(text.slice(at, at + 100));
  engine.endServer({});
  await peer.ended();
  expect(peer.messages).toEqual([answer]);
});

test('docker: an engine that takes the place of another, and speaks an older version, is spoken to in that', async () => {
  await using engine = await PlayedEngine.listen();
  for (const next of ['1.43', '1.42']) {
    const peer = new Peer(await engine.runtime.open({ image: 'image' }, createRuntimeContext()), 60_000);
    await peer.start();
    engine.version = next;
    engine.endServer({ StatusCode: 7, Error: { Message: 'device or resource busy' } });
    expect(await peer.ended()).toMatchObject({ exit: { code: 7 } });
    expect(engine.hasContainer).toBe(false);
  }
});

test('docker: answers with pages, as of a proxy that wants a login, are told with what to look for', async () => {
  await using engine = await PlayedEngine.listen();
  engine.page = '<html>Sign in</html>';
  const said = 'the engine answered with what is no JSON; is there a proxy between?';
  await expect(
    engine.runtime.open({ image: 'image' }, createRuntimeContext({ server: 'orders' })),
  ).rejects.toMatchObject({
    code: 'START_FAILED',
    server: 'orders',
    message: `"orders": ${said}`,
  });
  const checked = await engine.runtime.check({ image: 'image', pull: 'never' }, createRuntimeContext());
  expect(checked).toEqual({ ok: false, problems: [said] });
});

test.each(['null', '"canary-51d0"', '["canary-51d0"]'])(
  'docker: JSON that is none of an engine, such as %s, is told with what was asked',
  async (json) => {
    await using engine = await PlayedEngine.listen();
    engine.page = json;
    const { ok, problems } = await engine.runtime.check({ image: 'image', network: 'net' }, createRuntimeContext());
    expect(ok).toBe(false);
    expect(problems.join()).toMatch(
      /^the engine at unix:\S+ answered GET \/networks\/net with what no engine does; is there a proxy between\?$/,
    );
    const opened = engine.runtime.open({ image: 'image', pull: 'always' }, createRuntimeContext());
    await expect(opened).rejects.toMatchObject({
      code: 'START_FAILED',
      message: expect.stringContaining('the engine broke off its report'),
    });
  },
);

test('docker: check() looks for an engine that it has lost where that is by then', async () => {
  await using next = await PlayedEngine.listen();
  const first = await PlayedEngine.listen();
  const env = { HOME: '/no/such/home', DOCKER_HOST: first.host };
  const runtime = new DockerRuntime({ env });
  const check = () => runtime.check({ image: 'image', pull: 'never' }, createRuntimeContext());
  const missing = { problems: [expect.stringContaining('the engine does not have the image')] };
  expect(await check()).toMatchObject(missing);
  await first[Symbol.asyncDispose]();
  env.DOCKER_HOST = next.host;
  expect(await check()).toMatchObject({ problems: [expect.stringContaining('lost the connection to the engine')] });
  expect(await check()).toMatchObject(missing);
  await runtime.close();
});

test('docker: sources of volumes that are not here are the business of an engine that has other files', async () => {
  await using engine = await PlayedEngine.listen();
  const spec = { image: 'image', volumes: ['/no/such/folder:/data'] };
  engine.dataFolder = '/no/such/data';
  expect(await engine.runtime.check(spec, createRuntimeContext())).toEqual({ ok: true, problems: [] });
  const transport = await engine.runtime.open(spec, createRuntimeContext());
  expect(engine.made.HostConfig?.Mounts).toMatchObject([{ Source: '/no/such/folder' }]);
  engine.endServer({ StatusCode: 0 });
  await transport.close();
  engine.dataFolder = '/';
  const problem = 'the source /no/such/folder of a volume does not exist; create it or change volumes';
  expect(await engine.runtime.check(spec, createRuntimeContext())).toEqual({ ok: false, problems: [problem] });
  await expect(engine.runtime.open(spec, createRuntimeContext())).rejects.toThrow(problem);
});

test('docker: a source of a volume where we may not look, and the engine may, is none that is missing', async () => {
  await using folder = await temporaryFolder();
  await chmod(folder.path, 0o000);
  using _ = asNobody();
  await using engine = await PlayedEngine.listen();
  engine.dataFolder = '/';
  const source = join(folder.path, 'data');
  const spec = { image: 'image', volumes: [`${source}:/data`] };
  expect(await engine.runtime.check(spec, createRuntimeContext())).toEqual({ ok: true, problems: [] });
  const transport = await engine.runtime.open(spec, createRuntimeContext());
  expect(engine.made.HostConfig?.Mounts).toMatchObject([{ Source: source }]);
  engine.endServer({ StatusCode: 0 });
  await transport.close();
});

test('docker: a volume that leads through a process is refused, by whatever link', async () => {
  await using engine = await PlayedEngine.listen();
  await using folder = await temporaryFolder();
  await symlink('/proc/self/cwd', join(folder.path, 'there'));
  await symlink('there', join(folder.path, 'link'));
  await symlink('link', join(folder.path, 'round'));
  await mkdir(join(folder.path, 'plain'));
  const context = createRuntimeContext({ baseDir: folder.path });
  const problems = async (source: string) =>
    (await engine.runtime.check({ image: 'image', volumes: [`${source}:/x`] }, context)).problems;
  for (const source of ['./link', './round/tmp', '/proc/self/cwd', '/proc/1/root/tmp', '/proc/thread-self/fd/3']) {
    expect((await problems(source)).join()).toMatch(/leads through a process/);
  }
  for (const source of ['./plain', '/proc/meminfo', '/usr']) expect(await problems(source)).toEqual([]);
});

test.each([
  ['password', { auth: Buffer.from('ada:top-secret').toString('base64') }],
  ['token', { identitytoken: 'top-secret' }],
])('docker: a %s for a registry that is repeated shows in no error', async (_, auth) => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, 'config.json'), JSON.stringify({ auths: { 'registry.example': auth } }));
  const repeat = async ({ auth: header = '' }: PullOptions) => {
    throw new EngineError(`denied: ${header} is ${Buffer.from(header, 'base64url')}`);
  };
  const error = await new Pulls()
    .pull({
      engine: { pull: repeat } as unknown as Engine,
      image: 'registry.example/image',
      platform: undefined,
      env: { DOCKER_CONFIG: folder.path },
      clock: systemClock,
      signal: new AbortController().signal,
      onProgress: () => {},
    })
    .catch((reason: Error) => reason);
  const shown = inspect(error, { depth: 9, showHidden: true });
  expect(shown).toContain('the engine said: denied: *** is {');
  expect(shown).not.toContain('top-secret');
});

test.each(['tcp:ada:top-secret@host', 'ssh:ada:top-secret@host', 'tcp:///ada:top-secret@host'])(
  'docker: an address without a host is not repeated, which may hold a password: %s',
  async (host) => {
    const error = await findAddresses({ host, env: {}, platform: 'linux', uid: 0 }).catch((reason: Error) => reason);
    expect(inspect(error)).toContain('the address of the engine names no host; write it as');
    expect(inspect(error)).not.toContain('top-secret');
  },
);
