import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import type { Engine } from '../../src/runtimes/docker/engine/engine.js';
import { ownerLabel } from '../../src/runtimes/docker/labels.js';
import { findOwner, formatOwner, isDead, parseOwner } from '../../src/runtimes/docker/owner.js';
import { sweep } from '../../src/runtimes/docker/sweep.js';
import { count } from '../support/counts.js';
import { containersOf, createName, DockerScene, docker, shell, untilContainers } from '../support/docker.js';
import { startHost } from '../support/host.js';
import { createRandom } from '../support/random.js';
import { baseImage, describeWithDocker } from '../support/real-parts.js';

/** What a next gateway does at its start. */
async function nextGateway(): Promise<void> {
  await using scene = new DockerScene();
  const peer = await scene.open(shell('cat'));
  await peer.close();
}

describeWithDocker('docker: hosts that are killed', () => {
  const gatewayId = createName();
  afterAll(async () => {
    const left = await containersOf(gatewayId);
    if (left.length > 0) await docker('rm', '--force', ...left);
  });

  test('in whatever phase: nothing is left after the next start', async () => {
    const random = createRandom(Date.now());
    const killed = count(10, 100);
    for (let turn = 0; turn < killed; turn += 5) {
      await Promise.all(
        Array.from({ length: 5 }, async () => {
          const host = startHost('docker-host', [baseImage, gatewayId, '2']);
          // From before its first call to well into its second round of servers. On a busy machine none may get that far, and
          // those of one turn clear away what the turn before has left, so the last hosts are killed once their servers run.
          await (turn + 5 < killed ? sleep(300 + random() * 3_000) : host.lines.next());
          host.child.kill('SIGKILL');
          await once(host.child, 'exit');
        }),
      );
    }
    // Those that ignore the end of their input are there for somebody to clear away.
    expect((await containersOf(gatewayId)).length).toBeGreaterThan(0);
    await nextGateway();
    expect(await containersOf(gatewayId)).toEqual([]);
  }, 900_000);

  test('a server that honours the end of its input goes without anybody', async () => {
    const host = startHost('docker-host', [baseImage, gatewayId, '1', 'hold']);
    await host.lines.next();
    host.child.kill('SIGKILL');
    expect(await untilContainers(gatewayId, 0)).toEqual([]);
  });

  test('a container that was made and never started goes with the next start', async () => {
    const dead = spawn('/bin/true');
    await once(dead, 'exit');
    const owner = { ...(await findOwner()), pid: dead.pid ?? 0, startTime: '1' };
    const id = await docker('create', '--label', `${ownerLabel}=${formatOwner(owner)}`, baseImage, 'cat');
    await nextGateway();
    await expect(docker('inspect', id)).rejects.toThrow(/no such object/i);
  });
});

