import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { baseImage } from './real-parts.js';

/** As it names what was loaded from another engine. */
export const podmanImage = `localhost/${baseImage}`;

// The limits of processes are those that a host without many rights can give; the rest is what runs under cgroups 1 and 2.
const settings = `
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`;

/** Podman behind its socket, with storage of its own that holds the base image. */
export class Podman implements AsyncDisposable {
  readonly host: string;
  readonly #folder: string;
  readonly #child: ReturnType<typeof spawn>;

  private constructor(folder: string, child: ReturnType<typeof spawn>) {
    this.#folder = folder;
    this.#child = child;
    this.host = `unix://${join(folder, 'podman.sock')}`;
  }

  static async start(): Promise<Podman> {
    const folder = await mkdtemp(join(tmpdir(), 'podman-test-'));
    await writeFile(join(folder, 'containers.conf'), settings);
    const options = { env: { ...process.env, CONTAINERS_CONF: join(folder, 'containers.conf') } };
    const storage = ['--root', join(folder, 'root'), '--runroot', join(folder, 'run')];
    const pack = spawn('docker', ['save', baseImage], { stdio: ['ignore', 'pipe', 'inherit'] });
    const load = spawn('podman', [...storage, 'load', '--quiet'], {
      ...options,
      stdio: [pack.stdout, 'ignore', 'pipe'],
    });
    const [code] = await once(load, 'exit');
    if (code !== 0) throw new Error(`podman load ended with ${code}: ${load.stderr?.read()}`);
    const socket = join(folder, 'podman.sock');
    const service = ['system', 'service', '--time=0', `unix://${socket}`];
    // Where a container runs out of memory, conmon leaves a file `oom` in the folder it was started in.
    const child = spawn('podman', [...storage, ...service], { ...options, cwd: folder, stdio: 'ignore' });
    const podman = new Podman(folder, child);
    while (!existsSync(socket) && child.exitCode === null) await sleep(20);
    return podman;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const storage = ['--root', join(this.#folder, 'root'), '--runroot', join(this.#folder, 'run')];
    spawnSync('podman', [...storage, 'rm', '--all', '--force']);
    const ended = once(this.#child, 'exit');
    this.#child.kill();
    await ended;
    // Storage of its own has mounts of its own, and a test that failed may have left a container.
    for (const line of readFileSync('/proc/mounts', 'utf8').split('\n')) {
      const target = line.split(' ')[1] ?? '';
      if (target.startsWith(`${this.#folder}/`)) spawnSync('umount', ['--lazy', target]);
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}
