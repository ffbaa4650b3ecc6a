import { type Chance, createChance } from '../../gateway/model/chance.js';
import { Access } from './access.js';
import { cut, type Exchange, Host } from './host.js';
import { type Call, type Judge, secret, textOf } from './judge.js';
import type { Message } from './members.js';

/** How a schedule is set up. */
export interface Setting {
  /** A random number. */
  readonly setting: number;
  /** All callers share one instance. */
  readonly shares?: boolean;
  /** It asks callers for input in the course of their calls. */
  readonly asks?: boolean;
  /** Access is a header of the catalog alone. */
  readonly access?: 'catalog';
}

/** How a schedule goes on with what waits, and where its servers are. */
export interface Origins {
  readonly origin: string;
  /** Where nothing may go. */
  readonly otherOrigin: string;
  nextChance(): Chance;
  mayWait(chance: Chance, times?: number): Promise<void>;
  odd(weight: number): number;
}

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
  /** Where access is granted, when that is not done by the server itself. */
  readonly granter: Host;
  readonly access: Access;
  readonly asks: boolean;
  /** From now on the server does what it should. */
  isKind = false;
  /** What the server has not done yet. */
  readonly held: (() => void)[] = [];
  /** What time it is for the gateway. */
  now: () => number = () => 0;
  #serial = 0;

  constructor(judge: Judge, given: Setting, handle: (exchange: Exchange) => Promise<void>) {
    this.judge = judge;
    this.setting = given.setting;
    this.asks = given.asks === true;
    this.access = new Access(judge, given, this);
    const { granter, isApart } = this.access;
    const fails = (error: Error) => judge.problem(`who grants access fails: ${error.stack}`);
    this.granter = new Host((exchange) => void granter.take(exchange, 'here', () => true).catch(fails));
    if (isApart) granter.ownOrigin = () => originOf(this.granter);
    this.host = new Host((exchange) => {
      const { method, url, headers } = exchange.request;
      judge.log(`${method} ${url} of session ${headers['mcp-session-id']} after ${headers['last-event-id']}`);
      this.#take(exchange, handle).catch((error: Error) => judge.problem(`the server fails: ${error.stack}`));
    });
    this.other = new Host(({ request }) => judge.problem(`${request.method} ${request.url} goes to another origin`));
  }

  async #take(exchange: Exchange, handle: (exchange: Exchange) => Promise<void>): Promise<void> {
    const chance = this.nextChance();
    const { response } = exchange;
    // The connection ends with the answer, or something is said before it.
    if (chance.oneIn(12)) response.setHeader('connection', 'close');
    if (chance.oneIn(12)) response.writeProcessing();
    if (chance.oneIn(12)) response.writeEarlyHints({ link: '</style.css>; rel=preload' });
    const isRefused = await this.access.refuses(exchange, this.host);
    if (!isRefused) await handle(exchange);
  }

  get origin(): string {
    return originOf(this.host);
  }

  get otherOrigin(): string {
    return originOf(this.other);
  }

  /** Grows with all that is said and done on the network. */
  get activity(): number {
    return this.host.activity + this.granter.activity;
  }

  async open(): Promise<void> {
    await Promise.all([this.host, this.other, this.granter].map((host) => host.open()));
  }

  async close(): Promise<void> {
    await Promise.all([this.host, this.other, this.granter].map((host) => host.close()));
  }

  get url(): string {
    return `${this.origin}/mcp?${query}`;
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

  /** Does something when the schedule lets it go on. */
  later(run: () => void): void {
    this.held.push(run);
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

  redirect({ request, response }: Exchange, chance: Chance, elsewhere: boolean): void {
    this.judge.count(elsewhere ? 'redirected elsewhere' : 'redirected');
    const { port } = elsewhere ? this.other : this.host;
    const location = elsewhere || chance.oneIn(2) ? `http://127.0.0.1:${port}/mcp?${query}` : `/mcp?${query}`;
    const isAnyFollowed = elsewhere || request.method === 'GET';
    response.writeHead(chance.one(isAnyFollowed ? [301, 302, 307, 308] : [307, 308]), { location }).end('moved');
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
    // It has been taken: who is told that access is missing sends it again.
    if (how === 'refuse') this.refuse(exchange, chance, chance.one([400, 403, 405, 413, 429, 503]));
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

  #say(exchange: Exchange, chance: Chance, status: number, headers: Record<string, string>): void {
    const { response, request } = exchange;
    if (status === 401) this.access.noteRefusal(exchange);
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

function originOf({ port }: Host): string {
  return `http://127.0.0.1:${port}`;
}

/** The call that a message is, if it is one. */
export function callOf(judge: Judge, { params }: Message): Call | undefined {
  const { n } = (params?.arguments ?? {}) as { n?: number };
  const call = judge.calls.get(n as number);
  if (call === undefined) judge.problem(`nobody has made call ${n}`);
  return call;
}
