import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { GatewayError } from '../../src/errors.js';
import type { RuntimeContext } from '../../src/runtime.js';
import { gatewayLabel } from '../../src/runtimes/docker/labels.js';
import { DockerRuntime, type DockerSpec } from '../../src/runtimes/docker.js';
import { createRuntimeContext, referenceServerPath } from '../../src/testing/index.js';
import { Peer } from '../../src/testing/peer.js';
import { baseImage } from './real-parts.js';

const run = promisify(execFile);

/** What the `docker` command prints. */
export async function docker(...args: string[]): Promise<string> {
  const { stdout } = await run('docker', args, { maxBuffer: 64 * 1024 * 1024 });
  return stdout.trim();
}

/** A name that no other test has, fit for labels, containers and tags. */
export function createName(): string {
  return `test-${randomBytes(5).toString('hex')}`;
}

/** The ids of the containers of a gateway, whatever state they are in. */
export async function containersOf(gatewayId: string): Promise<string[]> {
  const ids = await docker('ps', '--all', '--quiet', '--no-trunc', '--filter', `label=${gatewayLabel}=${gatewayId}`);
  return ids === '' ? [] : ids.split('\n');
}

/** The containers of a gateway once there are `count` of them, or those that there are when `ms` have gone by. */
export async function untilContainers(gatewayId: string, count: number, ms = 120_000): Promise<string[]> {
  const end = Date.now() + ms;
  for (;;) {
    const ids = await containersOf(gatewayId);
    if (ids.length === count || Date.now() > end) {
      return ids;
    }
    await sleep(50);
  }
}

/** A program of the shell in the base image. */
export function shell(script: string, spec: Partial<DockerSpec> = {}): DockerSpec {
  return { image: baseImage, command: '/bin/sh', args: ['-c', script], network: 'none', ...spec };
}

/** The reference server in the base image. */
export function reference(mode = 'answer', spec: Partial<DockerSpec> = {}): DockerSpec {
  const { volumes = [], ...rest } = spec;
  return {
    image: baseImage,
    command: 'node',
    args: ['/server/reference-server.ts', mode],
    volumes: [`${referenceServerPath()}:/server/reference-server.ts:ro`, ...volumes],
    network: 'none',
    ...rest,
  };
}

/** A runtime whose containers can be told from all others; disposal fails when one of them is left. */
export class DockerScene implements AsyncDisposable {
  readonly gatewayId = createName();
  readonly runtime: DockerRuntime;
  readonly #peers: Peer[] = [];
  #count = 0;

  constructor(runtime = new DockerRuntime()) {
    this.runtime = runtime;
  }

  context(overrides: Partial<RuntimeContext> = {}): RuntimeContext {
    this.#count += 1;
    const { gatewayId } = this;
    return createRuntimeContext({ gatewayId, instanceId: `${gatewayId}-${this.#count}`, ...overrides });
  }

  async open(spec: DockerSpec, overrides: Partial<RuntimeContext> = {}): Promise<Peer> {
    const peer = new Peer(await this.runtime.open(spec, this.context(overrides)), 60_000);
    this.#peers.push(peer);
    return peer;
  }

  /** The message of the START_FAILED that a spec gives. */
  async failure(spec: DockerSpec, overrides: Partial<RuntimeContext> = {}): Promise<string> {
    const error = await this.open(spec, overrides).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (!GatewayError.is(error) || error.code !== 'START_FAILED') {
      throw new Error(`expected START_FAILED, not ${String(error)}`, { cause: error });
    }
    return error.message;
  }

  /** The one container there is. */
  async container(): Promise<string> {
    const [id, ...more] = await untilContainers(this.gatewayId, 1);
    if (id === undefined || more.length > 0) {
      throw new Error(`expected one container, not ${more.length + (id === undefined ? 0 : 1)}`);
    }
    return id;
  }

  async inspect(): Promise<Record<string, unknown> & { HostConfig: Record<string, unknown> }> {
    return JSON.parse(await docker('inspect', await this.container()))[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.#peers) await peer.close();
    await this.runtime.close();
    const left = await containersOf(this.gatewayId);
    if (left.length > 0) {
      await docker('rm', '--force', ...left);
      throw new Error(`${left.length} containers were left`);
    }
  }
}

/** A folder that goes with the test. */
export async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'docker-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Builds an image from the base image and goes with the test. `lines` follow FROM. */
export async function buildImage(
  lines: readonly string[],
  files: Readonly<Record<string, string>> = {},
): Promise<{ tag: string } & AsyncDisposable> {
  await using folder = await temporaryFolder();
  for (const [name, content] of Object.entries({ ...files, Dockerfile: [`FROM ${baseImage}`, ...lines].join('\n') })) {
    await mkdir(dirname(join(folder.path, name)), { recursive: true });
    await writeFile(join(folder.path, name), content);
  }
  const tag = `mcp-test/${createName()}:local`;
  await docker('build', '--quiet', '--tag', tag, folder.path);
  return {
    tag,
    async [Symbol.asyncDispose]() {
      await docker('rmi', '--force', tag);
    },
  };
}
