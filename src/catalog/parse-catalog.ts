import * as v from 'valibot';
import { checkOptions } from '../checks/check-options.js';
import * as kinds from '../checks/option-kinds.js';
import type { Catalog, Environment } from './catalog.js';
import { decode } from './decode.js';
import { catalogError, Issues } from './issues.js';
import { readEntries } from './read-entries.js';
import { readJson } from './read-json.js';
import type { ReadText } from './read-text.js';
import { readYaml } from './read-yaml.js';
import { rememberFolder } from './source.js';

/** How `parseCatalog` reads a text. */
export interface ParseCatalogOptions {
  /** @default 'yaml', of which JSON is a part */
  readonly format?: 'yaml' | 'json' | undefined;
  /**
   * Also reports variables that are not set here. Nothing is replaced: `createGateway` does that, with its own `env`.
   */
  readonly env?: Environment | undefined;
}

const parseOptions = v.strictObject({
  format: v.optional(v.picklist(['yaml', 'json'])),
  env: kinds.environment,
} satisfies kinds.Schemas<ParseCatalogOptions>);

/**
 * Reads a catalog from YAML or JSON, and checks everything but the specs of runtimes, which `createGateway` does.
 *
 * @throws `GatewayError` `CATALOG_INVALID` that lists every problem in `issues`, with line and column; `OPTION_INVALID`
 */
export async function parseCatalog(text: string | Uint8Array, options: ParseCatalogOptions = {}): Promise<Catalog> {
  checkOptions('parseCatalog', parseOptions, options);
  return parse(text, options, {});
}

/** Where a text came from. */
export interface TextSource {
  /** For the error's message. */
  readonly name?: string;
  /** The folder for relative paths. */
  readonly folder?: string;
}

/** @internal */
export async function parse(
  input: string | Uint8Array,
  options: ParseCatalogOptions,
  { name, folder }: TextSource,
): Promise<Catalog> {
  const decoded = decode(input);
  if ('problem' in decoded) {
    throw catalogError([{ path: '', message: decoded.problem }], name);
  }
  const { data, problems } = await read(decoded.text, options.format);
  const issues = new Issues(() => data);
  for (const { path, message, position, atKey } of problems) {
    issues.add(path, message, { position, atKey, server: serverAt(data, path) });
  }
  for (const { path } of problems) {
    issues.settle(path);
  }
  if (data === null) {
    issues.add([], 'the catalog is empty: write "servers: []" for a catalog without servers');
  } else if (data !== undefined) {
    readEntries(data, options.env, issues);
  }
  issues.throwIfAny(name);
  if (folder !== undefined) {
    rememberFolder(data as object, folder);
  }
  return data as Catalog;
}

async function read(text: string, format: 'yaml' | 'json' | undefined): Promise<ReadText> {
  if (format === 'json') {
    return readJson(text);
  }
  // JSON is YAML, all but some tabs and escapes: what may be JSON is read by its own rules first.
  if (/^\s*[{/]/.test(text)) {
    const json = readJson(text);
    if (json.data !== undefined || json.hasComment) {
      return json;
    }
  }
  return readYaml(text);
}

/** The id of the server that a path leads into. */
function serverAt(data: unknown, [first, index]: readonly PropertyKey[]): string | undefined {
  if (first !== 'servers' || typeof index !== 'number') {
    return undefined;
  }
  const entry = (data as { readonly servers?: readonly ({ readonly id?: unknown } | undefined)[] } | undefined)
    ?.servers?.[index];
  return typeof entry?.id === 'string' ? entry.id : undefined;
}
