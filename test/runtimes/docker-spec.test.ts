import { execFileSync } from 'node:child_process';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { createGateway } from '../../src/gateway.js';
import { toContainerBody } from '../../src/runtimes/docker/container-body.js';
import { EnvFiles, parseEnvFile } from '../../src/runtimes/docker/env-file.js';
import { parseImageName } from '../../src/runtimes/docker/image-name.js';
import { parseCpus, parseMemory } from '../../src/runtimes/docker/quantities.js';
import { dockerSpec } from '../../src/runtimes/docker/spec.js';
import { bindSources, toVolumes } from '../../src/runtimes/docker/volumes.js';
import { DockerRuntime } from '../../src/runtimes/docker.js';
import { temporaryFolder } from '../support/docker.js';

/** The problems of a catalog with this spec, as its user sees them. */
function problems(spec: Record<string, unknown>): string[] {
  try {
    createGateway({ servers: [{ id: 'a', runtime: { type: 'docker', image: 'x', ...spec } }] } as never);
  } catch (error) {
    return (error as Error).message
      .split('\n')
      .slice(1)
      .map((line) => line.trim());
  }
  return [];
}

describe('a docker spec: each bad field is named, with what to write instead', () => {
  test.each([
    [{ image: '' }, /^servers\[0\]\.runtime\.image: is not the name of an image/],
    [{ command: '' }, /^servers\[0\]\.runtime\.command: is empty; leave it out/],
    [{ image: 'Upper' }, /runtime\.image: is not the name of an image; write it in lower case/],
    [{ image: '-x' }, /runtime\.image: is not the name of an image/],
    [{ image: 'a:b:c' }, /runtime\.image: is not the name of an image/],
    [{ image: 'a b' }, /runtime\.image: is not the name of an image/],
    [{ image: 'a@sha256:123' }, /runtime\.image: is not the name of an image/],
    [{ container_name: '-x' }, /runtime\.container_name: is not the name of a container/],
    [{ container_name: 'x' }, /runtime\.container_name: is not the name of a container/],
    [{ volumes: ['data'] }, /runtime\.volumes\[0\]: must have an absolute path in the container/],
    [{ volumes: ['./data:data'] }, /runtime\.volumes\[0\]: must have an absolute path in the container/],
    [{ volumes: ['/a:/b:rx'] }, /runtime\.volumes\[0\]: has the mode "rx"; a path can have: ro, rw/],
    [{ volumes: ['data:/b:rshared'] }, /runtime\.volumes\[0\]: has the mode "rshared"; a volume can have: .*nocopy/],
    [{ volumes: ['/a:/b:ro,rw'] }, /runtime\.volumes\[0\]: has modes that exclude each other/],
    [{ volumes: ['/a:/b:ro:x'] }, /runtime\.volumes\[0\]: must be source:\/path/],
    [{ volumes: [':/b'] }, /runtime\.volumes\[0\]: must be source:\/path/],
    [{ volumes: ['~/a:/b'] }, /runtime\.volumes\[0\]: begins with ~/],
    [{ volumes: ['/a:/'] }, /runtime\.volumes\[0\]: must not be mounted over the root/],
    [{ volumes: ['-x:/b'] }, /runtime\.volumes\[0\]: must begin with a path .* or the name of a volume/],
    [{ volumes: ['/a:/data', 'other:/data/'] }, /runtime: volumes and tmpfs name \/data twice/],
    [{ volumes: ['/a:/run'], tmpfs: ['/run:size=1m'] }, /runtime: volumes and tmpfs name \/run twice/],
    [{ network: 'container:db' }, /runtime\.network: joins the network of another container/],
    [{ network: 'a b' }, /runtime\.network: is not the name of a network/],
    [{ memory: '512' }, /runtime\.memory: is less than 6m/],
    [{ memory: '5 apples' }, /runtime\.memory: is not a size; write it as 512m/],
    [{ memory: 512 }, /runtime\.memory: has no unit; write it as 512m/],
    [{ cpus: '0,5' }, /runtime\.cpus: is not a number of processors; write it as 0.5/],
    [{ cpus: -1 }, /runtime\.cpus: is not a number of processors/],
    [{ cpus: 0.009 }, /runtime\.cpus: is less than 0\.01, .* write 0 for no limit$/],
    [{ pids: 1.5 }, /runtime\.pids: is not a whole number/],
    [{ user: 'a b' }, /runtime\.user: is not a user/],
    [{ platform: 'Linux' }, /runtime\.platform: is not a platform; write it as linux\/amd64/],
    [{ working_dir: 'app' }, /runtime\.working_dir: must be an absolute path/],
    [{ cap_add: ['net admin'] }, /runtime\.cap_add\[0\]: is not a capability/],
    [{ tmpfs: ['run'] }, /runtime\.tmpfs\[0\]: must be a path in the container/],
    [{ tmpfs: ['/run:size=1m ro'] }, /runtime\.tmpfs\[0\]: must be .* options: \/run:size=16m,mode=1777$/],
    [{ pull: 'sometimes' }, /runtime\.pull: /],
    [{ volume: [] }, /runtime\.volume: is not a known key; did you mean "volumes"/],
    [{ args: ['a\0b'] }, /runtime\.args\[0\]: .*NUL/],
  ])('%j', (spec, expected) => {
    const found = problems(spec);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  });

  test('and the seed is accepted as it is', () => {
    expect(
      problems({
        image: 'mcp/my-server:latest',
        container_name: 'my-mcp-server',
        volumes: ['/host/data:/container/data:ro'],
        network: 'mcp-network',
        env_file: '.env',
      }),
    ).toEqual([]);
  });
});

