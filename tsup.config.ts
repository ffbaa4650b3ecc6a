import { rmSync } from 'node:fs';
import { defineConfig } from 'tsup';

// Here and not by `clean`: two builds that run side by side would clean away each other's files.
rmSync('dist', { recursive: true, force: true });

// These are loaded when they are needed, as are parts of this package; the others have no CommonJS.
const byRequire = /\bimport\((["'](?:\.[^"']+|ws|@modelcontextprotocol\/[^"']+)["'])\)/g;
// Where one is imported from an ES module that a bundler made, it has no names but this one.
const byDefault = /\bimport\((["'](?:cross-spawn|undici|yaml)["'])\)/g;
// The bundler names the file of each part; in two formats that is a hundredth of the package.
const fileNames = /^\/\/ src\/[\w./-]+\.ts\n/gm;

export default defineConfig([
  {
    entry: { index: 'src/index.ts', testing: 'src/testing/index.ts' },
    format: ['esm', 'cjs'],
    dts: true,
    // Without splitting each CJS entry would hold its own copy of every class.
    splitting: true,
    target: 'node22.19',
    treeshake: true,
    define: { isPartOfKit: 'true' },
    plugins: [
      {
        // CommonJS may run where there is no import(): under Jest, or in what is made of a snapshot.
        name: 'leave-out-and-require',
        renderChunk(code) {
          const bare = code.replaceAll(fileNames, '');
          if (this.format !== 'cjs') return { code: bare };
          const required = bare
            .replaceAll(byRequire, 'Promise.resolve().then(() => require($1))')
            .replaceAll(byDefault, 'Promise.resolve().then(() => ({ default: require($1) }))');
          return { code: required };
        },
      },
    ],
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
