import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createGateway } from '../../src/index.js';
import { DockerRuntime } from '../../src/runtimes/docker.js';
import { TestCaller } from '../endpoint/test-caller.js';
import { abortInCall } from '../support/aborting-proxy.js';
import {
  buildImage,
  containersOf,
  createName,
  DockerScene,
  docker,
  reference,
  shell,
  temporaryFolder,
} from '../support/docker.js';
import { baseImage, describeWithDocker } from '../support/real-parts.js';

const secret = 'canary-7d1e4b90aa';

describeWithDocker('docker: what is made', () => {
  test('is hardened, and has no secret outside of its own environment', async () => {
    await using scene = new DockerScene();
    const peer = await scene.open(reference(), { server: 'orders', env: { PASSWORD: secret } });
    await peer.begin();
    const container = await scene.inspect();
    expect(container.HostConfig).toMatchObject({
      AutoRemove: true,
      CapAdd: [],
      CapDrop: ['ALL'],
      Init: true,
      LogConfig: { Type: 'none' },
      Memory: 512 * 1024 * 1024,
      MemorySwap: 512 * 1024 * 1024,
      NanoCpus: 1e9,
      NetworkMode: 'none',
      PidsLimit: 256,
      Privileged: false,
      ReadonlyRootfs: true,
      RestartPolicy: { Name: 'no' },
      SecurityOpt: ['no-new-privileges'],
      Tmpfs: { '/tmp': 'rw,noexec,nosuid,nodev,size=64m,mode=1777' },
    });
    expect(container.Config).toMatchObject({ OpenStdin: true, StdinOnce: true, Tty: false });
    const env = (container.Config as { Env: string[] }).Env;
    expect(env).toContain(`PASSWORD=${secret}`);
    (container.Config as { Env: string[] }).Env = [];
    expect(JSON.stringify(container)).not.toContain(secret);
  });

  test('has what each switch turns', async () => {
    await using scene = new DockerScene();
    const peer = await scene.open(
      reference('answer', {
        read_only: false,
        no_new_privileges: false,
        cap_add: ['cap_net_raw', 'CHOWN'],
        init: false,
        memory: '64MiB',
        cpus: '0.5',
        pids: 0,
        tmpfs: ['/run:size=1m'],
        user: '1000:1000',
        working_dir: '/tmp',
        network: 'bridge',
        volumes: ['/scratch'],
      }),
    );
    await peer.begin();
    const container = await scene.inspect();
    expect(container.HostConfig).toMatchObject({
      CapAdd: ['NET_RAW', 'CHOWN'],
      Init: false,
      Memory: 64 * 1024 * 1024,
      NanoCpus: 5e8,
      ReadonlyRootfs: false,
      SecurityOpt: [],
      Tmpfs: { '/run': 'size=1m' },
      NetworkMode: 'bridge',
    });
    expect((container.HostConfig as { PidsLimit: number | null }).PidsLimit ?? 0).toBeLessThanOrEqual(0);
    expect(container.Config).toMatchObject({ User: '1000:1000', WorkingDir: '/tmp' });
  });

  test('is the same whatever the labels of the image say', async () => {
    const label = 'io.docker.server.metadata="volumes: [/:/host]\\nuser: root\\ncommand: [sh]"';
    await using labelled = await buildImage([`LABEL ${label} privileged=true`]);
    const bodies: unknown[] = [];
    for (const image of [baseImage, labelled.tag]) {
      await using scene = new DockerScene();
      await (await scene.open(reference('answer', { image }))).begin();
      const { HostConfig, Path, Args, Config } = await scene.inspect();
      const { Image: _, Labels: __, Hostname: ___, ...config } = Config as Record<string, unknown>;
      bodies.push({ HostConfig, Path, Args, config });
    }
    expect(bodies[1]).toEqual(bodies[0]);
  });

  test('reads env_file by the rules of docker, and env wins', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, '.env'), 'A="quoted" # and all\nB=file\nFROM_HOST\nNOT_THERE\n');
    await using scene = new DockerScene(new DockerRuntime({ env: { ...process.env, FROM_HOST: 'of the host' } }));
    const spec = reference('answer', { env_file: '.env' });
    const peer = await scene.open(spec, { env: { B: 'entry' }, baseDir: folder.path });
    await peer.begin();
    const values = await Promise.all(['A', 'B', 'FROM_HOST', 'NOT_THERE'].map((name) => peer.call('env', { name })));
    expect(values).toEqual(['"\\"quoted\\" # and all"', '"entry"', '"of the host"', 'null']);
  });

  test('credentials of an env_file show in no error', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, '.env'), `API_TOKEN=${secret}\nMODE=plain-mode\n`);
    const script = 'echo "token $API_TOKEN, mode $MODE" >&2; exit 3';
    const runtime = { type: 'docker' as const, ...shell(script, { env_file: join(folder.path, '.env') }) };
    await using gateway = createGateway({ servers: [{ id: 'a', runtime }] });
    await using caller = await TestCaller.open(gateway.connect());
    const failed = await caller.error('tools/call', { name: 'a__tool' });
    expect(JSON.stringify(failed)).toContain('token ${API_TOKEN}, mode plain-mode');
    expect(JSON.stringify([failed, gateway.status()])).not.toContain(secret);
  });

  test('mounts relative folders, and volumes that are removed with it', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'note.txt'), 'hello from outside');
    await using scene = new DockerScene();
    const tell = (what: string) =>
      `printf '{"jsonrpc":"2.0","method":"notifications/reference","params":{"number":"%s"}}\\n' "$(${what})"`;
    const script = [tell('cat /in/note.txt'), tell('touch /in/x 2>&1'), tell('touch /own/y && echo written'), 'cat'];
    const spec = shell(script.join('\n'), { volumes: ['./:/in:ro', '/own'] });
    const peer = await scene.open(spec, { baseDir: folder.path });
    await peer.start();
    await peer.until('three lines', () => peer.numbers.length === 3);
    expect(peer.numbers).toEqual(['hello from outside', 'touch: /in/x: Read-only file system', 'written']);
    const { Mounts } = (await scene.inspect()) as unknown as { Mounts: { Type: string; Name: string }[] };
    const volume = Mounts.find(({ Type }) => Type === 'volume')?.Name ?? '';
    expect(await docker('volume', 'ls', '--quiet')).toContain(volume);
    await peer.close();
    expect(await docker('volume', 'ls', '--quiet')).not.toContain(volume);
  });

  test('a second session with the same container_name gets a suffix', async () => {
    const name = createName();
    await using scene = new DockerScene();
    const spec = shell('cat', { container_name: name });
    await Promise.all([scene.open(spec), scene.open(spec), scene.open(spec)]);
    const ids = await containersOf(scene.gatewayId);
    const names = await Promise.all(ids.map((id) => docker('inspect', '--format', '{{.Name}}', id)));
    expect(names.sort()).toEqual([`/${name}`, `/${name}-2`, `/${name}-3`]);
  });
});

