import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { isFields } from '../../../util/fields.js';
import {
  type ContainerEvent,
  type ContainerState,
  type Engine,
  EngineError,
  type ImageState,
  type ListedContainer,
  type NewContainer,
  type PullLine,
  type PullOptions,
  type Waiting,
} from './engine.js';
import { type Address, type Call, expectOk, readJson, send, upgrade } from './http.js';
import { readJsonLines } from './json-lines.js';

/** Answers may take long (a busy engine starts a container in seconds), but not for ever. */
const callTimeoutMs = 60_000;
/** How long an engine may take to say that it has taken a question; Podman says so only with the answer. */
const waitTakenMs = 500;

/** An engine behind its HTTP API. */
export class HttpEngine implements Engine {
  readonly #address: Address;
  readonly #negotiate: (signal: AbortSignal) => Promise<string>;
  #version: string;

  /**
   * @param version - of the API to speak, as `1.41`
   * @param negotiate - finds it out anew
   */
  constructor(address: Address, version: string, negotiate: (signal: AbortSignal) => Promise<string>) {
    this.#address = address;
    this.#version = version;
    this.#negotiate = negotiate;
  }

  get address(): string {
    return this.#address.name;
  }

  get socketPath(): string | undefined {
    return this.#address.socketPath;
  }

  async inspectImage(image: string, signal: AbortSignal): Promise<ImageState | undefined> {
    const found = await this.#find<ImageAnswer>(`/images/${path(image)}/json`, signal);
    return found && { labels: found.Config?.Labels ?? {} };
  }

