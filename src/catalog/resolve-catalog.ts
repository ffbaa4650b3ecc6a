import { resolve } from 'node:path';
import { checkSchema } from '../checks/check-schema.js';
import { quote } from '../checks/path.js';
import type { RuntimeFactory } from '../runtime.js';
import { isPlainObject } from '../util/fields.js';
import { didYouMean } from '../util/suggest.js';
import type { Catalog, CatalogInput, Environment, ServerDefinition } from './catalog.js';
import { toDefinition } from './definition.js';
import { Issues } from './issues.js';
import type { KnownEntries, KnownEntry } from './known-entries.js';
import { formHints, variablesOf, withVariables } from './later-variables.js';
import { explainRuntimeKey, meantType } from './other-words.js';
import { type ReadEntry, readEntries } from './read-entries.js';
import { folderOf, writtenAt } from './source.js';

/** What a catalog is resolved with. */
export interface ResolveOptions {
  /** The registered runtimes by type. */
  readonly factories: ReadonlyMap<string, RuntimeFactory>;
  /** Where `${VAR}` is looked up; `unresolved` leaves them to the start of each server. */
  readonly env: Environment;
  /** The folder for relative paths of entries that were not read from a file. */
  readonly cwd: string;
  /** What was resolved before with these factories; takes over what is resolved now. */
  readonly known?: KnownEntries | undefined;
}

/**
 * Checks a whole catalog, replaces its variables and fills in its defaults.
 *
 * @throws `GatewayError` `CATALOG_INVALID` that lists every problem in `issues`
 */
export function resolveCatalog(catalog: CatalogInput<unknown> | Catalog, options: ResolveOptions): ServerDefinition[] {
  const issues = new Issues(() => catalog);
  const resolved: KnownEntry[] = [];
  const baseDirOf = folderResolver(options.cwd);
  for (const entry of readEntries(catalog, options.env, issues, options.known)) {
    const { known, replaced } = entry;
    const baseDir = baseDirOf(entry.written);
    if (known !== undefined) {
      const { definition } = known;
      resolved.push(definition.baseDir === baseDir ? known : { replaced, definition: { ...definition, baseDir } });
      continue;
    }
    const runtime = resolveRuntime(entry, options, issues);
    const variablesAt = variablesOf(entry, issues);
    if (entry.envelope !== undefined && runtime !== undefined) {
      const definition = {
        ...toDefinition(entry.envelope),
        runtime,
        baseDir,
        secrets: entry.secrets.values,
        variablesAt,
        withVariables: variablesAt.length === 0 ? undefined : withVariables(entry, options, resolveRuntime),
      };
      resolved.push({ replaced, definition });
    }
  }
  issues.throwIfAny();
  options.known?.replace(resolved);
  return resolved.map(({ definition }) => definition);
}

/** Finds the absolute folder of an entry. Most have the same one, which is made once. */
function folderResolver(cwd: string): (entry: object) => string {
  const folders = new Map<string, string>();
  return (entry) => {
    const folder = folderOf(entry) ?? '.';
    let absolute = folders.get(folder);
    if (absolute === undefined) {
      absolute = resolve(cwd, folder);
      folders.set(folder, absolute);
    }
    return absolute;
  };
}

function resolveRuntime(
  entry: ReadEntry,
  { factories }: ResolveOptions,
  issues: Issues,
): ServerDefinition['runtime'] | undefined {
  const { server, secrets, replaced, written } = entry;
  if (!isPlainObject(replaced.runtime) || typeof replaced.runtime.type !== 'string') {
    return undefined;
  }
  const path = [...entry.path, 'runtime'];
  const { type, ...body } = replaced.runtime;
  const factory = factories.get(type);
  if (factory === undefined) {
    // As it was written: what a variable put in must not show.
    const shown = isPlainObject(written.runtime) ? String(written.runtime.type) : type;
    issues.add([...path, 'type'], unknownType(shown, [...factories.keys()]), { server });
    return undefined;
  }
  const noEnv = factory.supports?.env === false;
  if (noEnv && replaced.env !== undefined) {
    const message = `is not possible here: a ${type} runtime starts no process that could get it; remove it`;
    issues.add([...entry.path, 'env'], message, { server, atKey: true });
  }
  const { value, problems } = checkSchema(factory.spec, body, {
    secrets: secrets.values,
    written: (at) => writtenAt(written, ['runtime', ...at]),
  });
  const hintOf = formHints(entry);
  for (const problem of problems) {
    const [key = '', ...more] = problem.path;
    const unknown = more.length === 0 && problem.message.startsWith('is not a known key');
    // An env that would be refused there as well is simply none.
    const elsewhere = unknown && !(key === 'env' && noEnv) ? explainRuntimeKey(key) : undefined;
    const message = elsewhere ?? `${problem.message}${hintOf(['runtime', ...problem.path])}`;
    issues.add([...path, ...problem.path], message, { server, atKey: problem.atKey });
  }
  return { type, spec: value };
}

function unknownType(type: string, registered: readonly string[]): string {
  const list = registered.length === 0 ? 'none is registered' : `registered are ${registered.map(quote).join(', ')}`;
  const meant = meantType(type);
  const hint =
    meant !== undefined && registered.includes(meant)
      ? `; did you mean ${quote(meant)}?`
      : didYouMean(type, registered);
  return `unknown runtime type ${quote(type)}${hint} (${list})`;
}
