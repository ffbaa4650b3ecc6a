import { text } from 'node:stream/consumers';
import { MemoryProvider } from '../../fixtures/http/oauth-host.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import { cut, type Exchange } from './host.js';
import { type Judge, secret } from './judge.js';

/** How the schedule goes on with what waits, and what it has made of the server. */
interface Setting {
  readonly origin: string;
  nextChance(): Chance;
  mayWait(chance: Chance, times?: number): Promise<void>;
  odd(weight: number): number;
}

/** What becomes of a refresh token: each works once. */
interface Refresh {
  isUsed: boolean;
  /** The answer with the next one has left whole. */
  isAnswered: boolean;
}

/** The tokens that a server takes, who grants them, and the host's part of that: its provider, its function for headers. */
export class Access {
  /**
   * Who has the token: the catalog; a provider that learns of a new one by itself; or one that has it renewed where the server
   * says.
   */
  readonly kind: 'catalog' | 'provider' | 'renewed';
  readonly provider: SlowProvider | undefined;
  /** The host has failed, or taken its time: what was sent to no effect is not to be missed. */
  isExcused = false;
  readonly #hasHeaders: boolean;
  readonly #judge: Judge;
  readonly #play: Setting;
  readonly #refreshes = new Map<string, Refresh>();
  readonly #renewals = new Set<Exchange>();
  #token = 1;

  constructor(judge: Judge, setting: number, play: Setting) {
    this.#judge = judge;
    this.#play = play;
    const chance = createChance(setting);
    this.kind = chance.one(['catalog', 'catalog', 'catalog', 'catalog', 'provider', 'renewed', 'renewed']);
    this.#hasHeaders = createChance(setting + 1).oneIn(4);
    this.provider = this.kind === 'catalog' ? undefined : new SlowProvider(() => this.#hostWaits('tokens'));
    if (this.kind === 'renewed') this.provider?.saveClientInformation({ client_id: 'model' });
  }

  get authorization(): string {
    return `Bearer ${this.#access}`;
  }

  /** Asked before each request, where the host has one. */
  get headers(): (() => Promise<Record<string, string>>) | undefined {
    if (!this.#hasHeaders) return undefined;
    return async () => {
      await this.#hostWaits('headers');
      return { 'x-secret': `${secret}-header` };
    };
  }

  /** The token is good no more. */
  expire(): void {
    if (this.provider !== undefined) this.#token += 1;
  }

  /** The host has the one that is good, as after a person has consented. */
  giveToken(): void {
    this.provider?.saveTokens(this.#grant());
  }

  /** Answers what is asked of those who grant access, and refuses what comes without it. False when it is let in. */
  async refuses(exchange: Exchange, isHostUp: () => boolean): Promise<boolean> {
    const { request, response } = exchange;
    const { method, url = '', headers } = request;
    const { authorization } = headers;
    const isAboutAccess = url.startsWith('/.well-known/') || ['/register', '/token'].includes(url);
    if (isAboutAccess) await this.#grantAt(url, exchange, isHostUp);
    // A sign of life before there is a session needs no access.
    if (isAboutAccess || method === 'OPTIONS') return isAboutAccess;
    if (this.#hasHeaders && headers['x-secret'] !== `${secret}-header`) {
      this.#judge.problem(`${method} ${url} comes without the headers of the host`);
    }
    if (authorization === this.authorization) return false;
    if (this.provider === undefined || !authorization?.startsWith(`Bearer ${secret}-token-`)) {
      this.#judge.problem(`${method} ${url} comes with ${authorization}`);
    }
    // The end of a session waits for no token.
    if (method === 'DELETE') return false;
    this.#judge.count('token refused');
    if (this.kind === 'provider') this.giveToken();
    const challenge = this.#play.nextChance().one(['Bearer', 'Bearer error="invalid_token"', undefined]);
    response.writeHead(401, challenge === undefined ? {} : { 'www-authenticate': challenge }).end();
    return true;
  }

  get #access(): string {
    return `${secret}-token-${this.#token}`;
  }

  #grant() {
    const refresh = `${secret}-refresh-${this.#refreshes.size + 1}`;
    this.#refreshes.set(refresh, { isUsed: false, isAnswered: false });
    const access = { access_token: this.#access, token_type: 'Bearer' };
    // The SDK wants to know whose they are.
    return this.kind === 'renewed' ? { ...access, refresh_token: refresh, issuer: this.#play.origin } : access;
  }

  /** The authorization server, on the same origin. */
  async #grantAt(path: string, exchange: Exchange, isHostUp: () => boolean): Promise<void> {
    const { request, response } = exchange;
    const reply = (status: number, value: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    const { origin } = this.#play;
    if (this.kind === 'renewed' && path === '/.well-known/oauth-authorization-server') {
      const endpoints = { authorization_endpoint: `${origin}/authorize`, token_endpoint: `${origin}/token` };
      const supported = { response_types_supported: ['code'], code_challenge_methods_supported: ['S256'] };
      reply(200, { issuer: origin, ...endpoints, ...supported });
    } else if (this.kind === 'renewed' && path === '/token') {
      const chance = this.#play.nextChance();
      const name = new URLSearchParams(await text(request)).get('refresh_token') ?? '';
      const refresh = this.#refreshes.get(name);
      this.#renewals.add(exchange);
      response.on('close', () => this.#renewals.delete(exchange));
      if (this.#renewals.size > 1) this.#judge.problem('a token is renewed twice at the same time');
      if (refresh?.isAnswered) this.#judge.problem(`${name} is used again, and has been answered`);
      await this.#play.mayWait(chance);
      this.#renewals.delete(exchange);
      const how = chance.weigh([
        [8, 'renewed'],
        [this.#play.odd(1), 'refused'],
        [this.#play.odd(1), 'failed'],
        [this.#play.odd(1), 'cut'],
      ]);
      this.#judge.count(`token: ${how}`);
      if (how === 'failed') reply(503, { error: 'temporarily_unavailable', error_description: `no ${name}` });
      else if (how === 'refused' || refresh === undefined || refresh.isUsed) {
        reply(400, { error: 'invalid_grant', error_description: `no ${name}` });
      } else {
        refresh.isUsed = true;
        const granted = this.#grant();
        if (how === 'cut') return cut(exchange, chance);
        response.on('finish', () => {
          refresh.isAnswered = isHostUp();
        });
        reply(200, granted);
      }
    } else response.writeHead(404).end();
  }

  /** The host takes its time, or fails. */
  async #hostWaits(what: string): Promise<void> {
    const chance = this.#play.nextChance();
    if (this.#play.odd(1) === 0) return;
    const how = chance.weigh([
      [30, 'at once'],
      [2, 'late'],
      [1, 'failed'],
    ]);
    if (how === 'at once') return;
    this.isExcused = true;
    this.#judge.count(`host: ${what} ${how}`);
    if (how === 'failed') throw new Error(`the host has no ${what}`);
    await this.#play.mayWait(chance, 1);
  }
}

/** One that may have to look somewhere else for its tokens. */
class SlowProvider extends MemoryProvider {
  /** The SDK is about to ask a person: threads make the secret for that, for which time that stands still does not wait. */
  isAsking = false;
  readonly #wait: () => Promise<void>;

  constructor(wait: () => Promise<void>) {
    super();
    this.#wait = wait;
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
    return this.#wait().then(() => super.tokens()) as never;
  }
}
