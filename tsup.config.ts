import { rmSync } from 'node:fs';
import { defineConfig } from 'tsup';

// Here and not by `clean`: two builds that run side by side would clean away each other's files.
rmSync('dist', { recursive: true, force: true });

export default defineConfig([
  {
    entry: { index: 'src/index.ts', testing: 'src/testing/index.ts' },
    format: ['esm', 'cjs'],
    dts: true,
    // Without splitting each CJS entry would hold its own copy of every class.
    splitting: true,
    target: 'node22.19',
    treeshake: true,
    // The CommonJS build has no `import.meta`; what uses it looks at `__dirname` there.
    esbuildOptions: (options) => {
      options.logOverride = { 'empty-import-meta': 'silent' };
    },
  },
  {
    // A program of its own that can be copied anywhere, so it shares no chunk with the entries.
    entry: { 'reference-server': 'src/testing/reference-server.ts' },
    format: ['esm'],
    splitting: false,
    target: 'node22.19',
  },
]);
