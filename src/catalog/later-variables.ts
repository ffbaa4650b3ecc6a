import { formatPath, type Path } from '../checks/path.js';
import { GatewayError } from '../errors.js';
import { isPlainObject } from '../util/fields.js';
import { redact } from '../util/redact.js';
import type { ServerDefinition } from './catalog.js';
import { Issues } from './issues.js';
import { type ReadEntry, readEntry } from './read-entries.js';
import type { ResolveOptions } from './resolve-catalog.js';

type ResolveRuntime = (
  entry: ReadEntry,
  options: ResolveOptions,
  issues: Issues,
) => ServerDefinition['runtime'] | undefined;

const later = 'variables are looked up at each start when env is a function';

// One for all: a catalog may have thousands of entries.
const none: readonly string[] = [];

/** Where an entry holds variables that are looked up later; reports those that nothing would ever look up. */
export function variablesOf({ path, server, secrets }: ReadEntry, issues: Issues): readonly string[] {
  if (secrets.later.length === 0) {
    return none;
  }
  const found = secrets.later.map((at) => at.slice(path.length));
  for (const at of found.filter(([key]) => key !== 'env' && key !== 'runtime')) {
    const message = `may not hold a variable: ${later}, in env and runtime alone; write the value out`;
    issues.add([...path, ...at], message, { server, settles: true });
  }
  return found.map(formatPath).sort();
}

/** Says why a text that has a variable in it does not fit. */
export function formHints({ path, secrets }: ReadEntry): (at: Path) => string {
  const shown = new Set(secrets.later.map((at) => formatPath(at.slice(path.length))));
  return (at) =>
    shown.has(formatPath(at))
      ? `; ${later}, so they may stand only where any text may: write the value out, or give env as an object`
      : '';
}

/** What an entry comes to once its variables are known; it keeps a copy, which the host cannot change. */
export function withVariables(
  { written, server }: ReadEntry,
  options: ResolveOptions,
  resolveRuntime: ResolveRuntime,
): NonNullable<ServerDefinition['withVariables']> {
  const kept = copyPlain(written) as Readonly<Record<string, unknown>>;
  return (env) => {
    const issues = new Issues(() => undefined);
    // Its place in the catalog may be another one by now: paths begin at the entry.
    const entry = readEntry(kept, [], env, issues);
    const runtime = resolveRuntime(entry, options, issues);
    try {
      issues.throwIfAny('the entry');
    } catch (error) {
      const message = redact((error as GatewayError).message, entry.secrets.values);
      throw new GatewayError('START_FAILED', message, { server, delivered: false });
    }
    return {
      env: entry.envelope?.env ?? {},
      runtime: runtime as ServerDefinition['runtime'],
      secrets: entry.secrets.values,
    };
  };
}

function copyPlain(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(copyPlain);
  }
  return isPlainObject(value)
    ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, copyPlain(part)]))
    : value;
}
