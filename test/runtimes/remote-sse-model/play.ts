import { MemoryProvider } from '../../fixtures/http/oauth-host.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import { cut, type Exchange, Host } from './host.js';
import { type Call, type Judge, secret, textOf } from './judge.js';
import type { Message } from './members.js';

const query = `key=${secret}-query`;

/** Statuses of servers and proxies that have not looked at the request. */
const refusals = [400, 401, 403, 405, 406, 413, 415, 422, 429, 503] as const;
/** Of those that may have carried it out. */
const failures = [303, 408, 409, 500, 502, 503, 504, 599] as const;

/** What servers of both kinds have in common: what they do to requests, and what they wait with. */
export class Play {
  readonly judge: Judge;
  readonly setting: number;
  readonly host: Host;
  /** Another origin, where nothing of ours may go. */
  readonly other: Host;
  /** Has the token that the server takes, or learns of it when it is refused; undefined where the catalog has it. */
  readonly provider: MemoryProvider | undefined;
  #token = 1;
  /** From now on the server does what it should. */
  isKind = false;
  /** What the server has not done yet. */
  readonly held: (() => void)[] = [];
  #serial = 0;

  constructor(judge: Judge, setting: number, handle: (exchange: Exchange) => Promise<void>) {
    this.judge = judge;
    this.setting = setting;
    this.provider = createChance(setting).oneIn(4) ? new MemoryProvider() : undefined;
    this.#giveToken();
    this.host = new Host((exchange) => {
      const { method, url, headers } = exchange.request;
      judge.log(`${method} ${url} of session ${headers['mcp-session-id']} after ${headers['last-event-id']}`);
      if (this.#isRefused(exchange)) return;
      handle(exchange).catch((error: Error) => judge.problem(`the server fails: ${error.stack}`));
    });
    this.other = new Host(({ request }) => judge.problem(`${request.method} ${request.url} goes to another origin`));
  }

  get authorization(): string {
    return `Bearer ${secret}-token-${this.#token}`;
  }

  /** The token is good no more: somebody has renewed it. */
  renewToken(): void {
    if (this.provider !== undefined) this.#token += 1;
  }

  #giveToken(): void {
    this.provider?.saveTokens({ access_token: `${secret}-token-${this.#token}`, token_type: 'Bearer' });
  }

