import type { Dispatcher } from 'undici';
import { GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import { isThenable } from '../../util/is-thenable.js';
import { redact } from '../../util/redact.js';
import { readErrorBody } from './answer-error.js';
import { CallFailure, type HttpAnswer, HttpCall, type HttpRequest } from './call.js';
import type { Leftovers } from './leftovers.js';
import { describeNetworkError } from './network.js';
import { isLost401, mayBeLost401 } from './session-lost.js';
import { showUrl } from './status.js';

/** Gives requests their credentials. */
export interface Authorizer {
  /** What to send as `Authorization`, if anything. */
  token(): Promise<string | undefined>;
  /**
   * The server refused the token. Resolves when another try has a chance, with why.
   *
   * @throws `GatewayError` `AUTH_REQUIRED` or `AUTH_FAILED`
   */
  refused(challenge: Challenge, step: string): Promise<Chance>;
}

/** Why a refused request may be sent again: access was granted for it, or there was a newer token already. */
export type Chance = 'granted' | 'newer';

/** How a server refused a request for want of access. */
export interface Challenge {
  readonly status: number;
  /** The `WWW-Authenticate` header. */
  readonly header: string | undefined;
  /** What was sent as `Authorization`. */
  readonly token: string | undefined;
  /** The chances that this request has had after a refusal of the same status: each is given once. */
  readonly chances: ReadonlySet<Chance>;
  /** A person may be asked to consent; else no more than a renewal that needs nobody. */
  readonly mayAsk: boolean;
}

export interface ExchangeOptions {
  readonly server: string;
  readonly clock: Clock;
  readonly dispatcher: Pick<Dispatcher, 'dispatch'>;
  /** Headers of the catalog and of the host, names in lower case. */
  headers(): Promise<Readonly<Record<string, string>>> | Readonly<Record<string, string>>;
  readonly authorizer: Authorizer | undefined;
  /** Where answers go that nobody needs. */
  readonly leftovers: Leftovers;
}

/**
 * What may be done when access is refused. `ask`: all that it takes, be it that a person has to consent. `renew`: what needs
 * nobody; for what no caller has asked for, since a person is asked by one request at a time. `nothing`: the refusal is the
 * answer.
 */
export type AccessRemedy = 'ask' | 'renew' | 'nothing';

/** A request as the transport wants it, before credentials. */
export interface Request extends HttpRequest {
  /** For messages, as in `POST tools/call`. */
  readonly step: string;
  /** @default 'ask' */
  readonly onNoAccess?: AccessRemedy | undefined;
  /** These win against what catalog and host set. */
  readonly headers: Readonly<Record<string, string>>;
}

const sessionHeader = 'mcp-session-id';
const mostRedirects = 5;
/** Shorter ones would be found everywhere. */
const shortestSecret = 6;

/** The answer of a request, and how to end it. */
export class Exchange {
  readonly answer: Promise<HttpAnswer>;
  readonly #options: ExchangeOptions;
  readonly #request: Request;
  readonly #settle = Promise.withResolvers<HttpAnswer>();
  /** What is on its way; undefined while the host is asked for headers or access. */
  #call: HttpCall | undefined;
  /** What was sent that no message may show. */
  #secrets: readonly string[] = [];
  #aborted = false;

  constructor(options: ExchangeOptions, request: Request) {
    this.#options = options;
    this.#request = request;
    this.answer = this.#settle.promise;
    this.answer.catch(() => {});
    this.#run().then(this.#settle.resolve, this.#settle.reject);
  }

  /** True after {@link abort} and {@link sendNoMore}: what then fails is no failure. */
  get aborted(): boolean {
    return this.#aborted;
  }

  /** Ends the request and the reading of its answer. */
  abort(): void {
    this.#aborted = true;
    this.#call?.abort();
    // The host may take for ever.
    if (this.#call === undefined) this.#settle.reject(this.#abortedError());
  }

  /** The same, save for what is on its way: that may still be answered. */
  sendNoMore(): void {
    if (this.#call?.begun) this.#aborted = true;
    else this.abort();
  }

  /** Takes out of a text what the request sent of headers that are not ours: servers like to repeat them in errors. */
  hide(text: string): string {
    const values = this.#secrets.flatMap((value) => [value, value.slice(value.indexOf(' ') + 1)]);
    return redact(
      text,
      new Map(values.filter((value) => value.length >= shortestSecret).map((value) => [value, '***'])),
    );
  }

  /** The error for what cut the connection while the answer was read. */
  failure(cause: unknown): GatewayError {
    const { step, url } = this.#request;
    const delivered = cause instanceof CallFailure ? cause.delivered : 'unknown';
    const original = cause instanceof CallFailure ? cause.cause : cause;
    const how = delivered === false ? `could not reach ${showUrl(url)}` : `got no whole answer from ${showUrl(url)}`;
    const message = `${step} ${how}: ${describeNetworkError(original, url)}`;
    return new GatewayError('CONNECTION_FAILED', message, { server: this.#options.server, cause: original, delivered });
  }

  async #run(): Promise<HttpAnswer> {
    const { authorizer, clock } = this.#options;
    const { onNoAccess = 'ask' } = this.#request;
    let url = this.#request.url;
    let redirects = 0;
    /** Apart: a token that was renewed may lack a scope as well. */
    const chances = { 401: new Set<Chance>(), 403: new Set<Chance>() };
    for (;;) {
      const token = authorizer === undefined ? undefined : await authorizer.token();
      const answer = await this.#send(url, token);
      if (this.#aborted) return answer;
      const { status } = answer;
      if ((status === 401 || status === 403) && authorizer !== undefined && onNoAccess !== 'nothing') {
        const header = answer.header('www-authenticate');
        if (sessionHeader in this.#request.headers && mayBeLost401(answer)) {
          const text = await readErrorBody(answer, clock);
          // Nobody waits any more who could be asked for access.
          if (this.#aborted || isLost401(answer, text)) return withText(answer, text);
        }
        const challenge = { status, header, token, chances: chances[status], mayAsk: onNoAccess === 'ask' };
        if (challenge.status === 403 && !asksForScope(challenge.header)) return answer;
        // Its body may be endless, and asking for access takes time.
        this.#discard(answer);
        chances[status].add(await authorizer.refused(challenge, this.#request.step));
        continue;
      }
      const next = redirect(answer, url, this.#request.method);
      if (next === undefined || redirects === mostRedirects) return answer;
      this.#discard(answer);
      redirects += 1;
      url = next;
    }
  }

  #discard(answer: HttpAnswer): void {
    this.#call = undefined;
    this.#options.leftovers.discard(answer);
  }

  #abortedError(): GatewayError {
    const { server } = this.#options;
    return new GatewayError('TRANSPORT_CLOSED', 'the request was aborted', { server, delivered: false });
  }

  async #send(url: URL, token: string | undefined): Promise<HttpAnswer> {
    const given = this.#options.headers();
    const extra = isThenable(given) ? await given : given;
    const { method, body, headersTimeoutMs } = this.#request;
    this.#secrets = token === undefined ? Object.values(extra) : [...Object.values(extra), token];
    const headers = { ...extra, ...(token !== undefined && { authorization: token }), ...this.#request.headers };
    if (this.#aborted) throw this.#abortedError();
    const call = new HttpCall(this.#options.dispatcher, { url, method, body, headers, headersTimeoutMs });
    this.#call = call;
    try {
      return await call.answer;
    } catch (error) {
      throw this.failure(error);
    }
  }
}

function asksForScope(header: string | undefined): boolean {
  return header !== undefined && /\berror="?insufficient_scope\b/i.test(header);
}

/** Where to go instead: within the origin only, and never so that a POST would become something else. */
function redirect(answer: HttpAnswer, from: URL, method: string): URL | undefined {
  const { status } = answer;
  const keepsMethod = status === 307 || status === 308;
  const followed = keepsMethod || (method === 'GET' && (status === 301 || status === 302 || status === 303));
  const location = followed ? answer.header('location') : undefined;
  const to = location === undefined ? null : URL.parse(location, from.href);
  return to !== null && to.origin === from.origin ? to : undefined;
}

/** An answer whose body was read, to be read once more. */
function withText(answer: HttpAnswer, text: string): HttpAnswer {
  return {
    status: answer.status,
    header: (name) => answer.header(name),
    read(sink) {
      sink.data(Buffer.from(text));
      sink.end();
    },
    pause() {},
    resume() {},
    abort: () => answer.abort(),
  };
}
