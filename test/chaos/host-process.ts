import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { HostSettings, News, Order } from './host.ts';
import { countStreams } from './processes.ts';
import type { Tally } from './tally.ts';

const file = fileURLToPath(new URL('host.ts', import.meta.url));
/** How much longer than for its last answer a host may take. */
const orderMs = 30_000;
// A node may take a minute to end a pod, for which the library waits.
const exitMs = 90_000;

/** A host as its supervisor sees it. */
export class HostProcess {
  readonly name: string;
  /** How many calls of each entry were answered. */
  readonly answered: Record<string, number> = {};
  readonly #child: ChildProcess;
  readonly #tally: Tally;
  readonly #orderMs: number;
  readonly #exit: Promise<unknown[]>;
  readonly #waiting = new Map<string, () => void>();
  #errors = '';
  #streamsBefore = 0;
  #ended = false;

  constructor(settings: HostSettings, env: NodeJS.ProcessEnv, tally: Tally) {
    this.name = settings.name;
    this.#tally = tally;
    this.#orderMs = settings.longestMs + orderMs;
    this.#child = fork(file, [], {
      env: { ...process.env, ...env, CHAOS_HOST: JSON.stringify(settings) },
      execArgv: ['--no-warnings'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.#child.stderr?.on('data', (chunk) => {
      this.#errors += chunk;
    });
    this.#exit = once(this.#child, 'exit');
    void this.#exit.then(() => {
      this.#ended = true;
      for (const wake of this.#waiting.values()) wake();
    });
    this.#child.on('message', (news: News) => this.#receive(news));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get lives(): boolean {
    return !this.#ended;
  }

  /** Resolves when it makes its calls. */
  async begin(): Promise<void> {
    await this.#until('loaded');
    if (this.#ended) {
      this.#tally.problem(`${this.name} did not begin: ${this.#errors}`);
      return;
    }
    this.#streamsBefore = countStreams(this.pid);
    this.tell('begin');
  }

  tell(order: Order): void {
    if (!this.#ended) this.#child.send(order, () => {});
  }

  /** In the middle of its calls, or when each has its answer. */
  async kill(when: 'at once' | 'when quiet'): Promise<void> {
    if (when === 'when quiet') await this.#obey('quiet');
    this.#noteEnd();
    this.#child.kill('SIGKILL');
    await this.#exit;
  }

  /** Closes its gateway, after which nothing may be left in it, and nothing may keep it alive. */
  async close(): Promise<void> {
    await this.#obey('close');
    if (this.#ended) {
      this.#noteEnd();
      return;
    }
    await this.#noteStreams();
    this.tell('leave');
    const ended = await within(this.#exit, exitMs);
    if (ended === undefined) {
      this.#tally.problem(`${this.name} did not end after its gateway had closed: ${this.#errors}`);
      await this.kill('at once');
    } else if (ended[0] !== 0) {
      this.#tally.problem(`${this.name} ended with ${ended.join(' ')}: ${this.#errors}`);
    }
  }

  /** Sockets and pipes that the closed gateway left open; some take a moment. */
  async #noteStreams(): Promise<void> {
    const end = Date.now() + 30_000;
    for (;;) {
      const more = countStreams(this.pid) - this.#streamsBefore;
      if (more <= 0) return;
      if (Date.now() > end) {
        this.#tally.problem(`${this.name} holds ${more} sockets and pipes after its gateway had closed`);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #obey(order: 'quiet' | 'close'): Promise<void> {
    const done = this.#until(order === 'quiet' ? 'quiet' : 'closed');
    this.tell(order);
    if (
      (await within(
        done.then(() => true),
        this.#orderMs,
      )) === undefined
    ) {
      this.#tally.problem(`${this.name} did not get ${order} within ${this.#orderMs} ms`);
    }
  }

  /** A host that is to be killed must not have ended by itself. */
  #noteEnd(): void {
    if (this.#ended) this.#tally.problem(`${this.name} ended by itself: ${this.#errors.slice(0, 2_000)}`);
  }

  #until(at: string): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(at, resolve));
  }

  #receive(news: News): void {
    if ('at' in news) {
      this.#waiting.get(news.at)?.();
      return;
    }
    this.#tally.add(news.report);
    for (const [entry, { answered }] of Object.entries(news.report.counts)) {
      this.answered[entry] = (this.answered[entry] ?? 0) + answered;
    }
  }
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
