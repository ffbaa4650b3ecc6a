import type { Clock } from '../options.js';

export interface LinkWatchSettings {
  /** 0: never. */
  readonly idleTimeoutMs: number;
  /** 0: never. */
  readonly maxLifetimeMs: number;
  /** `intervalMs` 0: no checks. */
  readonly health: { readonly intervalMs: number; readonly timeoutMs: number; readonly failures: number };
}

/** What keeps a link open. */
export type LinkActivity = 'working' | 'subscribed' | 'none';

/** What a watch sees and does of its link. */
export interface WatchedLink {
  /**
   * `working`: a request waits for its answer, or a task runs. `subscribed`: it has to run, but could be replaced by
   * another. `none`: nobody needs it.
   */
  activity(): LinkActivity;
  /** Has been idle for long enough. */
  rest(): void;
  /** Has lived for long enough. */
  outlived(): void;
  /** Rejects when the server does not answer. `signal` ends the question when its time is up. */
  probe(signal: AbortSignal): Promise<unknown>;
  /** Did not answer so many times in a row. */
  fail(failures: number): void;
}

/**
 * Watches an open link: lets it rest when nobody has used it for a while, replaces it when it has lived long enough, and
 * asks now and then whether the server is alive, which does not count as use.
 */
export class LinkWatch {
  readonly #settings: LinkWatchSettings;
  readonly #clock: Clock;
  readonly #link: WatchedLink;
  #timers: { idle?: unknown; lifetime?: unknown; health?: unknown } = {};
  #lastUse = 0;
  #failures = 0;
  // Which opening of the link a check belongs to; undefined while it is closed.
  #opening: symbol | undefined;

  constructor(settings: LinkWatchSettings, clock: Clock, link: WatchedLink) {
    this.#settings = settings;
    this.#clock = clock;
    this.#link = link;
  }

  /** @param livedMs - how long the server had run when the link has opened */
  start(livedMs: number): void {
    const { idleTimeoutMs, maxLifetimeMs } = this.#settings;
    this.#opening = Symbol('opening');
    this.#failures = 0;
    this.#lastUse = this.#clock.now();
    if (idleTimeoutMs > 0) {
      this.#set('idle', idleTimeoutMs, () => this.#checkIdle());
    }
    if (maxLifetimeMs > 0) {
      this.#set('lifetime', Math.max(0, maxLifetimeMs - livedMs), () => this.#link.outlived());
    }
    this.#scheduleHealth();
  }

  /** A request has just been answered, or a subscription or task has ended. */
  used(): void {
    this.#lastUse = this.#clock.now();
  }

  /** The link has closed. */
  stop(): void {
    this.#opening = undefined;
    for (const timer of Object.values(this.#timers)) {
      this.#clock.clearTimeout(timer);
    }
    this.#timers = {};
  }

  #checkIdle(): void {
    const { idleTimeoutMs } = this.#settings;
    const left = this.#lastUse + idleTimeoutMs - this.#clock.now();
    if (this.#link.activity() !== 'none') {
      this.#set('idle', idleTimeoutMs, () => this.#checkIdle());
    } else if (left > 0) {
      this.#set('idle', left, () => this.#checkIdle());
    } else {
      this.#link.rest();
    }
  }

  #scheduleHealth(): void {
    const { intervalMs } = this.#settings.health;
    if (intervalMs > 0) {
      this.#set('health', intervalMs, () => void this.#checkHealth());
    }
  }

  async #checkHealth(): Promise<void> {
    const { timeoutMs, failures } = this.#settings.health;
    const opening = this.#opening;
    const overdue = new AbortController();
    const alive = await new Promise<boolean>((resolve) => {
      const timer = this.#clock.setTimeout(() => {
        resolve(false);
        overdue.abort(new Error('the health check took too long'));
      }, timeoutMs);
      const done = (answer: boolean) => {
        this.#clock.clearTimeout(timer);
        resolve(answer);
      };
      this.#link.probe(overdue.signal).then(
        () => done(true),
        () => done(false),
      );
    });
    if (this.#opening !== opening) {
      return;
    }
    this.#failures = alive ? 0 : this.#failures + 1;
    if (this.#failures >= failures) {
      this.#link.fail(this.#failures);
    } else {
      this.#scheduleHealth();
    }
  }

  #set(name: 'idle' | 'lifetime' | 'health', ms: number, run: () => void): void {
    this.#timers[name] = this.#clock.setTimeout(run, ms);
  }
}