  #isRefused({ request, response }: Exchange): boolean {
    const { method, url = '', headers } = request;
    const { authorization } = headers;
    // What is asked of those who grant access, which nobody does here.
    const isAboutAccess = url.startsWith('/.well-known/') || ['/register', '/token'].includes(url);
    if (isAboutAccess) response.writeHead(404).end();
    // A sign of life before there is a session needs no access.
    if (isAboutAccess || authorization === this.authorization || method === 'OPTIONS') return isAboutAccess;
    if (this.provider === undefined || !authorization?.startsWith(`Bearer ${secret}-token-`)) {
      this.judge.problem(`${method} ${url} comes with ${authorization}`);
    }
    // The end of a session waits for no token.
    if (method === 'DELETE') return false;
    this.judge.count('token refused');
    this.#giveToken();
    response.writeHead(401, { 'www-authenticate': 'Bearer' }).end();
    return true;
  }

  get url(): string {
    return `http://127.0.0.1:${this.host.port}/mcp?${query}`;
  }

  /** For what belongs to no call. */
  nextChance(): Chance {
    this.#serial += 1;
    return createChance(this.setting + this.#serial * 7_919);
  }

  /** The weight of what a server should not do. */
  odd(weight: number): number {
    return this.isKind ? 0 : weight;
  }

  /** Waits until the schedule lets it go on, where chance wants that. */
  async mayWait(chance: Chance, times = 3): Promise<void> {
    if (this.isKind || !chance.oneIn(times)) return;
    await new Promise<void>((resolve) => this.held.push(resolve));
  }

  release(chance?: Chance): void {
    const [run] = this.held.splice(chance?.below(this.held.length) ?? 0, 1);
    run?.();
  }

  /** Turns a request down. */
  refuse(exchange: Exchange, chance: Chance, status: number = chance.one(refusals)): void {
    this.judge.count('refused');
    const wait = status === 503 || (status === 429 && chance.oneIn(2)) ? { 'retry-after': chance.one(['0', '2']) } : {};
    this.#say(exchange, chance, status, wait);
  }

  /** Answers with a status, and has carried it out. */
  fail(exchange: Exchange, chance: Chance): void {
    this.judge.count('failed');
    this.#say(exchange, chance, chance.one(failures), {});
  }

  /** The server does not know the session of a request. */
  forgotten({ response }: Exchange, { id }: Message, chance: Chance): void {
    this.judge.count('session forgotten');
    const error = { code: -32_001, message: 'Session not found' };
    const body = chance.one(['', JSON.stringify({ jsonrpc: '2.0', id: chance.one([id, null]), error })]);
    response.writeHead(404, body === '' ? {} : { 'content-type': 'application/json' }).end(body);
  }

  redirect({ response }: Exchange, chance: Chance, elsewhere: boolean): void {
    this.judge.count(elsewhere ? 'redirected elsewhere' : 'redirected');
    const { port } = elsewhere ? this.other : this.host;
    const location = elsewhere || chance.oneIn(2) ? `http://127.0.0.1:${port}/mcp?${query}` : `/mcp?${query}`;
    response.writeHead(chance.one(elsewhere ? [301, 302, 307, 308] : [307, 308]), { location }).end('moved');
  }

  /** Takes a message that needs no answer. */
  async acknowledge(exchange: Exchange, chance: Chance): Promise<void> {
    const { request, response } = exchange;
    // It may be waited for as long as headers may take, which is real time.
    this.host.unanswered.delete(request);
    const how = chance.weigh<number | string>([
      [20, 202],
      [2, 200],
      [2, 204],
      [this.odd(1), 'refuse'],
      [this.odd(1), 'fail'],
      [this.odd(1), 'cut'],
    ]);
    await this.mayWait(chance, 8);
    if (how === 'refuse') this.refuse(exchange, chance);
    else if (how === 'fail') this.fail(exchange, chance);
    else if (how === 'cut') cut(exchange, chance);
    else response.writeHead(how as number).end(how === 202 && chance.oneIn(2) ? 'Accepted' : undefined);
  }

  answerOf(call: Call, { id }: Message, modern = false): Message {
    const structuredContent = { n: call.number, text: textOf(call) };
    const result = { ...(modern && { resultType: 'complete' }), content: [], structuredContent };
    // Some servers name a number as a text.
    const name = call.number % 6 === 0 ? String(id) : id;
    return { jsonrpc: '2.0', id: name, result } as Message;
  }

  /** Progress, if the call wants it. */
  progressOf({ number, progress: { sent } }: Call, { params }: Message, progress: number): Message | undefined {
    const { progressToken } = (params?._meta ?? {}) as { progressToken?: unknown };
    if (progressToken === undefined) return undefined;
    sent.push(progress);
    const text = { progressToken, progress, message: String(number) };
    return { jsonrpc: '2.0', method: 'notifications/progress', params: text } as Message;
  }

  #say({ response, request }: Exchange, chance: Chance, status: number, headers: Record<string, string>): void {
    const body = chance.one([
      '',
      `no access with ${request.headers.authorization}`,
      '<html><title>no</title></html>',
      JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32_000, message: 'no' } }),
    ]);
    const type = body.startsWith('{') ? 'application/json' : body.startsWith('<') ? 'text/html' : 'text/plain';
    response.writeHead(status, { 'content-type': type, ...headers }).end(body);
  }
}

/** The call that a message is, if it is one. */
export function callOf(judge: Judge, { params }: Message): Call | undefined {
  const { n } = (params?.arguments ?? {}) as { n?: number };
  const call = judge.calls.get(n as number);
  if (call === undefined) judge.problem(`nobody has made call ${n}`);
  return call;
}
