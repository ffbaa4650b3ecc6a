/** One way to do the work that is compared. */
export interface Variant {
  readonly name: string;
  /** Does the work once and returns what it took, in whatever unit the comparison has. */
  run(): Promise<number>;
}

export interface Rounds {
  /** How many rounds count. */
  readonly rounds: number;
  /** How many rounds before them do not: the compiler is still at work. */
  readonly warmUp: number;
  /**
   * Collects garbage between samples: for work that leaves so much of it behind that one variant would pay for another's.
   * Not for samples of microseconds, in which it is shared fairly and which run at half the speed after a collection.
   */
  readonly collect?: boolean;
}

/** What each variant took, by its name; the same index is the same round. */
export type Samples = ReadonlyMap<string, readonly number[]>;

/**
 * Runs the variants in turns, each once a round, in an order that moves on with every round. Whatever else the machine
 * does then falls on all of them alike, so ratios within a round hold where times alone do not.
 */
export async function interleave(
  variants: readonly Variant[],
  { rounds, warmUp, collect = true }: Rounds,
): Promise<Samples> {
  const samples = new Map(variants.map(({ name }) => [name, [] as number[]]));
  for (let round = -warmUp; round < rounds; round++) {
    collect && collectGarbage();
    for (let turn = 0; turn < variants.length; turn++) {
      const variant = variants[(turn + round + warmUp) % variants.length] as Variant;
      collect && collectYoungGarbage();
      const sample = await variant.run();
      if (round >= 0) {
        samples.get(variant.name)?.push(sample);
      }
    }
  }
  return samples;
}

type Gc = (options?: { type: 'minor' }) => void;

export function collectGarbage(): void {
  (globalThis as { gc?: Gc }).gc?.();
}

// What one variant leaves behind must not be collected on another one's time. A full collection would take longer than
// most samples do.
function collectYoungGarbage(): void {
  (globalThis as { gc?: Gc }).gc?.({ type: 'minor' });
}

/** How long `work` takes, in milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** The value below which the share `q` of `values` lies. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * q;
  const low = sorted[Math.floor(position)] as number;
  const high = sorted[Math.ceil(position)] as number;
  return low + (high - low) * (position - Math.floor(position));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The ratio of two variants in each round. */
export function ratios(samples: Samples, over: string, under: string): number[] {
  const divisors = of(samples, under);
  return of(samples, over).map((value, round) => value / (divisors[round] as number));
}

export function medianOf(samples: Samples, name: string): number {
  return median(of(samples, name));
}

function of(samples: Samples, name: string): readonly number[] {
  const values = samples.get(name);
  if (values === undefined || values.length === 0) {
    throw new Error(`nothing was measured for "${name}"`);
  }
  return values;
}
