import type { JSONRPCMessage, JSONRPCResultResponse } from '../../sdk.js';
import { namedBy } from '../modern.js';
import {
  encodeHeader,
  findMirrored,
  findMirroringProblem,
  type MirroredArgument,
  toHeaderText,
} from './mirrored-arguments.js';

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

  /**
   * Remembers what the tools of a list want mirrored. Those that want it in a way in which nobody may do it are taken out of
   * the list, as the specification has it.
   *
   * @returns for each what is wrong with it
   */
  learn({ result }: JSONRPCResultResponse): string[] {
    const problems: string[] = [];
    if (!Array.isArray(result.tools)) return problems;
    const tools = result.tools as { name?: unknown; inputSchema?: unknown }[];
    for (const tool of tools) {
      if (typeof tool?.name !== 'string') continue;
      const found = findMirrored(tool.inputSchema);
      this.#tools.delete(tool.name);
      if (found.length > 0) this.#tools.set(tool.name, found);
    }
    for (const name of this.#tools.keys()) {
      if (this.#tools.size <= mostTools) break;
      this.#tools.delete(name);
    }
    result.tools = tools.filter((tool) => {
      const problem = findMirroringProblem(tool?.inputSchema);
      if (problem !== undefined) problems.push(`the tool ${JSON.stringify(tool.name)} is left out: ${problem}`);
      return problem === undefined;
    });
    return problems;
  }
}
