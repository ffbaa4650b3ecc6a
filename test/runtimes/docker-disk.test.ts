import { afterAll, beforeAll, expect, test } from 'vitest';
import { DockerRuntime, type DockerSpec } from '../../src/runtimes/docker.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { type Disk, OwnEngine } from '../support/own-engine.js';
import { describeWithDocker } from '../support/real-parts.js';
import { Registry } from '../support/registry.js';

const full = /the disk of the engine is full; free some space \(docker system prune\).*no space left on device/;

describeWithDocker('docker: an engine whose disk is full', () => {
  let engine: OwnEngine;
  let runtime: DockerRuntime;
  beforeAll(async () => {
    engine = await OwnEngine.start({ disks: { 'data-root': '64m', 'containerd-state': '16m' } });
    runtime = new DockerRuntime({ host: engine.host });
  }, 120_000);
  afterAll(async () => {
    await runtime.close();
    await engine[Symbol.asyncDispose]();
  }, 60_000);

  const shell: DockerSpec = { image: 'shell', pull: 'never', command: '/bin/busybox', args: ['cat'], network: 'none' };

  test.each<[string, Disk]>([
    ['when a container is made', 'data-root'],
    ['when it is started', 'containerd-state'],
  ])('%s: the error says so, and nothing is left', async (_, disk) => {
    const empty = await engine.fill(disk);
    const error: unknown = await runtime.open(shell, createRuntimeContext()).catch((thrown) => thrown);
    await empty();
    expect(error).toMatchObject({ code: 'START_FAILED', message: expect.stringMatching(full) });
    expect(engine.docker('ps', '--all', '--quiet')).toBe('');
    const transport = await runtime.open(shell, createRuntimeContext());
    await transport.start();
    await transport.close();
    expect(engine.docker('ps', '--all', '--quiet')).toBe('');
  });

  test('when an image is pulled', async () => {
    await using registry = await Registry.listen();
    await engine.reach(registry.port);
    const image = registry.image();
    const empty = await engine.fill('data-root');
    const pulled: DockerSpec = { ...shell, image, pull: 'missing' };
    const error: unknown = await runtime.open(pulled, createRuntimeContext()).catch((thrown) => thrown);
    await empty();
    expect(error).toMatchObject({ code: 'START_FAILED', message: expect.stringMatching(full) });
    expect((error as Error).message).toContain(`image ${image}: `);
  });
});
