import { GatewayError } from '../../../src/errors.js';
import type { RequestId } from '../../../src/sdk.js';
import { Judge, type ToldExit } from './judge.js';
import type { Life } from './lives.js';
import type { Member, Message } from './members.js';

/** A call as its caller remembers it. */
export interface Call {
  readonly number: number;
  readonly member: Member;
  readonly id: RequestId;
  readonly program: string;
  answers: number;
  cancelled: boolean;
  /** `send` said that it was not accepted. */
  refused: boolean;
  /** What became of it, as its caller is told: `result`, the code of an error, or its number. */
  outcome: string | undefined;
  delivered: unknown;
  exit: ToldExit | undefined;
}

/** Sees what callers of a gateway get. */
export class CallJudge extends Judge {
  readonly calls = new Map<number, Call>();

  /** A caller gets an answer. */
  answer(member: Member, { id, result, error }: Message): void {
    const call = member.calls.get(id as RequestId);
    const text = `answer to ${JSON.stringify(id)} of ${member.name}`;
    if (call === undefined) return this.problem(`${text}, which was not asked: ${JSON.stringify(result ?? error)}`);
    call.answers += 1;
    if (call.answers > 1) this.problem(`${text} comes ${call.answers} times`);
    if (call.refused) this.problem(`${text} comes, though it was not accepted`);
    if (result !== undefined) {
      call.outcome = 'result';
      const { n, text: said } = (result.structuredContent ?? {}) as { n?: unknown; text?: string };
      if (n !== call.number) this.problem(`${text} is that to call ${n}, not to ${call.number}`);
      else if (said !== textOf(call)) this.problem(`${text} is not what the server said: ${said?.length} characters`);
    } else {
      const { code, delivered, exit } = error?.data ?? {};
      call.outcome = String(code ?? error?.code);
      call.delivered = delivered;
      call.exit = exit as ToldExit | undefined;
      this.keepsSecrets(text, JSON.stringify(error));
      this.keepsTerminals(text, String(error?.message));
      if (code !== undefined) this.count(`delivered: ${delivered}`);
    }
    this.happens(call.outcome, `${text} (call ${call.number}): ${JSON.stringify(error ?? 'result').slice(0, 300)}`);
  }

  notAccepted(call: Call, error: unknown): void {
    call.refused = true;
    const isOurs = GatewayError.is(error);
    call.delivered = isOurs ? error.delivered : undefined;
    this.happens('not accepted', `call ${call.number} is not accepted: ${String(error).slice(0, 200)}`);
    this.keepsSecrets(`why call ${call.number} is not accepted`, error);
    if (!isOurs) this.problem(`call ${call.number} is not accepted: ${String(error)}`);
    if (call.answers > 0) this.problem(`call ${call.number} is answered, and not accepted`);
  }

  /** Whoever waits is answered by now. */
  checkAnswered(when: string): void {
    for (const call of this.calls.values())
      if (isWaiting(call)) this.problem(`call ${call.number} of ${call.member.name} is not answered ${when}`);
  }

  /** What callers were told is what servers have written down. */
  checkTruth(lives: readonly Life[]): void {
    const readers = new Map<number, Life>();
    for (const life of lives) {
      this.count('read', life.got.length);
      for (const number of life.got) {
        if (readers.has(number)) this.problem(`call ${number} was carried out twice`);
        readers.set(number, life);
      }
    }
    for (const call of this.calls.values()) this.#check(call, readers.get(call.number));
  }

  #check({ number, outcome, delivered, exit, cancelled, refused }: Call, life: Life | undefined): void {
    if (life !== undefined && (delivered === false || (refused && delivered !== 'unknown')))
      this.problem(`call ${number} was carried out, and its caller was told that it was not (${outcome})`);
    if (outcome === 'result' && !life?.says.includes(String(number)))
      this.problem(`call ${number} has a result, and no server said one`);
    if (exit !== undefined && life !== undefined && (outcome === 'SERVER_EXITED' || outcome === 'MESSAGE_TOO_LARGE')) {
      this.#checkEnd(number, outcome, exit, life);
      if (life.saidBefore(number, outcome === 'SERVER_EXITED' ? 'exit' : 'huge') && !cancelled)
        this.problem(`call ${number} was answered before the end of its server, and its caller was told ${outcome}`);
    }
  }

  #checkEnd(number: number, outcome: string, exit: ToldExit, life: Life): void {
    const where = `the server of call ${number} (${life.pid})`;
    if (outcome === 'SERVER_EXITED') this.checkExit(life.pid, where, exit, life);
    else if (!life.deeds.includes('huge')) this.problem(`${where} is said to have written a huge line`);
  }
}

export function isWaiting({ answers, cancelled, refused, member }: Call): boolean {
  return answers === 0 && !cancelled && !refused && !member.hasLeft;
}

/** What the answer to a call says, so that one that lost something on its way is told. */
function textOf({ program }: Call): string {
  const size = Number(/big:(\d+)/.exec(program)?.[1] ?? 0);
  return 'ü🚀'.repeat(1 + Math.floor(size / 6));
}
