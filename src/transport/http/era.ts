import type { JSONRPCMessage, JSONRPCResultResponse } from '../../sdk.js';

/** Where a tool wants an argument mirrored: the path in `arguments`, and the end of the header's name. */
interface MirroredArgument {
  readonly path: readonly string[];
  readonly header: string;
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const mostTools = 10_000;
const deepest = 32;

/**
 * Writes the headers that the stateless era asks for, each derived from the message that it goes with, so that what a
 * server or a proxy reads in them is what stands in the body.
 *
 * Tools may ask for arguments in headers (`x-mcp-header` in their schema): that is learned from the lists that pass by.
 */
export class EraHeaders {
  readonly #tools = new Map<string, readonly MirroredArgument[]>();

  /** @param version - as {@link modernVersion} found it */
  write(message: JSONRPCMessage, version: string): Record<string, string> {
    const headers: Record<string, string> = { 'mcp-protocol-version': encode(version) };
    if (!('method' in message)) return headers;
    headers['mcp-method'] = encode(message.method);
    const params = message.params as { name?: unknown; uri?: unknown; arguments?: unknown } | undefined;
    const name = message.method === 'resources/read' ? params?.uri : params?.name;
    if (named.has(message.method) && typeof name === 'string') headers['mcp-name'] = encode(name);
    if (message.method === 'tools/call' && typeof params?.name === 'string') {
      for (const { path, header } of this.#tools.get(params.name) ?? []) {
        const value = toText(valueAt(params.arguments, path));
        if (value !== undefined) headers[`mcp-param-${header.toLowerCase()}`] = encode(value);
      }
    }
    return headers;
  }

  /** Remembers what the tools of a list want mirrored. */
  learn({ result }: JSONRPCResultResponse): void {
    const { tools } = result as { tools?: unknown };
    if (!Array.isArray(tools)) return;
    for (const tool of tools as { name?: unknown; inputSchema?: unknown }[]) {
      if (typeof tool?.name !== 'string') continue;
      const found = [...mirrored(tool.inputSchema, [])];
      this.#tools.delete(tool.name);
      if (found.length > 0) this.#tools.set(tool.name, found);
    }
    for (const name of this.#tools.keys()) {
      if (this.#tools.size <= mostTools) break;
      this.#tools.delete(name);
    }
  }
}

const named: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read']);
const mirrorable: ReadonlySet<unknown> = new Set(['string', 'integer', 'boolean']);

function* mirrored(schema: unknown, path: readonly string[]): Generator<MirroredArgument> {
  if (typeof schema !== 'object' || schema === null || path.length > deepest) return;
  const { type, properties } = schema as { type?: unknown; properties?: unknown };
  const header = (schema as Record<string, unknown>)['x-mcp-header'];
  if (path.length > 0 && typeof header === 'string' && token.test(header) && mirrorable.has(type)) {
    yield { path, header };
  }
  if (typeof properties !== 'object' || properties === null) return;
  for (const [key, child] of Object.entries(properties)) yield* mirrored(child, [...path, key]);
}

function valueAt(root: unknown, path: readonly string[]): unknown {
  let at = root;
  for (const key of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Record<string, unknown>)[key];
  }
  return at;
}

function toText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  return Number.isSafeInteger(value) ? String(value) : undefined;
}

/** A value as a header may hold it: what is not plain ASCII goes as base64 between `=?base64?` and `?=`. */
function encode(value: string): string {
  const plain = /^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/.test(value);
  const ambiguous = value.startsWith('=?base64?') && value.endsWith('?=');
  return plain && !ambiguous ? value : `=?base64?${Buffer.from(value).toString('base64')}?=`;
}
