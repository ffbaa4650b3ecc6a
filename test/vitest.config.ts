import { defineConfig } from 'vitest/config';
import { CountsReporter } from './counts-reporter.js';
import { ProofReporter } from './proof-reporter.js';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [
      ...['test/bench/**', 'test/frameworks/**', '**/node_modules/**'],
      ...(process.env.TEST_LONG === '1' ? [] : ['test/**/*.long.test.ts']),
    ],
    // A guard against hanging, not a measure of speed: on two busy cores a cluster may take more than a minute for what it does
    // in a quarter of one otherwise.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    setupFiles: ['test/support/repeat-seed.ts'],
    // For two cores: tests that wait for an engine or a cluster leave room for a third.
    maxWorkers: 3,
    reporters: ['default', new ProofReporter(), new CountsReporter()],
  },
});
