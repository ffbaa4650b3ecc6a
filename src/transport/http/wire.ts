import { GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import type { JSONRPCMessage, TransportSendOptions } from '../../sdk.js';
import { withoutMark } from '../../util/without-mark.js';
import { isJsonRpcMessage } from '../json-rpc.js';
import type { RelatedInfo } from '../related-info.js';
import { BodyTooLarge } from './body.js';
import type { Exchange, ExchangeOptions } from './exchange.js';

/** Send options of both SDK versions, as far as HTTP can follow them. */
export interface HttpSendOptions extends TransportSendOptions {
  /** SDK v2: ends this request, and with it its answer. */
  readonly requestSignal?: AbortSignal | undefined;
  /** SDK v2: the stream of the answer ended and `requestSignal` was not the reason. */
  readonly onRequestStreamEnd?: (() => void) | undefined;
  /** SDK v2: headers that mirror arguments; others are not taken from a caller. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export interface WireOptions extends ExchangeOptions {
  readonly url: URL;
  readonly maxMessageBytes: number;
  readonly clock: Clock;
  readonly random: () => number;
  /** How long answers may take that need no work: to a notification, to the opening of a legacy stream. */
  readonly headersTimeoutMs: number;
  onMessage(message: JSONRPCMessage, info: RelatedInfo | undefined): void;
  /** Something went wrong that ends nothing. */
  onTrouble(error: Error): void;
  /** The session is over, and nothing more will come. */
  onLost(reason: GatewayError): void;
  /** Runs something behind the messages that came before it. */
  inOrder(run: () => void): void;
}

/** One of the two ways to carry MCP over HTTP. */
export interface Wire {
  readonly sessionId: string | undefined;
  setProtocolVersion(version: string): void;
  /**
   * Sends a message, given also as JSON. For a request it settles when the request is settled: it rejects when there will
   * be no answer, so nothing has to be made up.
   */
  send(message: JSONRPCMessage, body: string, options: HttpSendOptions): Promise<void>;
  /** Ends everything; resolves when it is gone. What was being sent rejects. */
  close(): Promise<void>;
}

/** The error for what ends with its transport. */
export function closedError(server: string, delivered: GatewayError['delivered']): GatewayError {
  return new GatewayError('TRANSPORT_CLOSED', 'the transport was closed', { server, delivered });
}

/** What could not be read: too large, cut off, or not JSON. */
export function readFailure(error: unknown, exchange: Exchange, what: string, server: string): GatewayError {
  if (error instanceof BodyTooLarge) {
    const message = `${what} holds more than ${error.limitBytes} bytes (max_message)`;
    return new GatewayError('MESSAGE_TOO_LARGE', message, { server, delivered: 'unknown' });
  }
  return exchange.failure(error);
}

/** The messages in a text: one, or several in an array as revision 2025-03-26 allows. Undefined when it is no JSON. */
export function parseMessages(text: string): { messages: JSONRPCMessage[]; clean: boolean } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(withoutMark(text));
  } catch {
    return undefined;
  }
  const all = Array.isArray(value) ? value : [value];
  const messages = all.filter(isJsonRpcMessage);
  return { messages, clean: messages.length === all.length };
}

/** Hands on the messages of an event, and tells of it when it holds something else. */
export function receiveEvent(data: string, options: WireOptions): readonly JSONRPCMessage[] {
  const { messages, clean } = parseMessages(data) ?? { messages: [], clean: false };
  for (const message of messages) options.onMessage(message, undefined);
  if (!clean) {
    const text = 'the server sent an event that is no JSON-RPC message; it was skipped';
    options.onTrouble(new GatewayError('MESSAGE_INVALID', text, { server: options.server }));
  }
  return messages;
}

/** A JSON-RPC error response, whose `id` may be missing or null: the server could not tell which request. */
export interface ErrorBody {
  readonly id: unknown;
  readonly error: { code: number; message: string };
}

/** The JSON-RPC error response in a text; undefined when it holds none. */
export function parseErrorBody(text: string): ErrorBody | undefined {
  try {
    const { jsonrpc, id, error } = JSON.parse(withoutMark(text)) as {
      jsonrpc?: unknown;
      id?: unknown;
      error?: unknown;
    };
    if (jsonrpc !== '2.0' || typeof error !== 'object' || error === null) return undefined;
    const { code, message } = error as { code?: unknown; message?: unknown };
    if (typeof code !== 'number' || typeof message !== 'string') return undefined;
    return { id, error: error as { code: number; message: string } };
  } catch {
    return undefined;
  }
}
