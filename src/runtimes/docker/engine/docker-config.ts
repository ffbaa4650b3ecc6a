import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { homeFolder } from '../../../util/home-folder.js';
import type { TlsFiles } from './http.js';

/** Names and values, as of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The user's settings for Docker, as far as they matter here. */
export interface DockerConfig {
  readonly currentContext?: string | undefined;
  readonly auths?: Readonly<Record<string, StoredAuth>> | undefined;
  readonly credHelpers?: Readonly<Record<string, string>> | undefined;
  readonly credsStore?: string | undefined;
}

export interface StoredAuth {
  readonly auth?: string;
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
  readonly registrytoken?: string;
}

/** What a docker context says of its engine. */
export interface DockerContext {
  readonly host: string;
  readonly tls: TlsFiles | undefined;
}

/** The folder of the user's settings. */
export function configFolder(env: Environment): string {
  const named = env.DOCKER_CONFIG;
  return named === undefined || named === '' ? join(homeOf(env), '.docker') : named;
}

export function homeOf(env: Environment): string {
  // As the docker command: on Windows only shells of other systems set HOME, and it may be another folder.
  return (process.platform === 'win32' ? undefined : env.HOME) || env.USERPROFILE || homeFolder();
}

/** Empty when there is none. Rejects when there is one that cannot be read. */
export async function readDockerConfig(env: Environment): Promise<DockerConfig> {
  const file = join(configFolder(env), 'config.json');
  const text = await readIfThere(file);
  if (text === undefined) {
    return {};
  }
  const config = parse(text.toString('utf8'), file);
  return typeof config === 'object' && config !== null ? config : {};
}

/** A context by its name, from the store that `docker context` keeps. */
export async function readContext(name: string, env: Environment): Promise<DockerContext> {
  const id = createHash('sha256').update(name).digest('hex');
  const contexts = join(configFolder(env), 'contexts');
  const file = join(contexts, 'meta', id, 'meta.json');
  const text = await readIfThere(file);
  if (text === undefined) {
    throw new Error(`the docker context "${name}" does not exist; see docker context ls`);
  }
  const meta = parse(text.toString('utf8'), file) as {
    Endpoints?: { docker?: { Host?: string; SkipTLSVerify?: boolean } };
  };
  const host = meta.Endpoints?.docker?.Host;
  if (typeof host !== 'string' || host === '') {
    throw new Error(`the docker context "${name}" names no engine`);
  }
  const tls = await readTls(join(contexts, 'tls', id, 'docker'), meta.Endpoints?.docker?.SkipTLSVerify !== true);
  return { host, tls };
}

/** The certificates of a folder; undefined when it holds none. */
export async function readTls(folder: string, verify: boolean): Promise<TlsFiles | undefined> {
  const [ca, cert, key] = await Promise.all(
    ['ca.pem', 'cert.pem', 'key.pem'].map((name) => readIfThere(join(folder, name))),
  );
  if (ca === undefined && cert === undefined && key === undefined) {
    return undefined;
  }
  return { ca, cert, key, rejectUnauthorized: verify };
}

async function readIfThere(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      return undefined;
    }
    throw new Error(`${file} cannot be read (${code ?? 'unknown error'})`, { cause: error });
  }
}

function parse(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's message would quote the file, which holds credentials.
    throw new Error(`${file} is not valid JSON`);
  }
}
