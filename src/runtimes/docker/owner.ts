import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';

/**
 * Who owns a container: a process of a machine, as exactly as the machine can tell its processes apart. Written into a
 * label when the container is made, as labels cannot be changed later.
 */
export interface Owner {
  /** The machine since its last start; its name where the system does not tell. */
  readonly boot: string;
  /** The namespace that the pid is counted in; empty where the system has none. */
  readonly pidNamespace: string;
  readonly pid: number;
  /** When the process began, in the system's own measure; empty where it does not tell. */
  readonly startTime: string;
}

/** This process. */
export async function findOwner(): Promise<Owner> {
  const [boot, namespace, process_] = await Promise.all([
    readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => hostname()),
    readlink('/proc/self/ns/pid').catch(() => ''),
    readProcess('self'),
  ]);
  return {
    boot: boot.trim().replaceAll('/', '-'),
    pidNamespace: /\d+/.exec(namespace)?.[0] ?? '',
    pid: process.pid,
    startTime: process_?.startTime ?? '',
  };
}

/** As the value of a label. */
export function formatOwner({ boot, pidNamespace, pid, startTime }: Owner): string {
  return [boot, pidNamespace, pid, startTime].join('/');
}

/** Undefined for a label that nobody of this library wrote. */
export function parseOwner(text: string): Owner | undefined {
  const [boot = '', pidNamespace = '', pid = '', startTime, ...more] = text.split('/');
  if (boot === '' || startTime === undefined || more.length > 0 || !/^[1-9]\d{0,9}$/.test(pid)) {
    return undefined;
  }
  return { boot, pidNamespace, pid: Number(pid), startTime };
}

/**
 * True when it is certain that the owner is gone. Only owners of this machine and of the judge's own pid namespace can be
 * judged: everybody else counts as alive.
 */
export async function isDead(owner: Owner, judge: Owner): Promise<boolean> {
  if (owner.boot !== judge.boot || owner.pidNamespace !== judge.pidNamespace) {
    return false;
  }
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') {
      return true;
    }
  }
  // Somebody has that pid. Where the system lets us see no more, it is taken for the owner.
  const now = await readProcess(String(owner.pid));
  return now !== undefined && owner.startTime !== '' && (now.ended || now.startTime !== owner.startTime);
}

async function readProcess(pid: string): Promise<{ startTime: string; ended: boolean } | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  // "pid (command) state ppid …"; the command may hold anything, also ")".
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTime] = [fields[0], fields[19]];
  return state === undefined || startTime === undefined ? undefined : { startTime, ended: /[ZX]/.test(state) };
}
