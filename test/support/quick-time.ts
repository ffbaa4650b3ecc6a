import { syncBuiltinESMExports } from 'node:module';
import timersPromises from 'node:timers/promises';
import { type Clock, systemClock } from '../../src/options.js';

/** How many times as fast as it is. */
const speed = 20;
/** What gives up an answer has to leave a busy machine the time for it. */
const leastTimeoutMs = 1_000;
const real = { setTimeout: globalThis.setTimeout, timeout: AbortSignal.timeout, sleep: timersPromises.setTimeout };

/**
 * Time of code that has to wait for a real network, and would wait for seconds: a clock, and the timers and time-outs that
 * the code takes from the platform, all faster than they are. For the whole process, for good.
 */
export function quickenTime(): Clock {
  globalThis.setTimeout = ((run: (...all: unknown[]) => void, ms = 0, ...all: unknown[]) =>
    real.setTimeout(run, ms / speed, ...all)) as typeof setTimeout;
  AbortSignal.timeout = (ms) => real.timeout.call(AbortSignal, Math.max(Math.ceil(ms / speed), leastTimeoutMs));
  timersPromises.setTimeout = ((ms: number, value: unknown, options: object) =>
    real.sleep(ms / speed, value, options)) as typeof timersPromises.setTimeout;
  syncBuiltinESMExports();
  const clock: Clock = {
    now: () => performance.now() * speed,
    date: () => Date.now() * speed,
    setTimeout: (run, ms) => real.setTimeout(run, ms / speed).unref(),
    clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
  };
  Object.assign(systemClock, clock);
  return clock;
}

/** So long as it is. */
export function realSleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    real.setTimeout(resolve, ms);
  });
}
