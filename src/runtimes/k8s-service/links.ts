import type { Clock } from '../../options.js';
import type { Link } from './link.js';

/** How long a link without sessions is kept: the next session finds it ready. */
const lingerMs = 30_000;

interface Held {
  readonly opening: Promise<Link>;
  readonly abort: AbortController;
  holders: number;
  timer: unknown;
}

/** The links of one runtime: each made once, and closed when nobody has held it for a while. */
export class Links {
  readonly #links = new Map<string, Held>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes hold of the link of that name; {@link release} comes when `opening` has rejected, too. */
  hold(key: string, open: (signal: AbortSignal) => Promise<Link>): { opening: Promise<Link>; release: () => void } {
    const held = this.#links.get(key) ?? this.#open(key, open);
    this.#clock.clearTimeout(held.timer);
    held.holders += 1;
    let released = false;
    return {
      opening: held.opening,
      release: () => {
        if (released) return;
        released = true;
        held.holders -= 1;
        // One that is closed already needs no more.
        if (held.holders === 0 && !held.abort.signal.aborted)
          held.timer = this.#clock.setTimeout(() => void this.#drop(key, held), lingerMs);
      },
    };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#links].map(([key, held]) => this.#drop(key, held)));
  }

  #open(key: string, open: (signal: AbortSignal) => Promise<Link>): Held {
    const abort = new AbortController();
    const held: Held = { opening: open(abort.signal), abort, holders: 0, timer: undefined };
    this.#links.set(key, held);
    // The next one may have more luck.
    held.opening.catch(() => {
      if (this.#links.get(key) === held) this.#links.delete(key);
    });
    return held;
  }

  async #drop(key: string, held: Held): Promise<void> {
    if (this.#links.get(key) === held) this.#links.delete(key);
    this.#clock.clearTimeout(held.timer);
    held.abort.abort(new Error('the runtime is closed'));
    const link = await held.opening.catch(() => undefined);
    await link?.close();
  }
}
