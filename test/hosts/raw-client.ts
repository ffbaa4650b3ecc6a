import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { LATEST_PROTOCOL_VERSION } from '@modelcontextprotocol/sdk/types.js';

export const initialize = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: LATEST_PROTOCOL_VERSION, capabilities: {}, clientInfo: { name: 'test', version: '1' } },
};

export interface RawAnswer {
  readonly status: number | undefined;
  readonly headers: IncomingMessage['headers'];
  /** `error.data.reason` of a refusal. */
  readonly reason: unknown;
  readonly message: unknown;
}

/** A request that is open; `node:http` and not `fetch`, which allows no Host header. */
export function open(url: string, method: string, headers: OutgoingHttpHeaders = {}): ClientRequest {
  const outgoing = request(url, {
    method,
    agent: false,
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
  });
  // A server that has answered may end the connection while a body is still on its way; who waits hears of it as well.
  return outgoing.on('error', () => {});
}

/** The answer to a request, once its body has come too. */
export async function answerTo(outgoing: ClientRequest): Promise<RawAnswer> {
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
  const body = await text(incoming);
  const { error } = incoming.headers['content-type'] === 'application/json' ? JSON.parse(body) : { error: undefined };
  return {
    status: incoming.statusCode,
    headers: incoming.headers,
    reason: error?.data?.reason,
    message: error?.message,
  };
}

/** Sends a body of JSON, or none. */
export function send(
  url: string,
  body?: unknown,
  { method = 'POST', ...headers }: OutgoingHttpHeaders & { readonly method?: string } = {},
): Promise<RawAnswer> {
  const outgoing = open(url, method, headers);
  const answer = answerTo(outgoing);
  outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  return answer;
}

/** Begins a session and tells its id. */
export async function begin(url: string, headers: OutgoingHttpHeaders = {}): Promise<string> {
  const { status, headers: answered, message } = await send(url, initialize, headers);
  const id = answered['mcp-session-id'];
  if (status !== 200 || typeof id !== 'string') {
    throw new Error(`no session: ${status} ${message}`);
  }
  return id;
}
