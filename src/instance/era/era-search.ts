import type { Clock } from '../../options.js';
import type { JSONRPCRequest, RequestId } from '../../sdk.js';
import type { Response } from '../exchanges.js';
import type { Questions } from './questions.js';
import { judge, offersModern, type Verdict } from './server-era.js';

export interface EraSearchOptions {
  readonly clock: Clock;
  readonly questions: Questions;
  /** Has all the time that a start may take: what it speaks is known. */
  readonly isPatient: boolean;
  /** How long a server may keep silent until it gets `initialize` as well, in milliseconds. */
  readonly probeTimeoutMs: number;
  /** How long it may keep silent on both, in milliseconds. */
  readonly silenceTimeoutMs: number;
  /** Whether the server may end now, and be no failure. */
  expectEnd(expected: boolean): void;
  /** Nobody waits for the answer to a question any more. */
  forget(id: RequestId): void;
}

/**
 * Above all ids that a caller's requests have here, so that a late answer is nobody else's. Numbers, as some servers read
 * no others; they fit into 32 bits.
 */
export const firstOwnId = 2_000_000_000;
const initializeId = firstOwnId;

/** One search for the era of a server: asks it, and reads what it answers. */
export class EraSearch {
  readonly #options: EraSearchOptions;
  readonly #initialized = Promise.withResolvers<Response | undefined>();
  #timer: unknown;
  #isAskedTwice = false;
  #isLate = false;

  constructor(options: EraSearchOptions) {
    this.#options = options;
  }

  /**
   * @param probe - makes a question for its era
   * @param initialize - what a server gets as well when it keeps silent: it may be slow to start, and then answers both in
   * turn, or be one that waits for nothing else
   * @returns undefined when the connection has ended, which is told on its own
   */
  async run(probe: () => JSONRPCRequest, initialize: JSONRPCRequest | undefined): Promise<Verdict | undefined> {
    const { clock, questions, isPatient, probeTimeoutMs, expectEnd, forget } = this.#options;
    const late = () => (initialize === undefined ? this.#giveUp() : this.#askOtherwise(initialize));
    this.#timer = isPatient ? undefined : clock.setTimeout(late, probeTimeoutMs);
    expectEnd(true);
    try {
      const discovered = this.#discover(probe);
      const first = await Promise.race([discovered, this.#initialized.promise]);
      const verdict = first && (this.#isAskedTwice ? await this.#readBoth(first, discovered) : judge(first));
      return verdict ?? (this.#isLate ? { era: 'ended' } : undefined);
    } finally {
      clock.clearTimeout(this.#timer);
      expectEnd(false);
      questions.giveUp().forEach(forget);
    }
  }

  async #discover(probe: () => JSONRPCRequest): Promise<Response | undefined> {
    const { questions } = this.#options;
    const answer = await questions.ask(probe());
    // One that refuses our revision and names it speaks it all the same: another of its instances may have been asked.
    return answer !== undefined && offersModern(answer) ? questions.ask(probe()) : answer;
  }

  #askOtherwise(initialize: JSONRPCRequest): void {
    const { clock, questions, silenceTimeoutMs } = this.#options;
    const { resolve } = this.#initialized;
    this.#isAskedTwice = true;
    this.#timer = clock.setTimeout(() => this.#giveUp(), silenceTimeoutMs);
    questions.ask({ ...initialize, id: initializeId }).then(resolve, () => resolve(undefined));
  }

  #giveUp(): void {
    const { questions, forget } = this.#options;
    this.#isLate = true;
    questions.giveUp().forEach(forget);
  }

  async #readBoth(first: Response, discovered: Promise<Response | undefined>): Promise<Verdict | undefined> {
    return first.id === initializeId ? this.#readInitialized(first, discovered) : this.#readDiscovered(first);
  }

  /** One that has a session now keeps it, whatever it says of its era. */
  async #readInitialized(
    initialized: Response,
    discovered: Promise<Response | undefined>,
  ): Promise<Verdict | undefined> {
    if ('result' in initialized) {
      return { era: 'legacy', initialized };
    }
    const verdict = judge(initialized);
    if (verdict.era === 'ended') {
      return verdict;
    }
    // It lives and refuses: an end is a failure, and what it has to say of its era does not take long.
    const { clock, probeTimeoutMs, expectEnd } = this.#options;
    expectEnd(false);
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(() => this.#giveUp(), probeTimeoutMs);
    const answer = await discovered;
    const found = answer && judge(answer);
    return choose(found, verdict, initialized);
  }

  async #readDiscovered(answer: Response): Promise<Verdict | undefined> {
    const found = judge(answer);
    if (found.era === 'ended') {
      return found;
    }
    if (found.era !== 'modern') {
      // It lives and has sessions: the time-out of the start bounds the rest, and an end is a failure.
      this.#options.clock.clearTimeout(this.#timer);
      this.#options.expectEnd(false);
    }
    const initialized = await this.#initialized.promise;
    if (initialized === undefined) {
      return found.era === 'modern' ? found : undefined;
    }
    if ('result' in initialized) {
      return { era: 'legacy', initialized };
    }
    const verdict = judge(initialized);
    if (verdict.era === 'ended') {
      return verdict;
    }
    return choose(found, verdict, initialized);
  }
}

/** `initialize` is not sent once more: one that has failed may have begun a session. */
function choose(found: Verdict | undefined, verdict: Verdict, initialized: Response): Verdict {
  return found?.era === 'modern' ? found : verdict.era === 'legacy' ? { era: 'legacy', initialized } : verdict;
}
