/** Where a tool wants an argument mirrored: the path in `arguments`, and the end of the header's name. */
export interface MirroredArgument {
  readonly path: readonly string[];
  readonly header: string;
  readonly isInteger: boolean;
}

const annotationKey = 'x-mcp-header';
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const deepest = 32;
const mirrorable: ReadonlySet<unknown> = new Set(['string', 'integer', 'boolean']);

/** The arguments that a tool asks for in headers (`x-mcp-header` in its schema); what is not written as it must be is none. */
export function findMirrored(inputSchema: unknown): MirroredArgument[] {
  return [...annotations(inputSchema, [], 0)].flatMap(({ path, header, type }) =>
    path === undefined || problemOf({ path, header, type }) !== undefined
      ? []
      : { path, header: header as string, isInteger: type === 'integer' },
  );
}

/** What is wrong with the way in which a tool asks for arguments in headers; undefined where that is as it must be. */
export function findMirroringProblem(inputSchema: unknown): string | undefined {
  const seen = new Set<string>();
  for (const annotation of annotations(inputSchema, [], 0)) {
    const problem = problemOf(annotation);
    // What a server writes there may have no text.
    const name = problem === undefined ? String(annotation.header).toLowerCase() : '';
    if (problem !== undefined || seen.has(name)) {
      return `x-mcp-header ${JSON.stringify(annotation.header)} ${problem ?? 'stands there twice'}`;
    }
    seen.add(name);
  }
  return undefined;
}

/** A place in a schema where a header is asked for. */
interface Annotation {
  /** Undefined where a value does not lie by this path alone, as in an array. */
  readonly path: readonly string[] | undefined;
  readonly header: unknown;
  readonly type: unknown;
}

function problemOf({ path, header, type }: Annotation): string | undefined {
  if (typeof header !== 'string' || !token.test(header)) return 'is no name of a header';
  if (path === undefined || path.length === 0) return 'is not of a property that is reached through properties alone';
  return mirrorable.has(type) ? undefined : 'is not of a string, an integer or a boolean';
}

/** Keywords that hold schemas by names, and those that hold no schemas. */
const named: ReadonlySet<string> = new Set([
  'properties',
  'patternProperties',
  '$defs',
  'definitions',
  'dependentSchemas',
]);
const values: ReadonlySet<string> = new Set(['const', 'enum', 'default', 'examples', annotationKey]);

function* annotations(schema: unknown, path: readonly string[] | undefined, depth: number): Generator<Annotation> {
  if (typeof schema !== 'object' || schema === null || depth > deepest) return;
  if (Array.isArray(schema)) {
    for (const item of schema) yield* annotations(item, undefined, depth + 1);
    return;
  }
  const fields = schema as Readonly<Record<string, unknown>>;
  if (Object.hasOwn(fields, annotationKey)) yield { path, header: fields[annotationKey], type: fields.type };
  for (const [keyword, value] of Object.entries(fields)) {
    if (values.has(keyword)) continue;
    if (!named.has(keyword)) {
      yield* annotations(value, undefined, depth + 1);
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, child] of Object.entries(value)) {
        const own = keyword === 'properties' && path !== undefined ? [...path, key] : undefined;
        yield* annotations(child, own, depth + 1);
      }
    }
  }
}

/** The argument as its header has to say it; undefined for one that needs no header. */
export function toHeaderText(root: unknown, { path }: MirroredArgument): string | undefined {
  let at = root;
  for (const key of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Record<string, unknown>)[key];
  }
  if (typeof at === 'string') return at;
  if (typeof at === 'boolean') return String(at);
  return Number.isSafeInteger(at) ? String(at) : undefined;
}

/** A value as a header may hold it: what is not plain ASCII goes as base64 between `=?base64?` and `?=`. */
export function encodeHeader(value: string): string {
  const plain = /^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/.test(value);
  const ambiguous = value.startsWith('=?base64?') && value.endsWith('?=');
  return plain && !ambiguous ? value : `=?base64?${Buffer.from(value).toString('base64')}?=`;
}

/** What a header says; undefined for one that is not written as it must be. */
export function decodeHeader(value: string): string | undefined {
  const encoded = /^=\?base64\?(.*)\?=$/.exec(value)?.[1];
  if (encoded === undefined) {
    return /^[\t\x20-\x7e]*$/.test(value) ? value : undefined;
  }
  const bytes = Buffer.from(encoded, 'base64');
  if (bytes.toString('base64') !== encoded) {
    return undefined;
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
