import type { ListKind } from '../../../src/endpoint/list-kinds.js';
import { Notes } from '../../support/play-schedules.js';
import type { Mark } from './content.js';
import type { Member } from './members.js';

/** A page that a server has given: until when it is good, and for whom. */
interface Serve {
  readonly until: number;
  readonly isPublic: boolean;
}

/** Writes down what has happened, in its order, and what must not have. */
export class Judge extends Notes {
  nowMs: () => number = () => 0;
  allows: (server: string, tool: string) => boolean = () => true;
  /** By what was allowed when a call was sent: one that waits for a start may meet a reload. */
  readonly sentUnder = new Map<number, (server: string, tool: string) => boolean>();
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
      const key = JSON.stringify(mark);
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
    if (typeof ttlMs !== 'number' || (cacheScope !== 'public' && cacheScope !== 'private')) {
      this.problem(`${member.name} is not told how long a list is good: ${ttlMs}, ${cacheScope}`);
    }
    for (const mark of marks) {
      const serves = this.#serves.get(JSON.stringify(mark)) ?? [];
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

  /** A request has come to a server. */
  arrived(server: string, method: string, own: string, call: unknown): void {
    this.log(`${server} gets ${method} ${own}`);
    this.count(method);
    const then = this.sentUnder.get(Number(call)) ?? this.allows;
    if (method === 'tools/call' && !this.allows(server, own) && !then(server, own)) {
      this.problem(`${server} is called for ${own}, which is not allowed`);
    }
  }
}
