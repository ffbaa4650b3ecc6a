import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** What users import: the types come from the source, the code from the build. */
export type Library = typeof import('../../src/index.js');

/** @param file - another build to measure; this package's own by default */
export async function loadLibrary(file: string | undefined): Promise<Library> {
  const url = libraryUrl(file);
  if (!existsSync(url)) {
    throw new Error(`${fileURLToPath(url)} is missing: npm run build`);
  }
  return (await import(url.href)) as Library;
}

/** Where a build is, for programs that load it by themselves. */
export function libraryUrl(file: string | undefined): URL {
  return file === undefined ? new URL('../../dist/index.js', import.meta.url) : pathToFileURL(file);
}