  async pull({ image, tag, platform, auth, onProgress }: PullOptions, signal: AbortSignal): Promise<void> {
    const message = await this.#call({
      method: 'POST',
      path: '/images/create',
      query: { fromImage: image, tag, platform },
      ...(auth !== undefined && { headers: { 'X-Registry-Auth': auth } }),
      signal,
    });
    for await (const line of readJsonLines(message, signal)) {
      const { error, errorDetail, ...progress } = line as PullLine & {
        error?: string;
        errorDetail?: { message?: string };
      };
      if (error !== undefined || errorDetail !== undefined) {
        throw new EngineError(errorDetail?.message ?? error ?? 'the pull failed');
      }
      onProgress(progress);
    }
  }

  async create({ name, platform, body }: NewContainer, signal: AbortSignal): Promise<string> {
    const query = { name, platform };
    const answer = await this.#json<{ Id?: unknown } | undefined>({
      method: 'POST',
      path: '/containers/create',
      query,
      body,
      signal,
    });
    if (typeof answer?.Id !== 'string' || answer.Id === '') {
      throw new EngineError('the engine did not say which container it made');
    }
    return answer.Id;
  }

  attach(id: string, signal: AbortSignal): Promise<Duplex> {
    const query = { stream: 1, stdin: 1, stdout: 1, stderr: 1 };
    const call = { method: 'POST', path: `/containers/${path(id)}/attach`, query, signal } as const;
    return this.#versioned(call, (versioned) => upgrade(this.#address, versioned));
  }

  async start(id: string, signal: AbortSignal): Promise<void> {
    await this.#done({ method: 'POST', path: `/containers/${path(id)}/start`, signal });
  }

  async waitRemoved(id: string, signal: AbortSignal): Promise<Waiting> {
    const query = { condition: 'removed' };
    const call = { method: 'POST', path: `/containers/${path(id)}/wait`, query, signal } as const;
    const headers = this.#call(call);
    const ended = headers
      .then((message) => readJson(message, signal))
      .then((answer) => this.#expect<WaitAnswer>(answer, call, isFields))
      .then(({ StatusCode, Error: failure }) => ({ exitCode: StatusCode ?? 0, asWaitedFor: !failure }));
    ended.catch(() => {});
    await Promise.race([headers, new Promise((resolve) => setTimeout(resolve, waitTakenMs).unref())]);
    return { ended };
  }

  async inspect(id: string, signal: AbortSignal): Promise<ContainerState | undefined> {
    const found = await this.#find<ContainerAnswer>(`/containers/${path(id)}/json`, signal, isContainer);
    return found && { running: found.State.Running, labels: found.Config?.Labels ?? {} };
  }

  async stop(id: string, seconds: number, signal: AbortSignal): Promise<void> {
    const call = { method: 'POST', path: `/containers/${path(id)}/stop`, query: { t: seconds }, signal } as const;
    await this.#unlessGone(call, [304, 404, 409]);
  }

  async remove(id: string, signal: AbortSignal): Promise<void> {
    const query = { force: 1, v: 1 };
    await this.#unlessGone({ method: 'DELETE', path: `/containers/${path(id)}`, query, signal }, [404]);
  }

  async list(label: string, signal: AbortSignal): Promise<ListedContainer[]> {
    const query = { all: 1, filters: JSON.stringify({ label: [label] }) };
    const call = { method: 'GET', path: '/containers/json', query, signal } as const;
    const found = await this.#json<ListAnswer[]>(call, isList);
    return found.map(({ Id, ImageID, Labels }) => ({ id: Id, image: ImageID ?? '', labels: Labels ?? {} }));
  }

  async *events(id: string, signal: AbortSignal): AsyncGenerator<ContainerEvent> {
    const query = { since: '1', filters: JSON.stringify({ container: [id] }) };
    const message = await this.#call({ method: 'GET', path: '/events', query, signal });
    for await (const event of readJsonLines(message, signal)) {
      const { Action, status, Actor } = event as EventAnswer;
      const exitCode = Actor?.Attributes?.exitCode;
      yield { action: Action ?? status ?? '', exitCode: exitCode === undefined ? undefined : Number(exitCode) };
    }
  }

  async hasNetwork(name: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#find(`/networks/${path(name)}`, signal)) !== undefined;
  }

  async dataFolder(signal: AbortSignal): Promise<string | undefined> {
    return (await this.#json<InfoAnswer>({ method: 'GET', path: '/info', signal }, isFields)).DockerRootDir;
  }

  /** Another engine, or another release of it, may stand at the address by now, and refuse the version. */
  async #versioned<T>(call: Call, run: (versioned: Call) => Promise<T>): Promise<T> {
    const runNow = () => run({ ...call, path: `/v${this.#version}${call.path}` });
    try {
      return await runNow();
    } catch (error) {
      if (!isOtherVersion(error)) {
        throw error;
      }
      this.#version = await this.#negotiate(call.signal);
      return runNow();
    }
  }

  #call(call: Call): Promise<IncomingMessage> {
    return this.#versioned(call, async (versioned) => expectOk(await send(this.#address, versioned), call.signal));
  }

  /** A call with an answer that comes soon. */
  async #json<T>(call: Call, isRight: (answer: unknown) => boolean = () => true): Promise<T> {
    const limit = AbortSignal.timeout(callTimeoutMs);
    const signal = AbortSignal.any([call.signal, limit]);
    try {
      return this.#expect(await readJson(await this.#call({ ...call, signal }), signal), call, isRight);
    } catch (error) {
      if (limit.aborted && !call.signal.aborted) {
        throw new EngineError(`the engine did not answer ${call.method} ${call.path} within ${callTimeoutMs} ms`);
      }
      throw error;
    }
  }

  async #done(call: Call): Promise<void> {
    await this.#json(call);
  }

  /** A proxy may answer with JSON of its own. */
  #expect<T>(answer: unknown, { method, path }: Call, isRight: (answer: unknown) => boolean): T {
    if (isRight(answer)) return answer as T;
    // Without a status: what the engine did is not known.
    const said = `the engine at ${this.address} answered ${method} ${path} with what no engine does`;
    throw new EngineError(`${said}; is there a proxy between?`);
  }

  async #find<T>(
    where: string,
    signal: AbortSignal,
    isRight: (answer: unknown) => boolean = isFields,
  ): Promise<T | undefined> {
    try {
      return await this.#json<T>({ method: 'GET', path: where, signal }, isRight);
    } catch (error) {
      if (error instanceof EngineError && error.status === 404) {
        return undefined;
      }
      throw error;
    }
  }

  async #unlessGone(call: Call, gone: readonly number[]): Promise<void> {
    try {
      await this.#done(call);
    } catch (error) {
      if (!(error instanceof EngineError) || error.status === undefined || !gone.includes(error.status)) {
        throw error;
      }
    }
  }
}

function isOtherVersion(error: unknown): boolean {
  return (
    error instanceof EngineError && error.status === 400 && /client version \S+ is too (?:new|old)/i.test(error.message)
  );
}

function isContainer(answer: unknown): boolean {
  return isFields(answer) && isFields(answer.State);
}

function isList(answer: unknown): boolean {
  return Array.isArray(answer) && answer.every((one) => typeof one?.Id === 'string');
}

interface ImageAnswer {
  readonly Config?: { readonly Labels?: Record<string, string> | null } | null;
}

interface WaitAnswer {
  readonly StatusCode?: number;
  readonly Error?: { readonly Message?: string } | null;
}

interface ContainerAnswer {
  readonly State: { readonly Running: boolean };
  readonly Config?: { readonly Labels?: Record<string, string> | null };
}

interface ListAnswer {
  readonly Id: string;
  readonly ImageID?: string;
  readonly Labels?: Record<string, string> | null;
}

interface InfoAnswer {
  readonly DockerRootDir?: string;
}

interface EventAnswer {
  readonly Action?: string;
  readonly status?: string;
  readonly Actor?: { readonly Attributes?: { readonly exitCode?: string } };
}

// A name of an image holds slashes, which stay: everything else that means something in a path does not.
function path(name: string): string {
  return encodeURIComponent(name).replaceAll('%2F', '/').replaceAll('%3A', ':').replaceAll('%40', '@');
}
