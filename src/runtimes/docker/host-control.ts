import { readlink, realpath } from 'node:fs/promises';
import { dirname, posix } from 'node:path';
import type { DockerSpec } from './spec.js';
import { bindSources } from './volumes.js';

/** Sockets of engines: who may write to one can do anything on its machine. */
const sockets = [
  '/var/run/docker.sock',
  '/run/docker.sock',
  '/run/podman/podman.sock',
  '/run/containerd/containerd.sock',
  // Where an engine has started its containerd itself.
  '/run/docker/containerd/containerd.sock',
  '/run/crio/crio.sock',
];

/** Where a process is and what it has open: `self` is another process for the engine than for us. */
const ofProcess = /^\/proc\/(?:self|thread-self|\d+)(?:\/task\/\d+)?\/(?:cwd|root|fd|map_files)(?:\/|$)/;
/** The drives of Windows in the machine of its Docker Desktop, and the folders that hold them. */
const drives = /^(?:\/host_mnt|\/run\/desktop|(?:\/run\/desktop)?\/mnt(?:\/host)?)?(?:\/[a-zA-Z])?$/;
/** As many as the kernel follows. */
const mostLinks = 40;

/**
 * What among the volumes of a spec would make the server master of the engine's machine: its root, the engine's socket, or
 * a folder that holds it, by whatever link. Undefined when there is nothing, or the entry allows it.
 */
export async function findHostControl(
  spec: DockerSpec,
  baseDir: string,
  engineSocket: string | undefined,
): Promise<string | undefined> {
  if (spec.allow_host_control === true) {
    return undefined;
  }
  const hasDrives = process.platform === 'win32' && engineSocket !== undefined;
  const guarded = new Set<string>();
  for (const socket of engineSocket === undefined ? sockets : [engineSocket, ...sockets]) {
    guarded.add(socket).add(await resolveLinks(socket));
  }
  for (const source of bindSources(spec.volumes ?? [], baseDir)) {
    for (const place of new Set([source, await resolveLinks(source)])) {
      if (isRoot(place) || (hasDrives && drives.test(place))) {
        return refusal(source, 'is the root of the machine');
      }
      const socket = [...guarded].find((path) => path === place || path.startsWith(`${place}/`));
      if (socket !== undefined) {
        return refusal(
          source,
          socket === place ? 'is the socket of an engine' : `holds the socket of an engine (${socket})`,
        );
      }
    }
    if (await leadsThroughProcess(source)) {
      return refusal(
        source,
        'leads through a process (/proc), by which the engine may come to the root of the machine',
      );
    }
  }
  return undefined;
}

function refusal(source: string, what: string): string {
  return (
    `the volume ${source} ${what}, which would make the server master of that machine; ` +
    'mount something smaller, or set allow_host_control: true'
  );
}

function isRoot(path: string): boolean {
  return path === '/' || /^[a-zA-Z]:[\\/]?$/.test(path);
}

/** Whether a path leads to where a process is, or to what it has open, by whatever link. */
async function leadsThroughProcess(path: string, links = 0): Promise<boolean> {
  let at = '/';
  const parts = path.split('/').filter((part) => part !== '');
  for (const [index, part] of parts.entries()) {
    at = posix.join(at, part);
    if (ofProcess.test(at)) {
      return true;
    }
    const target = await readlink(at).catch(() => undefined);
    if (target !== undefined) {
      const next = posix.resolve(posix.dirname(at), target, ...parts.slice(index + 1));
      return links < mostLinks && leadsThroughProcess(next, links + 1);
    }
  }
  return false;
}

/** A path with its links followed as far as it exists here. The engine may see another machine: then it stays as it is. */
async function resolveLinks(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const parent = dirname(path);
    return parent === path
      ? path
      : (await resolveLinks(parent)).replace(/[\\/]$/, '') + path.slice(parent === '/' ? 0 : parent.length);
  }
}
