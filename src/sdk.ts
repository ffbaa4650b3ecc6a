/**
 * The only file that imports the MCP SDK: types, and two parts at run time, each loaded when it is needed: when a server over
 * HTTP asks for authorization, and when `fetch` gets a caller with a session.
 */
import type { OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js';
import type { Transport, TransportSendOptions } from '@modelcontextprotocol/sdk/shared/transport.js';
import type {
  JSONRPCErrorResponse,
  JSONRPCMessage,
  JSONRPCNotification,
  JSONRPCRequest,
  JSONRPCResultResponse,
  MessageExtraInfo,
  RequestId,
} from '@modelcontextprotocol/sdk/types.js';

export type {
  JSONRPCErrorResponse,
  JSONRPCMessage,
  JSONRPCNotification,
  JSONRPCRequest,
  JSONRPCResultResponse,
  MessageExtraInfo,
  OAuthClientProvider,
  RequestId,
  Transport,
  TransportSendOptions,
};

/** A message with an id and a method: somebody waits for its answer. */
export function isRequest(message: JSONRPCMessage): message is JSONRPCRequest {
  return 'method' in message && 'id' in message;
}

/** A message with a method and no id. */
export function isNotification(message: JSONRPCMessage): message is JSONRPCNotification {
  return 'method' in message && !('id' in message);
}

/** An answer: a result, or an error. */
export function isResponse(message: JSONRPCMessage): message is JSONRPCResultResponse | JSONRPCErrorResponse {
  return !('method' in message);
}

/** Whether it has what every transport has. */
export function isTransport(value: unknown): value is Transport {
  return ['start', 'send', 'close'].every((name) => typeof Object(value)[name] === 'function');
}

/** The SDK's transport for sessions of Streamable HTTP, on servers of `Request` and `Response`. */
export async function loadWebTransport() {
  const { WebStandardStreamableHTTPServerTransport } = await import(
    '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
  );
  return WebStandardStreamableHTTPServerTransport;
}

/** The SDK's OAuth client. */
export function loadAuth(): Promise<typeof import('@modelcontextprotocol/sdk/client/auth.js')> {
  return import('@modelcontextprotocol/sdk/client/auth.js');
}
