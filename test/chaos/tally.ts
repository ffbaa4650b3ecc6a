/** What became of the calls of one entry. */
export interface Counts {
  calls: number;
  answered: number;
  /** Answered with an error of the library. */
  refused: number;
  /** Without an answer, though the host lived. */
  lost: number;
  /** Answers beyond the first. */
  doubled: number;
  /** Answers and progress of something else. */
  misdelivered: number;
}

/** The counts of all entries, and a word on each call that went wrong. */
export interface Report {
  readonly counts: Readonly<Record<string, Counts>>;
  /** The errors of the library, by entry and code. */
  readonly codes: Readonly<Record<string, number>>;
  readonly problems: readonly string[];
  /** The words of calls of which the library said that no server had seen them. */
  readonly undelivered: readonly string[];
}

/** Gathers reports; one that was taken begins anew. */
export class Tally {
  #counts: Record<string, Counts> = {};
  #codes: Record<string, number> = {};
  #problems: string[] = [];
  #undelivered: string[] = [];

  of(entry: string): Counts {
    this.#counts[entry] ??= { calls: 0, answered: 0, refused: 0, lost: 0, doubled: 0, misdelivered: 0 };
    return this.#counts[entry];
  }

  count(entry: string, what: keyof Counts, problem?: string): void {
    this.of(entry)[what] += 1;
    if (problem !== undefined) this.#problems.push(`${what}: ${entry}: ${problem}`);
  }

  refuse(entry: string, code: string): void {
    this.count(entry, 'refused');
    const key = `${entry} ${code}`;
    this.#codes[key] = (this.#codes[key] ?? 0) + 1;
  }

  notDelivered(token: string): void {
    this.#undelivered.push(token);
  }

  problem(text: string): void {
    this.#problems.push(text);
  }

  add({ counts, codes, problems, undelivered }: Report): void {
    for (const [entry, more] of Object.entries(counts)) {
      const sum = this.of(entry);
      for (const key of Object.keys(sum) as (keyof Counts)[]) sum[key] += more[key];
    }
    for (const [key, more] of Object.entries(codes)) this.#codes[key] = (this.#codes[key] ?? 0) + more;
    this.#problems.push(...problems);
    this.#undelivered.push(...undelivered);
  }

  report(): Report {
    return {
      counts: this.#counts,
      codes: this.#codes,
      problems: this.#problems,
      undelivered: this.#undelivered,
    };
  }

  take(): Report {
    const report = this.report();
    this.#counts = {};
    this.#codes = {};
    this.#problems = [];
    this.#undelivered = [];
    return report;
  }
}
