import { createHash } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { cut, type Exchange } from './host.js';
import { type Judge, secret } from './judge.js';
import type { Page, Person } from './person.js';
import type { Origins } from './play.js';

/** What a token is good for. */
export interface Grant {
  readonly person: Person;
  readonly generation: number;
  readonly scope: string;
}

/** What becomes of a refresh token: each works once. */
interface Refresh extends Grant {
  isUsed: boolean;
  /** The answer with the next one has left whole. */
  isAnswered: boolean;
}

type Reply = readonly [status: number, value: unknown];

/** Where a server says who grants access to it. */
const aboutServer = /^\/(?:about\/mcp|\.well-known\/oauth-protected-resource.*)$/;

const refused = (name: string): Reply => [400, { error: 'invalid_grant', error_description: `no ${name}` }];

/** The authorization server: on the origin of the server, or on one of its own. */
export class Granter {
  readonly tokens = new Map<string, Grant>();
  readonly #judge: Judge;
  readonly #play: Origins;
  readonly #refreshes = new Map<string, Refresh>();
  readonly #codes = new Map<string, { readonly page: Page; readonly person: Person; readonly scope: string }>();
  /** By whom they are. */
  readonly #renewals = new Map<Person, Set<Exchange>>();
  /** Its own origin, where it has one. */
  ownOrigin: () => string | undefined = () => undefined;
  /** Who asks for a token with credentials of its own, by its name. */
  readonly machines = new Map<string, Person>();

  constructor(judge: Judge, play: Origins) {
    this.#judge = judge;
    this.#play = play;
  }

  get origin(): string {
    return this.ownOrigin() ?? this.#play.origin;
  }

  static isAsked(url: string): boolean {
    return /^\/(?:\.well-known|moved|about|register|token)\b/.test(url);
  }

  /** Tokens that are good now. */
  grant(person: Person, scope: string, renews = true) {
    const { generation } = person;
    const token = `${secret}-token-${person.name}-${this.tokens.size + 1}`;
    const refresh = `${secret}-refresh-${this.#refreshes.size + 1}`;
    this.tokens.set(token, { person, generation, scope });
    if (renews) this.#refreshes.set(refresh, { person, generation, scope, isUsed: false, isAnswered: false });
    const given = { access_token: token, token_type: 'Bearer', scope, issuer: this.origin };
    return renews ? { ...given, refresh_token: refresh } : given;
  }

  /** A person has consented. */
  giveCode(person: Person, page: Page, scope: string): string {
    const code = `${secret}-code-${this.#codes.size + 1}`;
    this.#codes.set(code, { page, person, scope });
    return code;
  }

  /** For the host, which asks by itself and meets no trouble. */
  readonly fetch = async (input: string | URL, init?: RequestInit): Promise<Response> => {
    const { pathname } = new URL(input);
    const [status, value] = this.#answer(pathname, new URLSearchParams(String(init?.body ?? '')), String(init?.body));
    return new Response(JSON.stringify(value), { status, headers: { 'content-type': 'application/json' } });
  };