describe('names and quantities', () => {
  test.each([
    ['node', ['docker.io', 'node', 'latest']],
    ['mcp/server:1.2', ['docker.io', 'mcp/server', '1.2']],
    ['ghcr.io/team/server', ['ghcr.io', 'ghcr.io/team/server', 'latest']],
    ['localhost:5000/x:y', ['localhost:5000', 'localhost:5000/x', 'y']],
    ['localhost/x', ['localhost', 'localhost/x', 'latest']],
    [`a/b:t@sha256:${'0'.repeat(64)}`, ['docker.io', 'a/b', `sha256:${'0'.repeat(64)}`]],
  ])('image %s', (text, [registry, repository, version]) => {
    expect(parseImageName(text)).toEqual({ registry, repository, version });
  });

  test.each([
    ['512m', 512 * 1024 ** 2],
    ['1.5g', 1.5 * 1024 ** 3],
    ['64MiB', 64 * 1024 ** 2],
    ['64MB', 64 * 1024 ** 2],
    ['10485760', 10485760],
    ['10485760b', 10485760],
    ['0', 0],
    ['1e3', undefined],
    ['-1', undefined],
    ['m', undefined],
  ])('memory %s', (text, bytes) => {
    expect(parseMemory(text)).toBe(bytes);
  });

  test.each([
    ['0.5', 5e8],
    [2, 2e9],
    ['0', 0],
    ['x', undefined],
    [Number.NaN, undefined],
  ])('cpus %s', (value, nano) => {
    expect(parseCpus(value)).toBe(nano);
  });
});

