import { type FakeClock, settle } from '../../support/fake-clock.js';
import type { Play } from './play.js';

/** Far longer than anything takes. */
const guardMs = 60_000;

/** How a schedule waits: for what is on the network, for time that stands still otherwise, for what is to come. */
export class Pace {
  readonly #clock: FakeClock;
  readonly #play: Play;

  constructor(clock: FakeClock, play: Play) {
    this.#clock = clock;
    this.#play = play;
  }

  /** Lets everything happen that waits for nothing but the network and its turn. */
  async quiet(): Promise<void> {
    const { access, judge } = this.#play;
    const seen = () => this.#play.activity + judge.lines.length;
    for (let quiet = 0, before = seen(); quiet < 3 || access.persons.isAsking; before = seen()) {
      await settle();
      quiet = seen() === before ? quiet + 1 : 0;
    }
  }

  async passTime(ms: number): Promise<void> {
    if (ms > 0) this.#play.judge.log(`${ms} ms pass`);
    await this.quiet();
    let isOver = false;
    this.#clock.setTimeout(() => {
      isOver = true;
    }, ms);
    // What a timer has put on its way comes before the next: the network takes real time.
    while (!isOver) {
      await this.#clock.advanceToNext();
      await this.quiet();
    }
  }

  /** Goes on until it is so; the guard is for what never ends. */
  async until(isSo: () => boolean, ms: number): Promise<void> {
    const end = performance.now() + guardMs;
    while (!isSo() && performance.now() < end) {
      if (this.#play.isKind || ms > 0) this.#play.release();
      await this.passTime(ms);
    }
  }
}
