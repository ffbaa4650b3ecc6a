import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import type { GatewayError } from '../../src/errors.js';
import type { DockerSpec } from '../../src/runtimes/docker.js';
import type { Peer } from '../../src/testing/peer.js';
import { count } from '../support/counts.js';
import { buildImage, containersOf, DockerScene, docker, shell } from '../support/docker.js';
import { startHost } from '../support/host.js';
import { baseImage, describeWithDocker } from '../support/real-parts.js';

const line = '{"jsonrpc":"2.0","method":"notifications/reference","params":{"number":1}}';

/** Why the server of a spec ended, by itself. */
async function endOf(scene: DockerScene, spec: DockerSpec): Promise<GatewayError> {
  const peer = await scene.open(spec);
  await peer.start();
  return peer.ended();
}

async function running(scene: DockerScene, spec: DockerSpec): Promise<Peer> {
  const peer = await scene.open(spec);
  await peer.start();
  await peer.until('its first line', () => peer.messages.length > 0);
  return peer;
}

describeWithDocker('docker: close()', () => {
  test.concurrent.each([
    ['ends at end of input', `echo '${line}'; cat >/dev/null`],
    ['ignores end of input', `echo '${line}'; while :; do sleep 1; done`],
    ['ignores end of input and SIGTERM', `trap '' TERM; echo '${line}'; while :; do sleep 1; done`],
    ['writes without end', `trap '' TERM; while :; do echo '${line}'; done`],
    ['floods stderr', `trap '' TERM; echo '${line}'; while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx >&2; done`],
    ['has children that ignore SIGTERM', `(trap '' TERM; sleep 1000) & echo '${line}'; cat >/dev/null`],
  ])('leaves nothing of a server that %s', async (_, script) => {
    await using scene = new DockerScene();
    const peer = await running(scene, shell(script));
    await peer.close();
    expect(await containersOf(scene.gatewayId)).toEqual([]);
    expect(peer.reason).toBeUndefined();
  });

  test.concurrent('answers what was asked before the end of input', async () => {
    await using scene = new DockerScene();
    const peer = await running(scene, shell(`echo '${line}'; cat >/dev/null; echo bye >&2; exit 0`));
    const { stderr } = peer.transport;
    let text = '';
    stderr?.on('data', (chunk) => {
      text += chunk;
    });
    await peer.close();
    expect(text).toBe('bye\n');
  });

  test.concurrent('of output that nobody reads', async () => {
    await using scene = new DockerScene();
    const peer = await scene.open(shell(`while :; do echo '${line}'; done`));
    // Never started: nobody reads until the engine's buffers are full, and blocks all calls about the container.
    await sleep(1_000);
    await peer.close();
    expect(await containersOf(scene.gatewayId)).toEqual([]);
  });

  test.concurrent('of a paused container', async () => {
    await using scene = new DockerScene();
    const peer = await running(scene, shell(`echo '${line}'; cat >/dev/null`));
    await docker('pause', await scene.container());
    await peer.close();
    expect(await containersOf(scene.gatewayId)).toEqual([]);
  });
});

