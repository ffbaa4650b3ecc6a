import type { ListKind } from '../../../src/endpoint/list-kinds.js';
import { Notes } from '../../support/play-schedules.js';
import type { Rules } from './catalog.js';
import type { Mark } from './content.js';
import type { Member } from './members.js';

/** A page that a server has given: until when it is good, and for whom. */
interface Serve {
  readonly until: number;
  readonly isPublic: boolean;
}

/** Something that a caller uses. */
interface SentCall {
  readonly caller: number;
  /** What the caller might use when it was sent: one that waits for a start may meet a reload. */
  readonly atFirst: Rules;
  /** The same as it is when this is called. */
  now(): Rules;
  /** By the interceptor. */
  isSeen: boolean;
}

/** Writes down what has happened, in its order, and what must not have. */
export class Judge extends Notes {
  nowMs: () => number = () => 0;
  /** Whether requests go by an interceptor. */
  isIntercepted = false;
  readonly #calls = new Map<number, SentCall>();
  readonly #stops: { readonly server: string; readonly from: number; to: number }[] = [];
  /** Of what has changed anything that callers may see. */
  causes = 0;
  #turn = 0;
  readonly #failures: { readonly server: string; readonly kind: ListKind; readonly turn: number }[] = [];
  readonly #serves = new Map<string, Serve[]>();

  /** One that is later than all before. */
  turn(): number {
    this.#turn += 1;
    return this.#turn;
  }

  caused(): number {
    this.causes += 1;
    return this.turn();
  }

  /** A list of a server was refused, or will not come. */
  failed(server: string, kind: ListKind): void {
    this.#failures.push({ server, kind, turn: this.turn() });
  }

  hasFailed(server: string, kind: ListKind, since: number): boolean {
    return this.#failures.some((each) => each.server === server && each.kind === kind && each.turn >= since);
  }

  served(marks: readonly Mark[], ttlMs: number, isPublic: boolean): void {
    for (const mark of marks) {
      const key = keyOf(mark);
      const serves = this.#serves.get(key) ?? [];
      serves.push({ until: this.nowMs() + ttlMs, isPublic });
      this.#serves.set(key, serves);
    }
  }

  /** A merged list must not be good for longer, or for more, than what is in it. */
  checkFreshness(
    member: Member,
    marks: readonly Mark[],
    { ttlMs, cacheScope }: { ttlMs?: unknown; cacheScope?: unknown },
  ): void {
    const until = this.nowMs() + Number(ttlMs);
    if (this.isIntercepted && cacheScope === 'public' && marks.length > 0) {
      this.problem(`${member.name} is told that what the host shows it is for everybody`);
    }
    if (typeof ttlMs !== 'number' || (cacheScope !== 'public' && cacheScope !== 'private')) {
      this.problem(`${member.name} is not told how long a list is good: ${ttlMs}, ${cacheScope}`);
    }
    for (const mark of marks.filter(({ make }) => make !== 'host')) {
      const serves = this.#serves.get(keyOf(mark)) ?? [];
      if (Number(ttlMs) > 0 && !serves.some((serve) => serve.until >= until)) {
        this.problem(
          `${member.name} is told that ${JSON.stringify(mark)} is good for ${ttlMs} ms, which its server never said`,
        );
      }
      if (cacheScope === 'public' && !serves.some(({ isPublic }) => isPublic)) {
        this.problem(
          `${member.name} is told that ${JSON.stringify(mark)} is for everybody, which its server never said`,
        );
      }
    }
  }

  /** A server is being stopped: who lists meanwhile is shown nothing of it. @returns to be called at its end */
  stopping(server: string): () => void {
    const stop = { server, from: this.turn(), to: Number.POSITIVE_INFINITY };
    this.#stops.push(stop);
    return () => {
      stop.to = this.turn();
    };
  }

  wasStopping(server: string, from: number, to: number): boolean {
    return this.#stops.some((stop) => stop.server === server && stop.from <= to && stop.to >= from);
  }

  /** @returns the number by which what is used is known from then on */
  sends(caller: number, rules: () => Rules): number {
    const call = this.#calls.size + 1;
    this.#calls.set(call, { caller, atFirst: rules(), now: rules, isSeen: false });
    return call;
  }

  /** The interceptor sees a request. */
  intercepted(call: unknown, caller: number, server: string): void {
    const sent = this.#calls.get(Number(call));
    if (sent !== undefined) {
      sent.isSeen = true;
      sent.caller !== caller &&
        this.problem(`the host sees caller ${caller} in call ${call} to ${server}, which ${sent.caller} has sent`);
    }
  }

  /** A request has come to a server. */
  arrived(server: string, method: string, own: string, call: unknown): void {
    this.log(`${server} gets ${method} ${own}`);
    this.count(method);
    const sent = this.#calls.get(Number(call));
    if (sent === undefined) {
      return;
    }
    const tool = method === 'tools/call' ? own : undefined;
    if (!sent.atFirst(server, tool) && !sent.now()(server, tool)) {
      this.problem(`${server} gets ${method} of ${own} from ${sent.caller}, who may not use it`);
    }
    if (this.isIntercepted && !sent.isSeen) {
      this.problem(`${server} gets ${method} of ${own}, which the host has not seen`);
    }
  }
}

/** As the server has given it. */
function keyOf({ from, own, make }: Mark): string {
  return JSON.stringify([from, own, make.replace('!', '')]);
}
