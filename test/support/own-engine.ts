import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { baseImage } from './real-parts.js';

/** Where the engine keeps images and containers, and where its containerd keeps what is needed while they run. */
export type Disk = 'data-root' | 'containerd-state';

export interface OwnEngineOptions {
  /** Disks that are small and in memory, with how much each holds: `64m`. */
  readonly disks?: Partial<Record<Disk, string>> | undefined;
}

/**
 * A Docker engine of one's own, to be restarted, killed and filled up. As on most machines, its containerd is a service of
 * its own that stays. It has no networks, and the image `shell` with a shell.
 */
export class OwnEngine implements AsyncDisposable {
  readonly #folder: string;
  #containerd: ChildProcess | undefined;
  #daemon: ChildProcess | undefined;
  readonly #reached: Server[] = [];

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async start({ disks = {} }: OwnEngineOptions = {}): Promise<OwnEngine> {
    const engine = new OwnEngine(await mkdtemp(join(tmpdir(), 'engine-test-')));
    for (const [disk, size] of Object.entries(disks)) {
      await mkdir(engine.path(disk));
      spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', engine.path(disk)]);
    }
    await engine.#startContainerd();
    await engine.up();
    const script = 'cd / && exec tar -c -f - bin/busybox lib lib64';
    const pack = spawn('docker', ['run', '--rm', '--network', 'none', baseImage, 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const load = spawn('docker', ['--host', engine.host, 'import', '-', 'shell'], {
      stdio: [pack.stdout, 'ignore', 'inherit'],
    });
    await once(load, 'exit');
    return engine;
  }

  get host(): string {
    return `unix://${this.path('engine.sock')}`;
  }

  /** A place that goes with the engine, with all that is mounted there. */
  path(name: string): string {
    return join(this.#folder, name);
  }

  /** Brings images of the machine's engine. */
  async load(...tags: readonly string[]): Promise<void> {
    const save = spawn('docker', ['save', ...tags], { stdio: ['ignore', 'pipe', 'inherit'] });
    const load = spawn('docker', ['--host', this.host, 'load', '--quiet'], {
      stdio: [save.stdout, 'ignore', 'inherit'],
    });
    const [code] = await once(load, 'exit');
    if (code !== 0) throw new Error(`docker load ended with ${code}`);
  }

  docker(...args: string[]): string {
    return spawnSync('docker', ['--host', this.host, ...args], { encoding: 'utf8' }).stdout.trim();
  }

  /** Starts the engine; containers of the one before live on. */
  async up(): Promise<void> {
    const folders = ['data-root', 'exec-root'].map((name) => `--${name}=${this.path(name)}`);
    const flags = ['--bridge=none', '--iptables=false', '--ip-masq=false', '--live-restore', '--log-level=error'];
    const places = [`--pidfile=${this.path('pid')}`, `--containerd=${this.path('containerd.sock')}`];
    // In a network of its own: an engine without a bridge removes the one there is, which is another engine's.
    const command = ['--net', 'dockerd', ...folders, ...flags, ...places, `--host=${this.host}`];
    this.#daemon = spawn('unshare', command, { stdio: 'ignore' });
    while (this.docker('version', '--format', '{{.Server.Version}}') === '') {
      if (this.#daemon.exitCode !== null) throw new Error(`dockerd ended with ${this.#daemon.exitCode}`);
      await sleep(50);
    }
  }

  /** Lets the engine, which is in a network of its own, reach a port of this machine's loopback as one of its own. */
  async reach(port: number): Promise<void> {
    const within = ['--net', `--target=${this.#daemon?.pid}`];
    spawnSync('nsenter', [...within, 'ip', 'link', 'set', 'lo', 'up'], { stdio: 'inherit' });
    // A socket stays in the network where it was made, whoever has it.
    const script = `const server = require('net').createServer().listen(${port}, '127.0.0.1', () => process.send('', server))`;
    const child = spawn('nsenter', [...within, process.execPath, '--eval', script], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const [, server] = (await once(child, 'message')) as [string, Server];
    child.kill();
    this.#reached.push(server);
    server.on('connection', (near: Socket) => {
      const far = connect(port, '127.0.0.1');
      near.on('error', () => far.destroy()).pipe(far);
      far.on('error', () => near.destroy()).pipe(near);
    });
  }

  /** Ends the engine, by SIGKILL or as an administrator would. */
  async down(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await end(this.#daemon, signal);
  }

  /** Leaves a disk not a byte; call what is returned for an end of that. */
  async fill(disk: Disk): Promise<() => Promise<void>> {
    const file = join(this.path(disk), 'filler');
    const full = await writeFile(file, Buffer.alloc(128 * 1024 * 1024)).catch((error: NodeJS.ErrnoException) => error);
    if (full?.code !== 'ENOSPC') throw new Error(`the disk ${disk} was to be full`, { cause: full });
    return () => rm(file);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nobody else ends what a failed test has left running.
    if (!isRunning(this.#daemon)) await this.up();
    const ids = this.docker('ps', '--all', '--quiet');
    if (ids !== '') this.docker('rm', '--force', ...ids.split('\n'));
    await this.down('SIGTERM');
    for (const server of this.#reached) server.close();
    await end(this.#containerd, 'SIGTERM');
    // The innermost first.
    for (const line of readFileSync('/proc/mounts', 'utf8').split('\n').reverse()) {
      const target = line.split(' ')[1] ?? '';
      if (target.startsWith(`${this.#folder}/`)) spawnSync('umount', ['--lazy', target]);
    }
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #startContainerd(): Promise<void> {
    // Not the machine's own settings.
    const config = this.path('containerd.toml');
    await writeFile(config, 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n');
    const places = ['root', 'state'].map((name) => [`--${name}`, this.path(`containerd-${name}`)]);
    const address = this.path('containerd.sock');
    const flags = ['--config', config, '--address', address, '--log-level', 'error', ...places.flat()];
    this.#containerd = spawn('containerd', flags, { stdio: 'ignore' });
    while (!existsSync(address)) {
      if (this.#containerd.exitCode !== null) throw new Error(`containerd ended with ${this.#containerd.exitCode}`);
      await sleep(20);
    }
  }
}

function isRunning(child: ChildProcess | undefined): child is ChildProcess {
  return child !== undefined && child.exitCode === null && child.signalCode === null;
}

async function end(child: ChildProcess | undefined, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (!isRunning(child)) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  await ended;
}