describeWithDocker('docker: why a server ended', () => {
  test.concurrent('by its exit code, with the end of stderr', async () => {
    await using scene = new DockerScene();
    const error = await endOf(scene, shell('echo out of cheese >&2; exit 3'));
    expect(error.exit).toMatchObject({ code: 3, stderrTail: 'out of cheese\n' });
    expect(error.message).toContain('the server ended with code 3; its output ends with: out of cheese');
  });

  test.concurrent('by a signal from outside', async () => {
    await using scene = new DockerScene();
    const peer = await running(scene, shell(`echo '${line}'; cat >/dev/null`));
    await docker('kill', await scene.container());
    const error = await peer.ended();
    expect(error.exit).toMatchObject({ code: 137, signal: 'SIGKILL', reason: undefined });
    expect(error.message).toContain('with code 137, as by SIGKILL');
  });

  test.concurrent('by a removal from outside', async () => {
    await using scene = new DockerScene();
    const peer = await running(scene, shell(`echo '${line}'; cat >/dev/null`));
    await docker('rm', '--force', await scene.container());
    expect((await peer.ended()).exit).toMatchObject({ code: 137 });
  });

  test.concurrent('by a restart from outside', async () => {
    await using scene = new DockerScene();
    const peer = await running(scene, shell(`echo '${line}'; cat >/dev/null`));
    // The container may be removed before the engine is done with it: what counts is how the session ends.
    const failure = await docker('restart', '--time', '1', await scene.container()).then(() => undefined, String);
    const error = await peer.ended();
    expect(error.exit, failure).toMatchObject({ reason: 'connection-lost' });
    expect(error.message).toContain('somebody has restarted it');
  });

  test.concurrent('of too little memory: the error names the field', async () => {
    await using scene = new DockerScene();
    // A node that may use more than the container has, so that the kernel ends it and not itself.
    const script = 'const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1));';
    const error = await endOf(scene, shell('', { command: 'node', args: ['-e', script], memory: '32m' }));
    expect(error.exit).toMatchObject({ code: 137, reason: 'oom' });
    expect(error.message).toContain('(oom): it needed more than memory: 32m');
  });

  test.concurrent.each([
    ['a read-only root', { args: ['-c', 'touch /etc/x && exit 0; exit 1'] }, 'read-only', 'set read_only: false'],
    [
      'a missing capability',
      { args: ['-c', 'chown 1:1 /tmp && exit 0; exit 1'] },
      'permission',
      'add what it needs in cap_add',
    ],
    [
      'too few processes',
      { args: ['-c', 'for n in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait; exit 1'], pids: 5 },
      'pids',
      'pids: 5',
    ],
    [
      'a full /tmp',
      { args: ['-c', 'dd if=/dev/zero of=/tmp/x bs=1M count=70 || exit 1'] },
      'no-space',
      'a larger size in tmpfs',
    ],
    ['a missing program', { command: '/no/such/program' }, 'entrypoint-missing', 'the program /no/such/program'],
    ['a program with its arguments', { command: 'sh -c cat' }, 'entrypoint-missing', 'arguments go into args'],
    [
      'a program that may not be executed',
      { command: '/etc/passwd' },
      'not-executable',
      'the program /etc/passwd may not be executed',
    ],
  ] as [string, Partial<DockerSpec>, string, string][])(
    'of %s: the error says what to change',
    async (_, spec, reason, words) => {
      await using scene = new DockerScene();
      const error = await endOf(scene, shell('', spec));
      expect(error.exit?.reason).toBe(reason);
      expect(error.message).toContain(words);
    },
  );

  test.concurrent('of a program for another machine', async () => {
    // An ELF header that says it is for another processor.
    const header = Buffer.concat([
      Buffer.from('7f454c4602010100', 'hex'),
      Buffer.alloc(8),
      Buffer.from('0200f300', 'hex'),
      Buffer.alloc(100),
    ]);
    const write = `RUN printf '${[...header].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')}' >/alien && chmod 755 /alien`;
    await using image = await buildImage([write]);
    await using scene = new DockerScene();
    const error = await endOf(scene, shell('', { image: image.tag, command: '/alien' }));
    expect(error.exit?.reason).toBe('exec-format');
    expect(error.message).toContain('the program /alien is not made for this processor');
    const plain = await endOf(scene, shell('', { image: image.tag, command: '/alien', init: false }));
    expect(plain.exit?.reason).toBe('exec-format');
  });
});

describeWithDocker('docker: memory of the host', () => {
  test('stays where it was while nobody reads what a container writes', async () => {
    const host = startHost('docker-pause', [baseImage, String(count(3, 10))], ['--expose-gc']);
    const { value } = await host.lines.next();
    expect(await host.ended(120_000), host.stderr()).toBe(0);
    const { grownBytes, written } = JSON.parse(value);
    expect(written).toBeGreaterThan(0);
    expect(grownBytes).toBeLessThan(16 * 1024 * 1024);
  }, 180_000);

  test('is bounded by a flood on stderr', async () => {
    await using scene = new DockerScene();
    const peer = await scene.open(
      shell(`yes '${'e'.repeat(99)}' | head -c 104857600 >&2; echo '${line}'; cat >/dev/null`),
    );
    await peer.start();
    await peer.until('the line after the flood', () => peer.messages.length > 0);
    await peer.close();
  });

  test('50 servers up and down at once leave no container and no socket', async () => {
    await using scene = new DockerScene();
    const sockets = () => process.getActiveResourcesInfo().filter((kind) => /Socket|Pipe/.test(kind)).length;
    const before = sockets();
    const spec = shell(`echo '${line}'; cat >/dev/null`);
    const peers = await Promise.all(Array.from({ length: 50 }, () => running(scene, spec)));
    expect(await containersOf(scene.gatewayId)).toHaveLength(50);
    await Promise.all(peers.map((peer) => peer.close()));
    expect(await containersOf(scene.gatewayId)).toEqual([]);
    // The last ones may need another turn to be gone.
    await vi.waitFor(() => expect(sockets()).toBeLessThanOrEqual(before), 60_000);
  }, 180_000);
});
