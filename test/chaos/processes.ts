import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isAlive, livingWithTag, tagVariable } from '../support/processes.ts';

export { livingWithTag, tagVariable };

/** Remembers the children of hosts, whatever their environment says: a guardian tells nothing of itself. */
export class Children {
  /** By pid, when it began: a pid may be given anew. */
  readonly #known = new Map<number, string>();

  note(parents: ReadonlySet<number>): void {
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const { parent, startTime } = statOf(name);
      if (parents.has(parent)) this.#known.set(Number(name), startTime);
    }
  }

  /** Those that are still alive. */
  living(): number[] {
    return [...this.#known]
      .filter(([pid, since]) => isAlive(pid) && statOf(pid).startTime === since)
      .map(([pid]) => pid);
  }
}

/** Sockets and pipes that a process holds. */
export function countStreams(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => /^(?:socket|pipe):/.test(linkOf(`/proc/${pid}/fd/${fd}`)))
    .length;
}

/** What a process was started with, to tell a word about one that is left. */
export function describeProcess(pid: number): string {
  return `${pid} ${read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').slice(0, 120)}`;
}

/** The processes with this tag that have this variable too. */
export function livingWith(tag: string, variable: string): number[] {
  return livingWithTag(tag).filter((pid) => `\0${read(`/proc/${pid}/environ`)}`.includes(`\0${variable}\0`));
}

function statOf(pid: number | string): { parent: number; startTime: string } {
  const stat = read(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { parent: Number(fields[1]), startTime: fields[19] ?? '' };
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
