import { EventEmitter, getEventListeners } from 'node:events';
import { readdirSync } from 'node:fs';
import type { Clock } from '../../src/index.js';
import { collectGarbage } from '../bench/measure.ts';

/** What the process holds at one moment, after its garbage was collected. */
export interface Sample {
  readonly heapBytes: number;
  readonly rssBytes: number;
  /** 0 where the system does not tell. */
  readonly descriptors: number;
  readonly listeners: number;
  readonly timers: number;
}

/** Counts what a library may leave behind. Has to be made before anything that is to be counted. */
export class Census {
  /** Real time that knows how many of its timers wait, also those that keep no process alive. */
  readonly clock: Clock;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #targets = new Targets();

  constructor() {
    this.clock = {
      now: () => performance.now(),
      date: () => Date.now(),
      setTimeout: (run, ms) => {
        const timer = setTimeout(
          () => {
            this.#timers.delete(timer);
            run();
          },
          Math.min(ms, 2 ** 31 - 1),
        ).unref();
        this.#timers.add(timer);
        return timer;
      },
      clearTimeout: (timer) => {
        clearTimeout(timer as NodeJS.Timeout);
        this.#timers.delete(timer as NodeJS.Timeout);
      },
    };
  }

  async sample(): Promise<Sample> {
    // What is dead after one turn may have held what is dead after the next.
    for (let turn = 0; turn < 4; turn += 1) {
      collectGarbage();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { heapUsed, external, rss } = process.memoryUsage();
    return {
      heapBytes: heapUsed + external,
      rssBytes: rss,
      descriptors: countDescriptors(),
      listeners: this.#targets.listeners(),
      timers: this.#timers.size + process.getActiveResourcesInfo().filter((type) => type === 'Timeout').length,
    };
  }
}

/** Every emitter and abort signal that ever got a listener and still lives. */
class Targets {
  readonly #known = new WeakSet<object>();
  readonly #living = new Set<WeakRef<object>>();

  constructor() {
    const note = (target: object) => this.#note(target);
    for (const name of ['on', 'addListener', 'once', 'prependListener'] as const) {
      const original = EventEmitter.prototype[name];
      EventEmitter.prototype[name] = function (...args) {
        note(this);
        return original.apply(this, args) as typeof this;
      };
    }
    const { addEventListener } = EventTarget.prototype;
    EventTarget.prototype.addEventListener = function (...args) {
      note(this);
      addEventListener.apply(this, args);
    };
  }

  listeners(): number {
    let count = 0;
    for (const reference of this.#living) {
      const target = reference.deref();
      if (target === undefined) {
        this.#living.delete(reference);
      } else if (target instanceof EventEmitter) {
        count += target.eventNames().reduce((sum, name) => sum + target.listenerCount(name), 0);
      } else {
        count += getEventListeners(target as EventTarget, 'abort').length;
      }
    }
    return count;
  }

  #note(target: object): void {
    if (!this.#known.has(target)) {
      this.#known.add(target);
      this.#living.add(new WeakRef(target));
    }
  }
}

function countDescriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return 0;
  }
}
