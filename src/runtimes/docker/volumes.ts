import { posix, resolve } from 'node:path';

/** A volume as the engine's API takes it. */
export interface Mount {
  readonly Type: 'bind' | 'volume';
  /** Left out for a volume without a name, which is removed with the container. */
  readonly Source?: string;
  readonly Target: string;
  readonly ReadOnly: boolean;
  readonly BindOptions?: { readonly Propagation: string };
  readonly VolumeOptions?: { readonly NoCopy: true };
}

/** What an entry mounts. */
export interface Volumes {
  readonly mounts: readonly Mount[];
  /** In the older form, which alone can ask for a relabelling by SELinux (`z`, `Z`). */
  readonly binds: readonly string[];
}

const propagations = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];
// Hints for macOS of old, which engines ignore.
const ignored = ['consistent', 'cached', 'delegated'];
const volumeName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const windowsPath = /^[a-zA-Z]:[\\/]/;
/** Where Windows shows the files of WSL. Shells of other systems begin any path there with two slashes. */
const wslShare = /^\/\/wsl(?:\$|\.localhost)\//i;

interface Parts {
  readonly source: string | undefined;
  readonly target: string;
  readonly modes: readonly string[];
}

/** What is wrong with a volume as it is written in a catalog, and how to mend it; undefined when nothing is. */
export function findVolumeProblem(text: string): string | undefined {
  const parts = split(text);
  if (parts === undefined) {
    return 'must be source:/path, source:/path:mode or /path';
  }
  const { source, target, modes } = parts;
  if (!target.startsWith('/')) {
    return `must have an absolute path in the container, as in ${source ?? 'data'}:/data`;
  }
  if (isRoot(target)) {
    return 'must not be mounted over the root of the container';
  }
  if (source !== undefined && /^~/.test(source)) {
    return 'begins with ~, which nobody expands here; write the path out';
  }
  if (source !== undefined && !isPath(source) && !volumeName.test(source)) {
    return 'must begin with a path (/data, ./data) or the name of a volume: at least two of a-z, A-Z, 0-9, "_", "." and "-"';
  }
  return findModeProblem(modes, source);
}

/** Two volumes, or a volume and a tmpfs, at one place; undefined when there are none. */
export function findDoubleTarget(volumes: readonly string[], tmpfs: readonly string[]): string | undefined {
  const seen = new Set<string>();
  const targets = [
    ...volumes.map((text) => split(text)?.target ?? ''),
    ...tmpfs.map((text) => text.split(':')[0] ?? ''),
  ];
  return targets.map(toTarget).find((target) => seen.size === seen.add(target).size);
}

/** Volumes of a valid spec, for the engine. Relative sources start at `baseDir`. */
export function toVolumes(texts: readonly string[], baseDir: string): Volumes {
  const mounts: Mount[] = [];
  const binds: string[] = [];
  for (const text of texts) {
    const { source, target, modes } = split(text) as Parts;
    const bind = source !== undefined && isPath(source);
    const where = bind ? absolute(source, baseDir) : source;
    if (modes.some((mode) => mode === 'z' || mode === 'Z')) {
      binds.push([where, target, modes.filter((mode) => !ignored.includes(mode)).join(',')].join(':'));
      continue;
    }
    const propagation = modes.find((mode) => propagations.includes(mode));
    mounts.push({
      Type: bind ? 'bind' : 'volume',
      ...(where !== undefined && { Source: where }),
      Target: target,
      ReadOnly: modes.includes('ro'),
      ...(propagation !== undefined && { BindOptions: { Propagation: propagation } }),
      ...(modes.includes('nocopy') && { VolumeOptions: { NoCopy: true } }),
    });
  }
  return { mounts, binds };
}

/** The folders and files of the engine's machine that volumes of a valid spec show to the container. */
export function bindSources(texts: readonly string[], baseDir: string): string[] {
  return texts.flatMap((text) => {
    const source = split(text)?.source;
    return source !== undefined && isPath(source) ? [absolute(source, baseDir)] : [];
  });
}

/** Where volumes of a valid spec stand in the container. */
export function volumeTargets(texts: readonly string[]): string[] {
  return texts.map((text) => toTarget(split(text)?.target ?? ''));
}

/** A path in the container as it is written shortest, so that one place has one name. */
export function toTarget(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

function split(text: string): Parts | undefined {
  // The colon after the letter of a drive separates nothing.
  const drive = windowsPath.test(text) ? 2 : 0;
  const [head = '', ...rest] = text.slice(drive).split(':');
  const first = text.slice(0, drive) + head;
  if (rest.length === 0) {
    return first === '' ? undefined : { source: undefined, target: first, modes: [] };
  }
  const [target = '', modes, ...more] = rest;
  if (more.length > 0 || first === '' || target === '' || modes === '') {
    return undefined;
  }
  return { source: first, target, modes: modes?.split(',') ?? [] };
}

function findModeProblem(modes: readonly string[], source: string | undefined): string | undefined {
  const bind = source !== undefined && isPath(source);
  const known = ['ro', 'rw', 'z', 'Z', ...ignored, ...(bind ? propagations : ['nocopy'])];
  const unknown = modes.find((mode) => !known.includes(mode));
  if (unknown !== undefined) {
    return `has the mode "${unknown}"; a ${bind ? 'path' : 'volume'} can have: ${known.join(', ')}`;
  }
  const groups = [['ro', 'rw'], ['z', 'Z'], propagations];
  return groups.some((group) => modes.filter((mode) => group.includes(mode)).length > 1)
    ? `has modes that exclude each other: ${modes.join(', ')}`
    : undefined;
}

function isPath(source: string): boolean {
  return /[\\/]/.test(source) || source === '.' || source === '..';
}

function absolute(source: string, baseDir: string): string {
  if (windowsPath.test(source)) {
    return source;
  }
  // On Windows too it is one of the engine's machine, which has no drives.
  const isOfEngine = source.startsWith('/') && !(process.platform === 'win32' && wslShare.test(source));
  return isOfEngine ? posix.resolve(source) : resolve(baseDir, source);
}

function isRoot(target: string): boolean {
  return toTarget(target) === '/';
}
