import { join } from 'node:path';
import { hostOf } from '../../../util/host-of.js';
import { configFolder, type Environment, homeOf, readContext, readDockerConfig, readTls } from './docker-config.js';
import type { Address, TlsFiles } from './http.js';
import { connectOverSsh } from './ssh.js';

export interface AddressOptions {
  /** The host's own choice; wins over everything else. */
  readonly host: string | undefined;
  readonly env: Environment;
  readonly platform: NodeJS.Platform;
  readonly uid: number | undefined;
}

/** Where an engine may be, in the order in which they are tried, and who said so. */
export interface Candidates {
  readonly source: string;
  readonly addresses: readonly Address[];
}

/**
 * Finds out where to look for an engine: the host's own choice, `DOCKER_HOST`, the docker context in use, or else the
 * usual places.
 *
 * @throws an Error that says what is wrong with the setting
 */
export async function findAddresses(options: AddressOptions): Promise<Candidates> {
  const { host, env } = options;
  const from = async (source: string, text: string, tls?: TlsFiles) => {
    return { source, addresses: [await toAddress(source, text, tls, env)] };
  };
  if (host !== undefined) {
    return from('the option host', host);
  }
  const named = env.DOCKER_HOST;
  if (named !== undefined && named !== '') {
    return from('DOCKER_HOST', named);
  }
  const context = env.DOCKER_CONTEXT || (await readDockerConfig(env)).currentContext;
  if (context !== undefined && context !== '' && context !== 'default') {
    const { host: where, tls } = await readContext(context, env);
    return from(`the docker context "${context}"`, where, tls);
  }
  return { source: 'the usual places', addresses: usualSockets(options).map(socketAddress) };
}

/** Docker's own sockets, then those of Docker Desktop, rootless Docker, Colima and Podman. */
function usualSockets({ env, platform, uid }: AddressOptions): string[] {
  if (platform === 'win32') {
    return ['//./pipe/docker_engine', '//./pipe/podman-machine-default'];
  }
  const home = homeOf(env);
  const runtime = env.XDG_RUNTIME_DIR || (uid === undefined ? undefined : `/run/user/${uid}`);
  return [
    '/var/run/docker.sock',
    join(home, '.docker/run/docker.sock'),
    ...(runtime === undefined ? [] : [join(runtime, 'docker.sock')]),
    join(home, '.colima/default/docker.sock'),
    ...(runtime === undefined ? [] : [join(runtime, 'podman/podman.sock')]),
    ...(uid === 0 ? ['/run/podman/podman.sock'] : []),
  ];
}

function socketAddress(socketPath: string): Address {
  const scheme = socketPath.startsWith('//./pipe/') ? 'npipe' : 'unix';
  return { name: `${scheme}://${socketPath}`, socketPath };
}

async function toAddress(source: string, text: string, tls: TlsFiles | undefined, env: Environment): Promise<Address> {
  if (text.startsWith('unix://') || text.startsWith('npipe://')) {
    const path = text.slice(text.indexOf('://') + 3);
    if (path === '') {
      throw new Error(`"${text}" names no socket; write it as unix:///var/run/docker.sock`);
    }
    return { name: text, socketPath: path.replaceAll('\\', '/') };
  }
  const url = URL.parse(text);
  switch (url?.protocol) {
    case 'tcp:':
    case 'http:':
    case 'https:':
      return tcpAddress(text, url, tls ?? (await tlsOfEnvironment(url, env)));
    case 'ssh:':
      expectHost(url);
      return { name: withoutPassword(url), connect: () => connectOverSsh(url, env) };
    default:
      throw new Error(`the address in ${source} must begin with unix://, npipe://, tcp:// or ssh://`);
  }
}

function tcpAddress(name: string, url: URL, tls: TlsFiles | undefined): Address {
  expectHost(url);
  const host = hostOf(url);
  // A URL of http or https drops the port that browsers mean without one; an engine's is another.
  const written = URL.parse(name.replace(/^https?:/i, 'tcp:'))?.port ?? '';
  const port = written === '' ? (tls === undefined ? 2375 : 2376) : Number(written);
  return { name: withoutPassword(url), host, port, tls };
}

/** Without one, what stands there may be a password in another place. */
function expectHost({ protocol, hostname }: URL): void {
  if (hostname === '') {
    throw new Error(`the address of the engine names no host; write it as ${protocol}//host`);
  }
}

/** As the docker command does: certificates of DOCKER_CERT_PATH, else those beside the user's settings, once TLS is asked for. */
async function tlsOfEnvironment(url: URL, env: Environment): Promise<TlsFiles | undefined> {
  const named = env.DOCKER_CERT_PATH ?? '';
  const verify = (env.DOCKER_TLS_VERIFY ?? '') !== '';
  const asked = verify || (env.DOCKER_TLS ?? '') !== '' || url.protocol === 'https:';
  if (!asked) {
    return undefined;
  }
  const found = await readTls(named || configFolder(env), verify || url.protocol === 'https:');
  if (named !== '' && found === undefined) {
    throw new Error('DOCKER_CERT_PATH names a folder without ca.pem, cert.pem and key.pem');
  }
  return found ?? { rejectUnauthorized: true };
}

function withoutPassword(url: URL): string {
  const copy = new URL(url);
  copy.password = '';
  return copy.href.replace(/\/$/, '');
}
