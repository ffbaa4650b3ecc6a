// Lets plain Node run the sources: imports say `.js`, as the build needs it, and the files are `.ts`.
import { existsSync } from 'node:fs';
import { enableCompileCache, registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

// Taking the types away from all of the sources is most of the work of a program that lives for a moment: who comes later reads
// what the first one left, by the text of each file. Not where V8 counts, which is exact only in what was compiled just now.
if (process.env.NODE_V8_COVERAGE === undefined) {
  enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/sources', import.meta.url)));
}

registerHooks({
  resolve(specifier, context, nextResolve) {
    if (specifier.startsWith('.') && specifier.endsWith('.js') && context.parentURL?.startsWith('file:')) {
      const source = new URL(specifier.replace(/\.js$/, '.ts'), context.parentURL);
      if (existsSync(fileURLToPath(source))) {
        return nextResolve(source.href, context);
      }
    }
    return nextResolve(specifier, context);
  },
});
