import type { CatalogInput } from '../../../src/index.js';
import type { ScriptedServer } from '../../endpoint/scripted-server.js';
import type { Chance } from './chance.js';

export type Era = 'legacy' | 'modern';
export type Isolation = 'caller' | 'shared' | 'principal' | 'request';

/** What a server is started as; the number goes into its environment, so that each instance tells which one it is of. */
export interface Generation {
  readonly number: number;
  readonly era: Era;
  readonly isolation: Isolation;
}

interface Entry {
  readonly id: string;
  readonly server: ScriptedServer;
  generation: Generation;
  isThere: boolean;
  enabled: boolean;
  tags: string[];
  deny: string[];
  onReload: 'drain' | 'now' | 'keep';
  /** Of memory, where its runtime says how much one may use. */
  readonly mebibytes: number | undefined;
  readonly settings: Record<string, unknown>;
}

/** What a reload changes of an entry: what is started for it, or only what callers see of it. */
export interface Change {
  readonly id: string;
  readonly what: 'replaced' | 'shown';
  readonly text: string;
}

export const serverIds = ['a', 'b', 'c', 'd'] as const;
const isolations = ['caller', 'caller', 'shared', 'principal', 'request'] as const;

/** The catalog as it is, and as it was: what may change of it does. */
export class Entries {
  readonly #entries: Entry[];
  readonly #generations = new Map<number, Generation>();

  constructor(chance: Chance, createServer: (id: string) => ScriptedServer) {
    this.#entries = serverIds.map((id) => ({
      id,
      server: createServer(id),
      generation: this.#generate(chance.one(['legacy', 'legacy', 'modern']), chance.one(isolations)),
      isThere: true,
      enabled: true,
      tags: chance.oneIn(2) ? ['t'] : [],
      deny: chance.oneIn(3) ? ['denied'] : [],
      onReload: chance.one(['drain', 'now', 'keep']),
      mebibytes: chance.pick([undefined, 256, 512]),
      settings: {
        idle_timeout: chance.one(['10s', '2m']),
        request_timeout: '60s',
        ...(chance.oneIn(4) && { max_lifetime: '20s' }),
        ...(chance.oneIn(2) && { health: { interval: '10s', timeout: '3s', failures: 2 } }),
        ...(chance.oneIn(4) && { health: { interval: 0 } }),
        restart: chance.oneIn(4)
          ? { max: 1, backoff: '1s', max_backoff: '2s', cooldown: '20s' }
          : // As often as may be: here servers die for a living.
            { max: 1_000, backoff: '1ms', max_backoff: '1ms' },
      },
    }));
  }

  get ids(): string[] {
    return this.#entries.filter(({ isThere }) => isThere).map(({ id }) => id);
  }

  get servers(): ScriptedServer[] {
    return this.#entries.map(({ server }) => server);
  }

  get catalog(): CatalogInput {
    return {
      servers: this.#entries
        .filter(({ isThere }) => isThere)
        .map(({ id, server, generation, enabled, tags, deny, onReload, mebibytes, settings }) => ({
          ...settings,
          id,
          runtime:
            mebibytes === undefined ? server.runtime : { type: 'measured', server: server.runtime.server, mebibytes },
          enabled,
          tags,
          on_reload: onReload,
          isolation: generation.isolation,
          // By the name of a variable it is another thing that is started.
          env: { GENERATION: String(generation.number), SECRET: '${SECRET}', [`OF_${generation.number % 3}`]: '' },
          tools: { deny },
        })),
    } as CatalogInput;
  }

  of(id: string): Entry {
    return this.#entries.find((entry) => entry.id === id) as Entry;
  }

  /** Those that a caller may see. */
  visible({
    servers,
    tags,
  }: {
    readonly servers?: readonly string[] | undefined;
    readonly tags?: readonly string[] | undefined;
  }) {
    return this.#entries.filter(
      (entry) =>
        entry.isThere &&
        entry.enabled &&
        (servers === undefined || servers.includes(entry.id)) &&
        (tags === undefined || tags.some((tag) => entry.tags.includes(tag))),
    );
  }

  generation(number: unknown): Generation {
    return this.#generations.get(Number(number)) as Generation;
  }

  change(chance: Chance): Change {
    const entry = chance.pick(this.#entries) as Entry;
    const { id, generation } = entry;
    const replaced = (text: string): Change => ({ id, what: 'replaced', text });
    const shown = (text: string): Change => ({ id, what: 'shown', text });
    if (!entry.isThere) {
      entry.isThere = true;
      return replaced(`${id} comes back`);
    }
    return chance.weigh<() => Change>([
      [
        4,
        () => {
          entry.generation = this.#generate(generation.era, generation.isolation);
          entry.onReload = chance.one(['drain', 'now', 'keep']);
          return replaced(`${id} is generation ${entry.generation.number} (${entry.onReload})`);
        },
      ],
      [
        2,
        () => {
          entry.generation = this.#generate(chance.one(['legacy', 'modern']), generation.isolation);
          entry.onReload = chance.one(['drain', 'now', 'keep']);
          return replaced(`${id} is ${JSON.stringify(entry.generation)} (${entry.onReload})`);
        },
      ],
      [
        1,
        () => {
          entry.isThere = false;
          return replaced(`${id} goes`);
        },
      ],
      [
        1,
        () => {
          entry.enabled = !entry.enabled;
          return replaced(`${id} is ${entry.enabled ? 'enabled' : 'disabled'}`);
        },
      ],
      [
        1,
        () => {
          entry.tags = entry.tags.length === 0 ? ['t'] : [];
          return shown(`${id} has tags ${entry.tags}`);
        },
      ],
      [
        1,
        () => {
          entry.deny = entry.deny.length === 0 ? ['denied'] : [];
          return shown(`${id} denies ${entry.deny}`);
        },
      ],
    ])();
  }

  #generate(era: Era, isolation: Isolation): Generation {
    const number = this.#generations.size + 1;
    const generation = { number, era, isolation };
    this.#generations.set(number, generation);
    return generation;
  }
}
