import type { Chance } from '../../gateway/model/chance.js';
import type { Judge } from './judge.js';

/** Somebody else than the host sends a signal to a server. */
export function signalServer(pid: number, chance: Chance, judge: Judge): void {
  const signal = chance.weigh<NodeJS.Signals>([
    [3, 'SIGSTOP'],
    [3, 'SIGCONT'],
    [1, 'SIGKILL'],
    [1, 'SIGTERM'],
    [1, 'SIGSEGV'],
  ]);
  // Before it is sent: the end may be told at once.
  judge.killed.set(pid, [...(judge.killed.get(pid) ?? []), signal]);
  try {
    process.kill(pid, signal);
    judge.happens(signal, `${pid} gets ${signal}`);
  } catch {
    judge.log(`${pid} is gone before ${signal}`);
  }
}

/** The host does something else for a while: what comes meanwhile comes at once. */
export function blockHost(chance: Chance): void {
  const end = performance.now() + chance.one([20, 60, 150]);
  while (performance.now() < end);
}
