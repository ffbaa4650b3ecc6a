import { textOf } from '../../../util/text-of.js';
import { type AddressOptions, findAddresses } from './addresses.js';
import { type Engine, EngineError } from './engine.js';
import { type Address, expectOk, readJson, send } from './http.js';
import { HttpEngine } from './http-engine.js';

/** The oldest API that has all we ask for, and the newest that this was written for. */
const oldest = '1.41';
const newest = '1.51';
/** How long an engine may take to answer the very first question: less than a start, whose end by time names no engine. */
const pingTimeoutMs = 25_000;

/**
 * Finds an engine that answers, and the version of the API to speak with it.
 *
 * @throws EngineError that lists what was tried
 */
export async function connectEngine(options: AddressOptions, signal: AbortSignal): Promise<Engine> {
  let source: string;
  let addresses: readonly Address[];
  try {
    ({ source, addresses } = await findAddresses(options));
  } catch (cause) {
    const detail = textOf(cause);
    throw new EngineError(`cannot tell where the container engine is: ${detail}`, { cause });
  }
  const tried: string[] = [];
  let cause: unknown;
  for (const address of addresses) {
    try {
      const findVersion = async (outer: AbortSignal) => negotiate(await ping(address, outer));
      return new HttpEngine(address, await findVersion(signal), findVersion);
    } catch (error) {
      signal.throwIfAborted();
      cause = error;
      tried.push(`${address.name}: ${whyNot(error)}`);
    }
  }
  const list = tried.join('; ');
  const remedy = 'start the engine, or set DOCKER_HOST';
  throw new EngineError(`no container engine answers, looked at ${source} (${list}); ${remedy}`, { cause });
}

/** The version of the API that the engine speaks. */
async function ping(address: Address, outer: AbortSignal): Promise<string> {
  const limit = AbortSignal.timeout(pingTimeoutMs);
  const signal = AbortSignal.any([outer, limit]);
  try {
    const message = await expectOk(await send(address, { method: 'GET', path: '/_ping', signal }), signal);
    // "OK": not JSON, but read to its end, as any answer.
    await readJson(message, signal).catch(() => {});
    const version = message.headers['api-version'];
    if (typeof version !== 'string') {
      throw new EngineError('what answers there is no container engine');
    }
    return version;
  } catch (error) {
    throw limit.aborted && !outer.aborted ? new EngineError(`no answer within ${pingTimeoutMs} ms`) : error;
  }
}

function negotiate(version: string): string {
  if (compare(version, oldest) < 0) {
    throw new EngineError(`it speaks API ${version}, which is too old; ${oldest} is needed (Docker 20.10, Podman 4)`);
  }
  return compare(version, newest) > 0 ? newest : version;
}

function compare(one: string, two: string): number {
  const [a = 0, b = 0] = one.split('.').map(Number);
  const [c = 0, d = 0] = two.split('.').map(Number);
  return a - c || b - d;
}

function whyNot(error: unknown): string {
  const code = ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code;
  switch (code) {
    case 'ENOENT':
      return 'no such socket';
    case 'EACCES':
      return 'permission denied; may this user speak to the engine (group docker)?';
    case 'ECONNREFUSED':
      return 'nobody listens there';
    default:
      return textOf(error);
  }
}
