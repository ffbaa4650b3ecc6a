import { GatewayError } from '../errors.js';
import type { JSONRPCMessage, Transport } from '../sdk.js';
import { currentContext } from '../util/async-context.js';
import { runCallback } from './callback.js';
import { copyMessage } from './copy-message.js';
import { Inbox } from './inbox.js';

/**
 * Two transports joined in memory: what one sends, the other receives.
 *
 * - Messages that come before `start()` wait, and are delivered in order; so does the end of the other side.
 * - A message is copied as if it had been JSON on its way: neither side sees what the other does to it afterwards.
 * - Nothing is delivered inside `send()`, but in its async context; a callback that throws is reported to the `onerror`
 *   beside it.
 * - Closing one side closes the other, after it has received what was sent before.
 *
 * @param inPlaceOf - what the first one receives of a message of the second one that cannot be written as JSON
 */
export function createLinkedPair(inPlaceOf?: InPlaceOf): [Transport, Transport] {
  const left = new LinkedTransport();
  const right = new LinkedTransport(inPlaceOf);
  left.link(right);
  right.link(left);
  return [left, right];
}

type InPlaceOf = (message: JSONRPCMessage, cause: unknown) => JSONRPCMessage | undefined;

class LinkedTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<Transport['onmessage']>;

  readonly #inbox = new Inbox();
  readonly #inPlaceOf: InPlaceOf | undefined;
  #peer: LinkedTransport | undefined;
  #started = false;
  #closed = false;

  constructor(inPlaceOf?: InPlaceOf) {
    this.#inPlaceOf = inPlaceOf;
  }

  link(peer: LinkedTransport): void {
    this.#peer = peer;
  }

  async start(): Promise<void> {
    if (this.#closed) throw new GatewayError('TRANSPORT_CLOSED', 'the transport is closed');
    this.#started = true;
    this.#inbox.open();
  }

  async send(message: JSONRPCMessage): Promise<void> {
    const peer = this.#peer;
    if (peer === undefined) throw new GatewayError('TRANSPORT_CLOSED', 'the transport is closed');
    if (!this.#started) throw new GatewayError('TRANSPORT_NOT_STARTED', 'send() came before start()');
    let copy: JSONRPCMessage;
    try {
      copy = copyMessage(message);
    } catch (cause) {
      const instead = this.#inPlaceOf?.(message, cause);
      if (instead !== undefined) peer.#put(instead);
      throw new GatewayError('MESSAGE_INVALID', 'the message cannot be written as JSON', { cause, delivered: false });
    }
    peer.#put(copy);
  }

  async close(): Promise<void> {
    const peer = this.#peer;
    this.#peer = undefined;
    this.#inbox.clear();
    if (peer !== undefined) peer.#endOfPeer();
    this.#end();
  }

  #put(message: JSONRPCMessage): void {
    const inContext = currentContext();
    this.#inbox.put(() => inContext(runCallback, this, () => this.onmessage?.(message)));
  }

  /** Nothing more comes from the other side: no more sends, and `onclose` after what has already come. */
  #endOfPeer(): void {
    this.#peer = undefined;
    this.#inbox.put(() => this.#end());
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    runCallback(this, () => this.onclose?.());
  }
}
