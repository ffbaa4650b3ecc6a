import { createGateway, type Gateway } from '../../../src/index.js';
import type { RequestId } from '../../../src/sdk.js';
import { envelope } from '../../endpoint/modern-caller.js';
import type { Json } from '../../endpoint/scripted-server.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import { FakeClock } from '../../support/fake-clock.js';
import { type Client, type Exchange, nameOf, type Sent, type User, users } from './clients.js';
import { type HostKind, isUnserved, mostSessions, openHost, type PlayedHost } from './hosts.js';
import { HttpLine } from './http-line.js';
import { Judge } from './judge.js';
import { textOf } from './odd-texts.js';
import { type Held, PlayedServers, type ServerId } from './played-servers.js';
import { readResponse } from './read-response.js';

/** Of one response, before its client is given up, and the last message besides. */
const mostUnreadBytes = 21 * 1024 * 1024;

/** How an HTTP request is other than a good one of its client. */
export interface Other {
  readonly method?: string;
  /** Undefined leaves one out. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  /** Instead of the messages. */
  readonly body?: string;
  readonly statuses?: readonly number[];
  /** How much of the text is sent. */
  readonly upTo?: number;
  readonly line?: HttpLine;
  /** Of the event behind which the response begins. */
  readonly lastEventId?: string | undefined;
  /** Of which the answers may come in the response. */
  readonly sent?: readonly Sent[];
}

/** A gateway with its host, its servers, its clients and its time, and who judges them. */
export class World {
  readonly judge = new Judge();
  readonly clock = new FakeClock();
  readonly servers: PlayedServers;
  readonly gateway: Gateway;
  host!: PlayedHost;
  readonly clients: Client[] = this.judge.clients;
  /** What is left to send of a request that was begun, and of which part. */
  readonly uploads: { readonly exchange: Exchange; readonly rest: string; readonly since: number }[] = [];
  /** How often there was a pause. */
  turn = 0;
  #next = 1;

  static async open(kind: HostKind, chance: Chance): Promise<World> {
    const world = new World(kind, chance);
    const { gateway, clock, judge } = world;
    const problem = (text: string) => judge.problem(text);
    const authenticate = (authorization: string | null, numbers: string | null) => {
      const caller = users[authorization as User];
      return caller && { ...caller, data: { numbers }, authInfo: { token: numbers, clientId: 'x', scopes: [] } };
    };
    world.host = await openHost({ kind, gateway, clock, events: judge.events, authenticate, problem });
    judge.log(`a host of the kind ${kind}`);
    return world;
  }

  private constructor(kind: HostKind, chance: Chance) {
    this.judge.isForeign = kind.startsWith('SDK');
    this.servers = new PlayedServers(chance, (instance, request) => {
      const sent = this.judge.arrived(instance, request);
      return sent === undefined || request.params?.name === 'now' ? this.complete({ instance, request }) : undefined;
    });
    this.gateway = createGateway(this.servers.catalog as never, {
      clock: this.clock,
      runtimes: [this.servers.bytes],
      intercept: ({ caller, params, method }, next) => {
        const { n } = (params.arguments ?? {}) as Json;
        const numbers = (caller.data as { numbers: string | null } | undefined)?.numbers ?? '';
        // A transport of the SDK hands on no more than `authInfo`.
        if (method === 'tools/call' && !this.judge.isForeign && !numbers.split(' ').includes(String(n))) {
          this.judge.problem(`call ${n} is said to be of the caller who sent ${numbers}`);
        }
        return next();
      },
    });
  }

  /** One that nothing else has. */
  number(): number {
    return this.#next++;
  }

  /** The answer to a call: whose it is. */
  complete({ instance, request }: Held, padding = 0): Json {
    const { n } = (request.params?.arguments ?? {}) as Json;
    const sent = this.judge.sent.get(n as number);
    if (sent !== undefined) {
      sent.isAnsweredByServer = true;
    }
    const modern = instance.context.server === 'new' ? { resultType: 'complete' } : {};
    return { ...modern, content: [], structuredContent: { n, text: textOf(-Number(n)), padding: 'x'.repeat(padding) } };
  }

