import type { Clock } from '../../options.js';
import type { ModernPeer } from '../modern/modern-peer.js';

/** How long a caller is remembered that asks for nothing, in milliseconds: its servers run on for so long. */
const idleMs = 5 * 60_000;
const mostCallers = 10_000;

interface Entry {
  readonly peer: ModernPeer;
  timer: unknown;
}

/** The peers of callers whose requests come one by one, without a connection that would hold them together. */
export class Callers {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  #closed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The peer of a caller; undefined when there are too many callers, or there are to be none any more. */
  get(key: string, create: () => ModernPeer): ModernPeer | undefined {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      if (this.#closed || this.#entries.size >= mostCallers) {
        return undefined;
      }
      entry = { peer: create(), timer: undefined };
      this.#entries.set(key, entry);
    }
    this.#watch(key, entry);
    return entry.peer;
  }

  all(): ModernPeer[] {
    return [...this.#entries.values()].map(({ peer }) => peer);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const { timer } of entries) {
      this.#clock.clearTimeout(timer);
    }
    await Promise.all(entries.map(({ peer }) => peer.close()));
  }

  #watch(key: string, entry: Entry): void {
    this.#clock.clearTimeout(entry.timer);
    entry.timer = this.#clock.setTimeout(() => {
      if (!entry.peer.isIdle) {
        this.#watch(key, entry);
        return;
      }
      this.#entries.delete(key);
      entry.peer.close().catch(() => {});
    }, idleMs);
  }
}
