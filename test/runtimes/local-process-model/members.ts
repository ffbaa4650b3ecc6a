import { inspect } from 'node:util';
import { GatewayError } from '../../../src/errors.js';
import type { Gateway } from '../../../src/index.js';
import type { JSONRPCMessage, RequestId, Transport } from '../../../src/sdk.js';
import { envelope } from '../../endpoint/modern-caller.js';
import { type Call, type CallJudge, isWaiting } from './calls.js';

/** A message, as loose as callers see them. */
export interface Message {
  readonly id?: RequestId;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: number; readonly message?: string; readonly data?: Record<string, unknown> };
}

export interface MemberOptions {
  readonly gateway: Gateway;
  readonly judge: CallJudge;
  readonly isMerged: boolean;
  readonly era: 'legacy' | 'modern';
  /** A raw connection of the era that it asks for, whatever its server speaks. */
  readonly asksForEra: boolean;
}

/** One connection of a caller: to the server itself, or to the merged peer. */
export class Member {
  readonly name: string;
  readonly calls = new Map<RequestId, Call>();
  isReady = false;
  hasLeft = false;
  closes = 0;
  readonly #options: MemberOptions;
  readonly #judge: CallJudge;
  readonly #transport: Transport;
  #count = 0;
  #onInitialized = (_answer: Message) => {};

  constructor(index: number, options: MemberOptions) {
    const { gateway, judge, isMerged, era, asksForEra } = options;
    this.#options = options;
    this.#judge = judge;
    this.name = `${isMerged ? 'merged' : asksForEra ? 'fixed' : 'raw'} ${era} caller ${index}`;
    this.#transport = isMerged
      ? gateway.connect()
      : asksForEra
        ? gateway.connect('model', { era })
        : gateway.connect('model');
    this.#transport.onmessage = (message) => this.#receive(message as Message);
    this.#transport.onerror = (error) => {
      judge.log(`${this.name} hears: ${error.message.slice(0, 200)}`);
      judge.keepsSecrets(`an error of ${this.name}`, error);
      judge.keepsTerminals(`an error of ${this.name}`, error.message);
    };
    this.#transport.onclose = () => this.#onClose();
  }

  get isThere(): boolean {
    return this.isReady && !this.hasLeft && this.closes === 0;
  }

  /** Connects, and makes the handshake of its era. */
  async join(): Promise<void> {
    this.#judge.log(`${this.name} joins`);
    try {
      await this.#transport.start();
      if (this.#options.era === 'legacy') await this.#initialize();
      this.isReady = true;
    } catch (error) {
      this.#judge.log(`${this.name} could not join: ${String(error).slice(0, 200)}`);
      this.#judge.keepsSecrets(`what ${this.name} could not join for`, error);
      if (GatewayError.is(error)) this.#judge.count(`not joined: ${error.code}`);
      await this.leave();
    }
  }

  /** Calls the tool. */
  call(number: number, program: string, padding: string): Call {
    this.#count += 1;
    const call: Call = {
      number,
      member: this,
      id: this.#count,
      program,
      answers: 0,
      cancelled: false,
      refused: false,
      outcome: undefined,
      delivered: undefined,
      exit: undefined,
    };
    this.calls.set(call.id, call);
    this.#judge.calls.set(number, call);
    this.#judge.log(`${this.name} makes call ${number} under ${call.id}: ${program} (${padding.length})`);
    const { isMerged, era } = this.#options;
    const params = {
      name: isMerged ? 'model__go' : 'go',
      arguments: { n: number, do: program, padding },
      ...(era === 'modern' && { _meta: envelope() }),
    };
    this.#send({ id: call.id, method: 'tools/call', params }).catch((error: unknown) =>
      this.#judge.notAccepted(call, error),
    );
    return call;
  }

  cancel(call: Call): void {
    call.cancelled = true;
    this.#judge.happens('cancel', `${this.name} cancels call ${call.number}`);
    this.#send({ method: 'notifications/cancelled', params: { requestId: call.id } }).catch(() => {});
  }

  async leave(): Promise<void> {
    this.hasLeft = true;
    this.#judge.log(`${this.name} leaves`);
    await this.#transport.close();
    // Who leaves is told nothing more.
    this.#onInitialized({});
  }

  #onClose(): void {
    this.closes += 1;
    this.#judge.happens('closed', `${this.name} is closed`);
    if (this.closes > 1) this.#judge.problem(`${this.name} is closed ${this.closes} times`);
    const open = [...this.calls.values()].filter(isWaiting);
    // What is not accepted is told by what `send` returned, which takes its turn.
    setImmediate(() => {
      for (const { number } of open.filter(isWaiting))
        this.#judge.problem(`${this.name} is closed before its call ${number} is answered`);
    });
    this.#onInitialized({});
  }

  async #initialize(): Promise<void> {
    const params = {
      protocolVersion: '2025-11-25',
      capabilities: { roots: {}, sampling: {} },
      clientInfo: { name: 'caller', version: '1' },
    };
    const answer = await new Promise<Message>((resolve, reject) => {
      this.#onInitialized = resolve;
      this.#send({ id: 'initialize', method: 'initialize', params }).catch(reject);
    });
    if (answer.result === undefined) throw new Error(`initialize was answered with ${JSON.stringify(answer.error)}`);
    this.#transport.setProtocolVersion?.(String(answer.result.protocolVersion));
    // It may have ended meanwhile.
    await this.#send({ method: 'notifications/initialized' }).catch(() => {});
  }

  #receive(message: Message): void {
    const { id, method } = message;
    if (method === undefined && id === 'initialize') {
      this.#judge.keepsSecrets('the answer to initialize', inspect(message, { depth: 6 }));
      this.#onInitialized(message);
    } else if (method === undefined) this.#judge.answer(this, message);
    else if (id !== undefined) {
      this.#judge.count('question');
      // The session may end before that.
      this.#send({ id, result: method === 'roots/list' ? { roots: [] } : {} }).catch(() => {});
    } else this.#judge.count(method);
  }

  #send(message: Message): Promise<void> {
    return this.#transport.send({ jsonrpc: '2.0', ...message } as unknown as JSONRPCMessage);
  }
}
