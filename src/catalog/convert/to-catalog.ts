import * as v from 'valibot';
import { checkOptions } from '../../checks/check-options.js';
import * as kinds from '../../checks/option-kinds.js';
import { isPlainObject } from '../../util/fields.js';
import type { CatalogInput } from '../catalog.js';
import { Issues } from '../issues.js';
import { type ConvertedServer, convertServer } from './convert-server.js';
import { IdMaker } from './id-maker.js';

/** Settings of `toCatalog`. */
export interface ToCatalogOptions {
  /**
   * Values of what is no environment variable, by the words between the braces: `workspaceFolder`, `userHome`,
   * `input:api-key`. They become a part of the catalog as they are.
   *
   * @default \{\}
   */
  readonly variables?: Readonly<Record<string, string>> | undefined;
  /**
   * Hears of every setting that a catalog has no place for, such as `autoApprove`, and of every `$VAR`, which is kept as
   * text though it is a variable to some programs. Without it nobody is told.
   */
  readonly onIgnored?: ((path: string, reason: string) => void) | undefined;
}

const convertOptions = v.strictObject({
  variables: kinds.texts,
  onIgnored: kinds.optionalFunction,
} satisfies kinds.Schemas<ToCatalogOptions>);

/**
 * Makes a catalog of the `mcpServers` that Claude Desktop, Claude Code, Cursor, Windsurf, Cline and Gemini CLI keep in JSON,
 * or of the `servers` of VS Code's `mcp.json`; of both where there are both. Starts nothing and reads no file.
 *
 * A name that is no id becomes one, and is kept as `display_name`. `${VAR}` and `${VAR:-default}` stay as they are;
 * `${env:VAR}` becomes `${VAR}`. Relative paths start at the host's working directory.
 *
 * @example
 * ```ts
 * const config = JSON.parse(await readFile('.mcp.json', 'utf8'));
 * await using gateway = createGateway(toCatalog(config));
 * ```
 *
 * @param config - the file's content, parsed
 * @throws `GatewayError` `CATALOG_INVALID` that lists everything that cannot be converted; `OPTION_INVALID`
 */
export function toCatalog(config: unknown, options: ToCatalogOptions = {}): CatalogInput<ConvertedServer['runtime']> {
  checkOptions('toCatalog', convertOptions, options);
  const issues = new Issues(() => undefined);
  const servers = findServers(config, issues);
  const ids = new IdMaker(servers.map(({ name }) => name));
  const converted = servers.map(({ name, path, server }) =>
    convertServer(server, {
      name,
      id: ids.idOf(name),
      path,
      issues,
      variables: options.variables ?? {},
      onIgnored: options.onIgnored ?? (() => {}),
    }),
  );
  issues.throwIfAny('the configuration');
  return { servers: converted.filter((server) => server !== undefined) };
}

interface FoundServer {
  readonly name: string;
  readonly path: readonly string[];
  readonly server: unknown;
}

function findServers(config: unknown, issues: Issues): readonly FoundServer[] {
  const found = new Map<string, FoundServer>();
  if (!isPlainObject(config)) {
    issues.add([], 'is no object: hand over what JSON.parse makes of the file');
    return [];
  }
  let isFound = false;
  for (const key of ['mcpServers', 'servers']) {
    const servers = config[key];
    if (Array.isArray(servers)) {
      issues.add([key], 'is a list: if this is a catalog, it needs no conversion');
    }
    if (!isPlainObject(servers)) {
      continue;
    }
    isFound = true;
    for (const [name, server] of Object.entries(servers)) {
      if (found.has(name)) {
        issues.add([key, name], 'is the name of a server in "mcpServers" as well: keep one of them');
      } else {
        found.set(name, { name, path: [key, name], server });
      }
    }
  }
  if (!isFound && issues.count === 0) {
    issues.add([], 'has no "mcpServers" (or "servers"), an object that names each server');
  }
  return [...found.values()];
}
