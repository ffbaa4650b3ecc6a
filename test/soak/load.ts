import type { Clock, Gateway } from '../../src/index.js';
import type { Library } from '../bench/library.ts';
import { SoakCaller } from './caller.ts';
import { crashing, own, shared } from './servers.ts';

const callsPerSecond = 50;
// One call in so many goes to a server that crashes.
const sickEvery = 10;
// Callers that come and go.
const guests = 3;
const guestMs = 1_000;
// A guard against hanging: no answer may take as long, whatever the machine does.
const longestAnswerMs = 60_000;

export interface LoadCounts {
  readonly calls: number;
  readonly sickCalls: number;
  readonly restarts: number;
  /** How long the calls of shared servers took, in milliseconds. */
  readonly latencies: readonly number[];
}

/** Fifty calls a second through the merged peer, by one caller that stays and others that come and go. */
export class Load {
  /** What must not have happened. */
  readonly problems: string[] = [];
  readonly #gateway: Gateway;
  readonly #open = new Set<Promise<void>>();
  #guests: SoakCaller[] = [];
  #steady: SoakCaller | undefined;
  #timer: NodeJS.Timeout | undefined;
  #resumedAt = 0;
  #madeSinceResumed = 0;
  #number = 0;
  #guestSince = 0;
  #sickCalls = 0;
  #latencies: number[] = [];

  constructor(library: Library, clock: Clock) {
    this.#gateway = library.createGateway({ servers: [...shared, ...own, ...crashing] }, { clock });
  }

  /** Connects, and starts every server that can be started. */
  async start(): Promise<void> {
    this.#steady = await this.#connect({ caller: { id: 'steady' } });
    for (let guest = 0; guest < guests; guest += 1) {
      this.#guests.push(await this.#connectGuest());
    }
    await Promise.all([...shared, ...own].map(({ id }) => this.#callHealthy(this.#steady as SoakCaller, id)));
    this.resume();
  }

  resume(): void {
    this.#resumedAt = performance.now();
    this.#madeSinceResumed = 0;
    this.#timer = setInterval(() => this.#makeCalls(), 1_000 / callsPerSecond);
  }

  /** Makes no more calls; resolves when all have their answer. */
  async pause(): Promise<void> {
    clearInterval(this.#timer);
    await this.#answered();
  }

  /** What happened since the last time it was asked. */
  takeCounts(): LoadCounts {
    const counts = {
      calls: this.#latencies.length,
      sickCalls: this.#sickCalls,
      restarts: this.#gateway.status().reduce((sum, { restarts }) => sum + restarts, 0),
      latencies: this.#latencies,
    };
    this.#latencies = [];
    this.#sickCalls = 0;
    return counts;
  }

  /** Ends everything. */
  async close(): Promise<void> {
    await this.pause();
    await this.#gateway.close({ graceMs: 0 });
  }

  async #answered(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.problems.push(`${this.#open.size} calls have no answer after ${longestAnswerMs} ms`);
        resolve();
      }, longestAnswerMs);
    });
    await Promise.race([Promise.all(this.#open), late]);
    clearTimeout(timer);
  }

  #makeCalls(): void {
    // A busy machine skips ticks: what was missed is made up for.
    const due = ((performance.now() - this.#resumedAt) * callsPerSecond) / 1_000;
    for (; this.#madeSinceResumed < due; this.#madeSinceResumed += 1) {
      this.#number += 1;
      this.#keep(this.#makeCall(this.#number));
    }
    if (performance.now() - this.#guestSince > guestMs) {
      this.#guestSince = performance.now();
      this.#keep(this.#replaceGuest());
    }
  }

  #makeCall(number: number): Promise<void> {
    const guest = this.#guests[number % this.#guests.length] as SoakCaller;
    const steady = this.#steady as SoakCaller;
    if (number % sickEvery === 0) {
      const { id, isolation } = crashing[(number / sickEvery) % crashing.length] as (typeof crashing)[number];
      return this.#callSick(isolation === 'shared' ? guest : steady, id);
    }
    if (number % 3 === 0) {
      // The one that rests is left alone for long enough.
      const { id } = own[number % 201 === 0 ? 0 : 1 + ((number / 3) % (own.length - 1))] as (typeof own)[number];
      return this.#callHealthy(steady, id);
    }
    const { id } = shared[number % shared.length] as (typeof shared)[number];
    return this.#callHealthy(guest, id);
  }

  async #callHealthy(caller: SoakCaller, server: string): Promise<void> {
    const text = `${server} ${this.#number} ${'x'.repeat(1_000)}`;
    const start = performance.now();
    const answer = await caller.call(`${server}__echo`, text);
    if (answer !== 'abandoned' && (!('text' in answer) || answer.text !== text)) {
      this.problems.push(`${server} answered ${JSON.stringify(answer).slice(0, 200)}`);
    }
    this.#latencies.push(performance.now() - start);
  }

  async #callSick(caller: SoakCaller, server: string): Promise<void> {
    this.#sickCalls += 1;
    const answer = await caller.call(`${server}__any`, 'hello');
    if (answer !== 'abandoned' && 'text' in answer) {
      this.problems.push(`${server} answered, though it cannot`);
    }
  }

  async #replaceGuest(): Promise<void> {
    const next = await this.#connectGuest();
    const [oldest, ...others] = this.#guests;
    this.#guests = [...others, next];
    await oldest?.close();
  }

  #connectGuest(): Promise<SoakCaller> {
    return this.#connect({ servers: [...shared, ...crashing].map(({ id }) => id) });
  }

  #connect(options: NonNullable<Parameters<Gateway['serve']>[1]>): Promise<SoakCaller> {
    return SoakCaller.connect(this.#gateway.connect(options), (message) => this.problems.push(message));
  }

  #keep(work: Promise<void>): void {
    const kept = work
      .catch((error: unknown) => void this.problems.push(String(error)))
      .finally(() => this.#open.delete(kept));
    this.#open.add(kept);
  }
}
