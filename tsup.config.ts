import { defineConfig } from 'tsup';

export default defineConfig({
  entry: { index: 'src/index.ts', testing: 'src/testing/index.ts' },
  format: ['esm', 'cjs'],
  dts: true,
  // Without splitting each CJS entry would hold its own copy of every class.
  splitting: true,
  target: 'node22.19',
  clean: true,
  sourcemap: true,
  treeshake: true,
});
