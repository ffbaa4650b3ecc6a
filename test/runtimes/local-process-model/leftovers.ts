import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, livingWithTag } from '../../support/processes.js';
import type { Judge } from './judge.js';
import type { Life, Lives } from './lives.js';

/** Processes that have left the group of their server: they are nobody's, and may hold its streams for long. */
export class Survivors {
  readonly #pids = new Map<number, string>();

  add(pid: number, tag: string): void {
    this.#pids.set(pid, tag);
  }

  async end(): Promise<void> {
    for (const [pid, tag] of this.#pids) {
      if (livingWithTag(tag).includes(pid)) process.kill(pid, 'SIGKILL');
      while (isAlive(pid)) await sleep(5);
    }
  }
}

/** Nobody is left of the groups of the servers. */
export function checkLeftovers(
  { tag }: Lives,
  lives: ReadonlyMap<number, Life>,
  judge: Judge,
  survivors: Survivors,
): void {
  const own = new Set<number>();
  for (const { children } of lives.values()) {
    for (const [kind, pid] of children) {
      judge.count(`child: ${kind}`);
      if (!kind.startsWith('session')) continue;
      own.add(pid);
      survivors.add(pid, tag);
    }
  }
  const left = livingWithTag(tag).filter((pid) => !own.has(pid));
  if (left.length > 0) judge.problem(`processes ${left} are left`);
  for (const pid of left) process.kill(pid, 'SIGKILL');
}

/** What this process holds: children, descriptors of sockets and pipes, listeners on `process`. */
export interface Held {
  readonly children: readonly number[];
  readonly descriptors: number;
  readonly listeners: number;
}

export function held(): Held {
  const events = process.eventNames();
  return {
    children: readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 0 && parentOf(pid) === process.pid),
    descriptors: readdirSync('/proc/self/fd').filter((name) => /^(pipe|socket):/.test(linkOf(name))).length,
    listeners: events.reduce((sum, name) => sum + process.listenerCount(name), 0),
  };
}

/** What is held once it is no more than `before`, or when there has been time enough for that. */
export async function heldLikeBefore(before: Held): Promise<Held> {
  const isMore = (now: Held) => now.descriptors > before.descriptors || now.children.length > before.children.length;
  let now = held();
  // The end of a process and of a stream takes its turn.
  for (let turn = 0; turn < 200 && isMore(now); turn += 1) {
    await sleep(20);
    now = held();
  }
  return now;
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}

function linkOf(name: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${name}`);
  } catch {
    return '';
  }
}
