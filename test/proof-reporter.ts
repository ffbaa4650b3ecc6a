import { readFileSync, writeSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Reporter, TestModule } from 'vitest/node';

/** A row of a page that says which test shows what it claims. */
export interface Proof {
  readonly file: string;
  readonly name: string;
}

const root = fileURLToPath(new URL('..', import.meta.url));
const pages = ['docs/reliability.md', 'docs/security.md', 'docs/protocol.md', 'README.md'];

/** The rows of a page whose last cell is the file of a test, and its name; or links to such files under such names. */
export function readProofs(text: string): Proof[] {
  const cells = [...text.matchAll(/\| `(test\/[^`]+)` (.+) \|$/gm)].map(([, file = '', name = '']) => ({
    file,
    name: name.replaceAll('&#124;', '|'),
  }));
  const rows = text.split('\n').filter((line) => line.startsWith('|'));
  const links = [
    ...text.matchAll(/\[([^\]]+)\]\((test\/[^)]+\.ts)\)/g),
    // Beside other tests that a page speaks of.
    ...rows.join('\n').matchAll(/\[([^\]]+)\]\(\.\.\/(test\/[^)]+\.ts)\)/g),
  ];
  return [...cells, ...links.map(([, name = '', file = '']) => ({ file, name }))];
}

/**
 * Fails a run in which a test that one of {@link pages} gives as a proof was not there, or did not pass. Of files that the run was
 * not asked for it says nothing; a test that was left out counts where everything must run, as `CI` says.
 */
export class ProofReporter implements Reporter {
  readonly #tell: (text: string) => void;

  constructor(tell: (text: string) => void = (text) => writeSync(2, text)) {
    this.#tell = tell;
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    const results = new Map(modules.map((module) => [relative(root, module.moduleId), resultsOf(module)]));
    const proofs = pages.flatMap((page) =>
      readProofs(readFileSync(new URL(`../${page}`, import.meta.url), 'utf8')).map((proof) => ({ page, ...proof })),
    );
    const broken = proofs.flatMap(({ page, file, name }) => {
      const ran = results.get(file);
      if (ran === undefined) {
        return [];
      }
      // A suite that is left out may say so with one test in the place of all.
      const leftOut = process.env.CI !== 'true' && [...ran.values()].flat().includes('skipped');
      const states = ran.get(name) ?? [leftOut ? 'skipped' : 'missing'];
      const good = states.every((state) => state === 'passed' || (state === 'skipped' && leftOut));
      return good ? [] : [`${page} names a test that is ${states.join(', ')}: ${file} ${name}`];
    });
    if (broken.length > 0) {
      process.exitCode = 1;
      this.#tell(`${broken.join('\n')}\n`);
    }
  }
}

function resultsOf(module: TestModule): Map<string, string[]> {
  const states = new Map<string, string[]>();
  for (const test of module.children.allTests()) {
    // How many rounds a test makes differs between the short form and the long one; pages may leave the number out.
    for (const name of new Set([test.name, test.name.replace(/^[\d,]+ /, '')])) {
      states.set(name, [...(states.get(name) ?? []), test.result().state]);
    }
  }
  return states;
}
