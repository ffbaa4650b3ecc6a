import { discovery } from '../../endpoint/modern-servers.js';
import type { Chance } from '../../gateway/model/chance.js';
import { EventStream, readEventId } from './event-stream.js';
import { cut, type Exchange, readBody } from './host.js';
import { sendJson } from './json-answer.js';
import type { Judge } from './judge.js';
import { Listeners, uris } from './listeners.js';
import type { Message } from './members.js';
import { Play, type Setting } from './play.js';
import { checkHeaders, headersOfListening, headersOfMessage, ofSession } from './request-check.js';
import { ask, createSession, type Session, stateless, takeAnswer } from './session.js';
import { StreamableCalls } from './streamable-calls.js';

/** A server over Streamable HTTP: with sessions, without, or of the stateless era. */
export class StreamableServer {
  readonly play: Play;
  readonly sessions: Session[] = [];
  /** Of the stateless era. */
  readonly listeners: Listeners | undefined;
  /** Who stands before it cuts connections, of which it gets to know nothing. */
  isBehindOthers = false;
  readonly #judge: Judge;
  readonly #kind: 'sessions' | 'no sessions' | 'modern';
  readonly #streams = new Map<string, EventStream>();
  readonly #calls: StreamableCalls;

  constructor(judge: Judge, setting: Setting, kind: 'sessions' | 'no sessions' | 'modern') {
    this.#judge = judge;
    this.#kind = kind;
    this.play = new Play(judge, setting, (exchange) => this.#handle(exchange));
    this.listeners = kind === 'modern' ? new Listeners(this.play) : undefined;
    this.#calls = new StreamableCalls(this.play, this.#streams, kind === 'modern');
  }

  /** A process that was started anew knows nothing. */
  forget(): void {
    for (const session of this.sessions) {
      session.isAlive = false;
      // What it has answered last may not have arrived.
      session.isCutAtEnd ||= session.deletes > 0;
    }
    this.#streams.clear();
    this.listeners?.forget();
  }

  /** Says or asks something that belongs to no request. What keeps its events keeps them until the client comes back. */
  speak(chance: Chance): void {
    if (this.listeners !== undefined) return this.listeners.speak(chance);
    const session = chance.pick(
      this.sessions.filter(({ isAlive, listening }) => isAlive && (listening?.isOpen || listening?.isResumable)),
    );
    const { owner, listening: stream } = session ?? {};
    if (session === undefined || stream === undefined) return;
    this.#judge.count('said by itself');
    if (owner !== undefined && chance.oneIn(2)) stream.send(this.#judge.logFor(owner, stream));
    else if (chance.oneIn(2)) stream.send({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
    else {
      const question = ask(session);
      stream.questions.push(question.id);
      stream.send(question);
    }
  }

  /** Of what nobody waits for any more it has heard. */
  checkCancelled(): void {
    for (const { id, calls, cancelled, deletes, hasLost, isAlive } of this.sessions) {
      const isExcused = !isAlive || deletes > 0 || hasLost || this.play.access.isExcused;
      if (isExcused || this.play.access.kind !== 'catalog') continue;
      for (const [call, name] of calls) {
        if (!(call.cancelled || call.isLate) || call.member.hasLeft) continue;
        if (cancelled.has(name)) this.#judge.count('taken back');
        else this.#judge.problem(`${id} goes on with call ${call.number}, which nobody waits for`);
      }
    }
  }

  /** Whoever listens has heard all that was kept, and has answered. */
  checkHeard(): void {
    for (const { id, asked, deletes, hasLost, isAlive, listening, owner } of this.sessions) {
      const isHeard = isAlive && deletes === 0 && owner?.hearsLogs && listening?.isOpen && listening.isResumable;
      if (!isHeard) continue;
      const missing = listening.logs.filter((number) => !owner.logs.has(number));
      if (missing.length > 0) this.#judge.problem(`${owner.name} has not heard the logs ${missing}`);
      const open = [...asked].filter((each) => listening.questions.includes(each));
      if (open.length > 0 && !hasLost && !this.play.access.isExcused)
        this.#judge.problem(`the questions ${open} of ${id} are not answered`);
      if (listening.logs.length > 0) this.#judge.count('all is heard');
    }
    for (const { id } of this.#closedStreams) this.#judge.problem(`${id} does not open its stream again`);
  }

  /** Streams that clients should have opened again, sooner or later. */
  get hasClosedStreams(): boolean {
    return this.#closedStreams.length > 0;
  }

  get #closedStreams(): Session[] {
    return this.sessions.filter(({ isAlive, deletes, hasLost, listening, owner }) => {
      const isThere = isAlive && deletes === 0 && !hasLost && owner?.isThere && !this.play.access.isExcused;
      return isThere && listening !== undefined && !listening.isOpen && !listening.isRefused;
    });
  }

  /** Says something, and ends the stream in good order or by a cut. @returns whether there was one */
  interrupt(chance: Chance): boolean {
    const open = this.sessions.filter(({ listening, owner }) => listening?.isOpen && owner !== undefined);
    const resumable = open.filter(({ listening }) => listening?.isResumable);
    const { listening: stream, owner } = chance.pick(resumable.length > 0 ? resumable : open) ?? {};
    if (stream === undefined || owner === undefined) return false;
    this.#judge.count('stream interrupted');
    stream.send(this.#judge.logFor(owner, stream));
    if (chance.oneIn(3)) stream.cut();
    else stream.pause(chance.one([undefined, 0, 500, 5_000]));
    return true;
  }

  /** Does something to a stream that belongs to no request. */
  disturb(chance: Chance): void {
    if (this.listeners !== undefined) return this.listeners.disturb(chance);
    const { listening: stream } = chance.pick(this.sessions.filter(({ listening }) => listening?.isOpen)) ?? {};
    if (stream === undefined) return;
    chance.weigh([
      [2, () => stream.cut()],
      [2, () => stream.pause(chance.one([undefined, 0, 500]))],
      [2, () => stream.send('')],
      [1, () => stream.sendAndCut({ jsonrpc: '2.0', method: 'notifications/x' })],
      [1, () => stream.send({ jsonrpc: '2.0', id: 'nobody', result: {} })],
      [1, () => stream.send('no JSON')],
    ])();
    this.#judge.count('stream disturbed');
  }

  async #handle(exchange: Exchange): Promise<void> {
    const { method, headers } = exchange.request;
    const chance = this.play.nextChance();
    const session = this.sessions.find(({ id }) => id === headers['mcp-session-id']);
    // What was agreed on stands in the body of the answer, which may not have come whole.
    if (method === 'DELETE' && session?.isKnown) checkHeaders(this.#judge, 'DELETE', headers, ofSession(session));
    if (session !== undefined) session.isKnown ||= method !== 'DELETE';
    else if (headers['mcp-session-id'] !== undefined) {
      this.#judge.problem(`${method} names the session ${headers['mcp-session-id']}, which nobody has begun`);
    }
    if (method !== 'POST' && this.play.odd(1) > 0 && chance.oneIn(12)) {
      // The connection that it goes on with may be about to be closed.
      if (session !== undefined) session.hasLost ||= method === 'DELETE';
      if (session?.listening !== undefined) session.listening.isRefused = true;
      return this.play.redirect(exchange, chance, method === 'GET' && chance.oneIn(4));
    }
    if (method === 'POST') return this.#post(exchange, session, chance);
    if (method === 'DELETE' && session !== undefined) return this.#delete(exchange, session, chance);
    if (method !== 'GET' || this.#kind === 'modern') return void exchange.response.writeHead(405).end();
    if (this.#kind === 'sessions' && session === undefined) return void exchange.response.writeHead(400).end();
    if (session?.isAlive === false) return void exchange.response.writeHead(404).end();
    // Whoever looks whether a server is there, as check() does, has agreed on nothing.
    const isLook = headers['mcp-protocol-version'] === undefined;
    if (!isLook) checkHeaders(this.#judge, 'GET', headers, headersOfListening(session));
    const lastEventId = headers['last-event-id'] as string | undefined;
    if (lastEventId === undefined) this.#listen(exchange, session, chance);
    else await this.#resume(exchange, session, lastEventId, chance);
  }

  #delete(exchange: Exchange, session: Session, chance: Chance): void {
    session.deletes += 1;
    this.#judge.count('DELETE');
    // One whose connection was cut comes once more.
    const most = session.isCutAtEnd || this.isBehindOthers ? 2 : 1;
    if (session.deletes > most) this.#judge.problem(`DELETE of ${session.id} comes ${session.deletes} times`);
    const how = chance.one(['taken', 'taken', 'taken', 'refused', 'cut', 'never']);
    if (how === 'taken') exchange.response.writeHead(chance.one([200, 204])).end();
    else if (how === 'refused') exchange.response.writeHead(chance.one([404, 405, 401, 500])).end();
    else if (how === 'cut') cut(exchange, chance);
    session.isCutAtEnd ||= how === 'cut';
    session.isAlive &&= how !== 'taken';
  }

  #listen(exchange: Exchange, session: Session | undefined, chance: Chance): void {
    const { play } = this;
    const { listening, owner } = session ?? {};
    // With what it has heard, an id has come.
    const hasHeard = listening?.isResumable && listening.logs.some((number) => owner?.logs.has(number));
    const problem = hasHeard ? 'not for the rest of its stream' : listening?.problemOf(0);
    if (problem !== undefined) this.#judge.problem(`${session?.id} asks for a stream ${problem}`);
    const how = chance.weigh<number | string>([
      [12, 'stream'],
      [3, 405],
      [play.odd(1), 'cut'],
      [play.odd(1), 503],
    ]);
    if (listening !== undefined) listening.isRefused ||= how === 405;
    if (how === 'cut') cut(exchange, chance);
    else if (how !== 'stream') exchange.response.writeHead(how as number).end();
    else {
      const name = `l${this.#streams.size + 1}`;
      const stream = new EventStream(name, chance, !chance.oneIn(3), play.now);
      stream.retryMs = listening?.retryMs ?? 0;
      this.#streams.set(name, stream);
      if (session !== undefined) session.listening = stream;
      stream.open(exchange);
    }
  }

  async #resume(exchange: Exchange, session: Session | undefined, lastEventId: string, chance: Chance): Promise<void> {
    const { play } = this;
    const [name, count] = readEventId(lastEventId);
    const stream = this.#streams.get(name);
    const problem = stream?.problemOf(count);
    if (problem !== undefined) this.#judge.problem(`${session?.id} asks for the rest of ${name} ${problem}`);
    await play.mayWait(chance, 6);
    const how = chance.weigh([
      [10, 'stream'],
      [play.odd(2), 'cut'],
      [play.odd(2), 'pass'],
      [play.odd(1), 'refuse'],
      [play.odd(session === undefined ? 0 : 1), 'forget'],
    ]);
    this.#judge.count(`rest: ${how}`);
    if (stream !== undefined && stream === session?.listening)
      this.#judge.count(`rest of what it says by itself: ${how}`);
    if (how === 'cut') cut(exchange, chance);
    else if (how === 'pass') {
      const seconds = chance.one(['1', '1', '3', '40']);
      stream?.mayComeIn(Number(seconds) * 1_000);
      exchange.response.writeHead(chance.one([503, 500, 429]), { 'retry-after': seconds }).end();
    } else if (how === 'refuse' || stream === undefined) {
      if (stream !== undefined) stream.isRefused = true;
      exchange.response.writeHead(405).end();
    } else if (how === 'forget') {
      (session as Session).isAlive = false;
      exchange.response.writeHead(404).end();
    } else stream.open(exchange, {}, count);
  }

  async #post(exchange: Exchange, session: Session | undefined, chance: Chance): Promise<void> {
    const { play } = this;
    const cutsEarly = chance.below(play.isKind ? 1 : 40) === 7;
    const body = await readBody(exchange, chance, cutsEarly);
    if (body === undefined) {
      if (session !== undefined) session.hasLost = true;
      return;
    }
    const message = JSON.parse(body) as Message;
    const what = `POST ${message.method ?? 'of an answer'}`;
    checkHeaders(
      this.#judge,
      what,
      exchange.request.headers,
      headersOfMessage(message, session, this.#kind === 'modern'),
    );
    const isFirst = message.method === 'initialize' || message.method === 'server/discover';
    if (this.#kind === 'sessions' && !isFirst) {
      if (session === undefined) return void exchange.response.writeHead(400).end('Bad Request: no session id');
      if (!session.isAlive) return play.forgotten(exchange, message, chance);
    }
    if (message.method === undefined) {
      takeAnswer(this.#judge, session ?? this.#stateless, message);
      return play.acknowledge(exchange, chance);
    }
    if (message.method === 'notifications/cancelled') {
      (session ?? this.#stateless).cancelled.add(message.params?.requestId);
    }
    if (message.id === undefined) return play.acknowledge(exchange, chance);
    if (message.method === 'subscriptions/listen' && this.listeners !== undefined)
      return this.listeners.take(exchange, message, chance);
    if (message.method === 'tools/call') return this.#calls.take(exchange, message, session ?? this.#stateless);
    if (message.method === 'initialize' && this.#kind !== 'modern') return this.#initialize(exchange, message, chance);
    const result = this.#resultOf(message);
    const error = { code: message.method === 'initialize' ? -32_022 : -32_601, message: 'no such method' };
    const answer = { jsonrpc: '2.0', id: message.id, ...(result === undefined ? { error } : { result }) };
    await sendJson(exchange, answer, chance, { status: message.method === 'initialize' ? 400 : 200 });
  }

  readonly #stateless: Session = createSession(stateless);

  #resultOf({ method }: Message): unknown {
    const isModern = this.#kind === 'modern';
    if (method === 'server/discover') return isModern ? discovery() : undefined;
    if (method === 'tools/list') {
      const more = isModern ? { resultType: 'complete', ttlMs: 0, cacheScope: 'private' } : {};
      return { ...more, tools: [{ name: 'go', inputSchema: { type: 'object' } }] };
    }
    if (isModern && method === 'resources/list') {
      const resources = uris.map((uri) => ({ uri, name: uri }));
      return { resultType: 'complete', ttlMs: 0, cacheScope: 'private', resources };
    }
    return method === 'ping' ? {} : undefined;
  }

  async #initialize(exchange: Exchange, message: Message, chance: Chance): Promise<void> {
    const { play } = this;
    const how = chance.weigh([
      [24, 'answer'],
      [play.odd(1), 'cut'],
      [play.odd(1), 'cut inside'],
      [play.odd(1), 'refuse'],
      [play.odd(1), 'fail'],
      [play.odd(1), 'redirect'],
      [play.odd(1), 'elsewhere'],
    ]);
    await play.mayWait(chance, 8);
    if (how === 'cut') return cut(exchange, chance);
    if (how === 'refuse') return play.refuse(exchange, chance);
    if (how === 'fail') return play.fail(exchange, chance);
    if (how === 'redirect' || how === 'elsewhere') return play.redirect(exchange, chance, how === 'elsewhere');
    const asked = String(message.params?.protocolVersion);
    const protocolVersion = chance.one([asked, asked, asked, '2025-06-18', '2025-03-26']);
    const capabilities = { tools: { listChanged: true }, logging: {} };
    const result = { protocolVersion, capabilities, serverInfo: { name: 'remote', version: '1' } };
    const session = createSession(`session-${this.sessions.length + 1}`, protocolVersion);
    const headers = this.#kind === 'sessions' ? { 'mcp-session-id': session.id } : {};
    if (this.#kind === 'sessions') this.sessions.push(session);
    const answer = { jsonrpc: '2.0', id: message.id, result };
    if (chance.oneIn(3) && how === 'answer') {
      const stream = new EventStream('i', chance, false);
      stream.open(exchange, headers);
      stream.send(answer);
      stream.end();
    } else await sendJson(exchange, answer, chance, { headers, isCut: how === 'cut inside' });
  }
}
