import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';

/** The answer of a call: its text, the code of its error, or `abandoned` when the caller closed first. */
export type Answer = { readonly text: string } | { readonly error: string } | 'abandoned';

/** A caller of the merged peer that speaks JSON-RPC itself and knows which answers it still waits for. */
export class SoakCaller {
  readonly #transport: Transport;
  readonly #open = new Map<number, (answer: Answer) => void>();
  readonly #onStray: (message: string) => void;
  #lastId = 0;

  private constructor(transport: Transport, onStray: (message: string) => void) {
    this.#transport = transport;
    this.#onStray = onStray;
    transport.onmessage = (message: JSONRPCMessage) => this.#receive(message);
  }

  /** @param onStray - told of each answer that nobody waits for: one too many */
  static async connect(transport: Transport, onStray: (message: string) => void): Promise<SoakCaller> {
    const caller = new SoakCaller(transport, onStray);
    await transport.start();
    const clientInfo = { name: 'soak', version: '1' };
    await caller.#request('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo });
    await transport.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
    return caller;
  }

  call(tool: string, text: string): Promise<Answer> {
    return this.#request('tools/call', { name: tool, arguments: { text } });
  }

  async close(): Promise<void> {
    for (const resolve of this.#open.values()) {
      resolve('abandoned');
    }
    this.#open.clear();
    await this.#transport.close();
  }

  #request(method: string, params: Record<string, unknown>): Promise<Answer> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      this.#open.set(id, resolve);
      this.#transport.send({ jsonrpc: '2.0', id, method, params }).catch(reject);
    });
  }

  #receive(message: JSONRPCMessage): void {
    if (!('id' in message) || 'method' in message) {
      return;
    }
    const resolve = this.#open.get(message.id as number);
    if (resolve === undefined) {
      this.#onStray(`an answer that nobody waits for: ${JSON.stringify(message).slice(0, 200)}`);
      return;
    }
    this.#open.delete(message.id as number);
    resolve('error' in message ? { error: codeOf(message.error) } : { text: textOf(message.result) });
  }
}

function codeOf(error: { readonly code: number; readonly data?: unknown }): string {
  return String((error.data as { code?: unknown } | undefined)?.code ?? error.code);
}

function textOf(result: Record<string, unknown>): string {
  return (result.content as { text: string }[] | undefined)?.[0]?.text ?? '';
}
