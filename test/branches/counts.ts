import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

interface Report {
  readonly result: readonly {
    readonly url: string;
    readonly functions: readonly { readonly ranges: readonly Range[] }[];
  }[];
  readonly 'source-map-cache'?: Readonly<Record<string, unknown>>;
}

/** How often each place of each source was reached, over all processes. */
export class Counts {
  /** By URL, the ranges of one process each, smaller ones after those around them. */
  readonly #scripts = new Map<string, Range[][]>();

  /** @param folder - what NODE_V8_COVERAGE named */
  static read(folder: string, isWanted: (url: string) => boolean): Counts {
    const counts = new Counts();
    for (const name of readdirSync(folder)) {
      const report = readReport(join(folder, name));
      for (const { url, functions } of report.result) {
        // What was compiled for its process stands at other places there.
        if (!isWanted(url) || report['source-map-cache']?.[url] !== undefined) continue;
        const ranges = functions.flatMap((one) => one.ranges);
        ranges.sort((a, b) => a.startOffset - b.startOffset || b.endOffset - a.endOffset);
        counts.#scripts.set(url, [...(counts.#scripts.get(url) ?? []), ranges]);
      }
    }
    return counts;
  }

  /** The counts at these places of a source: each that of the smallest range around it. */
  at(url: string, offsets: readonly number[]): number[] {
    const sums = offsets.map(() => 0);
    for (const ranges of this.#scripts.get(url) ?? []) {
      for (const [index, offset] of offsets.entries()) {
        let found = 0;
        for (const { startOffset, endOffset, count } of ranges) {
          if (startOffset > offset) break;
          if (endOffset > offset) found = count;
        }
        sums[index] = (sums[index] ?? 0) + found;
      }
    }
    return sums;
  }
}

/** Tests kill processes, some of them while they write. */
function readReport(file: string): Report {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Report;
  } catch {
    return { result: [] };
  }
}
