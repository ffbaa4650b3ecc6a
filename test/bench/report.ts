import { median, medianOf, quantile, ratios, type Samples } from './measure.ts';

/** A line of the table: a figure of ours, what it is compared with, and what it should be. */
export interface Row {
  readonly what: string;
  readonly ours: string;
  readonly other: string;
  readonly result: string;
  readonly goal: string;
  readonly met: boolean | undefined;
  /** Ours in units of the other's, where they are compared. */
  readonly share?: number;
}

/** `atMost`: our share of the other's time. `faster`: the other's time in units of ours. */
export type Goal = { readonly atMost: number } | { readonly faster: number } | undefined;

export interface Comparison {
  readonly what: string;
  readonly ours: string;
  readonly other: string;
  readonly goal: Goal;
  /** How a single sample is written. @default milliseconds */
  readonly unit?: (sample: number) => string;
}

/** Compares two variants of one interleaved run: medians of both, and the median of the rounds' ratios with its quartiles. */
export function compare(samples: Samples, comparison: Comparison): Row {
  const { what, ours, other, goal, unit = milliseconds } = comparison;
  const faster = goal !== undefined && 'faster' in goal;
  const values = faster ? ratios(samples, other, ours) : ratios(samples, ours, other);
  const ratio = median(values);
  const spread = values.length < 4 ? '' : ` (${digits(quantile(values, 0.25))}–${digits(quantile(values, 0.75))})`;
  return {
    what,
    ours: `${unit(medianOf(samples, ours))} ${ours}`,
    other: `${unit(medianOf(samples, other))} ${other}`,
    result: faster ? `${digits(ratio)}x faster${spread}` : `${digits(ratio)}${spread}`,
    goal: goal === undefined ? '' : 'faster' in goal ? `≥ ${goal.faster}x` : `≤ ${goal.atMost}`,
    met: goal === undefined ? undefined : 'faster' in goal ? ratio >= goal.faster : ratio <= goal.atMost,
    share: faster ? 1 / ratio : ratio,
  };
}

/** The median of figures that stand for themselves. */
export function figure(
  what: string,
  samples: readonly number[],
  unit: (sample: number) => string,
  below: number | undefined,
): Row {
  const value = median(samples);
  const goal = below === undefined ? '' : `< ${unit(below)}`;
  return { what, ours: unit(value), other: '', result: '', goal, met: below === undefined ? undefined : value < below };
}

/** The rows as a Markdown table. */
export function toTable(rows: readonly Row[]): string {
  const lines = rows.map(({ what, ours, other, result, goal, met }) => [
    what,
    ours,
    other,
    result,
    goal,
    met === undefined ? '' : met ? 'yes' : '**no**',
  ]);
  const head = ['What', 'Ours', 'Compared with', 'Ratio (quartiles)', 'Goal', 'Met'];
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

export function milliseconds(ms: number): string {
  return ms < 1 ? `${digits(ms * 1000)} µs` : ms < 10_000 ? `${digits(ms)} ms` : `${digits(ms / 1000)} s`;
}

export function kibibytes(bytes: number): string {
  return `${digits(bytes / 1024)} KiB`;
}

function digits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
