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

/** The real time. */
export const systemClock: Clock = {
  now: () => performance.now(),
  date: () => Date.now(),
  setTimeout: (run, ms) => setTimeout(run, Math.min(ms, longestMs)).unref(),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
};
