// #region server
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import type { MCPServer, MCPToolErrorFunction } from '@openai/agents';

/** What a gateway connects to, as a server of the OpenAI Agents SDK. */
export class GatewayServer implements MCPServer {
  readonly name = 'gateway';
  readonly cacheToolsList = false;
  // The model is told what happened: by default it would read that it should try again.
  readonly errorFunction: MCPToolErrorFunction = ({ error }) => `The tool failed: ${error}`;
  readonly #transport: Transport;
  readonly #client = new Client({ name: 'my-agent', version: '1.0.0' });

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  connect(): Promise<void> {
    return this.#client.connect(this.#transport);
  }

  async listTools() {
    const { tools } = await this.#client.listTools();
    return tools as Awaited<ReturnType<MCPServer['listTools']>>;
  }

  async callTool(name: string, args: Record<string, unknown> | null, meta?: Record<string, unknown> | null) {
    const params = { name, arguments: args ?? {}, ...(meta && { _meta: meta }) };
    const result = (await this.#client.callTool(params)) as CallToolResult;
    return result.content;
  }

  async invalidateToolsCache(): Promise<void> {}

  close(): Promise<void> {
    return this.#client.close();
  }
}
// #endregion server
