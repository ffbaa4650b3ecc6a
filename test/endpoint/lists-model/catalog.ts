import { matchesGlob } from '../../../src/endpoint/glob.js';
import type { CatalogInput, NamingFunction } from '../../../src/index.js';
import type { Chance } from '../../gateway/model/chance.js';

/** What a server is started as; the number goes into its environment. */
export interface Generation {
  readonly number: number;
  readonly era: 'legacy' | 'modern';
  readonly isolation: 'caller' | 'shared' | 'principal' | 'request';
}

/** What a caller may see: everything, unless it says otherwise. */
export interface Sees {
  readonly servers?: readonly string[] | undefined;
  readonly tags?: readonly string[] | undefined;
}

interface Entry {
  readonly id: string;
  generation: Generation;
  isThere: boolean;
  tags: string[];
  tools: { allow?: string[]; deny?: string[] };
  onReload: 'drain' | 'now' | 'keep';
  /** It never was away. */
  isOfOne: boolean;
  title: number;
}

/** Whether a server may be used, or one of its tools. */
export type Rules = (id: string, tool: string | undefined) => boolean;

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
  #justBefore: readonly Entry[] | undefined;
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
      isOfOne: true,
      title: 0,
    }));
  }

  input(): CatalogInput {
    return {
      servers: this.#entries
        .filter(({ isThere }) => isThere)
        .map(({ id, generation, tags, tools, onReload, title }) => ({
          id,
          runtime: { type: 'scripted', script: id },
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
  visible({ servers, tags }: Sees, entries: readonly Entry[] = this.#entries): Entry[] {
    return entries.filter(
      ({ id, isThere, tags: own }) =>
        isThere &&
        (servers === undefined || servers.includes(id)) &&
        (tags === undefined || tags.some((tag) => own.includes(tag))),
    );
  }

  get ids(): string[] {
    return this.visible({}).map(({ id }) => id);
  }

  /** What a caller may use, as it is now. */
  rules(sees: Sees, entries?: readonly Entry[]): Rules {
    const rules = new Map(this.visible(sees, entries).map(({ id, tools }) => [id, tools]));
    return (id, tool) => {
      const { allow = ['*'], deny = [] } = rules.get(id) ?? { allow: [] };
      const hits = (patterns: readonly string[]) => patterns.some((pattern) => matchesGlob(pattern, String(tool)));
      return rules.has(id) && (tool === undefined || (hits(allow) && !hits(deny)));
    };
  }

  generation(number: unknown): Generation {
    return this.#generations.get(Number(number)) as Generation;
  }

  /** What a caller may be shown: what was merged in the very turn of a reload is on its way. */
  shownRules(sees: Sees): Rules {
    const [now, before] = [this.rules(sees), this.#justBefore && this.rules(sees, this.#justBefore)];
    return (id, tool) => now(id, tool) || before?.(id, tool) === true;
  }

  /** Whether no other make of a server was there yet. */
  isFirst(id: string): boolean {
    const entry = this.#entries.find((each) => each.id === id);
    return entry?.isOfOne === true && entry.generation.number <= serverIds.length;
  }

  /** @returns what becomes another */
  change(chance: Chance): string {
    const before = this.#entries.map((each) => ({ ...each }));
    this.#justBefore = before;
    setImmediate(() => {
      this.#justBefore = this.#justBefore === before ? undefined : this.#justBefore;
    });
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
          entry.isOfOne = false;
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
      isolation: chance.one<Generation['isolation']>([
        'caller',
        'caller',
        'caller',
        'shared',
        'shared',
        'principal',
        'request',
      ]),
    };
    this.#generations.set(number, generation);
    return generation;
  }
}