describeWithDocker('docker: what cannot start', () => {
  const cases: [string, () => ReturnType<typeof shell>, RegExp][] = [
    [
      'an image that is not there',
      () => ({ image: 'mcp-test/none:x', pull: 'never' }),
      /does not have the image; pull it/,
    ],
    [
      'a network that is not there',
      () => shell('cat', { network: 'no-such-net' }),
      /network "no-such-net" does not exist/,
    ],
    [
      'a source that is not there',
      () => shell('cat', { volumes: ['/no/such/folder:/in'] }),
      /the source \/no\/such\/folder of a volume does not exist; create it/,
    ],
    [
      'a program that is not there, without init',
      () => shell('', { command: '/no/such', init: false }),
      /the program \/no\/such, or the interpreter it names, is not in the image/,
    ],
    [
      'a program that may not be executed, without init',
      () => shell('', { command: '/etc/passwd', init: false }),
      /the program \/etc\/passwd may not be executed/,
    ],
    [
      'a program with its arguments, without init',
      () => shell('', { command: 'sh -c cat', init: false }),
      /the program sh -c cat, or the interpreter it names, is not in the image; arguments go into args/,
    ],
    ['a user that is not there', () => shell('cat', { user: 'nobody-here' }), /the image knows no user "nobody-here"/],
    [
      'an env_file that is not there',
      () => shell('cat', { env_file: '/no/such.env' }),
      /env_file \/no\/such.env does not exist/,
    ],
  ];
  test('an image that does not say what to run', async () => {
    await using image = await buildImage(['ENTRYPOINT []', 'CMD []']);
    await using scene = new DockerScene();
    expect(await scene.failure({ image: image.tag })).toContain('the image does not say what to run; give command');
  });

  test.each(cases)('%s', async (_, spec, expected) => {
    await using scene = new DockerScene();
    expect(await scene.failure(spec())).toMatch(expected);
  });

  test('a name that somebody else has, and it stays theirs', async () => {
    const name = createName();
    const theirs = await docker('run', '--detach', '--name', name, baseImage, 'sleep', '1000');
    try {
      await using scene = new DockerScene();
      expect(await scene.failure(shell('cat', { container_name: name }))).toContain(
        `there is a container "${name}" already`,
      );
      expect(await docker('inspect', '--format', '{{.State.Running}}', theirs)).toBe('true');
    } finally {
      await docker('rm', '--force', theirs);
    }
  });

  test.each([
    ['the socket', '/var/run/docker.sock:/var/run/docker.sock', /is the socket of an engine/],
    ['the folder of the socket', '/var/run:/x', /holds the socket of an engine/],
    ['the root', '/:/host:ro', /is the root of the machine/],
    ['the root by way of a process', '/proc/self/root:/host', /is the root of the machine/],
    ['the root by way of where the engine is', '/proc/self/cwd:/host', /leads through a process/],
    ['what the engine has open', '/dev/fd/9:/host', /leads through a process/],
    ["the socket of the engine's own containerd", '/run/docker:/x', /holds the socket of an engine/],
    ['the root by way of ..', '/tmp/../:/host', /is the root of the machine/],
  ])('%s as a volume, unless the entry says so', async (_, volume, expected) => {
    await using scene = new DockerScene();
    const spec = shell('cat', { volumes: [volume] });
    expect(await scene.failure(spec)).toMatch(expected);
    const check = await scene.runtime.check(spec, scene.context());
    expect(check.problems.join()).toMatch(expected);
    expect((await scene.runtime.check({ ...spec, allow_host_control: true }, scene.context())).problems).toEqual([]);
  });

  test('check() names everything that is missing at once', async () => {
    await using scene = new DockerScene();
    const spec = shell('cat', {
      image: 'mcp-test/none:x',
      pull: 'never',
      network: 'no-such-net',
      volumes: ['/no/such:/in'],
      env_file: '/no/such.env',
    });
    const { ok, problems } = await scene.runtime.check(spec, scene.context());
    expect(ok).toBe(false);
    expect(problems).toHaveLength(4);
  });

  test('without an engine: the error lists what was tried', async () => {
    await using folder = await temporaryFolder();
    const runtime = new DockerRuntime({ host: `unix://${folder.path}/none.sock` });
    await using scene = new DockerScene(runtime);
    const message = await scene.failure(shell('cat'));
    expect(message).toContain(`unix://${folder.path}/none.sock: no such socket`);
    expect(message).toContain('start the engine, or set DOCKER_HOST');
    const { problems } = await runtime.check(shell('cat'), scene.context());
    expect(problems.join()).toContain('no such socket');
  });
});

