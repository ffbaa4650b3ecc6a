import type { Chance } from '../../gateway/model/chance.js';
import { cut, type Exchange, writeInPieces } from './host.js';

/** Which stream and event a `Last-Event-ID` names. */
export function readEventId(header: string): [name: string, count: number] {
  const [name = '', count] = (Buffer.from(header, 'latin1').toString().split(' ').at(-1) as string).split('-');
  return [name, Number(count)];
}

/** A stream of events that is kept, so that it can be taken up again from any of them. */
export class EventStream {
  readonly #name: string;
  /** Headers have no more than Latin-1 in them. */
  readonly #prefix: string;
  readonly #chance: Chance;
  readonly #withIds: boolean;
  readonly #lineEnd: string;
  readonly #events: string[] = [];
  /** The logs that came on it. */
  readonly logs: number[] = [];
  /** The ids of the questions. */
  readonly questions: unknown[] = [];
  /** As far as the client has heard it for sure: what ended in good order has come whole. */
  heard = 0;
  /** How long the client is to wait each time before it comes back, and from when on it may. */
  retryMs = 0;
  notBefore = 0;
  /** It was told not to come back. */
  isRefused = false;
  readonly #now: () => number;
  #exchange: Exchange | undefined;
  #writing: Promise<void> = Promise.resolve();
  #isOver = false;

  /** @param name - in the ids of its events */
  constructor(name: string, chance: Chance, withIds: boolean, now: () => number = () => 0) {
    this.#name = name;
    this.#now = now;
    this.#chance = chance;
    this.#withIds = withIds;
    this.#prefix = chance.one(['', '', 'ü, 🚀; ']);
    this.#lineEnd = chance.one(['\n', '\n', '\r\n', '\r']);
    // What primes a client: an id without a message.
    if (withIds && chance.oneIn(2)) this.#add('');
  }

  get isResumable(): boolean {
    return this.#withIds;
  }

  get isOpen(): boolean {
    return this.#exchange !== undefined;
  }

  /** Answers with the stream, or with what comes after an event of it. */
  open(exchange: Exchange, headers: Readonly<Record<string, string>> = {}, after = 0): void {
    this.#exchange = exchange;
    this.isRefused = false;
    exchange.response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', ...headers });
    exchange.response.flushHeaders();
    exchange.response.on('close', () => {
      if (this.#exchange === exchange) this.#exchange = undefined;
      this.mayComeIn(0);
    });
    const rest = this.#events.slice(after).join('');
    this.#later(() => this.#write(exchange, `: hello${this.#lineEnd}${rest}`));
    if (this.#isOver) this.#later(() => void exchange.response.end());
  }

  send(message: unknown, type?: string): void {
    const text = this.#add(message, type);
    const exchange = this.#exchange;
    if (exchange !== undefined) this.#later(() => this.#write(exchange, text));
  }

  /** Sends the beginning of an event, and cuts the connection. */
  sendAndCut(message: unknown): void {
    const text = Buffer.from(this.#add(message));
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange === undefined) return;
    this.#later(async () => {
      await this.#write(exchange, text.subarray(0, this.#chance.below(text.length)));
      cut(exchange, this.#chance);
    });
  }

  /** Ends in good order; the client may come back where there are ids. */
  pause(retryMs: number | undefined): void {
    const exchange = this.#exchange;
    const count = this.#events.length;
    this.#exchange = undefined;
    if (exchange === undefined) return;
    this.#later(async () => {
      if (retryMs !== undefined) await this.#write(exchange, `retry: ${retryMs}${this.#lineEnd}${this.#lineEnd}`);
      exchange.response.once('finish', () => {
        if (this.#withIds) this.heard = count;
        this.retryMs = retryMs ?? this.retryMs;
        this.mayComeIn(0);
      });
      exchange.response.end();
    });
  }

  /** From now on, once the wait is over that the server asked for. */
  mayComeIn(ms: number): void {
    this.notBefore = this.#now() + Math.max(ms, this.retryMs);
  }

  /** What is wrong with coming back now, from this event on. */
  problemOf(count: number): string | undefined {
    const early = this.notBefore - this.#now();
    if (early > 0) return `${early} ms too early`;
    return count < this.heard ? `for what comes after event ${count}, and has heard ${this.heard}` : undefined;
  }

  cut(): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange !== undefined) this.#later(() => cut(exchange, this.#chance));
  }

  /** Nothing more will come. */
  end(): void {
    this.#isOver = true;
    this.pause(undefined);
  }

  #add(message: unknown, type?: string): string {
    const chance = this.#chance;
    const end = this.#lineEnd;
    const text = typeof message === 'string' ? message : JSON.stringify(message, null, chance.oneIn(4) ? 1 : 0);
    const lines = text.split('\n').map((line) => `data:${chance.oneIn(2) ? ' ' : ''}${line}`);
    const name = type ?? (chance.oneIn(2) ? 'message' : undefined);
    const id = `${this.#prefix}${this.#name}-${this.#events.length + 1}`;
    const event = [
      ...(chance.oneIn(6) ? [': a comment', ''] : []),
      ...(name === undefined ? [] : [`event: ${name}`]),
      ...(this.#withIds ? [`id: ${id}`] : []),
      ...lines,
      '',
      '',
    ].join(end);
    this.#events.push(event);
    return event;
  }

  async #write(exchange: Exchange, text: string | Buffer): Promise<void> {
    await writeInPieces(exchange, Buffer.from(text), this.#chance);
  }

  #later(run: () => Promise<void> | void): void {
    this.#writing = this.#writing.then(run).catch(() => {});
  }
}
