import { type Chance, createChance } from '../../gateway/model/chance.js';
import { type Grant, Granter } from './granter.js';
import type { Exchange, Host } from './host.js';
import { type Call, type Judge, secret } from './judge.js';
import { Persons } from './persons.js';
import type { Origins, Setting } from './play.js';

/** Which tokens a server takes, and how it refuses the others. */
export class Access {
  readonly persons: Persons;
  readonly granter: Granter;
  /** Those who grant access have an origin of their own. */
  readonly isApart: boolean;
  readonly #judge: Judge;
  readonly #play: Origins;

  constructor(judge: Judge, setting: Setting, play: Origins) {
    this.#judge = judge;
    this.#play = play;
    this.persons = new Persons(judge, setting, play);
    this.granter = this.persons.granter;
    this.isApart = createChance(setting.setting + 2).oneIn(2);
  }

  get kind(): Persons['kind'] {
    return this.persons.kind;
  }

  /** What was sent to no effect is not to be missed. */
  get isExcused(): boolean {
    return this.persons.isExcused;
  }

  get authorization(): string {
    return `Bearer ${secret}-token-1`;
  }

  /** Answers what is asked of those who grant access, and refuses what comes without it. False when it is let in. */
  async refuses(exchange: Exchange, host: Host): Promise<boolean> {
    const { request, response } = exchange;
    const { method, url = '', headers } = request;
    const { authorization } = headers;
    if (Granter.isAsked(url)) {
      await this.granter.take(exchange, this.isApart ? 'elsewhere' : 'here', () => host.isUp);
      return true;
    }
    // A sign of life before there is a session needs no access.
    if (method === 'OPTIONS') return false;
    if (this.persons.hasHeaders && headers['x-secret'] !== `${secret}-header`) {
      this.#judge.problem(`${method} ${url} comes without the headers of the host`);
    }
    if (this.kind === 'catalog') {
      if (authorization !== this.authorization) this.#judge.problem(`${method} ${url} comes with ${authorization}`);
      return false;
    }
    const chance = this.#play.nextChance();
    const grant = this.#grantOf(exchange);
    if (grant === undefined) {
      const without = this.persons.newcomers;
      if (authorization !== undefined || without.length === 0)
        this.#judge.problem(`${method} ${url} comes with ${authorization}`);
      // Whose request it is nobody can tell.
      for (const person of without) person.refused();
      this.#refuse(exchange, chance);
      return true;
    }
    if (grant.generation === grant.person.generation) {
      const isOdd = ['person', 'machine'].includes(this.kind) && method !== 'DELETE' && this.#play.odd(1) > 0;
      // It asks for more than it needs, or will never be content.
      if (isOdd && chance.oneIn(40)) this.#wantsScope(exchange, grant, chance.one(['a', 'b', 'c']), chance);
      return response.headersSent;
    }
    // The end of a session waits for no token.
    if (method === 'DELETE') return false;
    this.#judge.count('token refused');
    if (this.kind === 'provider') this.persons.give(grant.person, '');
    this.#refused(exchange, grant);
    this.#refuse(exchange, chance);
    return true;
  }

  /** Looks whose token a call comes with, and refuses it where that does not go far enough. */
  refusesCall(exchange: Exchange, call: Call): boolean {
    const grant = this.#grantOf(exchange);
    if (this.kind === 'catalog' || grant === undefined) return false;
    const own = this.persons.personOf(call.member.index);
    if (grant.person !== own)
      this.#judge.problem(`call ${call.number} of ${own.name} comes with a token of ${grant.person.name}`);
    const scope = call.number % 3 === 0 ? 'a' : call.number % 3 === 1 ? 'b' : undefined;
    const isScoped = ['person', 'machine'].includes(this.kind) && scope !== undefined;
    // Some are never content, whatever they were granted.
    const isGreedy = isScoped && call.number % 7 < 2 && this.#play.odd(1) > 0;
    const isMissing = isGreedy || (isScoped && !grant.scope.includes(scope));
    if (isMissing) {
      call.refusals += 1;
      // Once as it is, once with a token that has come meanwhile, and once with what was granted for it.
      if (call.refusals > 3) this.#judge.problem(`call ${call.number} is refused ${call.refusals} times`);
      this.#wantsScope(exchange, grant, scope as string, this.#play.nextChance());
    }
    return isMissing;
  }

  /** A request was refused, whatever it came with. */
  noteRefusal(exchange: Exchange): void {
    const grant = this.#grantOf(exchange);
    if (grant !== undefined) this.#refused(exchange, grant);
  }

  #refuse({ response }: Exchange, chance: Chance): void {
    const where = `resource_metadata="${this.#play.origin}/about/mcp"`;
    const challenge = chance.one(['Bearer', 'Bearer error="invalid_token"', `Bearer ${where}`, undefined]);
    response.writeHead(401, challenge === undefined ? {} : { 'www-authenticate': challenge }).end();
  }

  #wantsScope(exchange: Exchange, grant: Grant, scope: string, chance: Chance): void {
    this.#judge.count('scope refused');
    grant.person.lacks(grant);
    this.#refused(exchange, grant, scope);
    const challenge = `Bearer error="insufficient_scope", scope="${scope}"`;
    exchange.response.writeHead(403, { 'www-authenticate': challenge }).end(chance.one(['', 'no']));
  }

  #refused({ request }: Exchange, { person }: Grant, scope?: string): void {
    if (!isOfItself(request)) person.refused(scope);
    // What it was to come to may not be possible without a person.
    if (this.kind === 'person' || this.kind === 'machine') this.persons.isExcused = true;
  }

  #grantOf({ request }: Exchange): Grant | undefined {
    return this.granter.tokens.get(request.headers.authorization?.replace('Bearer ', '') ?? '');
  }
}

/** A request that no caller has asked for, as its headers show: that for the stream of what belongs to no request. */
function isOfItself({ method, headers }: Exchange['request']): boolean {
  const isRest = /\bc\d+-\d+$/.test(String(headers['last-event-id']));
  return method === 'GET' && headers['mcp-protocol-version'] !== undefined && !isRest;
}
