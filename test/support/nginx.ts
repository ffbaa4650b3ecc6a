import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { freePort } from './free-port.js';

/** Where nginx lies; undefined when it is not installed. */
export const nginxPath: string | undefined = find('nginx');

function find(name: string): string | undefined {
  // Debian puts it where the PATH of an ordinary user does not lead.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

export interface NginxOptions {
  /** The port on loopback that it passes requests on to. */
  readonly to: number;
  /** `forced`: also when the server asks for none, and with HTTP 1.0 towards it, which nginx speaks unless told. */
  readonly buffering: 'off' | 'on' | 'forced';
  /** How long the server may be silent, in milliseconds. */
  readonly readTimeoutMs?: number | undefined;
}

export interface Nginx extends AsyncDisposable {
  readonly port: number;
  stop(): Promise<void>;
}

/** Starts an nginx before a server, as its package brings it but for what is asked. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await tryStart(options, await freePort());
    } catch (error) {
      // Somebody else may have taken the port in between.
      if (tries === 3 || !String(error).includes('Address already in use')) throw error;
    }
  }
}

async function tryStart(options: NginxOptions, port: number): Promise<Nginx> {
  const folder = await mkdtemp(join(tmpdir(), 'nginx-'));
  await mkdir(join(folder, 'logs'));
  await writeFile(join(folder, 'nginx.conf'), toConfig(options, port));
  const args = ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'];
  const child = spawn(String(nginxPath), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  let ended = false;
  const exit = once(child, 'close').then(() => {
    ended = true;
  });
  const stop = async () => {
    child.kill('SIGTERM');
    await exit;
    await rm(folder, { recursive: true, force: true });
  };
  // It says nowhere that it listens.
  while (!(await answers(port)) && !ended) await new Promise((resolve) => setTimeout(resolve, 20));
  if (ended) {
    await stop();
    throw new Error(`nginx has ended: ${errors}`);
  }
  return { port, stop, [Symbol.asyncDispose]: stop };
}

function toConfig({ to, buffering, readTimeoutMs }: NginxOptions, port: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
events { worker_connections 512; }
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${name};`).join('\n  ')}
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${to};
      ${buffering === 'forced' ? '' : 'proxy_http_version 1.1;\n      proxy_set_header Connection "";'}
      proxy_buffering ${buffering === 'off' ? 'off' : 'on'};
      ${buffering === 'forced' ? 'proxy_ignore_headers X-Accel-Buffering;' : ''}
      ${readTimeoutMs === undefined ? '' : `proxy_read_timeout ${readTimeoutMs}ms;`}
    }
  }
}
`;
}

function answers(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, '127.0.0.1');
  socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
  return promise.finally(() => socket.destroy());
}
