import type { Chance } from '../../gateway/model/chance.js';
import { EventStream } from './event-stream.js';
import { cut, type Exchange } from './host.js';
import { Inputs } from './inputs.js';
import { sendJson } from './json-answer.js';
import type { Call, Judge } from './judge.js';
import type { Message } from './members.js';
import { callOf, type Play } from './play.js';
import { ask, elicit, type Session, stateless } from './session.js';

/** What a server over Streamable HTTP makes of calls. */
export class StreamableCalls {
  readonly #play: Play;
  readonly #judge: Judge;
  readonly #streams: Map<string, EventStream>;
  readonly #isModern: boolean;
  readonly #inputs: Inputs;

  /** @param streams - where those of its answers can be taken up again, by name */
  constructor(play: Play, streams: Map<string, EventStream>, isModern: boolean) {
    this.#play = play;
    this.#judge = play.judge;
    this.#streams = streams;
    this.#isModern = isModern;
    this.#inputs = new Inputs(play.judge);
  }

  async take(exchange: Exchange, message: Message, session: Session): Promise<void> {
    const play = this.#play;
    const call = callOf(this.#judge, message);
    if (call === undefined) return;
    if (session.id !== stateless) {
      session.owner ??= call.member;
      if (session.owner !== call.member && !call.member.shares) {
        this.#judge.problem(`call ${call.number} of ${call.member.name} comes in the session of ${session.owner.name}`);
      }
    }
    if (play.access.refusesCall(exchange, call)) return;
    const chance = play.nextChance();
    const before = chance.weigh([
      [30, 'take'],
      [play.odd(2), 'cut'],
      [play.odd(5), 'refuse'],
      [play.odd(session.id === stateless ? 0 : 1), 'forget'],
      [play.odd(2), 'redirect'],
      [play.odd(1), 'elsewhere'],
    ]);
    this.#judge.log(`call ${call.number}: ${before}`);
    if (before === 'cut') return cut(exchange, chance);
    if (before === 'refuse') return play.refuse(exchange, chance);
    if (before === 'redirect' || before === 'elsewhere') return play.redirect(exchange, chance, before === 'elsewhere');
    if (before === 'forget') {
      session.isAlive = false;
      return play.forgotten(exchange, message, chance);
    }
    const comesBack = this.#inputs.take(call, message);
    // It goes on with the same call.
    if (!comesBack) this.#judge.execute(call);
    session.open.set(call, message);
    session.calls.set(call, message.id);
    await play.mayWait(chance);
    let answer = play.answerOf(call, message, this.#isModern);
    // Only that of the first answer counts.
    if (chance.oneIn(8)) exchange.response.setHeader('mcp-session-id', 'another');
    const how = chance.weigh([
      [10, 'JSON'],
      [14, 'events'],
      [play.odd(1), 'cut'],
      [play.odd(2), 'cut inside'],
      [play.odd(2), 'fail'],
      [play.odd(1), '202'],
      [play.odd(1), 'page'],
      [play.odd(1), 'broken'],
      [play.odd(1), 'error'],
      [play.odd(1), 'never'],
      [play.asks && this.#isModern && this.#inputs.mayAsk(call) ? 12 : 0, 'need'],
      [play.odd(comesBack ? 3 : 0), 'forgotten'],
    ]);
    this.#judge.count(`answer: ${how}`);
    if (how === 'need') answer = { ...answer, result: { ...this.#inputs.need(call, chance) } };
    if (how === 'events') await this.#events(exchange, session, call, message, chance);
    else if (how === 'JSON')
      await sendJson(exchange, chance.oneIn(6) ? this.#batch(call, message, chance, answer) : answer, chance, {
        mayPack: !play.isKind,
      });
    else if (how === 'need') await this.#sayWhatIsNeeded(exchange, answer, chance);
    else if (how === 'cut inside') await sendJson(exchange, answer, chance, { isCut: true, mayPack: !play.isKind });
    else if (how === 'cut') cut(exchange, chance);
    else if (how === 'fail') play.fail(exchange, chance);
    else if (how === '202') {
      exchange.response.writeHead(202).end();
      session.listening?.send(answer);
    } else if (how === 'page')
      exchange.response.writeHead(200, { 'content-type': 'text/html' }).end('<title>x</title>');
    else if (how === 'broken') exchange.response.writeHead(200, { 'content-type': 'application/json' }).end('{"json');
    else if (how === 'error' || how === 'forgotten') {
      const error = { code: -32_000, message: how === 'error' ? 'it went wrong' : 'no such state' };
      const status = chance.one([200, 400, 404, 500]);
      await sendJson(exchange, { jsonrpc: '2.0', id: message.id, error }, chance, { status });
    }
    if (how !== 'never') session.open.delete(call);
  }

  async #sayWhatIsNeeded(exchange: Exchange, answer: Message, chance: Chance): Promise<void> {
    if (chance.oneIn(2)) return sendJson(exchange, answer, chance);
    const stream = new EventStream('n', chance, false);
    stream.open(exchange);
    stream.send(answer);
    stream.end();
  }

  /** Answers with a stream, in which much else may come. */
  async #events(exchange: Exchange, session: Session, call: Call, message: Message, chance: Chance): Promise<void> {
    const play = this.#play;
    const name = `c${call.number}`;
    const stream = new EventStream(name, chance, !this.#isModern && !chance.oneIn(4), play.now);
    this.#streams.set(name, stream);
    stream.open(exchange);
    // It goes on to rise where the call comes back.
    let progress = 1 + (call.progress.sent.at(-1) ?? 0);
    for (let left = chance.below(8); left > 0; left -= 1, progress += 1) {
      // Without sessions it cannot know which of them come over one connection.
      const others = session.id === stateless ? [] : [...session.open].filter(([each]) => each !== call);
      const other = chance.pick(others);
      const retryMs = chance.one([undefined, 0, 1_000]);
      const what = chance.weigh([
        [4, 'progress'],
        [this.#isModern ? 0 : 2, 'log'],
        [this.#isModern ? 0 : 2, 'ping'],
        [play.asks && !this.#isModern ? 2 : 0, 'elicit'],
        [1, 'empty'],
        [play.odd(1), 'nobody'],
        [play.odd(other === undefined ? 0 : 1), 'other'],
        [play.odd(stream.isResumable ? 3 : 0), 'pause'],
        [play.odd(stream.isResumable ? 3 : 1), 'cut'],
      ]);
      this.#judge.count(`event: ${what}`);
      const isTold = what === 'progress' || (what === 'cut' && chance.oneIn(2));
      const told = isTold ? play.progressOf(call, message, progress) : undefined;
      if (what === 'progress') told && stream.send(told);
      else if (what === 'log') stream.send(this.#judge.logFor(call.member));
      else if (what === 'empty') stream.send('');
      else if (what === 'nobody') stream.send({ jsonrpc: '2.0', id: 'nobody', result: {} });
      else if (what === 'other' && other !== undefined) this.#answerOther(stream, ...other);
      else if (what === 'pause') stream.pause(retryMs);
      else if (what === 'cut') told === undefined ? stream.cut() : stream.sendAndCut(told);
      else if (what === 'ping') {
        stream.send(ask(session));
      } else if (what === 'elicit') {
        const { promise, resolve } = Promise.withResolvers<void>();
        stream.send(elicit(session, call, resolve));
        // It goes on all the same where nobody answers, or does not wait for that.
        if (chance.oneIn(2)) play.later(resolve);
        else resolve();
        await promise;
      }
      await play.mayWait(chance, 5);
    }
    const own = play.answerOf(call, message, this.#isModern);
    const answer = chance.oneIn(8) ? this.#batch(call, message, chance, own, progress) : own;
    const isTwice = play.odd(1) > 0 && chance.oneIn(6);
    // That of another connection may overtake what came before.
    const again = isTwice && chance.oneIn(2) ? session.listening : stream;
    call.mayTrail ||= again !== stream;
    if (play.odd(1) > 0 && chance.oneIn(8)) stream.sendAndCut(answer);
    else stream.send(answer);
    if (isTwice) again?.send(own);
    await play.mayWait(chance, 6);
    stream.end();
  }

  /** The answer with something before it, in one body or event, as revision 2025-03-26 has it. */
  #batch(call: Call, message: Message, chance: Chance, answer: Message, progress = 1): Message[] {
    const told = chance.oneIn(2) ? this.#play.progressOf(call, message, progress) : undefined;
    const log = chance.oneIn(2) && !this.#isModern ? [this.#judge.logFor(call.member)] : [];
    return [...log, ...(told === undefined ? [] : [told]), answer];
  }

  /** Answers another call than the one that it is at. */
  #answerOther(stream: EventStream, call: Call, message: Message): void {
    call.mayTrail = true;
    stream.send(this.#play.answerOf(call, message));
  }
}
