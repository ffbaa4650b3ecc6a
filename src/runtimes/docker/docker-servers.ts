import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { GatewayError } from '../../errors.js';
import type { CheckResult, RuntimeContext, RuntimeTransport } from '../../runtime.js';
import { StreamTransport } from '../../transport/stream-transport.js';
import { abortable, settledWithin } from '../../util/abort.js';
import { toContainerBody } from './container-body.js';
import type { ContainerPeer } from './container-peer.js';
import { connectEngine } from './engine/connect.js';
import { type Engine, EngineError } from './engine/engine.js';
import { EnvFileError, EnvFiles } from './env-file.js';
import { findHostControl } from './host-control.js';
import { toLabels } from './labels.js';
import { findOwner } from './owner.js';
import { Pulls } from './pulls.js';
import { removeContainer } from './remove-container.js';
import type { DockerSpec } from './spec.js';
import { findOfInstance, startContainer } from './start-container.js';
import { toStartError } from './start-error.js';
import { sweep } from './sweep.js';
import { bindSources } from './volumes.js';

/** Settings of a {@link DockerRuntime}. */
export interface DockerOptions {
  /**
   * The engine, as DOCKER_HOST would name it: `unix:///var/run/docker.sock`, `tcp://host:2376`, `ssh://user@host`,
   * `npipe:////./pipe/docker_engine`.
   *
   * @default `DOCKER_HOST`, the docker context in use, or the first socket of Docker, Colima or Podman that answers
   */
  readonly host?: string | undefined;
  /**
   * Where `DOCKER_HOST`, `DOCKER_CONTEXT`, `DOCKER_CONFIG`, `DOCKER_CERT_PATH`, `DOCKER_TLS_VERIFY`, `HOME` (on Windows
   * `USERPROFILE`) and the bare names of an `env_file` are looked up.
   *
   * @default process.env, read at each use
   */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

/** How long a first start waits for what dead owners left; what takes longer goes on beside it. */
const sweepWaitMs = 5_000;
const leftoverMs = 15_000;
/** How long an engine may go on with a creation whose caller has gone. */
const lateMs = 60_000;

/** The containers of a `DockerRuntime`, and the engine that runs them. */
export class DockerServers {
  readonly #options: DockerOptions;
  readonly #pulls = new Pulls();
  readonly #envFiles = new EnvFiles();
  /** Containers that could not be removed when they should have been. */
  readonly #left = new Set<string>();
  /** Instances of which the engine may have made a container without our getting to know, and since when. */
  readonly #unknown = new Map<string, number>();
  #engine: Promise<Engine> | undefined;
  /** Ends the search for the engine. */
  #search = new AbortController();
  #sweeping: Promise<void> | undefined;

  constructor(options: DockerOptions) {
    this.#options = options;
  }

  /** Asks the engine for the image and the network, and looks at files. Pulls and makes nothing. */
  async check(spec: DockerSpec, context: RuntimeContext): Promise<CheckResult> {
    const { signal, baseDir } = context;
    signal.throwIfAborted();
    const problems: string[] = [];
    try {
      const engine = await this.#connect(signal);
      problems.push(
        ...(await missingImage(engine, spec, signal)),
        ...(await missingNetwork(engine, spec, signal)),
        ...(await missingSources(engine, spec, baseDir, signal)),
      );
      const control = await findHostControl(spec, baseDir, engine.socketPath);
      problems.push(...(control === undefined ? [] : [control]));
      await this.#env(spec, context);
    } catch (error) {
      signal.throwIfAborted();
      this.#seeLost(error);
      if (!(error instanceof EngineError) && !(error instanceof EnvFileError)) {
        throw error;
      }
      problems.push(error.message);
    }
    return { ok: problems.length === 0, problems };
  }