  // --- what clients send ---

  /** A request that stands for itself or in a batch, not sent yet. */
  request(
    client: Client,
    method: string,
    params: Json,
    id: RequestId,
    server?: ServerId,
    number = this.number(),
  ): Sent {
    const token = server !== undefined && number % 2 === 0 ? `t${number}` : undefined;
    const own = client.era === 'modern' ? envelope(client.capabilities) : {};
    const meta = { ...own, ...(token !== undefined && { progressToken: token }) };
    const sent: Sent = {
      number,
      client,
      id,
      method,
      params: { ...params, ...(Object.keys(meta).length > 0 && { _meta: meta }) },
      server,
      token,
      progress: [],
      exchange: undefined,
      at: undefined,
      isAnsweredByServer: false,
      answers: 0,
      isCancelled: false,
      isToldOff: false,
      isInTime: false,
      isTheft: false,
      isAgain: false,
    };
    this.judge.sent.set(number, sent);
    return sent;
  }

  call(client: Client, server: ServerId, tool: string, id: RequestId, more: Json = {}): Sent {
    const number = this.number();
    const text = textOf(number);
    const params = { name: `${server}__${tool}`, arguments: { n: number, ...(text !== '' && { text }), ...more } };
    return this.request(client, 'tools/call', params, id, server, number);
  }

