import type { JSONRPCMessage, JSONRPCResultResponse } from '../../sdk.js';
import { namedBy } from '../modern.js';
import { encodeHeader, findMirrored, type MirroredArgument, toHeaderText } from './mirrored-arguments.js';

const mostTools = 10_000;

/**
 * Writes the headers that the stateless era asks for, each derived from the message that it goes with, so that what a
 * server or a proxy reads in them is what stands in the body.
 *
 * Tools may ask for arguments in headers (`x-mcp-header` in their schema): that is learned from the lists that pass by.
 */
export class EraHeaders {
  readonly #tools = new Map<string, readonly MirroredArgument[]>();

  /** @param version - as {@link modernVersion} found it */
  write(message: JSONRPCMessage, version: string): Record<string, string> {
    const headers: Record<string, string> = { 'mcp-protocol-version': encodeHeader(version) };
    if (!('method' in message)) return headers;
    headers['mcp-method'] = encodeHeader(message.method);
    const params = message.params as Readonly<Record<string, unknown>> | undefined;
    const name = params?.[namedBy.get(message.method) ?? ''];
    if (typeof name === 'string') headers['mcp-name'] = encodeHeader(name);
    if (message.method === 'tools/call' && typeof params?.name === 'string') {
      for (const argument of this.#tools.get(params.name) ?? []) {
        const value = toHeaderText(params.arguments, argument);
        if (value !== undefined) headers[`mcp-param-${argument.header.toLowerCase()}`] = encodeHeader(value);
      }
    }
    return headers;
  }

  /** Remembers what the tools of a list want mirrored. */
  learn({ result }: JSONRPCResultResponse): void {
    const { tools } = result as { tools?: unknown };
    if (!Array.isArray(tools)) return;
    for (const tool of tools as { name?: unknown; inputSchema?: unknown }[]) {
      if (typeof tool?.name !== 'string') continue;
      const found = findMirrored(tool.inputSchema);
      this.#tools.delete(tool.name);
      if (found.length > 0) this.#tools.set(tool.name, found);
    }
    for (const name of this.#tools.keys()) {
      if (this.#tools.size <= mostTools) break;
      this.#tools.delete(name);
    }
  }
}
