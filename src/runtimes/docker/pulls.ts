import type { Clock } from '../../options.js';
import type { RuntimeProgress } from '../../runtime.js';
import { abortable } from '../../util/abort.js';
import { redact } from '../../util/redact.js';
import { textOf } from '../../util/text-of.js';
import { findCredentials, secretsIn } from './credentials.js';
import type { Environment } from './engine/docker-config.js';
import { type Engine, EngineError } from './engine/engine.js';
import { type ImageName, parseImageName } from './image-name.js';
import { PullProgress } from './pull-progress.js';

export interface PullRequest {
  readonly engine: Engine;
  readonly image: string;
  readonly platform: string | undefined;
  readonly env: Environment;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  onProgress(progress: RuntimeProgress): void;
}

interface Pull {
  readonly done: Promise<void>;
  readonly abort: AbortController;
  readonly listeners: Set<(progress: RuntimeProgress) => void>;
}

/** The pulls under way: who wants the same image waits for the same pull, which ends when nobody waits any more. */
export class Pulls {
  readonly #running = new Map<string, Pull>();

  /** @throws EngineError that says why in words; `signal.reason` */
  async pull(request: PullRequest): Promise<void> {
    const { image, platform = '', signal, onProgress } = request;
    signal.throwIfAborted();
    const key = `${image} ${platform}`;
    let pull = this.#running.get(key);
    if (pull === undefined) {
      pull = this.#begin(request);
      const begun = pull;
      this.#running.set(key, pull);
      const forget = () => {
        if (this.#running.get(key) === begun) {
          this.#running.delete(key);
        }
      };
      pull.done.then(forget, forget);
    }
    // A function of its own: two of one caller are two.
    const listener = (progress: RuntimeProgress) => onProgress(progress);
    pull.listeners.add(listener);
    try {
      await abortable(pull.done, signal);
    } finally {
      pull.listeners.delete(listener);
      if (pull.listeners.size === 0) {
        if (this.#running.get(key) === pull) {
          this.#running.delete(key);
        }
        pull.abort.abort(signal.reason);
      }
    }
  }

  #begin({ engine, image, platform, env, clock }: PullRequest): Pull {
    const abort = new AbortController();
    const listeners = new Set<(progress: RuntimeProgress) => void>();
    const progress = new PullProgress(image, clock, (now) => {
      for (const listener of listeners) {
        listener(now);
      }
    });
    const name = parseImageName(image) as ImageName;
    const run = async () => {
      const credentials = await findCredentials(name.registry, env, abort.signal);
      try {
        await engine.pull(
          {
            image: name.repository,
            tag: name.version,
            platform,
            auth: credentials.header,
            onProgress: (line) => progress.take(line),
          },
          abort.signal,
        );
      } catch (error) {
        abort.signal.throwIfAborted();
        const said = textOf(error);
        const shown = redact(said, secretsIn(credentials.header));
        throw explain(shown, image, name, credentials.problem, shown === said ? error : undefined);
      }
    };
    return { done: run(), abort, listeners };
  }
}

/** Engines have one status for every failure of a pull, and tell what it was in words. */
function explain(
  said: string,
  image: string,
  { registry }: ImageName,
  problem: string | undefined,
  cause: unknown,
): EngineError {
  const refused =
    /unauthorized|denied|authentication required|no basic auth|invalid username\/password|\b403\b|\b401\b/i;
  // Before what is not found: with containerd's store, Docker says that as well.
  const platform =
    /no matching manifest|no image found in (?:manifest list|image index)|does not match the (?:detected|specified) (?:host )?platform/i;
  const note = problem === undefined ? '' : ` (${problem})`;
  const remedy = refused.test(said)
    ? `the registry ${registry} refused it; check the name, and log in with docker login${registry === 'docker.io' ? '' : ` ${registry}`}${note}`
    : platform.test(said)
      ? 'it has no build for this platform; set platform'
      : /manifest.{0,80}(?:unknown|not found)|not found|does not exist|no such image/i.test(said)
        ? `the registry ${registry} does not have it; check the name and the tag`
        : /no space left on device/i.test(said)
          ? 'the disk of the engine is full; free some space (docker system prune)'
          : /no such host|connection refused|i\/o timeout|timeout|dial tcp|network is unreachable|connection reset|unexpected EOF|\bEOF\b/i.test(
                said,
              )
            ? `the registry ${registry} cannot be reached, or broke off; check the network of the engine`
            : 'the pull failed';
  return new EngineError(`image ${image}: ${remedy}; the engine said: ${said}`, { cause });
}
