import { GatewayError } from '../errors.js';
import { toRpcError } from '../instance/error-response.js';
import type { RpcError } from '../instance/exchanges.js';
import type { JSONRPCRequest } from '../sdk.js';
import { textOf } from '../util/text-of.js';
import type { EndpointServer } from './endpoint-server.js';
import { isToolAllowed } from './glob.js';

/** A tool that is called. */
export interface CalledTool {
  /** The name that its caller knows. */
  readonly shown: unknown;
  /** The server's own. */
  readonly own: unknown;
}

/** @param params - as the server is to get them */
export function calledTool({ method, params: shown }: JSONRPCRequest, params: JSONRPCRequest['params']) {
  return method === 'tools/call' ? { shown: shown?.name, own: params?.name } : undefined;
}

export function unknownTool(shown: unknown): RpcError {
  return { code: -32602, message: `unknown tool: ${textOf(shown)}` };
}

/** A reload has taken it away from the catalog, or from the caller. */
export function serverGone(server: string): GatewayError {
  return new GatewayError('SERVER_UNKNOWN', 'the server is not there for this caller any more', { server });
}

/** Why a request must not go to its server: since its caller has sent it, a reload may have come. */
export function lateRefusal(
  servers: ReadonlyMap<string, EndpointServer>,
  server: string,
  tool: CalledTool | undefined,
): RpcError | undefined {
  const now = servers.get(server);
  if (tool !== undefined) {
    return now !== undefined && isToolAllowed(now.tools, textOf(tool.own)) ? undefined : unknownTool(tool.shown);
  }
  if (now !== undefined) {
    return undefined;
  }
  return toRpcError(serverGone(server), false);
}
