import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** What the run of a mutant is told: where it stands, in which file. */
const { MUTANT } = process.env;
const mutant =
  MUTANT === undefined
    ? undefined
    : (JSON.parse(MUTANT) as Record<'file' | 'text', string> & Record<'start' | 'end', number>);

export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  plugins: [
    {
      name: 'mutant',
      enforce: 'pre',
      transform(code, id) {
        if (mutant === undefined || id !== mutant.file) return undefined;
        return { code: code.slice(0, mutant.start) + mutant.text + code.slice(mutant.end), map: null };
      },
    },
  ],
  test: {
    include: ['test/**/*.test.ts'],
    // What hangs is noticed as well.
    testTimeout: 60_000,
    bail: 1,
    // It does not know mutants apart.
    fsModuleCache: false,
    maxWorkers: 1,
    isolate: false,
    fileParallelism: false,
    reporters: [['default', { summary: false }]],
  },
});