  /** Sends messages in one body, or whatever else a client sends. */
  send(client: Client, what: string, messages: readonly (Sent | Json)[], other: Other = {}): Exchange {
    const sent = messages.filter((message): message is Sent => 'client' in message);
    const bodies = messages.map((message) =>
      'client' in message
        ? { jsonrpc: '2.0', id: message.id, method: message.method, params: (message as Sent).params }
        : { jsonrpc: '2.0', ...message },
    );
    const { method = 'POST', statuses, body = JSON.stringify(bodies.length === 1 ? bodies[0] : bodies) } = other;
    const line = other.line ?? this.line(client);
    const good = sent.length > 0 || method !== 'POST' ? 200 : 202;
    const number = this.number();
    const isOfOtherSession = other.headers !== undefined && 'mcp-session-id' in other.headers;
    const isPossible = (status: number) => status >= 400 || !client.isGone || isOfOtherSession;
    const exchange: Exchange = {
      number,
      client,
      line,
      what,
      sent: other.sent ?? sent,
      isStream: method === 'GET',
      statuses: [...(statuses ?? [good]), ...this.#excuses(client, sent, other)].filter(isPossible),
      eventId: other.lastEventId,
      status: undefined,
      end: undefined,
      isOfOtherSession,
      // With one that is given up goes its connection.
      mayBeCut: (other.upTo ?? 1) < 1 || this.judge.before({ line, number }).some(({ mayBeCut }) => mayBeCut),
      sentAt: this.turn,
      leftAt: 0,
    };
    for (const each of sent) {
      each.exchange = exchange;
    }
    client.exchanges.push(exchange);
    this.judge.exchanges.push(exchange);
    const text = toHttp(
      method,
      { ...this.#headers(client, sent), ...other.headers },
      method === 'POST' ? body : '',
      exchange.number,
    );
    this.judge.log(
      `${nameOf(client)} sends ${exchange.number} (${what}): ${method} ${JSON.stringify({ ...other, line: undefined, sent: undefined })} ${body.slice(0, 2_000)}`,
    );
    const upTo = Math.floor(text.length * (other.upTo ?? 1));
    line.begin(text.slice(0, upTo), readResponse(exchange, { judge: this.judge, ended: () => this.#ended(exchange) }));
    if (upTo < text.length) {
      line.isUsedUp = true;
      this.uploads.push({ exchange, rest: text.slice(upTo), since: this.clock.now() });
    }
    return exchange;
  }

  /** A connection on which a request may be sent: a new one, or one that has answered everything. */
  line(client: Client, isBusy = false): HttpLine {
    // A transport of the SDK finds out in real time that the client of a stream has left behind which others wait.
    const isBlocked = (line: HttpLine) =>
      this.host.isForeign ||
      (this.host.kind === 'fetch' && client.exchanges.some((each) => each.line === line && each.isStream));
    const kept = client.lines.find(
      (line) =>
        line.isOpen && !line.isUsedUp && !line.isPaused && line.waiting > 0 === isBusy && !(isBusy && isBlocked(line)),
    );
    return kept ?? this.newLine(client);
  }

  newLine(client: Client): HttpLine {
    const line = new HttpLine(this.host.port, (text) => this.judge.problem(`bytes that belong to nothing: ${text}`));
    client.lines.push(line);
    return line;
  }

  /** Hangs up on whatever waits on a connection. */
  cut(line: HttpLine, rudely: boolean): void {
    for (const exchange of this.judge.exchanges) {
      const { client, line: own, end, sent } = exchange;
      if (own === line && end === undefined) {
        client.quietMs = Math.min(client.quietMs, 30_000);
        for (const each of sent) {
          // Without a session that is how a client cancels.
          each.isCancelled ||= client.era === 'modern';
          each.isToldOff ||= client.era === 'modern' && each.at !== undefined && !each.isAnsweredByServer;
        }
        exchange.end = 'left';
        if (exchange.isStream) {
          this.#doubt(client, [200, 409]);
        }
        exchange.leftAt = this.turn;
        // What has no status yet may not have come to the session.
        client.quietAt = exchange.status === 200 ? this.clock.now() : client.quietAt;
      }
    }
    this.judge.log(`a line is cut${rudely ? ' rudely' : ''}`);
    line.cut(rudely);
  }

  /** Why a request that is as it should be may be refused all the same. */
  #excuses(client: Client, sent: readonly Sent[], { headers = {}, method = 'POST' }: Other): number[] {
    const hasNoSession = 'mcp-session-id' in headers && headers['mcp-session-id'] === undefined && method === 'POST';
    const isBeginning = hasNoSession || sent.some((each) => each.method === 'initialize');
    const isFull = this.host.sessionCount + this.#beginning() >= mostSessions;
    return [
      ...(client.era === 'legacy' && !isBeginning && this.mayBeGone(client) ? [404] : []),
      ...(isBeginning && isFull ? [503] : []),
      ...(isBeginning && this.host.kind !== 'fetch' && sent.some(({ number }) => isUnserved(number)) ? [500] : []),
      ...(this.judge.isClosing ? [400, 404, 503] : []),
    ];
  }

  /** What is on its way may be answered otherwise. */
  #doubt(client: Client, statuses: readonly number[]): void {
    for (const exchange of client.exchanges.filter(({ end, status }) => end === undefined && status === undefined)) {
      exchange.statuses = [...exchange.statuses, ...(exchange.isStream || !statuses.includes(409) ? statuses : [])];
    }
  }

  #beginning(): number {
    const open = this.judge.exchanges.filter(({ end, status }) => end === undefined && status === undefined);
    return open.flatMap(({ sent }) => sent).filter(({ method }) => method === 'initialize').length;
  }

  /** Whether the session of a client may have ended, by the client or by time. */
  mayBeGone(client: Client): boolean {
    const open = client.exchanges.filter(({ end }) => end === undefined);
    const isUsed = open.some(({ line, isStream, status }) => !line.isPaused && isStream && status === 200);
    return client.hasEnded || (!isUsed && this.clock.now() - client.quietAt >= client.quietMs);
  }

  #headers(client: Client, sent: readonly Sent[]): Record<string, string | undefined> {
    const { user, era, session, version } = client;
    const [first] = sent;
    const isBeginning = first?.method === 'initialize';
    return {
      host: 'localhost',
      authorization: user,
      'x-numbers': sent.map(({ params, number }) => (params.arguments as Json | undefined)?.n ?? number).join(' '),
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': isBeginning ? undefined : era === 'modern' ? '2026-07-28' : version,
      'mcp-session-id': isBeginning ? undefined : session,
      ...(era === 'modern' && {
        'mcp-method': first?.method,
        'mcp-name': first?.params.name as string | undefined,
      }),
    };
  }

  #ended(exchange: Exchange): void {
    const { client, status } = exchange;
    if (status === 200 || status === 202) {
      client.quietAt = this.clock.now();
    }
    this.judge.ended(exchange);
    client.isGone ||= exchange.what === 'end' && status === 200;
    // It was its own session, of which it learns so that it has ended.
    client.hasEnded ||= status === 404 && client.era === 'legacy' && !exchange.isOfOtherSession;
  }

