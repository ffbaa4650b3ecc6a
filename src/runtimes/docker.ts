import { resolve } from 'node:path';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import * as v from 'valibot';
import { checkOptions } from '../checks/check-options.js';
import * as kinds from '../checks/option-kinds.js';
import type { CheckResult, RuntimeContext, RuntimeFactory, RuntimeTransport } from '../runtime.js';
import { defaultMemory, toContainerBody } from './docker/container-body.js';
import type { DockerOptions, DockerServers } from './docker/docker-servers.js';
import { parseMemory } from './docker/quantities.js';
import { type DockerSpec, dockerSpec } from './docker/spec.js';
import { OnDemand } from './shared/on-demand.js';

export type { DockerOptions } from './docker/docker-servers.js';
export type { DockerSpec } from './docker/spec.js';

const optionsSchema = v.strictObject({
  host: kinds.text,
  env: kinds.optionalObject,
} satisfies kinds.Schemas<DockerOptions>);

/**
 * Runs each server in a container of its own, through the API of a Docker engine or of Podman: type `docker`.
 *
 * Containers are hardened unless the entry says otherwise, are removed when their session ends, and end by themselves when
 * the host is killed; what is left of a killed host is removed by the next one.
 */
export class DockerRuntime implements RuntimeFactory<DockerSpec> {
  readonly type = 'docker';
  readonly spec: StandardSchemaV1<DockerSpec> = dockerSpec;

  readonly #servers: OnDemand<DockerServers>;

  /** @throws `GatewayError` `OPTION_INVALID` */
  constructor(options: DockerOptions = {}) {
    checkOptions('DockerRuntime', optionsSchema, options);
    this.#servers = new OnDemand(async () => new (await import('./docker/docker-servers.js')).DockerServers(options));
  }

  /** What the engine would be asked to make; of the environment only the names. */
  describe(
    spec: DockerSpec,
    { env, baseDir }: Pick<RuntimeContext, 'server' | 'env' | 'baseDir'>,
  ): Record<string, unknown> {
    const { Env: _, Labels: __, ...container } = toContainerBody(spec, { baseDir, env: {}, labels: {} });
    return {
      container: { ...container, HostConfig: { ...container.HostConfig } },
      env: Object.keys(env).sort(),
      ...(spec.env_file !== undefined && { env_file: resolve(baseDir, spec.env_file) }),
      ...(spec.container_name !== undefined && { name: spec.container_name }),
      ...(spec.platform !== undefined && { platform: spec.platform }),
      pull: spec.pull ?? 'missing',
    };
  }

  /** The entry's memory limit. */
  memory(spec: DockerSpec): number | undefined {
    const bytes = parseMemory(spec.memory ?? defaultMemory);
    return bytes === 0 ? undefined : bytes;
  }

  /** Asks the engine for the image and the network, and looks at files. Pulls and makes nothing. */
  async check(spec: DockerSpec, context: RuntimeContext): Promise<CheckResult> {
    return (await this.#servers.get()).check(spec, context);
  }

  /**
   * Pulls the image when it is missing, makes a container and starts it.
   *
   * @throws `GatewayError` `START_FAILED` that tells a missing engine, image, network, volume or program apart, and says
   * what the registry or the engine said
   */
  async open(spec: DockerSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    return (await this.#servers.get()).open(spec, context);
  }

  /** Removes what could not be removed before. */
  close(): Promise<void> {
    return this.#servers.close();
  }
}
