import { checkSchema } from '../checks/check-schema.js';
import { kindOf } from '../checks/describe-issue.js';
import { formatPath, type Path } from '../checks/path.js';
import { isPlainObject } from '../util/fields.js';
import { isThenable } from '../util/is-thenable.js';
import { parseDuration } from '../util/quantity.js';
import { redact } from '../util/redact.js';
import { didYouMean } from '../util/suggest.js';
import type { Environment } from './catalog.js';
import { catalogKeys, type Envelope, envelopeSchema, idPattern } from './envelope.js';
import type { Issues } from './issues.js';
import type { KnownEntries, KnownEntry } from './known-entries.js';
import { explainKey, listOf, otherPrograms } from './other-words.js';
import { replaceVariables } from './replace-variables.js';
import { Secrets } from './secrets.js';
import { writtenAt } from './source.js';

/** An entry as far as it could be read. */
export interface ReadEntry {
  readonly path: Path;
  /** As it was written. */
  readonly written: Readonly<Record<string, unknown>>;
  /** With variables replaced; may still be wrong in any way. */
  readonly replaced: Readonly<Record<string, unknown>>;
  /** Undefined when something in the envelope is wrong. */
  readonly envelope: Envelope | undefined;
  /** The id, when it is valid. */
  readonly server: string | undefined;
  readonly secrets: Secrets;
  /** What became of it last time, when nothing about it has changed since. */
  readonly known?: KnownEntry | undefined;
}

/**
 * Reads the envelopes of a catalog and reports their problems.
 *
 * @param env - where variables are looked up; without it strings that hold a `${VAR}` are not judged
 * @param known - entries that need not be read again
 */
export function readEntries(
  catalog: unknown,
  env: Environment | undefined,
  issues: Issues,
  known?: KnownEntries,
): ReadEntry[] {
  const servers = serversOf(catalog, issues);
  const entries: ReadEntry[] = [];
  const seen = new Map<string, Path>();
  for (const [index, written] of servers.entries()) {
    const path = ['servers', index];
    if (!isPlainObject(written)) {
      issues.add(path, `must be an object with the keys id and runtime, not ${kindOf(written)}`, { settles: true });
      continue;
    }
    let entry: ReadEntry;
    try {
      entry = recall(written, path, known) ?? readEntry(written, path, env, issues);
    } catch {
      // A getter or proxy that throws. What it throws may hold anything.
      issues.add(path, 'cannot be read: reading one of its properties threw an error', { settles: true });
      continue;
    }
    entries.push(entry);
    const id = entry.server?.toLowerCase();
    const first = id === undefined ? undefined : seen.get(id);
    if (first !== undefined) {
      const message = `is taken by ${formatPath(first)}: choose another id; case makes no difference`;
      issues.add([...path, 'id'], message, { server: entry.server });
    } else if (id !== undefined) {
      seen.set(id, path);
    }
  }
  return entries;
}

function serversOf(catalog: unknown, issues: Issues): readonly unknown[] {
  if (!isPlainObject(catalog)) {
    issues.add([], `a catalog is an object with the key "servers", not ${describe(catalog)}`);
    return [];
  }
  if ('mcpServers' in catalog && catalog.servers === undefined) {
    issues.add(['mcpServers'], `is not a known key${otherPrograms}`, { atKey: true });
    return [];
  }
  for (const key of Object.keys(catalog)) {
    if (!catalogKeys.includes(key)) {
      const hint = didYouMean(key, ['servers']);
      const remedy = hint === '' ? '; a catalog has the key "servers"' : hint;
      issues.add([key], `is not a known key${remedy}`, { atKey: true });
    }
  }
  const { servers } = catalog;
  if (Array.isArray(servers)) {
    // Not every index of a list that was written in code need be there.
    return Array.from(servers);
  }
  if (servers === undefined || servers === null) {
    issues.add(['servers'], 'is missing: write "servers: []" for a catalog without servers');
  } else {
    const remedy = isPlainObject(servers) ? listOf(servers) : '';
    issues.add(['servers'], `must be a list of servers, not ${kindOf(servers)}${remedy}`);
  }
  return [];
}

/** What was given in place of a catalog, and what to do about it. */
function describe(catalog: unknown): string {
  if (typeof catalog === 'string') {
    return 'a string: use loadCatalog() for a file, or parseCatalog() for its text';
  }
  return isThenable(catalog) ? 'a promise: await it' : kindOf(catalog);
}

// Known entries hold no variable, and no schema is asked about them.
const noSecrets = new Secrets();

function recall(
  written: Readonly<Record<string, unknown>>,
  path: Path,
  entries: KnownEntries | undefined,
): ReadEntry | undefined {
  const found = entries?.find(written);
  return (
    found && {
      path,
      written,
      replaced: found.replaced,
      envelope: undefined,
      server: found.definition.id,
      secrets: noSecrets,
      known: found,
    }
  );
}

/** Reads one entry. Throws when reading a property of it throws. */
export function readEntry(
  written: Readonly<Record<string, unknown>>,
  path: Path,
  env: Environment | undefined,
  issues: Issues,
): ReadEntry {
  const server = typeof written.id === 'string' && idPattern.test(written.id) ? written.id : undefined;
  const secrets = new Secrets();
  const before = issues.count;
  const { id, ...rest } = written;
  const replaced = replaceVariables(rest, path, {
    env,
    secrets,
    mayBeNull: (at) => isKeyOfPatch(at.slice(path.length)),
    report: (at, message, atKey) => issues.add(at, message, { server, atKey, settles: true }),
    skip: (at) => issues.settle(at),
  }) as Record<string, unknown>;
  if (id === null) {
    issues.add([...path, 'id'], 'has no value: every server needs an id', { settles: true });
  } else if (id !== undefined) {
    replaced.id = id;
  }
  const { problems } = checkSchema(envelopeSchema, replaced, {
    secrets: new Map(),
    written: (at) => writtenAt(written, at),
  });
  for (const problem of problems) {
    const known = problem.atKey && problem.path.length === 1 ? explainKey(problem.path[0]) : undefined;
    issues.add([...path, ...problem.path], known ?? problem.message, { server, atKey: problem.atKey });
  }
  checkTogether(replaced, path, server, secrets, issues);
  const envelope = issues.count === before && problems.length === 0 ? (replaced as Envelope) : undefined;
  return { path, written, replaced, envelope, server, secrets };
}

/** Is this a key of what is laid over the pod that a runtime makes? There `null` takes away what the runtime has. */
function isKeyOfPatch([part, field, , ...keys]: Path): boolean {
  return part === 'runtime' && field === 'pod' && typeof keys.at(-1) === 'string';
}

/** What two keys say against each other. */
function checkTogether(
  entry: Record<string, unknown>,
  path: Path,
  server: string | undefined,
  secrets: Secrets,
  issues: Issues,
): void {
  const { restart } = entry;
  if (isPlainObject(restart)) {
    const [shortest, longest] = [restart.backoff, restart.max_backoff].map(msOf);
    if (shortest !== undefined && longest !== undefined && longest < shortest) {
      const message = redact(`must not be shorter than backoff, which is "${restart.backoff}"`, secrets.values);
      issues.add([...path, 'restart', 'max_backoff'], message, { server });
    }
  }
}

function msOf(written: unknown): number | undefined {
  return typeof written === 'string' || written === 0 ? parseDuration(String(written)) : undefined;
}
