import { syncBuiltinESMExports } from 'node:module';
import timersPromises from 'node:timers/promises';
import { type Clock, systemClock } from '../../src/options.js';

/** How many times as fast as it is. */
const speed = 20;
/** What gives up an answer has to leave a busy machine the time for it. */
const leastTimeoutMs = 1_000;
const real = { setTimeout: globalThis.setTimeout };
const beatMs = 5;
/** What passes between two turns of this process, at most. */
const longestTurnMs = 2 * beatMs;
/** Timers look as often whether time has come so far. */
const longestWaitMs = 20;

/** What had passed at the last beat, and when that was. */
let passedMs = 0;
let beatenAt = performance.now();

/**
 * In milliseconds, without those in which a busy machine gave this process no turn: whoever else lives in it could do nothing
 * in these either.
 */
export function fairNow(): number {
  return passedMs + Math.min(performance.now() - beatenAt, longestTurnMs);
}

function beat(): void {
  passedMs = fairNow();
  beatenAt = performance.now();
}

/** A timer of the platform, in this time. */
function fairTimeout(run: () => void, ms: number): NodeJS.Timeout {
  let end = fairNow() + ms;
  const look = () => {
    // The platform rounds to whole milliseconds.
    if (fairNow() + 1 < end) wait();
    else run();
  };
  const timer = real.setTimeout(look, Math.min(ms, longestWaitMs));
  const wait = timer.refresh.bind(timer);
  timer.refresh = () => {
    end = fairNow() + ms;
    return wait();
  };
  return timer;
}

function timeoutSignal(ms: number): AbortSignal {
  const abort = new AbortController();
  const late = () => abort.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError'));
  fairTimeout(late, Math.max(Math.ceil(ms / speed), leastTimeoutMs)).unref();
  return abort.signal;
}

async function sleep(ms: number, value: unknown, { signal, ref = true }: { signal?: AbortSignal; ref?: boolean } = {}) {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const stop = () => reject(new DOMException('The operation was aborted', 'AbortError'));
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop, { once: true });
  const timer = fairTimeout(() => resolve(value), ms / speed);
  if (!ref) timer.unref();
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * Time of code that has to wait for a real network, and would wait for seconds: a clock, and the timers and time-outs that
 * the code takes from the platform, all faster than they are. For the whole process, for good.
 */
export function quickenTime(): Clock {
  beat();
  setInterval(beat, beatMs).unref();
  globalThis.setTimeout = ((run: (...all: unknown[]) => void, ms = 0, ...all: unknown[]) =>
    fairTimeout(() => run(...all), ms / speed)) as typeof setTimeout;
  AbortSignal.timeout = timeoutSignal;
  timersPromises.setTimeout = sleep as typeof timersPromises.setTimeout;
  syncBuiltinESMExports();
  const started = Date.now() - fairNow();
  const clock: Clock = {
    now: () => fairNow() * speed,
    date: () => (started + fairNow()) * speed,
    setTimeout: (run, ms) => fairTimeout(run, ms / speed).unref(),
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