  /**
   * Pulls the image when it is missing, makes a container and starts it.
   *
   * @throws `GatewayError` `START_FAILED` that tells a missing engine, image, network, volume or program apart, and says
   * what the registry or the engine said
   */
  async open(spec: DockerSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    const { server, signal, clock, limits } = context;
    signal.throwIfAborted();
    context.report('starting');
    signal.throwIfAborted();
    let peer: ContainerPeer;
    try {
      peer = await this.#start(spec, context);
    } catch (error) {
      signal.throwIfAborted();
      this.#seeLost(error);
      throw toStartError(error, spec, server);
    }
    return new StreamTransport(peer, { server, maxMessageBytes: limits.maxMessageBytes, clock });
  }

  /** Removes what could not be removed before. */
  async close(): Promise<void> {
    try {
      await this.#clear();
    } finally {
      this.#search.abort(new Error('the runtime is closed'));
    }
  }

  async #clear(): Promise<void> {
    await this.#sweeping;
    if (this.#left.size + this.#unknown.size === 0) {
      return;
    }
    // The engine that was lost may be back.
    const engine = await this.#connect(AbortSignal.timeout(leftoverMs)).catch(() => undefined);
    await (engine && this.#removeLeft(engine));
    const left = [
      ...[...this.#left].map((id) => id.slice(0, 12)),
      ...(engine === undefined ? [...this.#unknown.keys()].map((id) => `that of instance ${id}, if it was made`) : []),
    ];
    if (left.length > 0) {
      const message = `containers that could not be removed: ${left.join(', ')}; see docker ps --all`;
      throw new GatewayError('STOP_FAILED', message);
    }
  }

  async #start(spec: DockerSpec, context: RuntimeContext): Promise<ContainerPeer> {
    const { server, signal, baseDir, clock } = context;
    const engine = await this.#connect(signal);
    const control = await findHostControl(spec, baseDir, engine.socketPath);
    // Podman would make a source that is missing.
    const problem = control ?? (await missingSources(engine, spec, baseDir, signal))[0];
    if (problem !== undefined) {
      throw new GatewayError('START_FAILED', problem, { server });
    }
    const env = await this.#env(spec, context);
    this.#sweeping ??= this.#sweep(engine);
    void this.#removeLeft(engine);
    await abortable(settledWithin(this.#sweeping, sweepWaitMs, clock), signal);
    const labels = toLabels(context, await findOwner());
    const body = toContainerBody(spec, { baseDir, env, labels });
    const onLeft = (id: string) => this.#left.add(id);
    const onUnknown = (instanceId: string) => this.#unknown.set(instanceId, performance.now());
    const pull = spec.pull ?? 'missing';
    if (pull === 'always') {
      await this.#pull(engine, spec, context);
    }
    try {
      return await startContainer({ engine, spec, body, context, onLeft, onUnknown });
    } catch (error) {
      if (pull !== 'missing' || !isMissingImage(error)) {
        throw error;
      }
    }
    await this.#pull(engine, spec, context);
    return startContainer({ engine, spec, body, context, onLeft, onUnknown });
  }

  async #pull(engine: Engine, { image, platform }: DockerSpec, context: RuntimeContext): Promise<void> {
    const { signal, clock } = context;
    context.report('pulling', { message: `pulling ${image}` });
    await this.#pulls.pull({
      engine,
      image,
      platform,
      env: this.#hostEnv(),
      clock,
      signal,
      onProgress: (progress) => context.report('pulling', progress),
    });
    context.report('starting');
  }

  /** An engine that has not answered may be found elsewhere the next time. */
  #seeLost(error: unknown): void {
    if (error instanceof EngineError && error.status === undefined) {
      this.#engine = undefined;
    }
  }

  #connect(signal: AbortSignal): Promise<Engine> {
    if (this.#engine === undefined) {
      const options = {
        host: this.#options.host,
        env: this.#hostEnv(),
        platform: process.platform,
        uid: process.getuid?.(),
      };
      // For all who start at once: the abort of one does not end it.
      this.#search = new AbortController();
      const engine = connectEngine(options, this.#search.signal);
      this.#engine = engine;
      engine.catch(() => {
        if (this.#engine === engine) {
          this.#engine = undefined;
        }
      });
    }
    return abortable(this.#engine, signal);
  }

  async #env({ env_file: file }: DockerSpec, context: RuntimeContext): Promise<Record<string, string>> {
    const { env, baseDir, signal } = context;
    if (file === undefined) {
      return { ...env };
    }
    const read = await this.#envFiles.read(resolve(baseDir, file), this.#hostEnv(), signal);
    context.conceal(read);
    return { ...read, ...env };
  }