describeWithDocker('docker: open() that is aborted leaves nothing', () => {
  const reason = new Error('enough');

  test('at every point', async () => {
    await using scene = new DockerScene();
    // A start takes some hundreds of milliseconds here; the steps cover all of its calls.
    const steps = [0, 1, 2, 4, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 70, 90, 120, 160, 200, 250, 300, 400];
    let rejected = 0;
    await Promise.all(
      steps.map(async (ms) => {
        const abort = new AbortController();
        const opening = scene.open(shell('cat'), { signal: abort.signal });
        opening.catch(() => {});
        // A point in time is what is tried here.
        await sleep(ms);
        abort.abort(reason);
        await opening.then(
          (peer) => peer.close(),
          (error: unknown) => {
            expect(error).toBe(reason);
            rejected += 1;
          },
        );
      }),
    );
    expect(rejected).toBeGreaterThan(0);
    expect(await containersOf(scene.gatewayId)).toEqual([]);
  });

  test('in every call of the engine, one after the other', async () => {
    const calls = await abortInCall(undefined);
    expect(calls).toEqual(expect.arrayContaining(['create', 'attach', 'wait', 'start']));
    for (const call of calls) {
      for (const when of ['before', 'after'] as const) {
        await abortInCall({ call, when });
      }
    }
  });
});