describeWithDocker('docker: the sweep leaves alone', () => {
  test('what belongs to a living gateway, also of another process', async () => {
    const gatewayId = createName();
    const host = startHost('docker-host', [baseImage, gatewayId, '1', 'hold']);
    await host.lines.next();
    await nextGateway();
    const [id] = await containersOf(gatewayId);
    expect(id).toBeDefined();
    host.child.kill('SIGKILL');
    expect(await untilContainers(gatewayId, 0)).toEqual([]);
  });

  test('what belongs to a living gateway in another pid namespace, whose pids mean nothing here', async () => {
    const gatewayId = createName();
    const path = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));
    const flags = ['--no-warnings', '--experimental-transform-types', '--import', path('support/resolve-sources.mjs')];
    const program = [process.execPath, ...flags, path('fixtures/hosts/docker-host.ts')];
    const host = spawn(
      'unshare',
      ['--pid', '--fork', '--mount-proc', '--kill-child', ...program, baseImage, gatewayId, '1', 'once'],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    await once(host.stdout, 'data');
    const [id = ''] = await containersOf(gatewayId);
    const label = await docker('inspect', '--format', `{{index .Config.Labels "${ownerLabel}"}}`, id);
    // Counted over there, it may well be nobody's or somebody else's here.
    expect(parseOwner(label)?.pidNamespace).not.toBe((await findOwner()).pidNamespace);
    await nextGateway();
    expect(await containersOf(gatewayId)).toEqual([id]);
    host.stdin.end();
    await once(host, 'exit');
    expect(await containersOf(gatewayId)).toEqual([]);
  });

  test.each([
    ['another boot', { boot: 'another' }],
    ['another pid namespace', { pidNamespace: '4026500000' }],
  ])('what belongs to a dead owner of %s', async (_, difference) => {
    const owner = { ...(await findOwner()), pid: 999_999_999, ...difference };
    const id = await docker('create', '--label', `${ownerLabel}=${formatOwner(owner)}`, baseImage, 'cat');
    await nextGateway();
    expect(await docker('inspect', '--format', '{{.State.Status}}', id)).toBe('created');
    await docker('rm', id);
  });

  test('what somebody runs from an image that was made of a container of ours, and has its labels', async () => {
    const owner = formatOwner({ ...(await findOwner()), startTime: '1' });
    // Not of the container that is removed: a gateway of another test may be faster.
    const plain = await docker('create', baseImage, 'cat');
    const image = await docker('commit', '--change', `LABEL ${ownerLabel}=${owner}`, plain);
    await docker('rm', plain);
    const ours = await docker('create', '--label', `${ownerLabel}=${owner}`, baseImage, 'cat');
    const theirs = await docker('create', image);
    await nextGateway();
    await expect(docker('inspect', ours)).rejects.toThrow(/no such object/i);
    expect(await docker('inspect', '--format', `{{index .Config.Labels "${ownerLabel}"}}`, theirs)).toBe(owner);
    await docker('rm', theirs);
    await docker('rmi', image);
  });

  test('what has a label that nobody of us wrote', async () => {
    const id = await docker('create', '--label', `${ownerLabel}=somebody`, baseImage, 'cat');
    await nextGateway();
    expect(await docker('inspect', '--format', '{{.State.Status}}', id)).toBe('created');
    await docker('rm', id);
  });
});

test.each([
  ['of this machine', 'unix:///var/run/docker.sock', ['dead']],
  ['of another machine', undefined, []],
])(
  'a system that tells no boot from another removes what is of a dead owner of its name, at an engine %s',
  async (_, socketPath, expected) => {
    const child = spawn('/bin/true');
    await once(child, 'exit');
    const judge = { boot: 'mac.local', pidNamespace: '', pid: process.pid, startTime: '' };
    const labels = { [ownerLabel]: formatOwner({ ...judge, pid: child.pid ?? 0 }) };
    const removed: string[] = [];
    const engine = {
      socketPath,
      list: async () => [{ id: 'dead', image: 'x', names: [], labels }],
      inspectImage: async () => undefined,
      inspect: async () => undefined,
      remove: async (id: string) => void removed.push(id),
    };
    await sweep(engine as unknown as Engine, new AbortController().signal, Promise.resolve(judge));
    expect(removed).toEqual(expected);
  },
);

test('an owner: alive is who has the pid and began at the same time', async () => {
  const own = await findOwner();
  expect(parseOwner(formatOwner(own))).toEqual(own);
  expect(await isDead(own, own)).toBe(false);
  expect(await isDead({ ...own, startTime: '1' }, own)).toBe(true);
  expect(await isDead({ ...own, pid: 1, startTime: '' }, own)).toBe(false);
  // Dead, and not waited for yet: it has its pid, and does nothing any more.
  const child = spawn('/bin/sh', ['-c', 'sleep 0.1 & exec sleep 1000']);
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'latin1');
  const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  expect(await isDead({ ...own, pid: child.pid ?? 0, startTime }, own)).toBe(false);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(await isDead({ ...own, pid: child.pid ?? 0, startTime }, own)).toBe(true);
});

test.each(['', 'x', 'a/b/c/d', 'boot/ns/0/1', 'boot/ns/12/1/2', '/ns/12/1', 'boot/ns/-1/1'])(
  'an owner: %j is none',
  (text) => {
    expect(parseOwner(text)).toBeUndefined();
  },
);
