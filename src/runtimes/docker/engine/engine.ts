import type { Duplex } from 'node:stream';
import type { CreateContainerBody } from '../container-body.js';

/** What is asked of a container engine: the few calls of the Docker Engine API that a server in a container needs. */
export interface Engine {
  /** Where it is, as DOCKER_HOST would say it. */
  readonly address: string;
  /** The path of its socket on this machine, if it has one here. */
  readonly socketPath: string | undefined;
  /** Undefined when the engine does not have the image. */
  inspectImage(image: string, signal: AbortSignal): Promise<ImageState | undefined>;
  /** Resolves when the image is there. Rejects with an {@link EngineError} that has no status when the pull broke off. */
  pull(options: PullOptions, signal: AbortSignal): Promise<void>;
  /** Resolves to the container's id. */
  create(container: NewContainer, signal: AbortSignal): Promise<string>;
  /** The container's three streams, multiplexed: to be read with `Demultiplexer`. */
  attach(id: string, signal: AbortSignal): Promise<Duplex>;
  start(id: string, signal: AbortSignal): Promise<void>;
  /**
   * Begins to wait for the removal of the container, which follows its end. Resolves once the engine has taken the
   * question, so that nothing that happens from then on is missed.
   */
  waitRemoved(id: string, signal: AbortSignal): Promise<Waiting>;
  /** Undefined when there is no such container. */
  inspect(id: string, signal: AbortSignal): Promise<ContainerState | undefined>;
  /** SIGTERM, and SIGKILL when the container lives after `seconds`. "Already gone" is success. */
  stop(id: string, seconds: number, signal: AbortSignal): Promise<void>;
  /** Kills and removes, with anonymous volumes. "Already gone" is success. */
  remove(id: string, signal: AbortSignal): Promise<void>;
  /** Every container with the label, running or not. */
  list(label: string, signal: AbortSignal): Promise<ListedContainer[]>;
  /** What happened to a container since it was made, and what happens from now on, until the signal. */
  events(id: string, signal: AbortSignal): AsyncIterable<ContainerEvent>;
  hasNetwork(name: string, signal: AbortSignal): Promise<boolean>;
  /** Where the engine keeps its data on its machine; undefined when it does not tell. */
  dataFolder(signal: AbortSignal): Promise<string | undefined>;
}

export interface ImageState {
  readonly labels: Readonly<Record<string, string>>;
}

export interface PullOptions {
  readonly image: string;
  readonly tag: string;
  readonly platform: string | undefined;
  /** The value of the header `X-Registry-Auth`. */
  readonly auth: string | undefined;
  onProgress(line: PullLine): void;
}

/** A line of the engine's report on a pull. */
export interface PullLine {
  readonly id?: string;
  readonly status?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
}

export interface NewContainer {
  readonly name: string;
  readonly platform: string | undefined;
  readonly body: CreateContainerBody;
}

export interface Waiting {
  /** Rejects when the engine is lost. */
  readonly ended: Promise<ContainerEnd>;
}

export interface ContainerEnd {
  readonly exitCode: number;
  /** False when the container has ended, but what was waited for has failed: it could not be removed. */
  readonly asWaitedFor: boolean;
}

export interface ContainerState {
  readonly running: boolean;
  readonly labels: Readonly<Record<string, string>>;
}

export interface ListedContainer {
  readonly id: string;
  /** The id of its image. */
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface ContainerEvent {
  /** `create`, `start`, `oom`, `die`, `destroy`, … */
  readonly action: string;
  /** Of `die`. */
  readonly exitCode: number | undefined;
}

/** A call that the engine refused, or that did not reach it. */
export class EngineError extends Error {
  /** The HTTP status; undefined when there was none. */
  readonly status: number | undefined;

  constructor(message: string, options: { status?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'EngineError';
    this.status = options.status;
  }
}
