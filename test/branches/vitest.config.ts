import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const hooks = fileURLToPath(new URL('../support/resolve-sources.mjs', import.meta.url));

/** Tests by Node itself, which takes types away and leaves everything where it stands: V8 then counts in the sources. */
export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [
      ...['test/bench/**', 'test/frameworks/**', '**/node_modules/**', 'test/**/*.long.test.ts'],
      // What these look at happens in processes of their own, where nobody counts; the loops of others take no new ways.
      ...['test/**/*-floods.test.ts', 'test/**/sigkill.test.ts', 'test/fuzz/**'],
    ],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    experimental: { viteModuleRunner: false },
    setupFiles: ['test/branches/take.ts'],
    execArgv: ['--no-warnings', '--import', hooks],
  },
});
