import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { toChart } from './chart.ts';
import { type Row, toTable } from './report.ts';

const page = new URL('../../docs/benchmarks.md', import.meta.url);
const charts = new URL('../../docs/benchmarks/', import.meta.url);

/** Node and the machine, as a sentence of the page. */
export function machine(): string {
  return `Node ${process.versions.node}, ${process.platform} ${process.arch}, ${cpus().length} cores`;
}

/**
 * Replaces the figures of a group in docs/benchmarks.md: what stands between `<!-- bench: name -->` and `<!-- /bench -->`.
 *
 * @throws when the page has no place for the group
 */
export async function writeFigures(group: string, rows: readonly Row[]): Promise<void> {
  const [before, after] = split(await readFile(page, 'utf8'), group);
  await mkdir(charts, { recursive: true });
  const parts = [toTable(rows), `${machine()}, ${new Date().toISOString().slice(0, 10)}.`];
  if (rows.some(({ share }) => share !== undefined)) {
    await writeFile(new URL(`${group}.svg`, charts), toChart(group, rows));
    parts.unshift(`![Shares of the compared time, the lower the better](benchmarks/${group}.svg)`);
  }
  await writeFile(page, `${before}\n\n${parts.join('\n\n')}\n\n${after}`);
}

/** The page up to the figures of a group, and from their end on. */
export function split(text: string, group: string): [before: string, after: string] {
  const begin = `<!-- bench: ${group} -->`;
  const start = text.indexOf(begin);
  const end = text.indexOf('<!-- /bench -->', start);
  if (start === -1 || end === -1) {
    throw new Error(`docs/benchmarks.md has no place for ${group}: ${begin} … <!-- /bench -->`);
  }
  return [text.slice(0, start + begin.length), text.slice(end)];
}
