import * as v from 'valibot';
import type { ServerDefinition } from '../../src/catalog/catalog.js';
import { resolveCatalog } from '../../src/catalog/resolve-catalog.js';
import { GatewayError } from '../../src/errors.js';
import type { RuntimeFactory } from '../../src/runtime.js';

const headers = v.optional(v.record(v.string(), v.string()));
const quantities = v.optional(v.record(v.string(), v.string()));

// Only the specs matter here: nothing is opened.
const specs = {
  'local-process': v.strictObject({
    command: v.pipe(v.string(), v.nonEmpty()),
    args: v.optional(v.array(v.string())),
    working_dir: v.optional(v.string()),
    inherit_env: v.optional(v.boolean()),
  }),
  'remote-sse': v.strictObject({
    url: v.pipe(v.string(), v.url()),
    headers,
    transport: v.optional(v.picklist(['auto', 'streamable-http', 'sse'])),
  }),
  docker: v.strictObject({
    image: v.string(),
    container_name: v.optional(v.string()),
    volumes: v.optional(v.array(v.union([v.string(), v.strictObject({ source: v.string(), target: v.string() })]))),
    network: v.optional(v.string()),
    env_file: v.optional(v.string()),
  }),
  'k8s-job': v.strictObject({
    namespace: v.string(),
    image: v.string(),
    service_account: v.optional(v.string()),
    resources: v.optional(v.strictObject({ requests: quantities, limits: quantities })),
  }),
  'k8s-service': v.strictObject({ namespace: v.string(), service_name: v.string(), port: v.number(), headers }),
};

/** A factory that only knows its spec. */
export function factory(
  type: string,
  spec: RuntimeFactory['spec'],
  supports: NonNullable<RuntimeFactory['supports']> = {},
): RuntimeFactory {
  return { type, spec, supports, open: () => Promise.reject(new Error('not for opening')) };
}

/** A factory for each type of the documentation. */
export const factories: ReadonlyMap<string, RuntimeFactory> = new Map(
  Object.entries(specs).map(([type, spec]) => {
    const env = type !== 'remote-sse' && type !== 'k8s-service';
    return [type, factory(type, spec, { env })];
  }),
);

/** Resolves with these factories and nothing in the environment unless given. */
export function resolve(
  catalog: unknown,
  env: Record<string, string | undefined> = {},
  registered = factories,
): ServerDefinition[] {
  return resolveCatalog(catalog as Parameters<typeof resolveCatalog>[0], { factories: registered, env, cwd: '/host' });
}

/** A catalog of one entry. */
export function one(entry: Record<string, unknown>): { servers: Record<string, unknown>[] } {
  return { servers: [{ id: 'a', runtime: { type: 'local-process', command: 'x' }, ...entry }] };
}

/** The problems of a bad catalog, as the error's message lists them. */
export async function problemsOf(run: () => unknown): Promise<string[]> {
  return (await invalid(run)).message.split('\n').slice(1);
}

/** The error of a bad catalog. */
export async function invalid(run: () => unknown): Promise<GatewayError> {
  try {
    await run();
  } catch (error) {
    if (GatewayError.is(error) && error.code === 'CATALOG_INVALID') {
      return error;
    }
    throw new Error('expected CATALOG_INVALID', { cause: error });
  }
  throw new Error('expected CATALOG_INVALID, but the catalog was accepted');
}
