import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { JSONRPCMessage, JSONRPCRequest } from '@modelcontextprotocol/sdk/types.js';

/** A server in this process with so many tools, each of which answers "ok". Costs next to nothing itself. */
export class ToolServer implements Transport {
  onclose?: () => void;
  onmessage?: NonNullable<Transport['onmessage']>;

  readonly #tools: readonly object[];
  readonly #gate: Promise<void> | undefined;
  readonly #onList: () => void;

  /**
   * @param gate - lists are answered when it opens
   * @param onList - told of each list that is asked for
   */
  constructor(tools: number, gate?: Promise<void>, onList: () => void = () => {}) {
    this.#tools = Array.from({ length: tools }, (_, index) => ({
      name: `tool-${index}`,
      title: `Tool ${index}`,
      description: `Does the ${index}th of the things that this server can do, and says so in a sentence of usual length.`,
      inputSchema: {
        type: 'object',
        properties: {
          path: { type: 'string', description: 'Where to do it' },
          limit: { type: 'number', description: 'How often to do it at most' },
        },
        required: ['path'],
      },
      annotations: { readOnlyHint: true },
    }));
    this.#gate = gate;
    this.#onList = onList;
  }

  async start(): Promise<void> {}

  async send(message: JSONRPCMessage): Promise<void> {
    if (!('method' in message && 'id' in message)) {
      return;
    }
    if (message.method === 'tools/list') {
      this.#onList();
      await this.#gate;
    }
    const result = this.#result(message);
    queueMicrotask(() => this.onmessage?.({ jsonrpc: '2.0', id: message.id, result }));
  }

  async close(): Promise<void> {
    this.onclose?.();
  }

  #result({ method, params }: JSONRPCRequest): Record<string, unknown> {
    switch (method) {
      case 'initialize':
        return {
          protocolVersion: params?.protocolVersion,
          capabilities: { tools: {} },
          serverInfo: { name: 'tools', version: '1' },
        };
      case 'tools/list':
        return { tools: this.#tools };
      case 'tools/call':
        return { content: [{ type: 'text', text: 'ok' }] };
      default:
        return {};
    }
  }
}

/** A catalog entry for a server in this process. */
export function toolEntry(id: string, create: () => ToolServer) {
  return { id, runtime: { type: 'in-process', server: create } } as const;
}
