import type { StandardSchemaV1 } from '@standard-schema/spec';
import { holdsCredential } from '../util/credentials.js';
import { isThenable } from '../util/is-thenable.js';
import { redact } from '../util/redact.js';
import { describeIssue, isValibotIssue } from './describe-issue.js';
import { formatPath, type Path } from './path.js';
import { type Walked, walkSchema } from './walk-schema.js';

/** One problem that a schema found. */
export interface SchemaProblem {
  readonly path: Path;
  readonly message: string;
  readonly atKey: boolean;
}

/** What a schema made of a value. */
export interface Checked {
  readonly value: unknown;
  readonly problems: readonly SchemaProblem[];
}

/** What helps to write good messages. */
export interface CheckContext {
  /** Values that a message must not show. */
  readonly secrets: ReadonlyMap<string, string>;
  /** A number or boolean as the catalog has it: `1e3`, not 1000. */
  written(path: Path): string | undefined;
}

/**
 * Checks `value` with any Standard Schema, and with ours finds every unknown key at once. Never throws; no message
 * shows a secret.
 */
export function checkSchema(schema: StandardSchemaV1, value: unknown, context: CheckContext): Checked {
  let result: StandardSchemaV1.Result<unknown> | Promise<StandardSchemaV1.Result<unknown>>;
  try {
    result = schema['~standard'].validate(value);
  } catch (error) {
    return failed(`could not be checked, its schema threw: ${foreign(textOf(error), context)}`);
  }
  if (isThenable(result)) {
    // Nobody waits for it, and its rejection must not reach the host.
    Promise.resolve(result).catch(() => {});
    return failed("could not be checked, its schema answers asynchronously: a runtime's schema must be synchronous");
  }
  if (typeof result !== 'object' || result === null) {
    return failed('could not be checked, its schema gave no result');
  }
  const walked = walkSchema(schema, value);
  if (result.issues === undefined && walked.problems.length === 0) {
    return { value: result.value, problems: [] };
  }
  const found = Array.isArray(result.issues) ? result.issues : [];
  const told = { ...walked, paths: new Set(walked.problems.map(({ path }) => formatPath(path))) };
  const problems = [...walked.problems, ...found.flatMap((issue) => describe(issue, [], told, context))];
  return problems.length > 0
    ? { value: undefined, problems }
    : failed('is refused by its schema, which gives no reason');
}

/** What is told of a schema already. */
interface Told extends Walked {
  /** Of its problems. */
  readonly paths: ReadonlySet<string>;
}

function describe(
  issue: StandardSchemaV1.Issue,
  around: Path,
  told: Told,
  context: CheckContext,
): readonly SchemaProblem[] {
  const path = [...around, ...pathOf(issue)];
  if (!isValibotIssue(issue)) {
    return [{ path, message: foreign(textOf(issue), context), atKey: false }];
  }
  // Of the same key, or of an item of a list where an object belongs.
  if (isWithin(path, told.paths)) {
    return [];
  }
  // Of a union Valibot says that nothing fits; what is wrong with the option that was meant says more.
  const narrowed = issue.type === 'union' ? told.narrowed.get(formatPath(path)) : undefined;
  const inner = narrowed?.option['~standard'].validate(narrowed.value);
  if (inner !== undefined && 'issues' in inner && inner.issues !== undefined) {
    return inner.issues.flatMap((part) => describe(part, path, told, context));
  }
  const own = describeIssue(issue, context.written(path), holdsCredential(path));
  const last: object | undefined = issue.path?.at(-1) as object | undefined;
  const atKey = last !== undefined && 'origin' in last && last.origin === 'key';
  return [{ path, message: own ?? foreign(issue.message, context), atKey }];
}

/** Whether a path, or what is around it, is one of many. */
function isWithin(path: Path, paths: ReadonlySet<string>): boolean {
  return [...path.keys(), path.length].some((length) => paths.has(formatPath(path.slice(0, length))));
}

function failed(message: string): Checked {
  return { value: undefined, problems: [{ path: [], message, atKey: false }] };
}

function pathOf(issue: StandardSchemaV1.Issue): PropertyKey[] {
  const path = Array.isArray(issue?.path) ? issue.path : [];
  return path.map((part: unknown) => {
    const key = typeof part === 'object' && part !== null && 'key' in part ? part.key : part;
    return typeof key === 'number' || typeof key === 'symbol' ? key : String(key);
  });
}

/** A message that others wrote: it may hold anything, of any length. */
function foreign(message: string, { secrets }: CheckContext): string {
  const safe = redact(message, secrets);
  return safe.length > 500 ? `${safe.slice(0, 499)}…` : safe;
}

function textOf(error: unknown): string {
  try {
    const message: unknown = typeof error === 'object' && error !== null && 'message' in error ? error.message : error;
    return String(message);
  } catch {
    return 'is not valid';
  }
}
