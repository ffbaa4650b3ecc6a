import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

interface Process {
  readonly pid: number;
  readonly parent: number;
  /** Tells a process from a later one that got the same id. */
  readonly started: string;
}

/** Counts the processes that this one caused, as the operating system sees them. */
export interface ProcessCount {
  /** Descendants alive now, and those seen by an earlier count that live on without their parent. */
  count(): number;
}

/** Without /proc, as on macOS, `ps` is asked. */
export function createProcessCount(
  source: 'proc' | 'ps' = existsSync('/proc/self/stat') ? 'proc' : 'ps',
): ProcessCount {
  const seen = new Set<string>();
  return {
    count() {
      const living = source === 'proc' ? readProc() : askPs();
      const descendants = new Set([process.pid]);
      // A child may stand before its parent in the list: go on until nothing is added.
      for (let size = 0; size !== descendants.size; ) {
        size = descendants.size;
        for (const { pid, parent } of living) if (descendants.has(parent)) descendants.add(pid);
      }
      descendants.delete(process.pid);
      const counted = living.filter(({ pid, started }) => descendants.has(pid) || seen.has(`${pid} ${started}`));
      for (const { pid, started } of counted) seen.add(`${pid} ${started}`);
      return counted.length;
    },
  };
}

// Both leave out processes that have ended and wait to be collected.

function readProc(): Process[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      let stat: string;
      try {
        stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      } catch {
        return []; // It has ended since the folder was read.
      }
      // The command stands in parentheses and may hold spaces; state, parent … and start time follow it.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const state = fields[0];
      return state === 'Z' || state === 'X'
        ? []
        : [{ pid: Number(name), parent: Number(fields[1]), started: fields[19] ?? '' }];
    });
}

function askPs(): Process[] {
  return execFileSync('ps', ['-A', '-o', 'pid=,ppid=,stat=,lstart=,comm='], { encoding: 'utf8' })
    .split('\n')
    .flatMap((line) => {
      const [pid, parent, state, ...rest] = line.trim().split(/\s+/);
      const started = rest.slice(0, 5).join(' ');
      // The list holds ps itself, which has ended by now.
      const isPs = Number(parent) === process.pid && rest.slice(5).join(' ').endsWith('ps');
      return pid === undefined || pid === '' || state?.startsWith('Z') || isPs
        ? []
        : [{ pid: Number(pid), parent: Number(parent), started }];
    });
}
