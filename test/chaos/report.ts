import type { Outcome } from './supervisor.ts';
import type { Counts } from './tally.ts';

const columns: readonly (keyof Counts)[] = ['calls', 'answered', 'refused', 'lost', 'doubled', 'misdelivered'];
const wrong: readonly (keyof Counts)[] = ['lost', 'doubled', 'misdelivered'];

/** The tables of a run, and whether everything that has to be zero is zero. */
export function toReport({ tally, faults, left, executed, executedTwice, executedUndelivered }: Outcome): {
  text: string;
  isClean: boolean;
} {
  const { counts, codes, problems, undelivered } = tally.report();
  const rows = Object.entries(counts)
    // Containers have the word of their run in their name.
    .map(([entry, count]) => [entry.replace(/-[0-9a-f]{12}$/, ''), ...columns.map((column) => String(count[column]))])
    .sort(([a = ''], [b = '']) => a.localeCompare(b));
  const lines = [
    ...table(['entry', ...columns], rows),
    '',
    ...table(['what happened', 'times'], toRows(faults)),
    '',
    ...table(['errors', 'times'], toRows(codes)),
    '',
    ...table(
      ['left', 'count'],
      Object.entries(left).map(([kind, names]) => [kind, String(names.length)]),
    ),
    '',
    `executed: ${executed} calls, more than once: ${executedTwice.length}`,
    `told not to be delivered: ${undelivered.length} calls, executed all the same: ${executedUndelivered.length}`,
  ];
  const all = [
    ...Object.entries(left).flatMap(([kind, names]) => names.map((name) => `left: ${kind}: ${name}`)),
    ...executedTwice.map((token) => `executed twice: ${token}`),
    ...executedUndelivered.map((token) => `told not to be delivered, and executed: ${token}`),
    ...problems,
  ];
  const isClean = all.length === 0 && Object.values(counts).every((count) => wrong.every((what) => count[what] === 0));
  lines.push('', ...(isClean ? ['nothing is left, lost, doubled or misdelivered'] : firstOfEach(all)));
  return { text: lines.join('\n'), isClean };
}

/** Of each kind the first few: none of them hides another. */
function firstOfEach(problems: readonly string[]): string[] {
  const kinds = Object.groupBy(problems, (problem) => problem.slice(0, problem.indexOf(':')));
  return Object.values(kinds).flatMap((ones = []) => ones.slice(0, 20));
}

function toRows(counts: Readonly<Record<string, number>>): string[][] {
  return Object.entries(counts)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, times]) => [name.replace(/-[0-9a-f]{12}\b/, ''), String(times)]);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  return [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)];
}
