import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { baseImage } from './real-parts.js';

/** A Docker engine of one's own, to be restarted and killed. It has no networks, and the image `shell` with a shell. */
export class OwnEngine implements AsyncDisposable {
  readonly #folder: string;
  #daemon: ChildProcess | undefined;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async start(): Promise<OwnEngine> {
    const engine = new OwnEngine(await mkdtemp(join(tmpdir(), 'engine-test-')));
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
    return `unix://${join(this.#folder, 'engine.sock')}`;
  }

  docker(...args: string[]): string {
    return spawnSync('docker', ['--host', this.host, ...args], { encoding: 'utf8' }).stdout.trim();
  }

  /** Starts the engine; containers of the one before live on. */
  async up(): Promise<void> {
    const folders = ['data-root', 'exec-root'].map((name) => `--${name}=${join(this.#folder, name)}`);
    const flags = ['--bridge=none', '--iptables=false', '--ip-masq=false', '--live-restore', '--log-level=error'];
    const pidfile = `--pidfile=${join(this.#folder, 'pid')}`;
    // In a network of its own: an engine without a bridge removes the one there is, which is another engine's.
    const command = ['--net', 'dockerd', ...folders, ...flags, pidfile, `--host=${this.host}`];
    this.#daemon = spawn('unshare', command, { stdio: 'ignore' });
    while (this.docker('version', '--format', '{{.Server.Version}}') === '') {
      if (this.#daemon.exitCode !== null) throw new Error(`dockerd ended with ${this.#daemon.exitCode}`);
      await sleep(50);
    }
  }

  /** Ends the engine, by SIGKILL or as an administrator would. */
  async down(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const ended = once(daemon, 'exit');
    daemon.kill(signal);
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ids = this.docker('ps', '--all', '--quiet');
    if (ids !== '') this.docker('rm', '--force', ...ids.split('\n'));
    await this.down('SIGTERM');
    for (const line of readFileSync('/proc/mounts', 'utf8').split('\n')) {
      const target = line.split(' ')[1] ?? '';
      if (target.startsWith(`${this.#folder}/`)) spawnSync('umount', ['--lazy', target]);
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}
