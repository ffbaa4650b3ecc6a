import { GatewayError } from '../../../src/errors.js';
import type { RuntimeTransport } from '../../../src/runtime.js';
import type { JSONRPCMessage } from '../../../src/sdk.js';
import type { Chance } from '../../gateway/model/chance.js';
import type { Judge } from './judge.js';
import type { PlayedServer } from './played-server.js';

interface Sent {
  readonly number: number;
  outcome: 'waits' | 'sent' | 'refused';
  /** What its error says. */
  delivered?: unknown;
}

/** A transport that was opened, and what its caller sees of it. */
export class Opened {
  readonly instanceId: string;
  readonly server: PlayedServer | undefined;
  readonly got: JSONRPCMessage[] = [];
  readonly sends: Sent[] = [];
  /** In the order in which they came. */
  readonly calls: ('reason' | 'close' | 'close() called' | 'close() settled')[] = [];
  readonly stopErrors: unknown[] = [];
  readonly #transport: RuntimeTransport;
  readonly #judge: Judge;
  readonly #sending: Promise<void>[] = [];
  #closing: Promise<void> | undefined;

  constructor(instanceId: string, transport: RuntimeTransport, server: PlayedServer | undefined, judge: Judge) {
    this.instanceId = instanceId;
    this.server = server;
    this.#transport = transport;
    this.#judge = judge;
    transport.onmessage = (message) => this.got.push(message);
    transport.onerror = (error) => {
      judge.keepsSecrets(`onerror of ${instanceId}`, error);
      if (!GatewayError.is(error)) return;
      if (error.code === 'STOP_FAILED') this.stopErrors.push(error);
      if (error.exit === undefined) return;
      judge.count(error.exit.reason ?? 'exit');
      judge.log(`${instanceId} is told: ${error.message.slice(0, 100)}`);
      this.calls.push('reason');
    };
    transport.onclose = () => this.calls.push('close');
  }

  get isOver(): boolean {
    return this.#closing !== undefined || this.calls.includes('close');
  }

  start(): Promise<void> {
    return this.#transport.start().catch(() => {});
  }

  send(chance: Chance): void {
    const sent: Sent = { number: this.#judge.next(), outcome: 'waits' };
    this.sends.push(sent);
    const filler = 'x'.repeat(chance.one([0, 10, 5_000]));
    const message = { jsonrpc: '2.0' as const, id: sent.number, method: 'x', params: { n: sent.number, filler } };
    const outcome = this.#transport.send(message).then(
      () => {
        sent.outcome = 'sent';
      },
      (error: unknown) => {
        sent.outcome = 'refused';
        sent.delivered = (error as { delivered?: unknown }).delivered;
        this.#judge.sendRefused(this.instanceId, error);
      },
    );
    this.#sending.push(outcome);
  }

  async sent(): Promise<void> {
    await Promise.all(this.#sending);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.calls.push('close() called');
    await this.#transport.close().catch((error: unknown) => this.#judge.notStopped(this, error));
    this.calls.push('close() settled');
  }
}