  // --- time ---

  /** Lets everything happen that waits for nothing but its turn. */
  async pause(): Promise<void> {
    this.turn += 1;
    let before = '';
    const mostQuiet = this.host.hasAdapter ? 8 : 4;
    for (let quiet = 0; quiet < mostQuiet; ) {
      if (quiet === 4) {
        // The adapter waits for the least of time before it writes.
        await new Promise<void>((resolve) => setTimeout(resolve, 1));
      }
      await new Promise<void>((resolve) => setImmediate(resolve));
      const now = this.#activity();
      quiet = now === before ? quiet + 1 : 0;
      before = now;
    }
    this.judge.checkEvents();
    this.judge.checkSessions(this.host.sessionCount, mostSessions);
    this.judge.expected.check(this.clock.now(), (instance) => {
      const peer = this.servers.bytes.peers.get(instance);
      return peer !== undefined && (peer.isHeld || peer.isDeaf);
    });
    if (this.host.unreadBytes > mostUnreadBytes) {
      this.judge.problem(`${this.host.unreadBytes} bytes are kept for one client`);
    }
    for (const problem of this.servers.problems.splice(0)) {
      this.judge.problem(`a server failed: ${String(problem)}`);
    }
  }

  #activity(): string {
    const ends = [...this.host.sockets, ...this.clients.flatMap(({ lines }) => lines.map(({ socket }) => socket))];
    const bytes = ends.reduce((sum, { bytesRead, bytesWritten }) => sum + bytesRead + bytesWritten, 0);
    const exchanges = this.judge.exchanges.filter(({ end }) => end === undefined).length;
    return [bytes, ends.length, exchanges, this.host.activity, this.servers.activity].join();
  }

  async passTime(ms: number): Promise<void> {
    // What is on its way is not to come later than it was sent.
    await this.pause();
    this.judge.log(`${ms} ms pass`);
    await this.clock.advance(ms);
    await this.pause();
  }
}

/** @param text - the body, of which the bytes are sent */
function toHttp(method: string, headers: Readonly<Record<string, string | undefined>>, text: string, number: number) {
  const bytes = Buffer.from(text).toString('latin1');
  const chance = createChance(number);
  const isInChunks = bytes !== '' && headers['content-length'] === undefined && chance.oneIn(4);
  const body = isInChunks ? toChunks(bytes, chance) : bytes;
  const length = headers['content-length'] ?? (bytes === '' ? undefined : bytes.length);
  const all = { ...headers, ...(isInChunks ? { 'transfer-encoding': 'chunked' } : { 'content-length': length }) };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : `${name}: ${value}`));
  return `${method} /mcp HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${body}`;
}

/** The same in chunks, between which characters may be torn apart. */
function toChunks(bytes: string, chance: Chance): string {
  const chunks: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const chunk = bytes.slice(at, at + 1 + chance.below(chance.one([1, 100, bytes.length])));
    chunks.push(`${chunk.length.toString(16)}\r\n${chunk}\r\n`);
    at += chunk.length;
  }
  return `${chunks.join('')}0\r\n\r\n`;
}
