import type { ScriptedInstance } from '../../endpoint/scripted-server.js';
import { type Client, type Exchange, groupOf, nameOf, type Sent } from './clients.js';
import type { Judge, Question } from './judge.js';

/** Less than a question waits for a stream. */
const patienceMs = 5_000;

interface Expected {
  readonly number: number;
  readonly instance: ScriptedInstance;
  readonly client: Client;
  /** In which it was written. */
  readonly turn: number;
  /** Which the client had open then. */
  readonly stream: Exchange | undefined;
  /** One that waits for a stream, until then. */
  readonly question?: Question;
  readonly until?: number;
}

/**
 * What servers write to the log comes to every session of their caller that listens, as soon as it reads; what they say of a
 * request whose client has left, to its session; what they ask, as soon as somebody listens. Transports of somebody else drop
 * what belongs to a request whose client has left, and what is asked of nobody.
 */
export class ExpectedMessages {
  readonly #judge: Judge;
  #expected: Expected[] = [];

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /** A server writes to the log. */
  written(instance: ScriptedInstance, number: number, turn: number): void {
    const isUsed = (client: Client) =>
      [...this.#judge.sent.values()].some((sent) => sent.client === client && sent.at?.instance === instance);
    for (const client of this.#judge.clients) {
      if (groupOf(client) === this.#judge.ownerOf(instance) && isUsed(client)) {
        this.#onStream(client, { number, instance, turn });
      }
    }
  }

  /** A server says how far it is with a request that goes on. */
  progressed({ client, exchange, isCancelled, isAgain, at }: Sent, number: number, turn: number): void {
    const hasLeft = exchange?.end === 'left' && exchange.leftAt < turn;
    if (hasLeft && client.era === 'legacy' && !isCancelled && !isAgain && at !== undefined) {
      this.#onStream(client, { number, instance: at.instance, turn });
    }
  }

  /** A server asks. Where several could answer, it may be any of them. */
  asked(question: Question, turn: number, now: number): void {
    const { number, instance, group } = question;
    const [client, ...others] = this.#judge.clients.filter((each) => groupOf(each) === group);
    const isAble = client?.era === 'legacy' && 'elicitation' in client.capabilities;
    if (client !== undefined && others.length === 0 && isAble && !this.#judge.isForeign) {
      this.#expected.push({ number, instance, client, turn, stream: undefined, question, until: now + patienceMs });
    }
  }

  #onStream(client: Client, what: Pick<Expected, 'number' | 'instance' | 'turn'>): void {
    const stream = streamOf(client);
    if (stream !== undefined && !this.#judge.isForeign) {
      this.#expected.push({ ...what, client, stream });
    }
  }

  /** @param isHeld - has not said yet what it had to say, or does not hear */
  check(now: number, isHeld: (instance: ScriptedInstance) => boolean): void {
    this.#expected = this.#expected.filter((expected) => {
      const {
        number,
        instance,
        client,
        question,
        until = Number.POSITIVE_INFINITY,
        stream = streamOf(client),
      } = expected;
      const isOver = now >= until || question?.isWithdrawn || (question && instance.answers(question.id).length > 0);
      if (client.seen.has(number) || isOver || !this.#isSure(expected, stream)) {
        return false;
      }
      const isRead = client.exchanges.every((each) => each.end !== undefined || this.#judge.isRead(each));
      if (stream === undefined || isHeld(instance) || !isRead) {
        return true;
      }
      this.#judge.problem(`${nameOf(client)} has not read ${number} of a server`);
      return false;
    });
  }

  /** Nobody knows what has come of a response that was broken off, nor whether a server has said all before its end. */
  #isSure({ client, instance, turn }: Expected, stream: Exchange | undefined): boolean {
    const isWhole = ({ end, leftAt, mayBeCut }: Exchange) =>
      (end !== 'left' || leftAt < turn) && end !== 'cut' && !(end === undefined && mayBeCut);
    const isOpen = stream?.end === undefined && !client.hasEnded;
    return isOpen && !instance.closed && client.exchanges.every(isWhole);
  }
}

function streamOf(client: Client): Exchange | undefined {
  return client.exchanges.find((each) => each.isStream && each.status === 200 && each.end === undefined);
}
