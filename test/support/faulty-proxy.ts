import { once } from 'node:events';
import { createServer, type Server, type Socket, connect as toSocket } from 'node:net';
import { freePort } from './free-port.js';

/** What may go wrong with a request and its answer on their way. */
export const faults = [
  'refused',
  'idle end',
  'before the request',
  'middle of the request',
  'after the request',
  'middle of the headers',
  'middle of the body',
  'middle of the answer',
  'late',
  'half-open before',
  'half-open after',
] as const;
export type Fault = (typeof faults)[number];

/** A fault and when it comes: requests and answers are told by their marks. */
export interface Plan {
  readonly fault: Fault;
  /** Where within a message, from 0 to 1. */
  readonly at: number;
  /** By a reset instead of an end. */
  readonly reset: boolean;
  readonly lateMs: number;
}

/** The first group is the mark of a message. */
export interface Marks {
  readonly request: RegExp;
  readonly answer: RegExp;
}

/** Two sockets, joined. */
interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  /** What holds for the connection from now on. */
  fault?: Plan | undefined;
  /** Bytes of the answer so far. */
  answered: number;
  swallow: boolean;
  delay: Promise<void> | undefined;
}

/** A proxy on loopback that lets bytes through, but for the messages that it has plans for. */
export class FaultyProxy implements AsyncDisposable {
  /** How many plans have come about. */
  injected = 0;
  readonly #target: number;
  readonly #marks: Marks;
  readonly #plans = new Map<string, Plan>();
  readonly #pairs = new Set<Pair>();
  #server: Server = createServer();
  // It listens there again and again: nobody may be given it in between.
  readonly #port: number;

  private constructor(port: number, target: number, marks: Marks) {
    this.#port = port;
    this.#target = target;
    this.#marks = marks;
  }

  /** @param target - the port of the server behind it */
  static async open(target: number, marks: Marks): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(await freePort(), target, marks);
    await proxy.#listen();
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  /** Arms a plan for the message with this mark, about to be sent. */
  async arm(mark: string, plan: Plan): Promise<void> {
    if (plan.fault === 'refused') {
      this.injected += 1;
      const closed = once(this.#server, 'close');
      this.#server.close();
      for (const pair of this.#pairs) this.#cut(pair, plan.reset);
      await closed;
    } else if (plan.fault === 'idle end') {
      this.injected += 1;
      // The request is sent while this is on its way.
      for (const pair of this.#pairs) this.#cut(pair, plan.reset);
    } else {
      this.#plans.set(mark, plan);
    }
  }

  /** Takes what is left of a plan back. */
  async disarm(mark: string, plan: Plan): Promise<void> {
    this.#plans.delete(mark);
    if (plan.fault === 'refused') await this.#listen();
    for (const pair of this.#pairs) if (pair.swallow) this.#cut(pair, false);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    // What is late must still arrive: it may be what is executed twice.
    await Promise.all([...this.#pairs].map(({ delay }) => delay));
    for (const pair of this.#pairs) this.#cut(pair, true);
    await closed;
  }

  async #listen(): Promise<void> {
    this.#server = createServer((client) => this.#join(client));
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  #join(client: Socket): void {
    const server = toSocket(this.#target, '127.0.0.1');
    const pair: Pair = { client, server, answered: 0, swallow: false, delay: undefined };
    this.#pairs.add(pair);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.setNoDelay(true);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#pairs.delete(pair);
        // What was forwarded before must still arrive.
        to.end();
      });
    }
    client.on('data', (chunk: Buffer) => this.#up(pair, chunk));
    server.on('data', (chunk: Buffer) => this.#down(pair, chunk));
  }

  #up(pair: Pair, chunk: Buffer): void {
    if (pair.swallow) return;
    const plan = this.#take(this.#marks.request, chunk, ({ fault }) => fault !== 'middle of the answer');
    if (plan !== undefined) {
      pair.fault = plan;
      pair.answered = 0;
    }
    switch (plan?.fault) {
      case 'before the request':
        this.#cut(pair, plan.reset);
        return;
      case 'middle of the request':
        pair.server.write(chunk.subarray(0, Math.floor(chunk.length * plan.at)));
        this.#cut(pair, plan.reset);
        return;
      case 'half-open before':
        pair.swallow = true;
        return;
      case 'half-open after':
        pair.swallow = true;
        break;
      case 'late':
        pair.delay = new Promise((resolve) => setTimeout(resolve, plan.lateMs));
        break;
    }
    // What comes after it must not overtake it.
    if (pair.delay === undefined) pair.server.write(chunk);
    else void pair.delay.then(() => pair.server.write(chunk));
  }

  #down(pair: Pair, chunk: Buffer): void {
    if (pair.swallow) return;
    const { fault } = pair;
    if (fault?.fault === 'after the request') {
      this.#cut(pair, fault.reset);
      return;
    }
    const inAnswer = this.#take(this.#marks.answer, chunk, (plan) => plan.fault === 'middle of the answer');
    const cutAfter =
      inAnswer !== undefined
        ? Math.floor(chunk.length * inAnswer.at)
        : fault?.fault === 'middle of the headers'
          ? Math.floor(fault.at * 60)
          : fault?.fault === 'middle of the body'
            ? Math.max(0, headersEnd(pair, chunk) + Math.floor(fault.at * 120) - pair.answered)
            : undefined;
    pair.answered += chunk.length;
    if (cutAfter !== undefined && cutAfter <= chunk.length) {
      pair.client.write(chunk.subarray(0, cutAfter));
      this.#cut(pair, (inAnswer ?? fault)?.reset ?? false);
    } else {
      pair.client.write(chunk);
    }
  }

  #take(mark: RegExp, chunk: Buffer, wanted: (plan: Plan) => boolean): Plan | undefined {
    if (this.#plans.size === 0) return undefined;
    const key = mark.exec(chunk.toString('latin1'))?.[1] ?? '';
    const plan = this.#plans.get(key);
    if (plan === undefined || !wanted(plan)) return undefined;
    this.#plans.delete(key);
    this.injected += 1;
    return plan;
  }

  #cut({ client, server }: Pair, reset: boolean): void {
    if (reset) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    } else {
      client.end();
      client.destroySoon();
      server.destroySoon();
    }
  }
}

/** Where the body begins, counted from the first byte of the answer. */
function headersEnd(pair: Pair, chunk: Buffer): number {
  const end = pair.answered === 0 ? chunk.indexOf('\r\n\r\n') : -1;
  return end === -1 ? pair.answered : end + 4;
}
