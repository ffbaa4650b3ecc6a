import { isResponse, type JSONRPCMessage, type JSONRPCNotification, type JSONRPCRequest } from '../sdk.js';
import { type JsonPart, partOf } from '../transport/json-part.js';
import { streamOf } from '../transport/modern.js';
import type { RelatedInfo } from '../transport/related-info.js';
import type { Exchange, Exchanges, Response } from './exchanges.js';

/** Who gets what a server says. */
export interface InboxReader {
  onAnswer(response: Response, part?: JsonPart): void;
  /** @param origin - what it belongs to, when the way it came says so */
  onRequest(request: JSONRPCRequest, origin: Exchange | undefined): void;
  onNotification(notification: JSONRPCNotification, origin: Exchange | undefined): void;
  /** Sends an answer that needs nobody else. */
  notify(message: JSONRPCMessage): void;
}

/**
 * What the server of a link says, sorted: answers, progress, and what the caller is asked or told, each with the request that
 * it belongs to.
 */
export class LinkInbox {
  readonly #exchanges: Exchanges;
  readonly #reader: InboxReader;

  constructor(exchanges: Exchanges, reader: InboxReader) {
    this.#exchanges = exchanges;
    this.#reader = reader;
  }

  receive(message: JSONRPCMessage, extra: RelatedInfo | undefined): void {
    if (isResponse(message)) {
      this.#reader.onAnswer(message, partOf(extra));
    } else if ('id' in message) {
      if (message.method === 'ping') {
        this.#reader.notify({ jsonrpc: '2.0', id: message.id, result: {} });
      } else {
        this.#reader.onRequest(message, this.#originOf(extra));
      }
    } else if (message.method === 'notifications/progress') {
      this.#exchanges.progress(message.params as NonNullable<JSONRPCRequest['params']>);
    } else {
      this.#notified(message, extra);
    }
  }

  #notified(message: JSONRPCNotification, extra: RelatedInfo | undefined): void {
    this.#exchanges.see(message);
    const name = streamOf(message);
    const ended = message.method === 'notifications/cancelled' ? Number(message.params?.requestId) : 0;
    if (this.#exchanges.get(ended)?.isStream === true) {
      // As if the server had ended it by an answer.
      this.#reader.onAnswer({ jsonrpc: '2.0', id: ended, result: { resultType: 'complete' } });
      return;
    }
    const origin = name === undefined ? this.#originOf(extra) : this.#exchanges.get(Number(name));
    // Of a stream to which nobody listens any more it is for nobody.
    if (name === undefined || origin?.isStream === true) {
      this.#reader.onNotification(message, origin);
    }
  }

  #originOf(extra: RelatedInfo | undefined): Exchange | undefined {
    const id = extra?.relatedRequestId;
    return id === undefined ? undefined : this.#exchanges.get(id);
  }
}
