import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import spawn from 'cross-spawn';
import { assertDescriptors } from '../../util/descriptors.js';
import { type DockerConfig, type Environment, readDockerConfig, type StoredAuth } from './engine/docker-config.js';

/** What a registry is told of the user, and what went wrong when that was looked up. */
export interface Credentials {
  /** The value of the header `X-Registry-Auth`; undefined when nobody is logged in. */
  readonly header: string | undefined;
  /** Why there may be credentials that could not be read; without values. */
  readonly problem: string | undefined;
}

interface Auth {
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
  readonly registrytoken?: string;
}

/** Docker Hub's name in the user's settings, for historical reasons. */
const hubServer = 'https://index.docker.io/v1/';
const helperTimeoutMs = 30_000;
const maxHelperText = 64 * 1024;
/** Shorter ones would be found everywhere. */
const shortestSecret = 4;

/**
 * Looks up the user's credentials for a registry as `docker pull` does: a helper of its own, the common store, then what
 * stands in `config.json`. A helper that fails is no failure of the pull, which may work without.
 */
export async function findCredentials(registry: string, env: Environment, signal: AbortSignal): Promise<Credentials> {
  let config: DockerConfig;
  try {
    config = await readDockerConfig(env);
  } catch (error) {
    return { header: undefined, problem: (error as Error).message };
  }
  const server = registry === 'docker.io' ? hubServer : registry;
  const own = config.credHelpers ?? {};
  const named = [server, registry].find((name) => Object.hasOwn(own, name));
  const helper = named === undefined ? config.credsStore : own[named];
  let problem: string | undefined;
  if (helper !== undefined && helper !== '') {
    try {
      const auth = await askHelper(helper, server, env, signal);
      if (auth !== undefined) {
        return { header: toHeader({ ...auth, serveraddress: server }), problem: undefined };
      }
    } catch (error) {
      signal.throwIfAborted();
      problem = (error as Error).message;
    }
  }
  const stored = Object.entries(config.auths ?? {}).find(([name]) => hostOf(name) === hostOf(server))?.[1];
  const auth = stored === undefined ? undefined : toAuth(stored);
  return { header: auth && toHeader({ ...auth, serveraddress: server }), problem };
}

/** Credentials of the store `docker-credential-<name>`; undefined when it has none for the server. */
async function askHelper(
  name: string,
  server: string,
  env: Environment,
  signal: AbortSignal,
): Promise<Auth | undefined> {
  if (!/^[\w.-]+$/.test(name)) {
    throw new Error('the name of the credential helper in config.json is not the name of a program');
  }
  signal.throwIfAborted();
  const program = `docker-credential-${name}`;
  const failed = ({ code }: NodeJS.ErrnoException) =>
    new Error(`the credential helper ${program} ${code === 'ENOENT' ? 'is not installed' : `failed (${code})`}`);
  assertDescriptors(failed);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(helperTimeoutMs)]);
  // Not Node's own: on Windows a helper may be a batch file, as that of gcloud is.
  const child = spawn(program, ['get'], {
    env,
    stdio: ['pipe', 'pipe', 'ignore'],
    windowsHide: true,
    signal: limit,
    killSignal: 'SIGKILL',
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  // Where there are no descriptors left, Node makes no streams.
  const { stdin, stdout } = child as { readonly stdin?: Writable; readonly stdout?: Readable };
  // One that ends without reading is no reason for this process to end too.
  stdin?.on('error', () => {});
  stdin?.end(server);
  // What it has started may hold its output open, and live on.
  limit.addEventListener('abort', () => stdout?.destroy(), { once: true });
  const [outcome, output] = await Promise.allSettled([ended, stdout && text(stdout)]);
  signal.throwIfAborted();
  if (limit.aborted) {
    throw new Error(`the credential helper ${program} failed (took too long)`);
  }
  if (outcome.status === 'rejected') {
    throw failed(outcome.reason as NodeJS.ErrnoException);
  }
  const said = output.status === 'fulfilled' ? (output.value ?? '').slice(0, maxHelperText) : '';
  if (outcome.value !== 0) {
    if (/credentials not found/i.test(said)) {
      return undefined;
    }
    throw new Error(`the credential helper ${program} ended with code ${outcome.value}`);
  }
  return readHelperAnswer(said, program);
}

function readHelperAnswer(said: string, program: string): Auth {
  try {
    const { Username, Secret } = JSON.parse(said) as { Username: string; Secret: string };
    if (typeof Username === 'string' && typeof Secret === 'string') {
      // What the protocol of the helpers calls a token that stands for a login.
      return Username === '<token>' ? { identitytoken: Secret } : { username: Username, password: Secret };
    }
  } catch {
    // Told below: the text may hold a secret.
  }
  throw new Error(`the credential helper ${program} answered with what is no pair of Username and Secret`);
}

function toAuth(stored: StoredAuth): Auth | undefined {
  const { identitytoken, registrytoken } = stored;
  if (identitytoken || registrytoken) {
    return { ...(identitytoken && { identitytoken }), ...(registrytoken && { registrytoken }) };
  }
  const pair = stored.auth ? Buffer.from(stored.auth, 'base64').toString('utf8').replace(/\0+$/, '') : undefined;
  const colon = pair?.indexOf(':') ?? -1;
  if (pair !== undefined && colon > 0) {
    return { username: pair.slice(0, colon), password: pair.slice(colon + 1) };
  }
  return stored.username ? { username: stored.username, password: stored.password ?? '' } : undefined;
}

/** Base64 for URLs, with the padding that engines insist on: without it they take it for nothing at all. */
function toHeader(auth: Auth & { readonly serveraddress: string }): string {
  return Buffer.from(JSON.stringify(auth)).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}

/** What no message may hold of such a header, though an engine or a registry repeats it, each with what stands for it. */
export function secretsIn(header: string | undefined): ReadonlyMap<string, string> {
  const { password, identitytoken, registrytoken } = JSON.parse(
    Buffer.from(header ?? 'e30', 'base64url').toString(),
  ) as Auth;
  const values = [header, password, identitytoken, registrytoken].filter(
    (value = '') => value.length >= shortestSecret,
  );
  return new Map(values.map((value) => [value as string, '***']));
}

function hostOf(server: string): string {
  const host = server.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  return host === 'docker.io' || host === 'registry-1.docker.io' ? 'index.docker.io' : host;
}
