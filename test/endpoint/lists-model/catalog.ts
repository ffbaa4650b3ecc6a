import { matchesGlob } from '../../../src/endpoint/glob.js';
import type { CatalogInput, NamingFunction } from '../../../src/index.js';
import type { Chance } from '../../gateway/model/chance.js';
import type { ScriptedServer } from '../scripted-server.js';

/** What a server is started as; the number goes into its environment. */
export interface Generation {
  readonly number: number;
  readonly era: 'legacy' | 'modern';
  readonly isolation: 'caller' | 'shared' | 'principal';
}

interface Entry {
  readonly id: string;
  generation: Generation;
  isThere: boolean;
  tags: string[];
  tools: { allow?: string[]; deny?: string[] };
  onReload: 'drain' | 'now' | 'keep';
  title: number;
}

export const serverIds = ['a', 'b', 'c'] as const;
const filters = [{}, {}, { deny: ['denied'] }, { allow: ['o*', 't*'] }, { allow: ['*'], deny: ['t*'] }];

/** What hosts make of names: nothing, names that collide, and names of their own. */
const namings: readonly (NamingFunction | undefined)[] = [
  undefined,
  undefined,
  ({ name }) => name,
  ({ server, name }) => `${name}.${server}`,
];

/** The catalog as it is, and as it was. */
export class Catalog {
  readonly naming: NamingFunction | undefined;
  readonly #entries: Entry[];
  readonly #generations = new Map<number, Generation>();

  constructor(chance: Chance) {
    this.naming = chance.pick(namings);
    this.#entries = serverIds.map((id) => ({
      id,
      generation: this.#generate(chance.one(['legacy', 'modern']), chance),
      isThere: true,
      tags: chance.oneIn(2) ? ['t'] : [],
      tools: chance.pick(filters) ?? {},
      onReload: 'drain',
      title: 0,
    }));
  }

  input(servers: ReadonlyMap<string, ScriptedServer>): CatalogInput {
    return {
      servers: this.#entries
        .filter(({ isThere }) => isThere)
        .map(({ id, generation, tags, tools, onReload, title }) => ({
          id,
          runtime: servers.get(id)?.runtime,
          display_name: `${id} ${title}`,
          tags,
          tools,
          on_reload: onReload,
          isolation: generation.isolation,
          list_timeout: '5s',
          request_timeout: '30s',
          idle_timeout: '10m',
          env: { GENERATION: String(generation.number) },
          restart: { max: 1_000, backoff: '1ms', max_backoff: '1ms' },
        })),
    } as CatalogInput;
  }

  /** Those that a caller may see, in their order. */
  visible(tags: readonly string[] | undefined): Entry[] {
    return this.#entries.filter(
      (entry) => entry.isThere && (tags === undefined || tags.some((tag) => entry.tags.includes(tag))),
    );
  }

  get ids(): string[] {
    return this.visible(undefined).map(({ id }) => id);
  }

  /** Which tools may be called, as it is now. */
  rules(): (id: string, tool: string) => boolean {
    const rules = new Map(this.visible(undefined).map(({ id, tools }) => [id, tools]));
    return (id, tool) => {
      const { allow = ['*'], deny = [] } = rules.get(id) ?? { allow: [] };
      const hits = (patterns: readonly string[]) => patterns.some((pattern) => matchesGlob(pattern, tool));
      return hits(allow) && !hits(deny);
    };
  }

  allows(id: string, tool: string): boolean {
    return this.rules()(id, tool);
  }

  generation(number: unknown): Generation {
    return this.#generations.get(Number(number)) as Generation;
  }

  /** @returns what becomes another */
  change(chance: Chance): string {
    const entry = chance.pick(this.#entries) as Entry;
    const { id } = entry;
    if (!entry.isThere) {
      entry.isThere = true;
      return `${id} comes back`;
    }
    return chance.weigh<() => string>([
      [
        3,
        () => {
          entry.tools = chance.pick(filters) ?? {};
          return `${id} has the tools ${JSON.stringify(entry.tools)}`;
        },
      ],
      [
        2,
        () => {
          entry.generation = this.#generate(chance.one(['legacy', 'modern']), chance);
          entry.onReload = chance.one(['drain', 'now', 'keep']);
          return `${id} is ${JSON.stringify(entry.generation)} (${entry.onReload})`;
        },
      ],
      [
        1,
        () => {
          entry.isThere = false;
          return `${id} goes`;
        },
      ],
      [
        1,
        () => {
          entry.title += 1;
          return `${id} has another title`;
        },
      ],
      [
        1,
        () => {
          entry.tags = entry.tags.length === 0 ? ['t'] : [];
          return `${id} has the tags ${JSON.stringify(entry.tags)}`;
        },
      ],
      [
        1,
        () => {
          this.#entries.reverse();
          return 'the order is another one';
        },
      ],
    ])();
  }

  #generate(era: Generation['era'], chance: Chance): Generation {
    const number = this.#generations.size + 1;
    const generation = {
      number,
      era,
      isolation: chance.one<Generation['isolation']>(['caller', 'caller', 'shared', 'principal']),
    };
    this.#generations.set(number, generation);
    return generation;
  }
}
