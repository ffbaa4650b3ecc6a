import { inspect } from 'node:util';
import { GatewayError } from '../../../src/errors.js';
import type { RequestId } from '../../../src/sdk.js';
import { Notes } from '../../support/play-schedules.js';
import type { EventStream } from './event-stream.js';
import type { Member, Message } from './members.js';

/** In everything that is a secret: headers of the catalog, and the query of the URL. */
export const secret = 's3cret';

/** In bytes: as much may a message have, in either direction. */
export const mostBytes = 512 * 1024;

/** A call as its caller remembers it, and the server. */
export interface Call {
  readonly number: number;
  readonly member: Member;
  /** That of the last request for it. */
  id: RequestId;
  readonly token: RequestId | undefined;
  readonly arguments: { readonly n: number; readonly padding: string };
  /** Characters of the answer. */
  readonly size: number;
  /** It may be larger itself than messages may be. */
  readonly isTooLarge: boolean;
  /** How often the server has carried it out. */
  executed: number;
  answers: number;
  cancelled: boolean;
  /** Its caller was asked for input, and has not come back. */
  isBetween: boolean;
  /** Its caller has made it again, with that: what is said of one request is not true of the other. */
  isBack: boolean;
  /** Its time has ended. */
  isLate: boolean;
  /** `send` said that it was not accepted. */
  refused: boolean;
  /** Its server may speak of it though it is answered: it does not know yet, or has itself to blame. */
  mayTrail: boolean;
  /** Progress that its server has sent on the way to the answer, and that its caller has got. */
  readonly progress: { readonly sent: number[]; readonly got: number[] };
  /** How often it did not go far enough what it came with. */
  refusals: number;
  /** Its caller was told that no server has got it. */
  toldUndelivered: boolean;
}

/** Sees everything that callers and the server get, and says what none of them should have got. */
export class Judge extends Notes {
  readonly calls = new Map<number, Call>();
  /** Nothing but a person's consent widens what a token is good for. */
  asksPersons = false;
  #logs = 0;
  /** How often which resource has changed. */
  readonly #changes = new Map<string, number>();

  override count(what: string): void {
    super.count(what);
    this.log(what);
  }

  /** The server carries a call out. */
  execute(call: Call): void {
    call.executed += 1;
    this.log(`call ${call.number} is carried out`);
    if (call.executed > 1) this.problem(`call ${call.number} is carried out ${call.executed} times`);
    if (call.toldUndelivered)
      this.problem(`call ${call.number} is carried out, and its caller was told that it was not`);
  }

