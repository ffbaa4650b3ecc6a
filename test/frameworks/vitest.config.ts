import { defineConfig } from 'vitest/config';
import { CountsReporter } from '../counts-reporter.js';

// Apart from the other tests: these install packages of others first.
export default defineConfig({
  test: {
    include: ['test/frameworks/*.test.ts'],
    // A guard against hanging, not a measure of speed.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    maxWorkers: 2,
    reporters: ['default', new CountsReporter()],
  },
});
