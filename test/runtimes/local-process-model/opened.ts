import { setTimeout as sleep } from 'node:timers/promises';
import { GatewayError } from '../../../src/errors.js';
import type { RuntimeTransport } from '../../../src/runtime.js';
import type { JSONRPCMessage } from '../../../src/sdk.js';
import type { Judge, ToldExit } from './judge.js';
import type { Life } from './lives.js';

interface Sent {
  readonly number: number;
  outcome: 'waits' | 'sent' | 'refused';
  /** What its error says. */
  delivered?: unknown;
}

/** Far longer than a server has to end, for a busy machine. */
const patienceMs = 120_000;

/** A transport that the runtime has opened, and what whoever uses it sees. */
export class Opened {
  readonly pid: number;
  /** In the order in which they came. */
  readonly calls: ('reason' | 'close' | 'close() called' | 'close() settled')[] = [];
  readonly #got: string[] = [];
  readonly #sends: Sent[] = [];
  readonly #sending: Promise<void>[] = [];
  readonly #transport: RuntimeTransport;
  readonly #judge: Judge;
  readonly #answered = new Set<unknown>();
  /** Something has happened after which it need not answer. */
  isUnwell: boolean;
  #told: { readonly code: string; readonly exit: ToldExit } | undefined;
  #closing: Promise<void> | undefined;

  constructor(transport: RuntimeTransport, judge: Judge, isUnwell: boolean) {
    this.isUnwell = isUnwell;
    this.#transport = transport;
    this.#judge = judge;
    this.pid = transport.pid as number;
    transport.onmessage = (message) => this.#take(message);
    transport.onerror = (error) => this.#hear(error);
    transport.onclose = () => this.calls.push('close');
  }

  get isOver(): boolean {
    return this.#closing !== undefined || this.calls.includes('close');
  }

