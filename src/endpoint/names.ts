import { createHash } from 'node:crypto';
import { GatewayError } from '../errors.js';
import { textOf } from '../util/text-of.js';

/** What has a qualified name. */
export type NameKind = 'tool' | 'prompt';

/** Where a name of the merged peer comes from. */
export interface NameOrigin {
  /** Id of the catalog entry. */
  readonly server: string;
  /** The server's own name. */
  readonly name: string;
}

/** A host's own way to name tools and prompts. Should give different names for different origins. */
export type NamingFunction = (origin: NameOrigin & { readonly kind: NameKind }) => string;

/** Tells the names of the merged peer and where they come from. */
export interface Names {
  /** The name under which callers of the merged peer see a server's tool or prompt. */
  qualify(kind: NameKind, server: string, name: string): string;
  /**
   * Where a qualified name comes from; undefined for a name that belongs to no server, and for a shortened one, or one of
   * the host's own naming, that was not seen yet.
   */
  resolve(kind: NameKind, qualified: string): NameOrigin | undefined;
  /** These servers have gone or are others: what is remembered of their names is learned anew. */
  forget(servers: ReadonlySet<string>): void;
  /** Where names come from, as far as it is known: what is forgotten later stays in it. */
  known(kind: NameKind): ReadonlyMap<string, NameOrigin>;
  /** Whose list may hold a name that cannot be resolved yet: one server's, anybody's, or nobody's. */
  candidate(qualified: string): { readonly server: string } | 'anybody' | undefined;
}

const separator = '__';
const maxLength = 64;
const hashLength = 10;
const hashed = /_[0-9a-f]{10}$/;
const underscore = 0x5f;
// More names than any caller can hold in mind; a server that makes up new ones all the time cannot fill our memory.
const maxRemembered = 200_000;

/**
 * `<server>__<name>`, the same in every process: at most 64 characters of `[a-zA-Z0-9_-]`. A name that does not fit is
 * shortened and gets a hash of what it stands for. As no server id holds `__` or ends with `_`, the first `__` ends the
 * server id, so no server can make a name that belongs to another.
 */
export function qualifiedName(server: string, name: string): string {
  const plain = server + separator + name;
  if (plain.length <= maxLength && isPlain(name)) {
    return plain;
  }
  return hashedName(server, name);
}

function hashedName(server: string, name: string): string {
  const hash = createHash('sha256').update(`${server}\0${name}`).digest('hex').slice(0, hashLength);
  const room = maxLength - server.length - separator.length - hashLength - 1;
  return `${server}${separator}${name.replace(/[^a-zA-Z0-9_-]/g, '_').slice(0, Math.max(0, room))}_${hash}`;
}

/** Looks at one character first: names are resolved for each call. */
function isHashed(qualified: string): boolean {
  return qualified.charCodeAt(qualified.length - hashLength - 1) === underscore && hashed.test(qualified);
}

function isPlain(name: string): boolean {
  return name !== '' && !/[^a-zA-Z0-9_-]/.test(name);
}

/** @throws `GatewayError` `OPTION_INVALID` when the host's function throws */
function nameBy(naming: NamingFunction, origin: Parameters<NamingFunction>[0]): unknown {
  try {
    return naming(origin);
  } catch (error) {
    const { server, kind, name } = origin;
    const detail = textOf(error);
    const message = `the option names failed for the ${kind} ${JSON.stringify(name)}: ${detail}`;
    throw new GatewayError('OPTION_INVALID', message, { server, cause: error, delivered: false });
  }
}

/** @param isServer - whether the catalog has a server of this id */
export function createNames(isServer: (id: string) => boolean, naming?: NamingFunction): Names {
  const remembered: Record<NameKind, Map<string, NameOrigin>> = { tool: new Map(), prompt: new Map() };
  /** Behind what was forgotten: from the start, each look would step over all that was deleted there. */
  const oldest: Partial<Record<NameKind, Iterator<string> | undefined>> = {};

  const remember = (kind: NameKind, qualified: string, origin: NameOrigin): boolean => {
    const known = remembered[kind].get(qualified);
    if (known !== undefined) {
      return known.server === origin.server && known.name === origin.name;
    }
    if (remembered[kind].size >= maxRemembered) {
      oldest[kind] ??= remembered[kind].keys();
      remembered[kind].delete(oldest[kind].next().value as string);
    }
    remembered[kind].set(qualified, origin);
    return true;
  };

  return {
    qualify(kind, server, name) {
      const origin = { server, name };
      if (naming !== undefined) {
        const own = nameBy(naming, { ...origin, kind });
        if (typeof own === 'string' && own !== '' && remember(kind, own, origin)) {
          return own;
        }
        // Taken by another origin: a collision must not hide either of the two.
      }
      const qualified = qualifiedName(server, name);
      if (remember(kind, qualified, origin)) {
        return qualified;
      }
      // The host's own name for something else is just the same.
      const hashed = hashedName(server, name);
      remember(kind, hashed, origin);
      return hashed;
    },
    resolve(kind, qualified) {
      // What a caller has sent may be anything.
      if (typeof qualified !== 'string') {
        return undefined;
      }
      const known = remembered[kind].get(qualified);
      if (known !== undefined || naming !== undefined || isHashed(qualified)) {
        return known;
      }
      const server = serverOf(qualified);
      return server === undefined ? undefined : { server, name: qualified.slice(server.length + separator.length) };
    },
    forget(servers) {
      for (const kind of ['tool', 'prompt'] as const) {
        const left = [...remembered[kind]].filter(([, origin]) => !servers.has(origin.server));
        if (left.length < remembered[kind].size) {
          remembered[kind] = new Map(left);
          oldest[kind] = undefined;
        }
      }
    },
    known: (kind) => remembered[kind],
    candidate(qualified) {
      const server = serverOf(qualified);
      return naming !== undefined ? 'anybody' : server === undefined ? undefined : { server };
    },
  };

  function serverOf(qualified: string): string | undefined {
    const end = qualified.indexOf(separator);
    return end > 0 && isServer(qualified.slice(0, end)) ? qualified.slice(0, end) : undefined;
  }
}

/** The names of one caller: what its latest list has shown leads where it was from, whatever else has that name by now. */
export interface CallerNames extends Names {
  /** The caller gets a list with the names that are known now. */
  show(kind: NameKind): void;
}

export function createCallerNames(names: Names): CallerNames {
  // One map for all callers that have listed since the last reload.
  const shown: Partial<Record<NameKind, ReadonlyMap<string, NameOrigin>>> = {};
  return {
    ...names,
    resolve: (kind, qualified) => shown[kind]?.get(qualified) ?? names.resolve(kind, qualified),
    show(kind) {
      shown[kind] = names.known(kind);
    },
  };
}
