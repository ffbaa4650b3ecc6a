import { GatewayError } from '../errors.js';
import type { JSONRPCMessage, Transport } from '../sdk.js';
import { currentContext } from '../util/async-context.js';
import { runCallback } from './callback.js';
import { copyMessage } from './copy-message.js';

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

/** What follows on it keeps its async context, for less than it takes to remember one. */
const settled = Promise.resolve();

class LinkedTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<Transport['onmessage']>;

  /** What has come before `start()`. */
  #early: (() => void)[] | undefined = [];
  readonly #inPlaceOf: InPlaceOf | undefined;
  #peer: LinkedTransport | undefined;
  #closed = false;

  constructor(inPlaceOf?: InPlaceOf) {
    this.#inPlaceOf = inPlaceOf;
  }

  link(peer: LinkedTransport): void {
    this.#peer = peer;
  }

  async start(): Promise<void> {
    if (this.#closed) throw new GatewayError('TRANSPORT_CLOSED', 'the transport is closed');
    const early = this.#early ?? [];
    this.#early = undefined;
    void settled.then(() => {
      for (const run of early) run();
    });
  }

  async send(message: JSONRPCMessage): Promise<void> {
    const peer = this.#peer;
    if (peer === undefined) throw new GatewayError('TRANSPORT_CLOSED', 'the transport is closed');
    if (this.#early !== undefined) throw new GatewayError('TRANSPORT_NOT_STARTED', 'send() came before start()');
    let copy: JSONRPCMessage;
    try {
      copy = copyMessage(message);
    } catch (cause) {
      const instead = this.#inPlaceOf?.(message, cause);
      if (instead !== undefined) peer.#receive(instead);
      throw new GatewayError('MESSAGE_INVALID', 'the message cannot be written as JSON', { cause, delivered: false });
    }
    peer.#receive(copy);
  }

  async close(): Promise<void> {
    const peer = this.#peer;
    this.#peer = undefined;
    if (peer !== undefined) peer.#endOfPeer();
    this.#end();
  }

  #receive(message: JSONRPCMessage): void {
    this.#put(() => runCallback(this, () => this.onmessage?.(message)));
  }

  /** Runs it later, in order; not once this side is closed. */
  #put(run: () => void): void {
    const runOpen = () => {
      if (!this.#closed) run();
    };
    if (this.#early === undefined) {
      void settled.then(runOpen);
    } else {
      const inContext = currentContext();
      this.#early.push(() => inContext(runOpen));
    }
  }

  /** Nothing more comes from the other side: no more sends, and `onclose` after what has already come. */
  #endOfPeer(): void {
    this.#peer = undefined;
    this.#put(() => this.#end());
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    runCallback(this, () => this.onclose?.());
  }
}
