import { spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import type { Clock } from '../../options.js';

const pollMs = [2, 5, 10, 20, 50];

/**
 * Sends `signal` to every process of a group.
 *
 * @returns false when there was nobody left
 */
export function signalGroup(pgid: number, signal: NodeJS.Signals | 0): boolean {
  // 0 would be our own group and 1 everybody.
  if (!(pgid > 1)) {
    return false;
  }
  try {
    process.kill(-pgid, signal);
    return true;
  } catch (error) {
    // EPERM: members that changed their user are still there.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** True once no process of the group is alive, false when `ms` went by first. */
export async function groupGone(pgid: number, ms: number, clock: Clock): Promise<boolean> {
  const end = clock.now() + ms;
  for (let turn = 0; ; turn += 1) {
    if ((await livingMembers(pgid)).length === 0) {
      return true;
    }
    const left = end - clock.now();
    if (left <= 0) {
      return false;
    }
    const wait = Math.min(left, pollMs[Math.min(turn, pollMs.length - 1)] ?? 50);
    await new Promise<void>((resolve) => clock.setTimeout(resolve, wait));
  }
}

/**
 * The processes of a group that are alive. A dead one that its parent has not waited for still answers signals, so on
 * Linux the kernel's table decides; elsewhere the group itself stands for its members.
 */
export async function livingMembers(pgid: number): Promise<number[]> {
  if (!signalGroup(pgid, 0)) {
    return [];
  }
  if (process.platform !== 'linux') {
    return [pgid];
  }
  const groups = await readGroups();
  // Without a whole table (no /proc in here) the group stands for itself, as elsewhere.
  return groups === undefined ? [pgid] : (groups.get(pgid) ?? []);
}

type Groups = ReadonlyMap<number, number[]>;
let reading: Promise<Groups | undefined> | undefined;
let next: Promise<Groups | undefined> | undefined;

/** Reads the table; those who ask while it is being read share the next reading, which begins after they asked. */
function readGroups(): Promise<Groups | undefined> {
  if (reading === undefined) {
    reading = readTable().finally(() => {
      reading = undefined;
    });
    return reading;
  }
  next ??= reading.then(() => {
    next = undefined;
    return readGroups();
  });
  return next;
}

async function readTable(): Promise<Groups | undefined> {
  const groups = new Map<number, number[]>();
  let self = false;
  let unread = false;
  const read = async (pid: string) => {
    // "pid (command) state ppid pgrp …"; the command may hold anything, also ")".
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(({ code }: NodeJS.ErrnoException) => {
      // Without a descriptor nobody can be looked at; others are gone, or hidden from us.
      unread ||= code === 'EMFILE' || code === 'ENFILE';
      return '';
    });
    const [state, , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    self ||= stat !== '' && pid === String(process.pid);
    if (group !== undefined && state !== 'Z' && state !== 'X') {
      const members = groups.get(Number(group));
      if (members === undefined) {
        groups.set(Number(group), [Number(pid)]);
      } else {
        members.push(Number(pid));
      }
    }
  };
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  while (pids.length > 0) {
    // Each takes some turns of the event loop, which may be long: one by one, a machine full of processes would take minutes.
    await Promise.all(pids.splice(-32).map(read));
  }
  return self && !unread ? groups : undefined;
}

/** Windows has no groups and no SIGTERM: ends a process and its descendants. */
export function killTree(pid: number, force: boolean): Promise<void> {
  return new Promise((resolve) => {
    spawn('taskkill', ['/PID', String(pid), '/T', ...(force ? ['/F'] : [])], { windowsHide: true, stdio: 'ignore' })
      .once('error', () => resolve())
      .once('exit', () => resolve());
  });
}
