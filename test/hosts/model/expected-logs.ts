import type { ScriptedInstance } from '../../endpoint/scripted-server.js';
import { type Client, type Exchange, groupOf, nameOf } from './clients.js';
import type { Judge } from './judge.js';

interface Expected {
  readonly number: number;
  readonly instance: ScriptedInstance;
  readonly client: Client;
  readonly stream: Exchange;
  /** In which it was written. */
  readonly turn: number;
}

/** What servers write to the log comes to every session of their caller that listens, as soon as it reads. */
export class ExpectedLogs {
  readonly #judge: Judge;
  #expected: Expected[] = [];

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /** A server writes to the log. Transports of somebody else drop what belongs to a request whose client has left. */
  written(instance: ScriptedInstance, number: number, turn: number): void {
    if (this.#judge.isForeign) {
      return;
    }
    const isUsed = (client: Client) =>
      [...this.#judge.sent.values()].some((sent) => sent.client === client && sent.at?.instance === instance);
    for (const client of this.#judge.clients) {
      const stream = client.exchanges.find((each) => each.isStream && each.status === 200 && each.end === undefined);
      if (stream !== undefined && groupOf(client) === this.#judge.ownerOf(instance) && isUsed(client)) {
        this.#expected.push({ number, instance, client, stream, turn });
      }
    }
  }

  /** @param isHeld - has not said yet what it had to say */
  check(isHeld: (instance: ScriptedInstance) => boolean): void {
    const waiting: Expected[] = [];
    for (const expected of this.#expected) {
      const { number, instance, client } = expected;
      if (client.seen.has(number) || !this.#isSure(expected)) {
        continue;
      }
      if (isHeld(instance) || !client.exchanges.every((each) => each.end !== undefined || this.#isRead(each))) {
        waiting.push(expected);
      } else {
        this.#judge.problem(`${nameOf(client)} has not read log ${number}`);
      }
    }
    this.#expected = waiting;
  }

  /** Nobody knows what has come of a response that was broken off, nor whether a server has said all before its end. */
  #isSure({ client, instance, stream, turn }: Expected): boolean {
    const isWhole = ({ end, leftAt, mayBeCut }: Exchange) =>
      (end !== 'left' || leftAt < turn) && end !== 'cut' && !(end === undefined && mayBeCut);
    const isOpen = stream.end === undefined && !client.hasEnded;
    return isOpen && !instance.closed && client.exchanges.every(isWhole);
  }

  /** What belongs to a request comes with its response, which may have to wait. */
  #isRead(exchange: Exchange): boolean {
    return !exchange.line.isPaused && this.#judge.before(exchange).length === 0;
  }
}
