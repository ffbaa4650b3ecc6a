import { realpath } from 'node:fs/promises';
import { dirname, sep } from 'node:path';
import type { DockerSpec } from './spec.js';
import { bindSources } from './volumes.js';

/** Sockets of engines: who may write to one can do anything on its machine. */
const sockets = [
  '/var/run/docker.sock',
  '/run/docker.sock',
  '/run/podman/podman.sock',
  '/run/containerd/containerd.sock',
  '/run/crio/crio.sock',
];

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
  const guarded = new Set<string>();
  for (const socket of engineSocket === undefined ? sockets : [engineSocket, ...sockets]) {
    guarded.add(socket).add(await resolveLinks(socket));
  }
  for (const source of bindSources(spec.volumes ?? [], baseDir)) {
    for (const place of new Set([source, await resolveLinks(source)])) {
      if (isRoot(place)) {
        return refusal(source, 'is the root of the machine');
      }
      const socket = [...guarded].find((path) => path === place || path.startsWith(`${place}${sep}`));
      if (socket !== undefined) {
        return refusal(
          source,
          socket === place ? 'is the socket of an engine' : `holds the socket of an engine (${socket})`,
        );
      }
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
