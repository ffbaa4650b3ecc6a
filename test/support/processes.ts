import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A variable by whose value the operating system tells all processes of one test, however deep below the server. */
export const tagVariable = 'TEST_PROCESS_TAG';

/** A word that no other test has. */
export function createTag(): string {
  return randomBytes(8).toString('hex');
}

/** The processes with this tag that are alive, from the kernel's table: dead ones that nobody has waited for do not count. */
export function livingWithTag(tag: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => isAlive(pid) && read(`/proc/${pid}/environ`).includes(`${tagVariable}=${tag}`))
    .map(Number);
}

/** The processes with this tag once there are `wanted` of them, or those that there are when `ms` have gone by. */
export async function untilLiving(tag: string, wanted: (count: number) => boolean, ms: number): Promise<number[]> {
  const end = Date.now() + ms;
  for (;;) {
    const pids = livingWithTag(tag);
    if (wanted(pids.length) || Date.now() > end) {
      return pids;
    }
    // The operating system has no event for this.
    await sleep(50);
  }
}

export function isAlive(pid: number | string): boolean {
  const stat = read(`/proc/${pid}/stat`);
  const state = stat.slice(stat.lastIndexOf(')') + 2)[0];
  return stat !== '' && state !== 'Z' && state !== 'X';
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