  /**
   * Answers a request of the library.
   *
   * @param where - whether access is granted here, or it is only said where
   */
  async take(exchange: Exchange, where: 'here' | 'elsewhere', isHostUp: () => boolean): Promise<void> {
    const { request, response } = exchange;
    const { method, url = '', headers } = request;
    const chance = this.#play.nextChance();
    if (headers.authorization !== undefined || headers['x-secret'] !== undefined || url.includes(secret))
      this.#judge.problem(`${method} ${url} goes to those who grant access with what is for the server`);
    const body = await text(request).catch(() => undefined);
    if (body === undefined) return;
    const sent = new URLSearchParams(body);
    if (body.includes(`${secret}-token`)) this.#judge.problem(`${method} ${url} holds a token: ${body}`);
    const name = sent.get('refresh_token');
    const refresh = this.#refreshes.get(name ?? '');
    const ends = refresh === undefined ? () => {} : this.#renews(refresh, name as string, exchange);
    await this.#play.mayWait(chance, refresh === undefined ? 8 : 3);
    ends();
    const how = chance.weigh([
      [url === '/token' ? 12 : 40, 'renewed'],
      [this.#play.odd(method === 'GET' ? 0 : 1), 'refused'],
      [this.#play.odd(1), 'failed'],
      [this.#play.odd(1), 'cut'],
      [this.#play.odd(1), 'redirected'],
      [this.#play.odd(1), 'a page'],
    ] as const);
    this.#judge.count(`${url === '/token' ? 'token' : 'who grants'}: ${how}`);
    const reply = ([status, value]: Reply) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (how === 'failed') reply([503, { error: 'temporarily_unavailable', error_description: `no ${name}` }]);
    else if (how === 'refused') reply(refused(name ?? 'access'));
    else if (how === 'a page') response.writeHead(200, { 'content-type': 'text/html' }).end('<p>');
    else if (how === 'redirected') {
      // What holds a secret goes nowhere else.
      const location = method === 'GET' ? `/moved${url}` : `${this.#play.otherOrigin}${url}`;
      response.writeHead(chance.one([302, 307, 308]), { location }).end();
    } else {
      const path = url.replace(/^\/moved/, '');
      const isKnown = where === 'here' || aboutServer.test(path);
      const answer: Reply = isKnown ? this.#answer(path, sent, body) : [404, {}];
      if (how === 'cut') return cut(exchange, chance);
      response.on('finish', () => {
        if (refresh !== undefined && answer[0] === 200) refresh.isAnswered = isHostUp();
      });
      reply(answer);
    }
  }

  /** Two at a time would make one of them useless. @returns to be called at its end */
  #renews({ person, isAnswered }: Refresh, name: string, exchange: Exchange): () => void {
    const renewals = this.#renewals.get(person) ?? new Set<Exchange>();
    this.#renewals.set(person, renewals.add(exchange));
    const ends = () => void renewals.delete(exchange);
    exchange.response.on('close', ends);
    if (renewals.size > 1) this.#judge.problem(`a token of ${person.name} is renewed twice at the same time`);
    if (isAnswered) this.#judge.problem(`${name} is used again, and has been answered`);
    return ends;
  }

  #answer(path: string, sent: URLSearchParams, body: string): Reply {
    const { origin } = this;
    if (aboutServer.test(path)) {
      const own = this.ownOrigin();
      // Without a word of that, it is on the same origin.
      return own === undefined
        ? [404, {}]
        : [200, { resource: `${this.#play.origin}/mcp`, authorization_servers: [own] }];
    }
    if (path === '/.well-known/oauth-authorization-server') {
      const endpoints = { authorization_endpoint: `${origin}/authorize`, token_endpoint: `${origin}/token` };
      const supported = { response_types_supported: ['code'], code_challenge_methods_supported: ['S256'] };
      return [200, { issuer: origin, ...endpoints, registration_endpoint: `${origin}/register`, ...supported }];
    }
    if (path === '/register') return [201, { ...JSON.parse(body), client_id: 'model' }];
    return path === '/token' ? this.#grantBy(sent) : [404, {}];
  }

  #grantBy(sent: URLSearchParams): Reply {
    const kind = sent.get('grant_type');
    const machine = this.machines.get(sent.get('client_id') ?? '');
    if (kind === 'client_credentials' && machine !== undefined) return [200, this.grant(machine, 'a b', false)];
    if (kind === 'authorization_code') {
      const code = this.#codes.get(sent.get('code') ?? '');
      const challenge = createHash('sha256')
        .update(sent.get('code_verifier') ?? '')
        .digest('base64url');
      if (code?.page.challenge !== challenge) return refused('code');
      return [200, this.grant(code.person, code.scope)];
    }
    const refresh = this.#refreshes.get(sent.get('refresh_token') ?? '');
    if (refresh === undefined || refresh.isUsed) return refused(String(sent.get('refresh_token')));
    refresh.isUsed = true;
    return [200, this.grant(refresh.person, refresh.scope)];
  }
}
