import { GatewayError } from '../errors.js';
import type { JSONRPCMessage, MessageExtraInfo, Transport } from '../sdk.js';
import { deliver, runCallback } from '../transport/callback.js';
import { handedOver } from '../transport/handed-over.js';
import { once } from '../util/once.js';
import type { Peer, PeerFactory } from './peer.js';

/**
 * What `gateway.connect()` returns: the merged peer as a transport for a client in the same process. It outlives the
 * servers behind it; only `close()`, or the gateway's, ends it.
 */
export class MergedTransport implements Transport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  readonly #endpoint: Peer;
  readonly #refuse: () => void;
  readonly #onClosed: (transport: MergedTransport) => void;
  readonly #outgoing: JSONRPCMessage[] = [];
  #state: 'new' | 'open' | 'closed' = 'new';
  #sending = false;

  /**
   * @param onClosed - called once, when all its sessions have ended
   * @param refuse - throws when the gateway takes no more peers
   */
  constructor(create: PeerFactory, onClosed: (transport: MergedTransport) => void, refuse: () => void) {
    this.#refuse = refuse;
    this.#endpoint = create((message) => this.#deliver(message));
    this.#onClosed = onClosed;
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') {
      throw new GatewayError('TRANSPORT_CLOSED', 'the transport was started before; call connect() for a new one');
    }
    try {
      this.#refuse();
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#state = 'open';
  }

  send(message: JSONRPCMessage): Promise<void> {
    if (this.#state !== 'open') {
      return Promise.reject(this.#notOpen());
    }
    const nested = this.#sending;
    this.#sending = true;
    try {
      return this.#endpoint.receive(message) ? handedOver : Promise.reject(idInUse(message));
    } finally {
      this.#sending = nested;
    }
  }

  /** Closes for a reason of ours, with which open requests are answered. */
  end(reason: GatewayError): Promise<void> {
    this.#flush();
    this.#endpoint.failAll(reason);
    return this.close();
  }

  readonly close = once(async () => {
    this.#state = 'closed';
    this.#outgoing.length = 0;
    try {
      await this.#endpoint.close();
    } finally {
      this.#onClosed(this);
      runCallback(this, () => this.onclose?.());
    }
  });

  #notOpen(): GatewayError {
    return this.#state === 'new'
      ? new GatewayError('TRANSPORT_NOT_STARTED', 'call start() before send()', { delivered: false })
      : new GatewayError('TRANSPORT_CLOSED', 'the transport is closed; call connect() for a new one', {
          delivered: false,
        });
  }

  // Never inside the caller's own send(): what is answered on the spot waits for the end of the turn, and so does what
  // comes after it.
  #deliver(message: JSONRPCMessage): void {
    if (!this.#sending && this.#outgoing.length === 0) {
      deliver(this, message);
    } else if (this.#outgoing.push(message) === 1) {
      queueMicrotask(() => this.#flush());
    }
  }

  #flush(): void {
    // What comes meanwhile lines up behind.
    for (const message of this.#outgoing) {
      deliver(this, message);
    }
    this.#outgoing.length = 0;
  }
}

function idInUse(message: JSONRPCMessage): GatewayError {
  const id = 'id' in message ? message.id : undefined;
  const text = `the request id ${JSON.stringify(id)} is in use by an open request`;
  return new GatewayError('MESSAGE_INVALID', text, { delivered: false });
}