describe('volumes', () => {
  test.each([
    ['/a:/b', { Type: 'bind', Source: '/a', Target: '/b', ReadOnly: false }],
    ['./a:/b:ro', { Type: 'bind', Source: '/catalog/a', Target: '/b', ReadOnly: true }],
    ['../a:/b', { Type: 'bind', Source: '/a', Target: '/b', ReadOnly: false }],
    ['.:/b', { Type: 'bind', Source: '/catalog', Target: '/b', ReadOnly: false }],
    ['sub/a:/b', { Type: 'bind', Source: '/catalog/sub/a', Target: '/b', ReadOnly: false }],
    ['data:/b', { Type: 'volume', Source: 'data', Target: '/b', ReadOnly: false }],
    [
      'data:/b:nocopy',
      { Type: 'volume', Source: 'data', Target: '/b', ReadOnly: false, VolumeOptions: { NoCopy: true } },
    ],
    ['/b', { Type: 'volume', Target: '/b', ReadOnly: false }],
    [
      '/a:/b:rslave,cached',
      { Type: 'bind', Source: '/a', Target: '/b', ReadOnly: false, BindOptions: { Propagation: 'rslave' } },
    ],
    ['C:\\a:/b:ro', { Type: 'bind', Source: 'C:\\a', Target: '/b', ReadOnly: true }],
  ])('%s', (text, mount) => {
    expect(toVolumes([text], '/catalog')).toEqual({ mounts: [mount], binds: [] });
  });

  test('a relabelling by SELinux needs the older form', () => {
    expect(toVolumes(['./a:/b:ro,Z', 'data:/c:z'], '/catalog')).toEqual({
      mounts: [],
      binds: ['/catalog/a:/b:ro,Z', 'data:/c:z'],
    });
    expect(bindSources(['./a:/b:ro,Z', 'data:/c:z', '/d'], '/catalog')).toEqual(['/catalog/a']);
  });
});

describe('env_file', () => {
  const parse = (text: string | Uint8Array, host = {}) => parseEnvFile(Buffer.from(text), '/x.env', host);

  test('follows the rules of docker', () => {
    const text = [
      '\ufeffA=1',
      '# comment',
      '',
      '  B= two words ',
      'C="quoted"',
      'D=a=b#c',
      'E=',
      'HOST',
      'ABSENT',
      'F=${A}',
      'G=crlf\r',
      '__proto__=x',
    ].join('\n');
    const env = parse(text, { HOST: 'from host' });
    expect(Object.entries(env)).toEqual([
      ['A', '1'],
      ['B', ' two words '],
      ['C', '"quoted"'],
      ['D', 'a=b#c'],
      ['E', ''],
      ['HOST', 'from host'],
      ['F', '${A}'],
      ['G', 'crlf'],
      ['__proto__', 'x'],
    ]);
    expect(Object.getPrototypeOf(env)).toBe(Object.prototype);
  });

  test.each([
    ['A=1\nexport B=secret', 'the env_file /x.env, line 2: begins with export, which is for shells; write NAME=value'],
    ['=secret', 'the env_file /x.env, line 1: has no name before the "="'],
    ['A B=secret', 'the env_file /x.env, line 1: has a space in its name; write NAME=value'],
    ['A=sec\0ret', 'the env_file /x.env, line 1: holds a NUL character'],
    [Uint8Array.from([65, 61, 10, 66, 61, 0xff]), 'the env_file /x.env, line 2: is not UTF-8'],
  ])('%j', (text, message) => {
    expect(() => parse(text)).toThrow(new Error(message));
  });
});

describe.skipIf(process.platform === 'win32')('an env_file that is a named pipe', () => {
  test('holds up nobody else while nobody writes, and ends with the last who waits for it', async () => {
    await using folder = await temporaryFolder();
    const pipe = join(folder.path, '.env');
    execFileSync('mkfifo', [pipe]);
    const files = new EnvFiles();
    const leaving = Array.from({ length: 8 }, () => new AbortController());
    const read = leaving.map(({ signal }) => files.read(pipe, {}, signal).catch((reason: unknown) => reason));
    // As many as Node has threads would wait for as long as the others.
    expect((await stat(pipe)).isFIFO()).toBe(true);
    for (const left of leaving.slice(1)) left.abort('left');
    expect(await Promise.all(read.slice(1))).toEqual(Array(7).fill('left'));
    await writeFile(pipe, 'A=1\n');
    expect(await read[0]).toEqual({ A: '1' });

    // Others than that one: each would keep a thread for ever.
    const others = Array.from({ length: 8 }, (_, number) => join(folder.path, `${number}.env`));
    execFileSync('mkfifo', others);
    const given = others.map((other) => files.read(other, {}, AbortSignal.timeout(20)));
    expect((await Promise.allSettled(given)).map(({ status }) => status)).toEqual(Array(8).fill('rejected'));
    expect((await stat(pipe)).isFIFO()).toBe(true);

    // Who comes while such a reading ends, as a call after one that was cancelled, begins anew.
    const leaver = new AbortController();
    const left = files.read(pipe, {}, leaver.signal);
    await setTimeout(50);
    leaver.abort('left');
    await expect(left).rejects.toBe('left');
    const next = files.read(pipe, {}, new AbortController().signal);
    await setTimeout(50);
    await writeFile(pipe, 'B=2\n');
    expect(await next).toEqual({ B: '2' });

    const empty = files.read(pipe, {}, new AbortController().signal);
    await writeFile(pipe, '');
    await expect(empty).rejects.toThrow('is a pipe into which nothing was written');
  });
});

