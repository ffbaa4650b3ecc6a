import { parseCpus, parseMemory, parsePids } from './quantities.js';
import type { DockerSpec } from './spec.js';
import { type Mount, toTarget, toVolumes, volumeTargets } from './volumes.js';

/** What the engine is asked to make. The names are those of its API. */
export interface CreateContainerBody {
  readonly Image: string;
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly WorkingDir?: string;
  readonly User?: string;
  readonly Env: readonly string[];
  readonly Labels: Readonly<Record<string, string>>;
  readonly AttachStdin: true;
  readonly AttachStdout: true;
  readonly AttachStderr: true;
  readonly OpenStdin: true;
  readonly StdinOnce: true;
  readonly Tty: false;
  readonly HostConfig: HostConfig;
}

export interface HostConfig {
  readonly AutoRemove: true;
  readonly RestartPolicy: { readonly Name: 'no' };
  readonly LogConfig: { readonly Type: 'none' };
  readonly NetworkMode: string;
  readonly Mounts: readonly Mount[];
  readonly Binds: readonly string[];
  readonly Tmpfs: Readonly<Record<string, string>>;
  readonly Init: boolean;
  readonly ReadonlyRootfs: boolean;
  readonly CapDrop: readonly string[];
  readonly CapAdd: readonly string[];
  readonly SecurityOpt: readonly string[];
  readonly Privileged: false;
  readonly Memory: number;
  readonly MemorySwap: number;
  readonly NanoCpus: number;
  readonly PidsLimit: number;
}

export interface BodyOptions {
  readonly baseDir: string;
  /** All of them: those of `env_file` too. */
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
}

/** What a server has unless its entry says otherwise. */
export const defaultMemory = '512m';
const defaultCpus = '1';
export const defaultPids = 256;
const temporary = '/tmp';
const temporaryOptions = 'rw,noexec,nosuid,nodev,size=64m,mode=1777';

/** The container that a spec asks for: the same spec gives the same one, whatever the image says of itself. */
export function toContainerBody(spec: DockerSpec, options: BodyOptions): CreateContainerBody {
  const { command, args } = spec;
  return {
    Image: spec.image,
    ...(command !== undefined && { Entrypoint: [command] }),
    ...((args !== undefined || command !== undefined) && { Cmd: args ?? [] }),
    ...(spec.working_dir !== undefined && { WorkingDir: spec.working_dir }),
    ...(spec.user !== undefined && { User: spec.user }),
    Env: Object.entries(options.env).map(([name, value]) => `${name}=${value}`),
    Labels: options.labels,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    OpenStdin: true,
    // The engine closes the server's input when our connection ends: also when the host was killed.
    StdinOnce: true,
    Tty: false,
    HostConfig: toHostConfig(spec, options.baseDir),
  };
}

function toHostConfig(spec: DockerSpec, baseDir: string): HostConfig {
  const { mounts, binds } = toVolumes(spec.volumes ?? [], baseDir);
  const memory = parseMemory(spec.memory ?? defaultMemory) ?? 0;
  const pids = parsePids(spec.pids ?? defaultPids) ?? 0;
  return {
    AutoRemove: true,
    RestartPolicy: { Name: 'no' },
    // Any other driver would write every message to the disk of the engine.
    LogConfig: { Type: 'none' },
    NetworkMode: spec.network ?? 'default',
    // Not as "Binds", which make folders on the host that are missing.
    Mounts: mounts,
    Binds: binds,
    Tmpfs: toTmpfs(spec),
    Init: spec.init ?? true,
    ReadonlyRootfs: spec.read_only ?? true,
    CapDrop: ['ALL'],
    CapAdd: (spec.cap_add ?? []).map((name) => name.toUpperCase().replace(/^CAP_/, '')),
    SecurityOpt: (spec.no_new_privileges ?? true) ? ['no-new-privileges'] : [],
    Privileged: false,
    Memory: memory,
    // With swap on top the limit would be twice what was asked for.
    MemorySwap: memory,
    NanoCpus: parseCpus(spec.cpus ?? defaultCpus) ?? 0,
    PidsLimit: pids === 0 ? -1 : pids,
  };
}

function toTmpfs({ read_only = true, tmpfs = [], volumes = [] }: DockerSpec): Record<string, string> {
  const folders: Record<string, string> = {};
  if (read_only && !volumeTargets(volumes).includes(temporary)) {
    folders[temporary] = temporaryOptions;
  }
  for (const text of tmpfs) {
    const [path = '', options = ''] = text.split(':');
    folders[toTarget(path)] = options;
  }
  return folders;
}