  /** What a server says to a caller by itself, under a number of its own. */
  logFor({ index: c }: Member, stream?: EventStream): Message {
    this.#logs += 1;
    stream?.logs.push(this.#logs);
    const params = { level: 'error', data: { c, number: this.#logs } };
    return { jsonrpc: '2.0', method: 'notifications/message', params } as Message;
  }

  /** A caller gets a message that is no request. */
  receive(member: Member, message: Message): void {
    if (message.method === 'notifications/progress') this.#progress(member, message.params ?? {});
    else if (message.method === 'notifications/message') this.#logged(member, message.params ?? {});
    else if (message.method === undefined) this.#answer(member, message);
  }

  change(uri: string): void {
    this.#changes.set(uri, this.changesOf(uri) + 1);
    this.log(`change ${this.changesOf(uri)} of ${uri}`);
  }

  changesOf(uri: string): number {
    return this.#changes.get(uri) ?? 0;
  }

  checkSecrets(where: string, text: string): void {
    if (text.includes(secret)) this.problem(`${where} holds a secret: ${text}`);
  }

  /** A caller could not start: it is told by whom, and in words of ours. */
  notStarted({ name, hasLeft }: Member, error: unknown): void {
    if (GatewayError.is(error)) this.count(`not started: ${error.code}`);
    const isOurs = GatewayError.is(error) && (error.server === 'remote' || error.code === 'GATEWAY_CLOSED' || hasLeft);
    if (!isOurs) this.problem(`${name} could not start: ${inspect(error)}`);
  }

  /** Whoever waits is answered by now. */
  checkAnswered(): void {
    for (const call of this.calls.values()) {
      if (isWaiting(call) && !call.isBetween)
        this.problem(`call ${call.number} of ${call.member.name} is not answered`);
    }
  }

  #answer(member: Member, { id, result, error }: Message): void {
    const call = member.calls.get(id as RequestId);
    const text = `answer to ${JSON.stringify(id)} of ${member.name}`;
    if (call === undefined) {
      this.problem(`${text}, which was not asked: ${JSON.stringify(result ?? error)}`);
      return;
    }
    if (result?.resultType === 'input_required') {
      this.log(`${text} (call ${call.number}): ${JSON.stringify(result)}`);
      return member.questions.required(call, result);
    }
    call.answers += 1;
    if (error !== undefined) member.questions.failed(call, error.message);
    this.log(`${text} (call ${call.number}): ${JSON.stringify(error ?? 'result')}`);
    if (call.answers > 1) this.problem(`${text} comes ${call.answers} times`);
    if (call.refused) this.problem(`${text} comes, though it was not accepted`);
    call.mayTrail ||= error !== undefined;
    if (result !== undefined) {
      if (textOf(call).length > mostBytes) this.problem(`${text} is larger than messages may be`);
      const { n, text: said } = (result.structuredContent ?? {}) as { n?: unknown; text?: unknown };
      if (n !== call.number) this.problem(`${text} is that to call ${n}, not to ${call.number}`);
      else if (said !== textOf(call)) this.problem(`${text} is not what the server said`);
      const { sent, got } = call.progress;
      const missing = sent.filter((each) => !got.includes(each));
      if (missing.length > 0 && !call.mayTrail && !call.cancelled) {
        this.problem(`${text} comes before its progress ${missing}`);
      }
      this.count('result');
      return;
    }
    this.checkSecrets(text, JSON.stringify(error));
    if (this.asksPersons && error?.message.includes('(HTTP 403), still after it was granted'))
      this.problem(`${text} says that a person has consented, whom nobody has asked`);
    const { code, delivered } = error?.data ?? {};
    this.count(String(code ?? 'error of the server'));
    call.isLate = code === 'REQUEST_TIMEOUT';
    if (code !== undefined) this.count(`delivered: ${delivered}`);
    if (delivered !== false) return;
    call.toldUndelivered = true;
    if (call.executed > 0 && !call.isBack)
      this.problem(`${text} says that it was not delivered, and it was carried out`);
  }

  #progress(member: Member, { progressToken, message, progress }: Record<string, unknown>): void {
    const call = [...member.calls.values()].findLast(({ token }) => token !== undefined && token === progressToken);
    const text = `progress (${message}) for ${JSON.stringify(progressToken)} at ${member.name}`;
    this.log(text);
    // The gateway itself says how far a start is.
    const isOwn = message === String(call?.number) || message === 'starting';
    if (call === undefined || !isOwn) this.problem(`${text} is not its own`);
    // To a raw connection messages pass as they are.
    else if (call.answers > 0 && !(call.mayTrail && member.hearsAll)) this.problem(`${text} comes after the answer`);
    else this.count('progress');
    if (message !== String(call?.number)) return;
    const got = call?.progress.got ?? [];
    if (Number(progress) <= (got.at(-1) ?? 0)) this.problem(`${text} comes after ${got.at(-1)}: ${progress}`);
    got.push(Number(progress));
  }

  #logged(member: Member, { data }: Record<string, unknown>): void {
    const { c: owner, number } = (data ?? {}) as { c?: unknown; number?: number };
    if (member.logs.has(number)) this.problem(`${member.name} hears log ${number} a second time`);
    member.logs.add(number);
    if (!member.shares && owner !== member.index) this.problem(`${member.name} hears what is said to ${owner}`);
    else this.count('log');
  }
}

export function isWaiting({ answers, cancelled, refused, member }: Call): boolean {
  return answers === 0 && !cancelled && !refused && !member.hasLeft;
}

/** What the answer to a call says, so that one that lost something on its way is told. */
export function textOf({ number, size }: Call): string {
  return `Grüße ${number} 🚀\n`.repeat(1 + Math.floor(size / 10));
}
