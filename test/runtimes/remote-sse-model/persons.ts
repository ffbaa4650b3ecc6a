import type { Caller } from '../../../src/index.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import { Granter } from './granter.js';
import { type Judge, secret } from './judge.js';
import { Person, type Provider } from './person.js';
import type { Origins, Setting } from './play.js';

/** On how many persons' behalf connections come: some have several. */
const mostPersons = 3;

/** The host's part of access: a provider for each caller, and its function for headers. */
export class Persons {
  /**
   * Who has the token: the catalog; a provider that learns of a new one by itself; one that has it renewed where the server
   * says; one whose person is asked to consent; one that needs no person.
   */
  readonly kind: 'catalog' | 'provider' | 'renewed' | 'person' | 'machine';
  readonly granter: Granter;
  readonly hasHeaders: boolean;
  /** The host has failed, or taken its time: what was sent to no effect is not to be missed. */
  isExcused = false;
  /** All callers share what the server knows of them. */
  readonly #shares: boolean;
  readonly #judge: Judge;
  readonly #play: Origins;
  readonly #persons = new Map<string, Person>();

  constructor(judge: Judge, { setting, shares = false, access }: Setting, play: Origins) {
    this.#judge = judge;
    this.#play = play;
    this.#shares = shares;
    const kinds = ['provider', 'renewed', 'renewed', 'person', 'person', 'person', 'machine'] as const;
    const all = ['catalog', 'catalog', 'catalog', 'catalog', 'catalog', ...kinds] as const;
    this.kind = access ?? createChance(setting).one(all);
    this.hasHeaders = access === undefined && createChance(setting + 1).oneIn(4);
    this.granter = new Granter(judge, play);
  }

  /** The host's function: each caller has its own, and every connection of that caller. */
  readonly authProvider = (server: string, caller: Caller | undefined): Provider | undefined => {
    if (server !== 'remote') this.#judge.problem(`a provider is asked for, for ${server}`);
    // What is started ahead is for nobody.
    if (caller !== undefined && this.#shares) this.#judge.problem(`a provider is asked for, for ${caller.data}`);
    return this.kind === 'catalog' ? undefined : this.#personOf(caller?.data).provider;
  };

  /** Somebody is about to be asked, which time does not wait for. */
  get isAsking(): boolean {
    return [...this.#persons.values()].some(({ provider }) => provider.isAsking);
  }

  /** Those who had no token in the beginning. */
  get newcomers(): Person[] {
    return [...this.#persons.values()].filter(({ isNew }) => isNew);
  }

  /** Asked before each request, where the host has one. */
  get headers(): (() => Promise<Record<string, string>>) | undefined {
    if (!this.hasHeaders) return undefined;
    return async () => {
      await this.#hostWaits('headers');
      return { 'x-secret': `${secret}-header` };
    };
  }

  /** The tokens of somebody are good no more. */
  expire(chance: Chance): void {
    const person = chance.pick([...this.#persons.values()]);
    if (person === undefined) return;
    person.generation += 1;
    // What needs no person to be renewed is seldom all that there is.
    const { held } = person.provider;
    if (this.kind === 'person' && held !== undefined && chance.oneIn(2))
      person.provider.saveTokens({ ...held, refresh_token: undefined } as never);
  }

  /** Everybody has one that is good, as after consent to all that there is. */
  giveTokens(scope = 'a b'): void {
    for (const person of this.#persons.values()) this.give(person, scope);
  }

  /** A person does something about what it was asked. */
  async decide(chance: Chance): Promise<void> {
    const person = chance.pick([...this.#persons.values()].filter(({ pages }) => pages.length > 0));
    await person?.decide(chance, `${this.#play.origin}/mcp`);
  }

  /** Has the host hold a token that is good. */
  give(person: Person, scope: string): void {
    const given = this.granter.grant(person, scope, this.kind === 'renewed' || this.kind === 'person');
    person.provider.saveTokens(given);
  }

  /** The person of a caller; undefined: of all. */
  personOf(index: number | undefined): Person {
    return this.#personOf(this.#shares ? undefined : index);
  }

  #personOf(data: unknown): Person {
    const name = data === undefined ? 'all' : `p${Number(data) % mostPersons}`;
    const known = this.#persons.get(name);
    if (known !== undefined) return known;
    const isMachine = this.kind === 'machine';
    const waits = (what: string) => this.#hostWaits(what, () => (person.late += 1));
    const person: Person = new Person(name, this.granter, this.#judge, waits, isMachine);
    this.#persons.set(name, person);
    if (isMachine) this.granter.machines.set(name, person);
    if (this.kind === 'renewed' || isMachine || this.#play.nextChance().oneIn(2))
      person.provider.saveClientInformation({ client_id: name });
    // Some come for the first time.
    const isKind = this.#play.odd(1) === 0;
    const isNew = this.kind === 'person' && !isKind && this.#play.nextChance().oneIn(3);
    const hasAll = isKind || this.kind === 'renewed' || this.kind === 'provider';
    person.isNew = isNew;
    if (!isNew) this.give(person, hasAll ? 'a b' : '');
    return person;
  }

  /** The host takes its time, or fails. */
  async #hostWaits(what: string, onLate?: () => void): Promise<void> {
    const chance = this.#play.nextChance();
    if (this.#play.odd(1) === 0) return;
    const how = chance.weigh([
      [what === 'page' ? 6 : 30, 'at once'],
      [2, 'late'],
      [1, 'failed'],
    ]);
    if (how === 'at once') return;
    this.isExcused = true;
    this.#judge.count(`host: ${what} ${how}`);
    if (how === 'failed') throw new Error(`the host has no ${what}`);
    onLate?.();
    await this.#play.mayWait(chance, 1);
  }
}
