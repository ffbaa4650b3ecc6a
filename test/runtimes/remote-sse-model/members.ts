import { inspect } from 'node:util';
import type { Gateway } from '../../../src/index.js';
import type { JSONRPCMessage, RequestId, Transport } from '../../../src/sdk.js';
import { envelope } from '../../endpoint/modern-caller.js';
import type { Chance } from '../../gateway/model/chance.js';
import { type Call, isWaiting, type Judge, mostBytes } from './judge.js';
import { type Later, Questions } from './questions.js';
import { Watches } from './watches.js';

/** A message, as loose as callers see them. */
export interface Message {
  readonly id?: RequestId;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: Record<string, unknown> };
}

const tokens: readonly [RequestId, ...RequestId[]] = [0, 1, 'x'];

export interface MemberOptions {
  readonly gateway: Gateway;
  readonly judge: Judge;
  readonly shares: boolean;
  readonly isMerged: boolean;
  readonly era: 'legacy' | 'modern';
  /** It speaks its era whatever the server speaks, and is not merged. */
  readonly isTranslated?: boolean;
  readonly play?: Later;
}

const atOnce: Later = { isKind: true, later: (run) => run(), now: () => 0 };

/** One connection of a caller: to the server itself, or to the merged peer. */
export class Member {
  readonly index: number;
  readonly isMerged: boolean;
  readonly isTranslated: boolean;
  /** Others share its sessions. */
  readonly shares: boolean;
  readonly calls = new Map<RequestId, Call>();
  /** The numbers of what servers have said to it. */
  readonly logs = new Set<unknown>();
  readonly watches: Watches;
  readonly questions: Questions;
  isReady = false;
  hasLeft = false;
  closes = 0;
  readonly #judge: Judge;
  readonly #transport: Transport;
  readonly #era: 'legacy' | 'modern';
  #count = 0;

