import { inspect } from 'node:util';
import { Notes } from '../../support/play-schedules.js';
import { type Life, secret } from './lives.js';

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]/;

/** How a server is said to have ended. */
export interface ToldExit {
  readonly code?: number | undefined;
  readonly signal?: string | undefined;
  readonly reason?: string | undefined;
  readonly stderrTail?: string | undefined;
}

/** Sees what callers get, and says what should not have been. */
export class Judge extends Notes {
  readonly #begin = performance.now();
  /** Signals that the schedule itself has sent to servers. */
  readonly killed = new Map<number, string[]>();
  #last = 0;

  override log(line: string): void {
    super.log(`${(performance.now() - this.#begin).toFixed(1)} ${line}`);
  }

  /** A number that nothing else of this schedule has. */
  next(): number {
    this.#last += 1;
    return this.#last;
  }

  happens(what: string, line: string): void {
    this.count(what);
    this.log(line);
  }

  keepsSecrets(where: string, what: unknown): void {
    const text = typeof what === 'string' ? what : inspect(what, { depth: 10, showHidden: true });
    if (text.includes(secret)) this.problem(`${where} tells a secret`);
  }

  keepsTerminals(where: string, text: string): void {
    if (controls.test(text)) this.problem(`${where} has control characters: ${JSON.stringify(text.slice(0, 200))}`);
  }

  /** What is told of an end is what has happened. */
  checkExit(
    pid: number,
    where: string,
    { code, signal, reason, stderrTail = '' }: ToldExit,
    life: Life | undefined,
  ): void {
    this.keepsTerminals(`the stderr of ${where}`, stderrTail);
    if (reason === 'stdout-closed') {
      if (!life?.deeds.includes('shutout')) this.problem(`${where} is said to have closed its stdout`);
      return;
    }
    const own = life?.exit;
    const killed = signal !== undefined && (this.killed.get(pid) ?? []).includes(signal);
    const isTrue = killed || (own !== undefined && own.code === code && own.signal === signal);
    if (!isTrue) {
      const what = `code ${code}, signal ${signal}, reason ${reason}`;
      this.problem(`${where} is said to have ended with ${what}, and did with ${JSON.stringify(own)}`);
    }
    if (life?.deeds.includes('words') && !stderrTail.includes(`last words of ${pid}`))
      this.problem(`${where}: the end of stderr is missing: ${stderrTail.slice(-100)}`);
  }

  async within(what: string, promise: Promise<unknown>, ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const guard = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), ms);
    });
    const done = await Promise.race([promise.then(() => true), guard]);
    clearTimeout(timer);
    if (!done) this.problem(`${what}: still waited for after ${ms} ms`);
  }
}
