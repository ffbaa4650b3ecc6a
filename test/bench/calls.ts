import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';

/** Somebody who calls tools and waits for the texts that they answer. */
export interface CallingPeer {
  /** Makes `total` calls, `atOnce` of them open at any time. Rejects on the first answer that is not as long as expected. */
  calls(total: number, atOnce: number, call: Call): Promise<void>;
}

export interface Call {
  readonly tool: string;
  /** Names the tool of each call in turn, instead of `tool`. */
  readonly nextTool?: () => string;
  readonly arguments: Record<string, unknown>;
  /** How long the text of the answer must be. */
  readonly expected: number;
}

/** Echoes a text of so many bytes. */
export function echo(bytes: number, tool = 'echo'): Call {
  return { tool, arguments: { text: 'x'.repeat(bytes) }, expected: bytes };
}

/** Uses a transport without any client: what a host of its own protocol code does. */
export class BareCaller implements CallingPeer {
  readonly #transport: Transport;
  /** Of each call, for a caller of the stateless era. */
  #meta: Record<string, unknown> | undefined;
  #lastId = 0;
  #onAnswer: (message: JSONRPCMessage) => void = () => {};

  private constructor(transport: Transport) {
    this.#transport = transport;
    transport.onmessage = (message: JSONRPCMessage) => {
      if ('id' in message && !('method' in message)) {
        this.#onAnswer(message);
      }
    };
  }

  /** Starts the transport and makes the handshake. */
  static async connect(transport: Transport): Promise<BareCaller> {
    const caller = new BareCaller(transport);
    await transport.start();
    await caller.request('initialize', {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'bench', version: '1' },
    });
    await transport.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
    return caller;
  }

  /** Starts the transport, for calls of revision 2026-07-28. */
  static async connectModern(transport: Transport): Promise<BareCaller> {
    const caller = new BareCaller(transport);
    caller.#meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
      'io.modelcontextprotocol/clientInfo': { name: 'bench', version: '1' },
    };
    await transport.start();
    await caller.request('server/discover', { _meta: caller.#meta });
    return caller;
  }

  async request(method: string, params: Record<string, unknown>): Promise<Record<string, unknown>> {
    const answer = new Promise<JSONRPCMessage>((resolve) => {
      this.#onAnswer = resolve;
    });
    this.#lastId += 1;
    await this.#transport.send({ jsonrpc: '2.0', id: this.#lastId, method, params });
    return resultOf(await answer);
  }

  calls(total: number, atOnce: number, { tool, nextTool, arguments: args, expected }: Call): Promise<void> {
    return new Promise((resolve, reject) => {
      let left = total;
      let waiting = total;
      const next = () => {
        left -= 1;
        this.#lastId += 1;
        const params = {
          name: nextTool?.() ?? tool,
          arguments: args,
          ...(this.#meta !== undefined && { _meta: this.#meta }),
        };
        this.#transport.send({ jsonrpc: '2.0', id: this.#lastId, method: 'tools/call', params }).catch(reject);
      };
      this.#onAnswer = (message) => {
        try {
          check(resultOf(message), expected);
        } catch (error) {
          reject(error);
          return;
        }
        waiting -= 1;
        if (waiting === 0) {
          resolve();
        } else if (left > 0) {
          next();
        }
      };
      for (let open = Math.min(atOnce, total); open > 0; open--) {
        next();
      }
    });
  }
}

/** SDK v1's `Client`, as most hosts have it. */
export class ClientCaller implements CallingPeer {
  readonly #client = new Client({ name: 'bench', version: '1' });

  static async connect(transport: Transport): Promise<ClientCaller> {
    const caller = new ClientCaller();
    await caller.#client.connect(transport);
    return caller;
  }

  async calls(total: number, atOnce: number, call: Call): Promise<void> {
    let left = total;
    const work = async () => {
      while (left > 0) {
        left -= 1;
        check(await this.#client.callTool({ name: call.tool, arguments: call.arguments }), call.expected);
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, total) }, work));
  }
}

function resultOf(message: JSONRPCMessage): Record<string, unknown> {
  if ('result' in message) {
    return message.result;
  }
  throw new Error(`not a result: ${JSON.stringify(message).slice(0, 300)}`);
}

function check(result: Record<string, unknown>, expected: number): void {
  const length = (result.content as { text: string }[] | undefined)?.[0]?.text.length;
  if (length !== expected) {
    throw new Error(`the answer holds ${length} characters instead of ${expected}`);
  }
}
