import { spawn } from 'node:child_process';
import { Duplex } from 'node:stream';
import type { Environment } from './docker-config.js';

const maxErrorText = 2_000;

/**
 * A connection to the engine of another machine: the streams of `docker system dial-stdio` there, by the user's own ssh
 * with its keys and settings. Each connection is one ssh process, which ends with it.
 */
export function connectOverSsh(url: URL, env: Environment): Duplex {
  const user = decodeURIComponent(url.username);
  // Never taken for options: ssh refuses a host that begins with a dash after "--", and so do we.
  const args = [
    '-o',
    'BatchMode=yes',
    '-o',
    'ConnectTimeout=30',
    '-T',
    ...(user === '' ? [] : ['-l', user]),
    ...(url.port === '' ? [] : ['-p', url.port]),
    '--',
    url.hostname,
    'docker',
    ...(url.pathname.length > 1 ? ['--host', `unix://${url.pathname}`] : []),
    'system',
    'dial-stdio',
  ];
  const child = spawn('ssh', args, { env: env as NodeJS.ProcessEnv, stdio: 'pipe', windowsHide: true });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('utf8')).slice(-maxErrorText);
  });
  const connection = Duplex.from({ writable: child.stdin, readable: child.stdout });
  child.once('error', (error) => connection.destroy(new Error(`ssh could not be started: ${error.message}`)));
  child.once('close', (code) => {
    if (code !== 0 && !connection.destroyed) {
      connection.destroy(new Error(`ssh ended with code ${code}: ${said.trim()}`));
    }
  });
  connection.once('close', () => child.kill());
  return asSocket(connection);
}

/** What Node's HTTP client calls on a socket besides the methods of a stream. */
function asSocket(stream: Duplex): Duplex {
  const self = () => stream;
  return Object.assign(stream, { setTimeout: self, setNoDelay: self, setKeepAlive: self, ref: self, unref: self });
}
