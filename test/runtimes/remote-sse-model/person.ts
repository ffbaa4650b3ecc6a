import { auth } from '@modelcontextprotocol/sdk/client/auth.js';
import { MemoryProvider } from '../../fixtures/http/oauth-host.js';
import type { Chance } from '../../gateway/model/chance.js';
import type { Granter } from './granter.js';
import type { Judge } from './judge.js';

/** Where a person was sent, to consent. */
export interface Page {
  readonly challenge: string;
  readonly scope: string;
  /** It is not where those are who grant access: that could not be found out. */
  readonly isAstray: boolean;
}

/** How the host goes about what it is asked. */
export type HostWaits = (what: string) => Promise<void>;

/** On whose behalf callers come, and what the host holds for it. */
export class Person {
  readonly name: string;
  readonly provider: Provider;
  /** Which of its tokens are good: those of the last time. */
  generation = 1;
  /** It had no token in the beginning. */
  isNew = false;
  /** Requests that were refused, and waited for what the host holds: each may ask later than others do. */
  late = 0;
  readonly #granter: Granter;
  /** Pages that were shown, the last one last. */
  readonly pages: Page[] = [];
  /** Those of them that nobody has answered. */
  readonly #open: Page[] = [];
  /** What the last of them that did not go far enough were good for. */
  readonly #narrow: string[] = [];
  /** For which scopes requests of callers were refused since the person was last asked for that; none where the token was. */
  readonly #refused = new Set<string>();
  readonly #judge: Judge;
  #asks = 0;

  constructor(name: string, granter: Granter, judge: Judge, waits: HostWaits, isMachine: boolean) {
    this.name = name;
    this.#granter = granter;
    this.#judge = judge;
    const ask = (address: URL) => this.#asked(address);
    this.provider = isMachine ? new MachineProvider(waits, ask) : new Provider(waits, ask);
  }

  /** A request of a caller was refused, for which the person may be asked. @param scope - what was missing, if that was it */
  refused(scope = ''): void {
    this.#refused.add(scope);
  }

  /** A token did not go far enough. */
  lacks({ scope }: { readonly scope: string }): void {
    this.#narrow.push(scope);
    // A request that was refused before may ask later.
    if (this.#narrow.length > 2) this.#narrow.shift();
  }

  /** The person does something about the pages: consents, to all or to less, refuses, or is too late. */
  async decide(chance: Chance, serverUrl: string): Promise<void> {
    const page = chance.oneIn(4) ? this.#open.shift() : this.#open.pop();
    if (page === undefined) return;
    const how = chance.weigh([
      [6, 'given'],
      [1, 'given in part'],
      [2, 'refused'],
    ]);
    this.#judge.count(`consent: ${how}`);
    this.#judge.log(`${this.name}: consent to ${page.scope || 'nothing more'} is ${how}`);
    if (how === 'refused') return;
    const scope = how === 'given' ? page.scope : '';
    const granter = this.#granter;
    const authorizationCode = granter.giveCode(this, page, scope);
    const asks = this.#asks;
    const isLast = () => this.pages.at(-1) === page && this.#asks === asks;
    const before = isLast();
    try {
      await auth(this.provider, { serverUrl, authorizationCode, fetchFn: granter.fetch });
      if (!before) this.#judge.problem(`${this.name}: the code of a page that was replaced is good`);
      this.#judge.count('consent: taken');
    } catch (error) {
      const isExcused = !before || !isLast() || page.isAstray;
      if (!isExcused) this.#judge.problem(`${this.name}: a consent comes to nothing: ${(error as Error).message}`);
      this.#judge.count('consent: too late');
    }
  }

  async #asked(address: URL): Promise<void> {
    const { searchParams } = address;
    const scope = searchParams.get('scope') ?? '';
    const isAstray = address.origin !== this.#granter.origin;
    const page = { challenge: searchParams.get('code_challenge') ?? '', scope, isAstray };
    const asked = scope.split(' ');
    const keeps = (held: string) => held.split(' ').every((each) => each === '' || asked.includes(each));
    const isLess = scope !== '' && this.#narrow.length > 0 && !this.#narrow.some(keeps);
    if (isLess) this.#judge.problem(`${this.name} is asked for ${scope}, and would lose of ${this.#narrow}`);
    this.pages.push(page);
    this.#open.push(page);
    this.#asks += 1;
    this.#judge.count('consent: asked');
    this.#judge.log(`${this.name} is asked for ${page.scope}`);
    const meant = [...this.#refused].filter((each) => (scope === '' ? each === '' : asked.includes(each)));
    for (const each of meant) this.#refused.delete(each);
    const isLate = meant.length === 0 && this.late > 0;
    if (isLate) this.late -= 1;
    if (meant.length === 0 && !isLate)
      this.#judge.problem(`${this.name} is asked for "${scope}", and no request of a caller was refused for that`);
  }
}

/** One that may have to look somewhere else for its tokens. */
export class Provider extends MemoryProvider {
  /** The SDK is about to ask a person: threads make the secret for that, for which time that stands still does not wait. */
  isAsking = false;
  readonly #waits: HostWaits;
  readonly #ask: (address: URL) => Promise<void>;

  constructor(waits: HostWaits, ask: (address: URL) => Promise<void>) {
    super();
    this.#waits = waits;
    this.#ask = ask;
  }

  state(): string {
    this.isAsking = true;
    return 'state';
  }

  override saveCodeVerifier(verifier: string): void {
    this.isAsking = false;
    super.saveCodeVerifier(verifier);
  }

  override tokens(): never {
    return this.#waits('tokens').then(() => super.tokens()) as never;
  }

  /** What is held, without waiting. */
  get held() {
    return super.tokens();
  }

  override async redirectToAuthorization(address: URL): Promise<void> {
    super.redirectToAuthorization(address);
    await this.#ask(address);
    // The page may have to be brought up first, or the hook lasts until the person has seen it.
    await this.#waits('page');
  }
}

/** One that needs nobody: it asks for a token with credentials of its own. */
class MachineProvider extends Provider {
  constructor(...given: ConstructorParameters<typeof Provider>) {
    super(...given);
    Object.defineProperty(this, 'redirectUrl', { value: undefined });
  }

  prepareTokenRequest(): URLSearchParams {
    return new URLSearchParams({ grant_type: 'client_credentials' });
  }
}
