import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';
import type { ChaosCall } from './server.ts';
import type { Tally } from './tally.ts';

interface Open {
  readonly entry: string;
  readonly token: string;
  readonly since: number;
  isLost: boolean;
}

/** How the answer of a call is judged. */
interface Judged {
  readonly result?: { readonly content?: readonly { readonly text?: string }[] };
  readonly error?: {
    readonly code: number;
    readonly message: string;
    readonly data?: { code?: string; server?: string; delivered?: boolean | 'unknown' };
  };
}

/** A caller on one transport, which knows what each of its answers has to be. */
export class ChaosCaller {
  readonly #transport: Transport;
  readonly #name: string;
  readonly #tally: Tally;
  readonly #open = new Map<number, Open>();
  /** What the progress of a call has to say. */
  readonly #tokens = new Map<number, string>();
  #lastId = 0;
  #closes = 0;
  #leaves = false;
  #hasStarted = false;
  #initialized: ((works: boolean) => void) | undefined;

  /** @param name - is part of each token, and has to be unlike all others */
  constructor(transport: Transport, name: string, tally: Tally) {
    this.#transport = transport;
    this.#name = name;
    this.#tally = tally;
    transport.onmessage = (message: JSONRPCMessage) => this.#receive(message as never);
    transport.onclose = () => this.#closed();
  }

  get isClosed(): boolean {
    return this.#closes > 0;
  }

  get hasStarted(): boolean {
    return this.#hasStarted;
  }

  /** Calls that have no answer yet. */
  get open(): number {
    return this.#open.size;
  }

  /** Rejects with what the library says when the server cannot be started. */
  async begin(): Promise<void> {
    await this.#transport.start();
    this.#hasStarted = true;
    const clientInfo = { name: 'chaos', version: '1' };
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo };
    const answered = new Promise<boolean>((resolve) => {
      this.#initialized = resolve;
    });
    await this.#transport.send({ jsonrpc: '2.0', id: 0, method: 'initialize', params });
    if (!(await answered)) throw new Error('initialize was refused');
    await this.#transport.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
  }

  call(entry: string, tool: string, ms: number, progress: boolean): void {
    this.#lastId += 1;
    const id = this.#lastId;
    const token = `${this.#name}.${id}`;
    this.#open.set(id, { entry, token, since: performance.now(), isLost: false });
    if (progress) this.#tokens.set(id, token);
    this.#tally.count(entry, 'calls');
    const args: ChaosCall = { token, caller: this.#name, ms };
    const params = { name: tool, arguments: { ...args }, ...(progress && { _meta: { progressToken: id } }) };
    this.#transport.send({ jsonrpc: '2.0', id, method: 'tools/call', params }).catch(() => {
      // Never accepted: an answer that comes all the same is one too many.
      if (!this.#open.delete(id)) return;
      this.#tally.refuse(entry, 'not sent');
      this.#tally.notDelivered(token);
    });
  }

  /** Counts the calls that have waited for longer than any answer may take. */
  noteLost(longestMs: number): void {
    const now = performance.now();
    for (const open of this.#open.values()) {
      if (!open.isLost && now - open.since > longestMs) this.#lose(open, `no answer after ${longestMs} ms`);
    }
  }

  /** After the gateway has closed: what is still open then is lost. */
  noteEnd(): void {
    for (const open of this.#open.values()) if (!open.isLost) this.#lose(open, 'no answer when the gateway closed');
    if (this.#closes === 0) this.#tally.problem(`${this.#name}: no onclose when the gateway closed`);
  }

  /** Leaves, and abandons what is open. */
  async leave(): Promise<void> {
    this.#leaves = true;
    await this.#transport.close();
  }

  #lose(open: Open, why: string): void {
    open.isLost = true;
    this.#tally.count(open.entry, 'lost', `${open.token}: ${why}`);
  }

  #closed(): void {
    this.#closes += 1;
    this.#initialized?.(false);
    if (this.#closes > 1) this.#tally.problem(`${this.#name}: onclose fired ${this.#closes} times`);
    for (const open of this.#open.values()) {
      if (!open.isLost && !this.#leaves) this.#lose(open, 'no answer before onclose');
    }
    this.#open.clear();
  }

  #receive(message: JSONRPCMessage & { id?: number; method?: string; params?: Record<string, unknown> }): void {
    if (message.method === 'notifications/progress') {
      this.#progress(message.params ?? {});
      return;
    }
    if (message.id === undefined || message.method !== undefined) return;
    if (message.id === 0) {
      this.#initialized?.('result' in message);
      return;
    }
    const open = this.#open.get(message.id);
    if (open === undefined) {
      const text = JSON.stringify(message).slice(0, 300);
      this.#tally.count('any', 'doubled', `${this.#name} does not wait for ${text}`);
      return;
    }
    this.#open.delete(message.id);
    this.#judge(open, message as unknown as Judged);
  }

  #judge({ entry, token }: Open, { result, error }: Judged): void {
    if (error !== undefined) {
      const { code, server, delivered } = error.data ?? {};
      if (delivered === false) this.#tally.notDelivered(token);
      // The end of the gateway is nobody's in particular.
      if (code === 'GATEWAY_CLOSED' || (code !== undefined && server === entry)) this.#tally.refuse(entry, code);
      else this.#tally.count(entry, 'misdelivered', `${token} got the error ${JSON.stringify(error).slice(0, 300)}`);
      return;
    }
    const text = result?.content?.[0]?.text;
    if (text === JSON.stringify({ token, caller: this.#name, server: entry })) this.#tally.count(entry, 'answered');
    else this.#tally.count(entry, 'misdelivered', `${token} got ${JSON.stringify(result).slice(0, 300)}`);
  }

  #progress({ progressToken, message }: Record<string, unknown>): void {
    const token = this.#tokens.get(progressToken as number);
    // What a start reports is about no call's content.
    if (typeof message === 'string' && /^h\d+\./.test(message) && message !== token) {
      this.#tally.count('any', 'misdelivered', `${this.#name} was told the progress of ${message}`);
    }
  }
}
