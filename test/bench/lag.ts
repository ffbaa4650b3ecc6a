import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

const tickMs = 10;
const perMs = 1_000;

/** How late the event loop was with its timers, in milliseconds. */
export interface Lags {
  readonly p99: number;
  readonly max: number;
}

/**
 * Measures how late the event loop is with a timer of 10 ms. Not by `monitorEventLoopDelay`, which counts the time in which
 * it was disabled as one long delay.
 */
export class Lag {
  readonly #whole = createHistogram();
  #part = createHistogram();
  #timer: NodeJS.Timeout | undefined;

  resume(): void {
    this.pause();
    let last = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      // The histogram takes whole numbers from one on.
      const late = Math.max(1, Math.round((now - last - tickMs) * perMs));
      last = now;
      this.#whole.record(late);
      this.#part.record(late);
    }, tickMs);
    this.#timer.unref();
  }

  pause(): void {
    clearInterval(this.#timer);
  }

  /** Since the last time it was asked. */
  takePart(): Lags {
    const part = this.#part;
    this.#part = createHistogram();
    return toLags(part);
  }

  whole(): Lags {
    return toLags(this.#whole);
  }
}

function toLags(histogram: RecordableHistogram): Lags {
  return { p99: histogram.percentile(99) / perMs, max: histogram.max / perMs };
}
