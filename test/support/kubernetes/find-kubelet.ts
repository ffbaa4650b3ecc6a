import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** The command of the kubelet that runs on this machine; undefined where there is none. */
export function findKubelet(): readonly string[] | undefined {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    let argv: readonly string[];
    try {
      argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
    } catch {
      continue;
    }
    if (basename(argv[0] ?? '') === 'kubelet' && argv.includes('--config')) return argv;
  }
  return undefined;
}
