/** Where a tool wants an argument mirrored: the path in `arguments`, and the end of the header's name. */
export interface MirroredArgument {
  readonly path: readonly string[];
  readonly header: string;
  readonly isInteger: boolean;
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const deepest = 32;
const mirrorable: ReadonlySet<unknown> = new Set(['string', 'integer', 'boolean']);

/** The arguments that a tool asks for in headers (`x-mcp-header` in its schema); what is not written as it must be is none. */
export function findMirrored(inputSchema: unknown): MirroredArgument[] {
  return [...walk(inputSchema, [])];
}

function* walk(schema: unknown, path: readonly string[]): Generator<MirroredArgument> {
  if (typeof schema !== 'object' || schema === null || path.length > deepest) return;
  const { type, properties } = schema as { type?: unknown; properties?: unknown };
  const header = (schema as Record<string, unknown>)['x-mcp-header'];
  if (path.length > 0 && typeof header === 'string' && token.test(header) && mirrorable.has(type)) {
    yield { path, header, isInteger: type === 'integer' };
  }
  if (typeof properties !== 'object' || properties === null) return;
  for (const [key, child] of Object.entries(properties)) yield* walk(child, [...path, key]);
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
    return value;
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