describe('the container', () => {
  const body = (spec: Record<string, unknown>) =>
    toContainerBody(v.parse(dockerSpec, { image: 'x', ...spec }), { baseDir: '/catalog', env: { A: '1' }, labels: {} });

  test('without command and args is what the image says', () => {
    expect(body({})).not.toHaveProperty('Entrypoint');
    expect(body({})).not.toHaveProperty('Cmd');
    expect(body({ args: ['a'] })).toMatchObject({ Cmd: ['a'] });
    expect(body({ command: 'b' })).toMatchObject({ Entrypoint: ['b'], Cmd: [] });
  });

  test('has a /tmp unless the entry gives it another one, or the root can be written to', () => {
    expect(body({}).HostConfig.Tmpfs).toHaveProperty('/tmp');
    expect(body({ tmpfs: ['/tmp:size=1m'] }).HostConfig.Tmpfs).toEqual({ '/tmp': 'size=1m' });
    expect(body({ tmpfs: ['/tmp/:size=1m'] }).HostConfig.Tmpfs).toEqual({ '/tmp': 'size=1m' });
    expect(body({ volumes: ['/tmp/'] }).HostConfig.Tmpfs).toEqual({});
    expect(body({ read_only: false }).HostConfig.Tmpfs).toEqual({});
  });

  test('has folders in memory with any option that the kernel knows', () => {
    const tmpfs = ['/run:size=64M,mode=1777', '/cache/../x:nr_inodes=1k', '/y'];
    expect(body({ read_only: false, tmpfs }).HostConfig.Tmpfs).toEqual({
      '/run': 'size=64M,mode=1777',
      '/x': 'nr_inodes=1k',
      '/y': '',
    });
  });

  test('has no options that an entry could smuggle in: every text stays in its own field', () => {
    const odd = ['--privileged', '$(id)', '`id`', '; rm -rf /', '"', "'", '\n', '\\', '-v=/:/host', '&', '\u{1f600}'];
    const made = body({ command: odd.join(''), args: odd });
    expect(made.Cmd).toEqual(odd);
    expect(made.Entrypoint).toEqual([odd.join('')]);
    expect(made.HostConfig).toEqual(body({}).HostConfig);
  });

  test('is described without values', () => {
    const runtime = new DockerRuntime();
    const context = { server: 'a', baseDir: '/catalog', env: { TOKEN: 'canary-1' } };
    const described = runtime.describe({ image: 'x', env_file: '.env', volumes: ['./a:/b'] }, context);
    expect(described).toMatchObject({
      env: ['TOKEN'],
      env_file: '/catalog/.env',
      pull: 'missing',
      container: { Image: 'x', HostConfig: { CapDrop: ['ALL'], Mounts: [{ Source: '/catalog/a' }] } },
    });
    expect(JSON.stringify(described)).not.toContain('canary-1');
  });

  test('counts for the limit of memory', () => {
    const runtime = new DockerRuntime();
    expect(runtime.memory({ image: 'x' })).toBe(512 * 1024 ** 2);
    expect(runtime.memory({ image: 'x', memory: '1g' })).toBe(1024 ** 3);
    expect(runtime.memory({ image: 'x', memory: '0' })).toBeUndefined();
  });
});
