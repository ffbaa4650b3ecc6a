import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Library, libraryUrl } from './library.ts';
import { interleave } from './measure.ts';
import { compare, type Row } from './report.ts';

/** How long a fresh process takes to import this library, beside the client of the SDK that every host imports too. */
export async function importTime(
  _library: Library,
  { library }: { readonly library?: string | undefined },
): Promise<Row[]> {
  const imports = {
    'this library': libraryUrl(library).href,
    'the client of SDK v1': import.meta.resolve('@modelcontextprotocol/sdk/client/index.js'),
    'the client of SDK v2': import.meta.resolve('@modelcontextprotocol/client'),
  };
  const variants = Object.entries(imports).map(([name, url]) => ({ name, run: () => timeOf(url) }));
  const samples = await interleave(variants, { rounds: 31, warmUp: 2, collect: false });
  const what = 'import in a fresh process';
  return ['the client of SDK v1', 'the client of SDK v2'].map((other) =>
    compare(samples, { what, ours: 'this library', other, goal: undefined }),
  );
}

async function timeOf(url: string): Promise<number> {
  const program = `const start = performance.now(); await import('${url}'); console.log(performance.now() - start);`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program]);
  return Number(stdout);
}