  constructor(
    index: number,
    { gateway, judge, shares, isMerged, era, isTranslated = false, play = atOnce }: MemberOptions,
  ) {
    this.index = index;
    this.shares = shares;
    this.isMerged = isMerged;
    this.#judge = judge;
    this.#era = era;
    this.isTranslated = isTranslated;
    const caller = { data: index };
    this.#transport = isMerged
      ? gateway.connect({ caller })
      : gateway.connect('remote', { caller, ...(isTranslated && { era }) });
    this.questions = new Questions(judge, this, {
      play,
      send: (message) => this.#send(message),
      comeBack: (call, params) => this.#comeBack(call, params),
    });
    this.watches = new Watches(judge, this, era === 'modern', (message) =>
      this.#send({ ...message, params: { ...message.params, ...(message.id !== undefined && this.#envelope) } }),
    );
    this.#transport.onmessage = (message) => this.#receive(message as Message);
    this.#transport.onerror = (error) => {
      judge.log(`${this.name} hears: ${error.message}`);
      judge.checkSecrets(`an error of ${this.name}`, inspect(error, { depth: 6 }));
    };
    this.#transport.onclose = () => {
      this.closes += 1;
      judge.count('closed');
      if (this.closes > 1) judge.problem(`${this.name} is closed ${this.closes} times`);
      const open = [...this.calls.values()].filter((call) => isWaiting(call) && !call.isBetween);
      // What is not accepted is told by what `send` returned, which takes its turn.
      setImmediate(() => {
        for (const call of open.filter(isWaiting)) {
          judge.problem(`${this.name} is closed before its call ${call.number} is answered`);
        }
      });
    };
  }

  get name(): string {
    return `${this.isMerged ? 'merged' : this.isTranslated ? 'translated' : 'raw'} ${this.#era} caller ${this.index}`;
  }

  /** Gets what the server says as it is. */
  get hearsAll(): boolean {
    return !this.isMerged && !this.isTranslated && !this.shares;
  }

  /** Gets what its server says by itself: nobody shares the session, and it need not ask for that with each request. */
  get hearsLogs(): boolean {
    return this.isThere && !this.shares && (this.#era === 'legacy' || this.hearsAll);
  }

  get isThere(): boolean {
    return this.isReady && !this.hasLeft && this.closes === 0;
  }

  /** Connects, and makes the handshake of its era. */
  async join(protocolVersion: string): Promise<void> {
    this.#judge.log(`${this.name} joins with ${protocolVersion}`);
    try {
      await this.#transport.start().catch((error: unknown) => {
        this.#judge.notStarted(this, error);
        throw error;
      });
      if (this.#era === 'legacy') await this.#initialize(protocolVersion);
      this.isReady = true;
    } catch (error) {
      this.#judge.log(`${this.name} could not join: ${(error as Error).message}`);
      this.#judge.checkSecrets(`what ${this.name} could not join for`, inspect(error, { depth: 6 }));
      await this.leave();
    }
  }

  /** Calls the tool; the call says whose it is. */
  call(number: number, chance: Chance, mayBeTooLarge = true): Call {
    this.#count += 1;
    const id = chance.oneIn(2) ? this.#count : `id ${this.#count}`;
    // What is said too late of one call must not be taken for what is said of another.
    const token = chance.oneIn(3) ? undefined : this.hearsAll ? `token ${number}` : chance.one(tokens);
    const open = [...this.calls.values()].filter(isWaiting);
    const padding = 'x'.repeat(chance.oneIn(10) ? chance.below(mayBeTooLarge ? 600_000 : 400_000) : 0);
    const call: Call = {
      number,
      member: this,
      id,
      token: open.some((other) => other.token === token) ? undefined : token,
      arguments: { n: number, padding },
      size: chance.oneIn(8) ? chance.below(100_000) : mayBeTooLarge && chance.oneIn(60) ? 600_000 : 0,
      isTooLarge: padding.length > mostBytes - 1_000,
      executed: 0,
      answers: 0,
      cancelled: false,
      refusals: 0,
      isBetween: false,
      isBack: false,
      isLate: false,
      refused: false,
      progress: { sent: [], got: [] },
      toldUndelivered: false,
      mayTrail: false,
    };
    this.#judge.calls.set(number, call);
    this.#judge.log(`${this.name} makes call ${number} under ${JSON.stringify(id)} (${padding.length})`);
    this.#ask(call, {});
    return call;
  }

  #ask(call: Call, more: Readonly<Record<string, unknown>>): void {
    const { id, number } = call;
    this.calls.set(id, call);
    const _meta = {
      ...this.#envelope?._meta,
      ...(call.token !== undefined && { progressToken: call.token }),
    };
    const name = this.isMerged ? 'remote__go' : 'go';
    const params = { name, arguments: call.arguments, ...more, _meta };
    this.#send({ id, method: 'tools/call', params }).catch((error: Error) => {
      call.refused = true;
      this.#judge.log(`call ${number} was not accepted: ${error.message}`);
      this.#judge.checkSecrets('why a call was not accepted', inspect(error, { depth: 6 }));
      if (call.executed > 0 && !call.isBack)
        this.#judge.problem(`call ${number} was not accepted, and was carried out`);
    });
  }

  /** The same call once more, with what it needs, is a request of its own. */
  #comeBack(call: Call, params: Readonly<Record<string, unknown>>): void {
    this.#count += 1;
    call.id = `again ${this.#count}`;
    call.isBetween = false;
    call.isBack = true;
    this.#judge.log(`${this.name} comes back to call ${call.number} under ${JSON.stringify(call.id)}`);
    this.#ask(call, params);
  }

  cancel(call: Call): void {
    call.cancelled = true;
    this.#judge.count('cancel');
    this.#send({ method: 'notifications/cancelled', params: { requestId: call.id } }).catch(() => {});
  }

  async leave(): Promise<void> {
    this.hasLeft = true;
    this.#judge.log(`${this.name} leaves`);
    await this.#transport.close();
    // Who leaves is told nothing more.
    this.#onInitialized({});
  }

  get #envelope(): { readonly _meta: Record<string, unknown> } | undefined {
    const clientInfo = { name: this.name, version: '1' };
    return this.#era === 'modern'
      ? {
          _meta: envelope(
            { roots: {}, elicitation: { form: {} } },
            { 'io.modelcontextprotocol/clientInfo': clientInfo },
          ),
        }
      : undefined;
  }

  #onInitialized = (_answer: Message) => {};

  async #initialize(protocolVersion: string): Promise<void> {
    const params = {
      protocolVersion,
      capabilities: { roots: {}, elicitation: {} },
      clientInfo: { name: this.name, version: '1' },
    };
    const { result, error } = await new Promise<Message>((resolve, reject) => {
      this.#onInitialized = resolve;
      this.#send({ id: 'initialize', method: 'initialize', params }).catch(reject);
    });
    if (result === undefined) throw new Error(`initialize was answered with ${JSON.stringify(error)}`);
    this.#transport.setProtocolVersion?.(String(result.protocolVersion));
    // It may have ended meanwhile.
    await this.#send({ method: 'notifications/initialized' }).catch(() => {});
  }

  #receive(message: Message): void {
    if (message.id === 'initialize' && message.method === undefined) {
      this.#judge.checkSecrets('the answer to initialize', JSON.stringify(message));
      this.#onInitialized(message);
    } else if (message.id !== undefined && message.method !== undefined) {
      this.#judge.count('question');
      if (this.questions.asked(message)) return;
      // The session may end before that.
      this.#send({ id: message.id, result: { roots: [], ...message.params } }).catch(() => {});
    } else if (message.method === 'notifications/cancelled') {
      this.questions.withdrawn(message.params?.requestId);
    } else if (!this.watches.receive(message)) {
      this.#judge.receive(this, message);
    }
  }

  #send(message: Message): Promise<void> {
    return this.#transport.send({ jsonrpc: '2.0', ...message } as unknown as JSONRPCMessage);
  }
}
