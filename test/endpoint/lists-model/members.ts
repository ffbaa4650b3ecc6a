import type { ListKind } from '../../../src/endpoint/list-kinds.js';
import type { Caller, Gateway } from '../../../src/index.js';
import type { JSONRPCMessage, Transport } from '../../../src/sdk.js';
import type { Chance } from '../../gateway/model/chance.js';
import { envelope } from '../modern-caller.js';
import type { Json } from '../scripted-server.js';
import { type Sees, serverIds } from './catalog.js';
import type { Judge } from './judge.js';

/** A list as a caller holds it. */
export interface HeldList {
  readonly items: readonly Json[];
  /** When its first page was asked for, and when its last one came. */
  readonly askedAt: number;
  readonly cameAt: number;
}

interface Sent {
  readonly id: string;
  readonly method: string;
  answers: number;
  onAnswer(answer: Json): void;
}

/** One caller, of either era, and what it was told. */
export class Member {
  readonly name: string;
  readonly caller: Caller | undefined;
  readonly index: number;
  readonly sees: Sees;
  readonly isModern: boolean;
  readonly held = new Map<ListKind, HeldList>();
  /** By method: how often, and when last. */
  readonly told = new Map<string, { times: number; at: number }>();
  /** By method: since when it is told of changes. */
  readonly ways = new Map<string, number>();
  readonly sent: Sent[] = [];
  closes = 0;
  hasLeft = false;
  readonly #judge: Judge;
  readonly #transport: Transport;
  #next = 1;

  constructor(index: number, gateway: Gateway, judge: Judge, chance: Chance, seesAll: boolean) {
    this.#judge = judge;
    this.index = index;
    this.isModern = chance.oneIn(2);
    this.name = `${this.isModern ? 'modern' : 'legacy'} caller ${index}`;
    const id = chance.one([undefined, 'same', 'other', `own ${index}`]);
    const principal = id === 'same' ? 'p' : id === 'other' ? undefined : chance.one([undefined, 'p']);
    this.caller = { id, principal, data: { c: index } };
    this.sees = {
      ...(chance.oneIn(4) && { tags: ['t'] }),
      // One that the catalog does not have now is refused.
      ...(!seesAll && chance.oneIn(3) && { servers: serverIds.filter(() => !chance.oneIn(3)) }),
    };
    this.#transport = gateway.connect({ caller: this.caller, ...this.sees });
    this.#transport.onmessage = (message) => this.#receive(message as unknown as Json);
    this.#transport.onclose = () => {
      this.closes += 1;
    };
    this.#transport.onerror = () => {};
    judge.log(`${this.name} joins: ${JSON.stringify([this.caller, this.sees])}`);
    void this.#transport.start();
    if (!this.isModern) {
      const clientInfo = { name: this.name, version: '1' };
      this.request('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo }, () => {});
    }
    for (const list of this.isModern ? [] : (['tools', 'prompts', 'resources'] as const)) {
      this.ways.set(`notifications/${list}/list_changed`, judge.turn());
    }
  }

  get isThere(): boolean {
    return !this.hasLeft;
  }

  /** Where the era has streams for it. */
  listen(): void {
    const notifications = { toolsListChanged: true, promptsListChanged: true, resourcesListChanged: true };
    this.request('subscriptions/listen', { notifications }, () => {
      this.ways.clear();
    });
  }

  request(method: string, params: Json, onAnswer: (answer: Json) => void): void {
    const id = `${method} ${this.#next++}`;
    this.sent.push({ id, method, answers: 0, onAnswer });
    this.#judge.log(`${this.name} sends ${id} ${JSON.stringify(params)}`);
    const own = this.isModern ? { ...params, _meta: { ...(params._meta as Json), ...envelope() } } : params;
    this.#transport.send({ jsonrpc: '2.0', id, method, params: own } as JSONRPCMessage).catch((error: unknown) => {
      this.#judge.problem(`${this.name} could not send ${id}: ${String(error)}`);
    });
  }

  async leave(): Promise<void> {
    this.#judge.log(`${this.name} leaves`);
    this.hasLeft = true;
    await this.#transport.close();
  }

  #receive(message: Json): void {
    const text = JSON.stringify(message).slice(0, 2_000);
    this.#judge.log(`${this.name} gets ${text}`);
    if (this.hasLeft) {
      return this.#judge.problem(`${this.name} has left, and gets ${text}`);
    }
    const { method } = message;
    if (typeof method !== 'string') {
      const sent = this.sent.find(({ id }) => id === message.id);
      if (sent === undefined || sent.answers > 0) {
        return this.#judge.problem(`${this.name} gets an answer to nothing: ${text}`);
      }
      sent.answers += 1;
      return sent.onAnswer(message);
    }
    if (method === 'notifications/subscriptions/acknowledged') {
      const { notifications } = message.params as { notifications: Json };
      for (const list of ['tools', 'prompts', 'resources']) {
        notifications[`${list}ListChanged`] === true &&
          this.ways.set(`notifications/${list}/list_changed`, this.#judge.turn());
      }
    } else if (method.endsWith('list_changed')) {
      this.#judge.count('list_changed');
      const told = this.told.get(method) ?? { times: 0, at: 0 };
      this.told.set(method, { times: told.times + 1, at: this.#judge.turn() });
    }
  }
}
