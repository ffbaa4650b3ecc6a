import { type Fields, isFields } from '../util/fields.js';
import { BoundedMap } from './bounded-map.js';
import type { ListItem } from './list-kinds.js';

const scheme = 'mcp-gateway://';
const maxSeen = 10_000;
// A URI that is longer is no address, but the content itself, as one that begins with `data:` is.
const longestSeen = 8 * 1024;
// Characters of templates times those of the URI: a few milliseconds. Texts may be made so that to find one in the other takes that.
const mostCompared = 16_000_000;

/** Where a URI of the merged peer leads. */
export interface ResourceOrigin {
  readonly server: string;
  /** The server's own URI. */
  readonly uri: string;
}

/** The form in which a URI shows that another server, earlier in the catalog, offers too. */
export function aliasUri(server: string, uri: string): string {
  // What is no well-formed text cannot be encoded; it may be a URI to its server all the same.
  return `${scheme}${server}/${uri.isWellFormed() ? encodeURIComponent(uri) : uri}`;
}

// A template keeps its braces, and what is filled in is encoded by the caller, so it is not encoded once more.
function aliasTemplate(server: string, template: string): string {
  return `${scheme}${server}/${template}`;
}

function readAlias(uri: string): ResourceOrigin | undefined {
  const end = uri.startsWith(scheme) ? uri.indexOf('/', scheme.length) : -1;
  if (end === -1) {
    return undefined;
  }
  const rest = uri.slice(end + 1);
  const server = uri.slice(scheme.length, end);
  // An encoded URI holds no ":"; an expanded template does, after its scheme.
  if (rest.includes(':')) {
    return { server, uri: rest };
  }
  try {
    return { server, uri: decodeURIComponent(rest) };
  } catch {
    return undefined;
  }
}

interface Template {
  readonly server: string;
  /** What stands before its first expression. */
  readonly prefix: string;
  /** What stands behind each of them. */
  readonly others: readonly string[];
  /** Of all that. */
  readonly length: number;
}

function readTemplate(server: string, template: string): Template {
  const [prefix = '', ...others] = template.split(/\{[^{}]*\}/);
  return { server, prefix, others, length: [prefix, ...others].join('').length };
}

/** Whether a URI that begins as a template does holds the rest of what stands in that, too, in its order. */
function mayComeOf({ prefix, others }: Template, uri: string): boolean {
  const last = others.at(-1);
  let at = prefix.length;
  for (const literal of others.slice(0, -1)) {
    const found = uri.indexOf(literal, at);
    if (found === -1) {
      return false;
    }
    at = found + literal.length;
  }
  return last === undefined ? uri === prefix : uri.endsWith(last) && uri.length - last.length >= at;
}

/** By server, in the order of the catalog; undefined where none came. */
type Lists = readonly (readonly [server: string, items: readonly ListItem[] | undefined])[];

/**
 * Knows, for one caller, which server a URI belongs to. URIs keep their own form; where two servers list the same one, the
 * first in the order of the catalog keeps it and the others show under an alias. A URI that was only seen in a result
 * leads to the server that sent it, unless a list says otherwise.
 */
export class ResourceOwners {
  #listed = new Map<string, string>();
  #templates = new Map<string, Template>();
  /** The same as the caller was shown them last. */
  #shown: ReadonlyMap<string, string> = new Map();
  #shownTemplates: ReadonlyMap<string, Template> = new Map();
  readonly #seen = new BoundedMap<string, string>(maxSeen);
  readonly #isServer: (id: string) => boolean;

  constructor(isServer: (id: string) => boolean) {
    this.#isServer = isServer;
  }

