import { clearImmediate, setImmediate } from './util/immediate.js';

/** Time as the library sees it; tests hand in a fake one. */
export interface Clock {
  /** Milliseconds that never go backwards. */
  now(): number;
  /** Milliseconds since the epoch, for time stamps. */
  date(): number;
  /** Runs `run` once after `ms`; must not keep the process alive. */
  setTimeout(run: () => void, ms: number): unknown;
  /** Takes back what `setTimeout` has returned; nothing happens when it has run. */
  clearTimeout(timer: unknown): void;
}

// Node's timers hold 31 bits: a longer wait would fire at once.
const longestMs = 2 ** 31 - 1;

// What runs later than this was held up: this process was stopped, or its event loop busy.
const heldUpMs = 10;

interface SystemTimer {
  timeout?: NodeJS.Timeout;
  immediate?: NodeJS.Immediate;
}

/** The real time. */
export const systemClock: Clock = {
  now: () => performance.now(),
  date: () => Date.now(),
  setTimeout(run, ms) {
    const timer: SystemTimer = {};
    const wait = Math.min(ms, longestMs);
    const end = performance.now() + wait + heldUpMs;
    timer.timeout = setTimeout(() => {
      if (performance.now() < end) {
        run();
      } else {
        // Node runs timers before it reads: what came meanwhile, perhaps what they wait for, is to be seen first.
        timer.immediate = setImmediate(run);
      }
    }, wait).unref();
    return timer;
  },
  clearTimeout(timer) {
    const { timeout, immediate } = (timer ?? {}) as SystemTimer;
    clearTimeout(timeout);
    clearImmediate(immediate);
  },
};