  async start(): Promise<void> {
    await this.#transport.start().catch((error: unknown) => {
      if (!this.isOver) this.#judge.problem(`start() of ${this.pid} rejected with ${String(error)}`);
    });
  }

  /** @param isOdd - the program may end the server, or leave the call open */
  send(program: string, padding: string, isOdd: boolean): void {
    const sent: Sent = { number: this.#judge.next(), outcome: 'waits' };
    const { number } = sent;
    this.#sends.push(sent);
    this.isUnwell ||= isOdd;
    this.#judge.log(`send ${number} to ${this.pid}: ${program} (${padding.length})`);
    const params = { name: 'go', arguments: { n: number, do: program, padding } };
    const outcome = this.#transport.send({ jsonrpc: '2.0', id: number, method: 'tools/call', params }).then(
      () => {
        sent.outcome = 'sent';
      },
      (error: unknown) => {
        sent.outcome = 'refused';
        sent.delivered = (error as { delivered?: unknown }).delivered;
        this.#judge.count(`delivered: ${String(sent.delivered)}`);
        this.#judge.log(`${number} is refused: ${String(error).slice(0, 100)} ${String(sent.delivered)}`);
        if (!GatewayError.is(error)) this.#judge.problem(`send() of ${number} rejected with ${String(error)}`);
      },
    );
    this.#sending.push(outcome);
  }

  async health(): Promise<void> {
    await this.#transport.health?.(AbortSignal.timeout(patienceMs)).catch((error: unknown) => {
      if (!GatewayError.is(error)) this.#judge.problem(`health() rejected with ${String(error)}`);
    });
  }

  /** A second time as well. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return Promise.all([this.#closing, this.#transport.close().catch(() => {})]).then(() => {});
  }

  /** One that is well answers all calls. */
  async answers(): Promise<void> {
    if (this.isUnwell) return;
    const end = Date.now() + patienceMs;
    const waiting = () =>
      this.#sends.filter(({ number, outcome }) => outcome !== 'refused' && !this.#answered.has(number));
    while (!this.isOver && waiting().length > 0 && Date.now() < end) await sleep(5);
    if (this.isOver) return;
    this.#judge.count('all is answered');
    if (waiting().length > 0)
      this.#judge.problem(`${this.pid} does not answer ${waiting().map(({ number }) => number)}`);
  }

  /** All that was sent has settled. */
  async settled(): Promise<void> {
    await this.#judge.within(`send() to ${this.pid}`, Promise.all(this.#sending), patienceMs);
  }

  /** Looks at it when all is over. */
  check(life: Life | undefined): void {
    const { pid } = this;
    const judge = this.#judge;
    const events = this.calls.filter((call) => call === 'reason' || call === 'close');
    if (events.join() !== 'close' && events.join() !== 'reason,close')
      judge.problem(`${pid}: ${this.calls.join(', ')}`);
    if (events[0] === 'close' && !this.calls.includes('close() called')) judge.problem(`${pid} ends without a reason`);
    // It may have been killed before it began.
    const { got = [], says = [], said = [], deeds = [] } = life ?? {};
    const wrong = this.#got.findIndex((label, at) => label !== says[at]);
    if (wrong >= 0) judge.problem(`${pid}: message ${wrong} is ${this.#got[wrong]}, and ${says[wrong]} was said`);
    if (this.#told !== undefined) this.#checkReason(this.#told, life);
    const byItself = this.calls[0] === 'reason' && this.#told?.code === 'SERVER_EXITED';
    if (byItself && this.#got.length < said.length)
      judge.problem(`${pid} said ${said.length} messages, ${this.#got.length} came, though it ended by itself`);
    const sent = this.#sends.filter(({ outcome }) => outcome === 'sent');
    const missing = sent.filter(({ number }) => !got.includes(number));
    if (deeds.includes('eof') && missing.length > 0)
      judge.problem(`${pid} has read to the end, and not got ${missing.map(({ number }) => number)}`);
    if (new Set(got).size < got.length) judge.problem(`${pid} got a message twice`);
    if (got.some((number, at) => number < (got[at - 1] ?? 0))) judge.problem(`${pid} got messages in another order`);
    for (const { number, delivered } of this.#sends)
      if (delivered === false && got.includes(number))
        judge.problem(`${pid} got ${number}, of which is said that it was not delivered`);
    judge.count('read', got.length);
    judge.count('message', this.#got.length);
  }

  #checkReason({ code, exit }: { readonly code: string; readonly exit: ToldExit }, life: Life | undefined): void {
    if (code === 'MESSAGE_TOO_LARGE') {
      if (!life?.deeds.includes('huge')) this.#judge.problem(`${this.pid} is said to have written a huge line`);
      this.#judge.keepsTerminals(`the stderr of ${this.pid}`, exit.stderrTail ?? '');
    } else if (code === 'SERVER_EXITED') this.#judge.checkExit(this.pid, String(this.pid), exit, life);
    else this.#judge.problem(`${this.pid} ended with ${code}`);
  }

  async #close(): Promise<void> {
    this.calls.push('close() called');
    const closing = this.#transport.close().catch((error: unknown) => {
      this.#judge.problem(`close() of ${this.pid} rejected with ${String(error)}`);
    });
    await this.#judge.within(`close() of ${this.pid}`, closing, patienceMs);
    this.calls.push('close() settled');
  }

  #take(message: JSONRPCMessage): void {
    const { id, result, params } = message as {
      id?: string | number;
      result?: { structuredContent?: { n?: number } };
      params?: { data?: string };
    };
    const label = String(result?.structuredContent?.n ?? id ?? params?.data);
    if (this.calls.includes('close') || this.calls.includes('reason'))
      this.#judge.problem(`${this.pid} is over, and ${label} comes`);
    // Of a list that has changed nothing more is said.
    if (label !== 'undefined') this.#got.push(label);
    this.#answered.add(id);
    if (result?.structuredContent !== undefined && id !== result.structuredContent.n)
      this.#judge.problem(`the answer to ${id} is that to ${result.structuredContent.n}`);
    if (typeof id === 'string') this.#transport.send({ jsonrpc: '2.0', id, result: {} }).catch(() => {});
  }

  #hear(error: Error): void {
    this.#judge.log(`${this.pid} is told: ${error.message.slice(0, 100)}`);
    if (!GatewayError.is(error)) this.#judge.problem(`${this.pid} is told ${String(error)}`);
    else if (error.code === 'STOP_FAILED') this.#judge.problem(`${this.pid} is not stopped: ${error.message}`);
    else if (error.exit !== undefined) {
      this.#judge.keepsTerminals(`what ${this.pid} is told`, error.message);
      const { exit } = error;
      this.#judge.count(
        `ended: ${exit.reason ?? exit.signal ?? (exit.code === undefined ? error.code : `code ${exit.code}`)}`,
      );
      this.calls.push('reason');
      this.#told = { code: error.code, exit };
    }
  }
}