  async #sweep(engine: Engine): Promise<void> {
    try {
      // What takes longer is tried again like all that is left: it must not hold up close().
      for (const id of await sweep(engine, AbortSignal.timeout(leftoverMs))) {
        this.#left.add(id);
      }
    } catch {
      // What is wrong with the engine shows at once, when it is asked for a container.
      this.#sweeping = undefined;
    }
  }

  async #removeLeft(engine: Engine): Promise<void> {
    const find = async ([instanceId, since]: [string, number]) => {
      const ids = await findOfInstance(engine, instanceId, AbortSignal.timeout(leftoverMs));
      for (const id of ids) this.#left.add(id);
      if (ids.length > 0 || performance.now() - since > lateMs) {
        this.#unknown.delete(instanceId);
      }
    };
    await Promise.allSettled([...this.#unknown].map(find));
    const remove = async (id: string) => {
      await removeContainer(engine, id, AbortSignal.timeout(leftoverMs));
      this.#left.delete(id);
    };
    await Promise.allSettled([...this.#left].map(remove));
  }

  #hostEnv(): Readonly<Record<string, string | undefined>> {
    return this.#options.env ?? process.env;
  }
}

function isMissingImage(error: unknown): boolean {
  return (
    error instanceof EngineError &&
    error.status === 404 &&
    /no such image|image.*not (?:found|known)|does not (?:match|provide)/i.test(error.message)
  );
}

async function missingImage(engine: Engine, { image, pull }: DockerSpec, signal: AbortSignal): Promise<string[]> {
  // Whether a registry has it cannot be asked without a pull.
  if (pull !== 'never' || (await engine.inspectImage(image, signal)) !== undefined) {
    return [];
  }
  return [`the engine does not have the image ${image}, and pull is never; pull it (docker pull ${image})`];
}

async function missingNetwork(engine: Engine, { network }: DockerSpec, signal: AbortSignal): Promise<string[]> {
  if (network === undefined || ['none', 'host', 'bridge', 'default'].includes(network)) {
    return [];
  }
  return (await engine.hasNetwork(network, signal))
    ? []
    : [`the network "${network}" does not exist; make it (docker network create ${network}) or change network`];
}

/** Only where the engine sees the same files as we do. */
async function missingSources(
  engine: Engine,
  { volumes = [] }: DockerSpec,
  baseDir: string,
  signal: AbortSignal,
): Promise<string[]> {
  if (engine.socketPath === undefined || process.platform !== 'linux') {
    return [];
  }
  const sources = bindSources(volumes, baseDir);
  const found = await Promise.all(sources.map(isMissing));
  const missing = sources.filter((_, index) => found[index]);
  if (missing.length === 0 || !(await sharesFiles(engine, signal))) {
    return [];
  }
  return missing.map((source) => `the source ${source} of a volume does not exist; create it or change volumes`);
}

/** Where we may not look, the engine may: then it tells itself. */
async function isMissing(source: string): Promise<boolean> {
  return stat(source).then(
    () => false,
    ({ code }: NodeJS.ErrnoException) => code === 'ENOENT' || code === 'ENOTDIR',
  );
}

/** False when the engine has files of its own, as when we are in a container that its socket is mounted into. */
async function sharesFiles(engine: Engine, signal: AbortSignal): Promise<boolean> {
  const folder = await engine.dataFolder(signal).catch(() => undefined);
  signal.throwIfAborted();
  if (folder === undefined) {
    return true;
  }
  return stat(folder).then(
    () => true,
    ({ code }: NodeJS.ErrnoException) => code !== 'ENOENT',
  );
}