  /**
   * Takes the resources of all servers, in the order of the catalog, and returns how they show.
   *
   * @param onConflict - told of each URI that shows under an alias
   * @param isShown - the caller gets the list: what it was shown before leads where it did until then
   */
  list(lists: Lists, onConflict: (origin: ResourceOrigin) => void, isShown = true) {
    const kept = keeper(this.#listed, (owner) => owner);
    this.#listed = new Map(isShown ? [] : this.#shown);
    if (isShown) {
      this.#shown = this.#listed;
    }
    return lists.map(([server, items]) =>
      items === undefined
        ? kept(server, this.#listed)
        : items.flatMap((item) => {
            const { uri } = item;
            if (typeof uri !== 'string') {
              return [];
            }
            const owner = this.#listed.get(uri);
            // One that reads as an alias of ours, as of a gateway behind this one, would lead elsewhere in its own form.
            if ((owner === undefined || owner === server) && this.#originOf(uri) === undefined) {
              this.#listed.set(uri, server);
              return [item];
            }
            onConflict({ server, uri });
            return [{ ...item, uri: aliasUri(server, uri) }];
          }),
    );
  }

  /** The same for templates. */
  listTemplates(lists: Lists, onConflict: (origin: ResourceOrigin) => void, isShown = true) {
    const kept = keeper(this.#templates, (owner) => owner.server);
    this.#templates = new Map(isShown ? [] : this.#shownTemplates);
    if (isShown) {
      this.#shownTemplates = this.#templates;
    }
    return lists.map(([server, items]) =>
      items === undefined
        ? kept(server, this.#templates)
        : items.flatMap((item) => {
            const { uriTemplate: template } = item;
            if (typeof template !== 'string') {
              return [];
            }
            const owner = this.#templates.get(template);
            if ((owner === undefined || owner.server === server) && this.#originOf(template) === undefined) {
              this.#templates.set(template, readTemplate(server, template));
              return [item];
            }
            onConflict({ server, uri: template });
            return [{ ...item, uriTemplate: aliasTemplate(server, template) }];
          }),
    );
  }

  /** Remembers the URIs in the content of a result. */
  see(server: string, result: Readonly<Record<string, unknown>>): void {
    this.#seeParts(server, result.content);
    for (const message of toArray(result.messages)) {
      // One part or several.
      const content = fieldsOf(message).content;
      this.#seeParts(server, Array.isArray(content) ? content : [content]);
    }
    for (const part of toArray(result.contents)) {
      this.#seeUri(server, fieldsOf(part).uri);
    }
  }

  /** The form in which the caller knows a URI of this server. */
  formOf(server: string, uri: string): string {
    const owner = this.find(uri);
    return owner === undefined || owner.server === server ? uri : aliasUri(server, uri);
  }

  /** Where an alias leads; undefined for any other URI. */
  #originOf(uri: string): ResourceOrigin | undefined {
    const alias = readAlias(uri);
    return alias !== undefined && this.#isServer(alias.server) ? alias : undefined;
  }

  find(uri: string): ResourceOrigin | undefined {
    const alias = this.#originOf(uri);
    if (alias !== undefined) {
      return alias;
    }
    const server =
      this.#listed.get(uri) ?? this.#seen.get(uri) ?? this.#templates.get(uri)?.server ?? this.#matchTemplate(uri);
    return server === undefined ? undefined : { server, uri };
  }

  /** Of several that it may come of, the one that begins with most of it, and then the one that says most of it. */
  #matchTemplate(uri: string): string | undefined {
    let best: Template | undefined;
    let isFound = false;
    let compared = 0;
    for (const template of this.#templates.values()) {
      const { prefix, length } = template;
      if (prefix !== '' && uri.startsWith(prefix)) {
        const more = best === undefined || prefix.length - best.prefix.length || length - best.length;
        const isMore = more === true || more > 0;
        compared += isMore || !isFound ? length * uri.length : 0;
        // Beyond that, the beginnings alone decide.
        const fits: boolean = (isMore || !isFound) && compared <= mostCompared && mayComeOf(template, uri);
        if (fits || (isMore && !isFound)) {
          best = template;
          isFound ||= fits;
        }
      }
    }
    return best?.server;
  }

  #seeParts(server: string, parts: unknown): void {
    for (const item of toArray(parts)) {
      const part = fieldsOf(item);
      this.#seeUri(server, part.type === 'resource_link' ? part.uri : fieldsOf(part.resource).uri);
    }
  }

  #seeUri(server: string, uri: unknown): void {
    if (typeof uri === 'string' && uri.length <= longestSeen) {
      this.#seen.set(uri, server);
    }
  }
}

/** What a server had stays its own while no list comes from it. @returns what gives the items of that list: none */
function keeper<Owner>(before: ReadonlyMap<string, Owner>, serverOf: (owner: Owner) => string) {
  // Looked through once, also where no list comes from many servers, and not at all where all lists come.
  let byServer: Map<string, [uri: string, owner: Owner][]> | undefined;
  return (server: string, now: Map<string, Owner>): [] => {
    byServer ??= Map.groupBy(before, ([, owner]) => serverOf(owner));
    for (const [uri, owner] of byServer.get(server) ?? []) {
      now.has(uri) || now.set(uri, owner);
    }
    return [];
  };
}

const nothing: readonly unknown[] = [];

function toArray(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : nothing;
}

function fieldsOf(value: unknown): Fields {
  return isFields(value) ? value : {};
}
