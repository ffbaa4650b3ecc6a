import type { Chance } from '../../gateway/model/chance.js';
import { EventStream } from './event-stream.js';
import { cut, type Exchange, readBody } from './host.js';
import type { Call, Judge } from './judge.js';
import type { Member, Message } from './members.js';
import { callOf, Play, type Setting } from './play.js';
import { ask } from './session.js';

interface Session {
  readonly stream: EventStream;
  owner: Member | undefined;
  readonly asked: Set<unknown>;
  questions: number;
  readonly open: Map<Call, Message>;
}

/** A server of HTTP+SSE, as revision 2024-11-05 has it: the stream is the session. */
export class SseServer {
  readonly play: Play;
  readonly listeners = undefined;
  readonly #judge: Judge;
  readonly #sessions = new Map<string, Session>();
  #count = 0;

  constructor(judge: Judge, setting: Setting) {
    this.#judge = judge;
    this.play = new Play(judge, setting, (exchange) => this.#handle(exchange));
  }

  forget(): void {
    this.#sessions.clear();
  }

  /** Says or asks something that belongs to no request. */
  speak(chance: Chance): void {
    const session = chance.pick([...this.#sessions.values()].filter(({ stream }) => stream.isOpen));
    if (session === undefined) return;
    const { owner, stream } = session;
    this.#judge.count('said by itself');
    if (owner !== undefined && chance.oneIn(2)) stream.send(this.#judge.logFor(owner, stream));
    else stream.send(ask(session));
  }

  /** Its stream is the session: it cannot be taken up again. */
  interrupt(): boolean {
    return false;
  }

  /** Whoever is there has heard everything. */
  checkHeard(): void {
    for (const { owner, stream } of this.#sessions.values()) {
      const missing = owner?.hearsLogs ? stream.logs.filter((number) => !owner.logs.has(number)) : [];
      if (missing.length > 0) this.#judge.problem(`${owner?.name} has not heard the logs ${missing}`);
      if (stream.logs.length > 0) this.#judge.count('all is heard');
    }
  }

  /** Ends a session, or says something on its stream that makes no sense. */
  disturb(chance: Chance): void {
    const [name, session] = chance.pick([...this.#sessions].filter(([, { stream }]) => stream.isOpen)) ?? [];
    if (name === undefined || session === undefined) return;
    const end = (run: () => void) => () => {
      this.#sessions.delete(name);
      run();
    };
    chance.weigh([
      [1, end(() => session.stream.cut())],
      [1, end(() => session.stream.end())],
      [1, end(() => session.stream.sendAndCut({ jsonrpc: '2.0', method: 'notifications/x' }))],
      [2, () => session.stream.send('')],
      [2, () => session.stream.send({ jsonrpc: '2.0', id: 'nobody', result: {} })],
      [2, () => session.stream.send('no JSON')],
      [2, () => session.stream.send('/elsewhere', 'endpoint')],
    ])();
    this.#judge.count('stream disturbed');
  }

  async #handle(exchange: Exchange): Promise<void> {
    const { request, response } = exchange;
    const chance = this.play.nextChance();
    const url = new URL(request.url as string, this.play.url);
    if (request.method === 'POST' && url.pathname === '/messages') await this.#post(exchange, url, chance);
    else if (request.method === 'GET') this.#begin(exchange, chance);
    else response.writeHead(chance.one([400, 404, 405])).end();
  }

  #begin(exchange: Exchange, chance: Chance): void {
    const { play } = this;
    const how = chance.weigh([
      [24, 'stream'],
      [play.odd(1), 'refuse'],
      [play.odd(1), 'cut'],
      [play.odd(1), 'elsewhere'],
      [play.odd(1), 'end'],
    ]);
    if (how === 'refuse') return play.refuse(exchange, chance);
    if (how === 'cut') return cut(exchange, chance);
    this.#count += 1;
    const name = `s${this.#count}`;
    const stream = new EventStream(name, chance, chance.oneIn(2));
    stream.open(exchange);
    if (how === 'end') return stream.end();
    this.#sessions.set(name, { stream, owner: undefined, asked: new Set(), questions: 0, open: new Map() });
    exchange.response.on('close', () => this.#sessions.delete(name));
    const where = `/messages?session=${name}`;
    const { port } = play.other;
    stream.send(how === 'elsewhere' ? `http://127.0.0.1:${port}${where}` : where, 'endpoint');
  }

  async #post(exchange: Exchange, url: URL, chance: Chance): Promise<void> {
    const { play } = this;
    const cutsEarly = chance.below(play.isKind ? 1 : 40) === 7;
    const body = await readBody(exchange, chance, cutsEarly);
    if (body === undefined) return;
    const session = this.#sessions.get(url.searchParams.get('session') as string);
    if (session === undefined) return void exchange.response.writeHead(404).end('no such session');
    const message = JSON.parse(body) as Message;
    const { id, method, params } = message;
    if (method === undefined) {
      if (!session.asked.delete(id)) this.#judge.problem(`an answer to ${JSON.stringify(id)}, which is not asked`);
    } else if (method === 'tools/call') return this.#call(exchange, message, session, chance);
    if (method === undefined || id === undefined) return play.acknowledge(exchange, chance);
    const capabilities = { tools: { listChanged: true }, logging: {} };
    const { protocolVersion } = params ?? {};
    const results: Record<string, unknown> = {
      initialize: { protocolVersion, capabilities, serverInfo: { name: 'remote', version: '1' } },
      'tools/list': { tools: [{ name: 'go', inputSchema: { type: 'object' } }] },
      ping: {},
    };
    const result = results[method];
    exchange.response.writeHead(202).end('Accepted');
    const error = { code: -32_601, message: 'no such method' };
    session.stream.send({ jsonrpc: '2.0', id, ...(result === undefined ? { error } : { result }) });
  }

  async #call(exchange: Exchange, message: Message, session: Session, chance: Chance): Promise<void> {
    const { play } = this;
    const call = callOf(this.#judge, message);
    if (call === undefined) return;
    session.owner ??= call.member;
    if (session.owner !== call.member && !call.member.shares) {
      this.#judge.problem(`call ${call.number} of ${call.member.name} comes in the session of ${session.owner.name}`);
    }
    if (play.access.refusesCall(exchange, call)) return;
    const before = chance.weigh([
      [30, 'take'],
      [play.odd(2), 'cut'],
      [play.odd(4), 'refuse'],
      [play.odd(1), 'redirect'],
      [play.odd(1), 'elsewhere'],
    ]);
    if (before === 'cut') return cut(exchange, chance);
    if (before === 'refuse') return play.refuse(exchange, chance);
    if (before !== 'take') return play.redirect(exchange, chance, before === 'elsewhere');
    this.#judge.execute(call);
    session.open.set(call, message);
    const how = chance.weigh([
      [12, 'at once'],
      [play.odd(4), 'behind the answer'],
      [play.odd(1), 'cut'],
      [play.odd(1), 'fail'],
      [play.odd(1), 'never'],
    ]);
    this.#judge.count(`acknowledged: ${how}`);
    if (how === 'at once') exchange.response.writeHead(chance.one([200, 202, 204])).end();
    else if (how === 'cut') cut(exchange, chance);
    else if (how === 'fail') play.fail(exchange, chance);
    await this.#answer(session, call, message, chance);
    if (how === 'behind the answer') {
      await play.mayWait(chance, 2);
      exchange.response.writeHead(202).end();
    }
  }

  async #answer(session: Session, call: Call, message: Message, chance: Chance): Promise<void> {
    const { play } = this;
    const { stream, open } = session;
    for (let left = chance.below(4), progress = 1; left > 0; left -= 1, progress += 1) {
      await play.mayWait(chance, 4);
      const other = chance.pick([...open].filter(([each]) => each !== call));
      const tell = () => {
        const told = open.has(call) ? play.progressOf(call, message, progress) : undefined;
        if (told !== undefined) stream.send(told);
      };
      chance.weigh([
        [4, tell],
        [2, () => stream.send(this.#judge.logFor(call.member))],
        [2, () => stream.send(ask(session))],
        [play.odd(1), () => other && open.delete(other[0]) && this.#answerOther(stream, ...other)],
      ])();
    }
    await play.mayWait(chance);
    if (chance.below(play.isKind ? 1 : 20) === 7) return;
    open.delete(call);
    stream.send(play.answerOf(call, message));
    if (play.odd(1) > 0 && chance.oneIn(8)) stream.send(play.answerOf(call, message));
  }

  /** Answers another call than the one that it is at. */
  #answerOther(stream: EventStream, call: Call, message: Message): void {
    call.mayTrail = true;
    stream.send(this.play.answerOf(call, message));
  }
}
